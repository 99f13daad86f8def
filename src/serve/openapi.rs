//! The OpenAPI document: every route, what it takes and what it answers.

use serde_json::{json, Map, Value};

/// The document.
pub(super) fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "candle-rnn",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Recurrent networks: classes of pictures, predictions of sequences, and what a network \
                            predicts and holds after each step. Errors are JSON objects with the member error.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" }
        },
        "paths": paths(),
        "security": [{}, { "key": [] }],
        "components": {
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas()
        }
    })
}

fn paths() -> Value {
    let mut paths = Map::new();
    let mut add = |path: &str, method: &str, operation: Value| {
        let mut operation = operation;
        if path.contains("{model}") {
            operation["parameters"] = json!([{
                "name": "model", "in": "path", "required": true, "schema": { "type": "string" }
            }]);
        }
        paths.insert(path.into(), json!({ method: operation }));
    };
    let object = || json!({ "type": "object" });
    add(
        "/",
        "get",
        open(operation("The page", content("text/html", json!({ "type": "string" })), &[])),
    );
    for path in ["/healthz", "/v2/health/live"] {
        add(path, "get", open(operation("Whether the process is there", in_json(object()), &[])));
    }
    for path in ["/readyz", "/v2/health/ready"] {
        let text = "Whether requests are welcome: not any more once the server was told to stop";
        add(path, "get", open(operation(text, in_json(object()), &[503])));
    }
    let text = content("text/plain", json!({ "type": "string" }));
    add("/metrics", "get", operation("Counters for Prometheus", text, &[401]));
    add("/openapi.json", "get", open(operation("This document", in_json(object()), &[])));
    for path in ["/predict", "/predict/{model}"] {
        let mut classify = operation(
            "Classes of a picture (Hugging Face image classification), the most probable first; a body of 784 bytes \
             that is no picture is 28 x 28 pixels",
            in_json(schema("Scores")),
            &[400, 401, 404, 408, 413, 415, 422, 429, 500, 503, 504],
        );
        let bytes = json!({ "schema": {} });
        classify["requestBody"] = json!({ "required": true, "content": {
            "application/json": { "schema": schema("Picture") },
            "image/png": bytes, "image/jpeg": bytes, "application/octet-stream": bytes
        }});
        add(path, "post", classify);
    }
    add("/v1/models", "get", operation("The models that are served", in_json(object()), &[401]));
    let text = "Ten digits of MNIST, one of each class";
    add("/v1/samples", "get", operation(text, in_json(object()), &[401, 500]));
    let mut steps = operation(
        "What a network predicts and holds after each step, and the saliency of each step",
        in_json(schema("Steps")),
        &[400, 401, 404, 408, 413, 415, 422, 429, 500, 503, 504],
    );
    steps["requestBody"] = body(schema("StepsRequest"));
    add("/v1/steps", "post", steps);
    add(
        "/v2",
        "get",
        open(operation("The server and the extensions of its protocol", in_json(object()), &[])),
    );
    let text = "The tensors of a model (Open Inference Protocol)";
    add("/v2/models/{model}", "get", operation(text, in_json(object()), &[401, 404]));
    let text = "Whether a model takes requests";
    add("/v2/models/{model}/ready", "get", operation(text, in_json(object()), &[401, 404, 503]));
    let mut infer = operation(
        "Tensors in, tensors out (Open Inference Protocol); with the header Inference-Header-Content-Length binary \
         tensors follow the JSON",
        in_json(schema("InferResponse")),
        &[400, 401, 404, 408, 413, 415, 422, 429, 500, 503, 504],
    );
    infer["requestBody"] = body(schema("InferRequest"));
    infer["responses"]["200"]["content"]["application/octet-stream"] = json!({ "schema": {} });
    add("/v2/models/{model}/infer", "post", infer);
    Value::Object(paths)
}

/// An operation with an answer and the statuses of its errors.
fn operation(summary: &str, content: Value, errors: &[u16]) -> Value {
    let mut responses = Map::new();
    responses.insert("200".into(), json!({ "description": "done", "content": content }));
    let all = [
        (400, "the request cannot be read"),
        (401, "the key is missing or wrong"),
        (404, "there is no such model"),
        (408, "the body did not arrive in time"),
        (413, "the body or the picture is too large"),
        (415, "the body is compressed"),
        (422, "the request does not fit the model"),
        (429, "too many requests wait: try again after Retry-After"),
        (500, "the server failed"),
        (503, "the server is stopping, or too many large bodies are being read"),
        (504, "there was no answer in time"),
    ];
    for (status, description) in all.iter().filter(|(status, _)| errors.contains(status)) {
        let content = in_json(schema("Error"));
        responses
            .insert(status.to_string(), json!({ "description": description, "content": content }));
    }
    json!({ "summary": summary, "responses": responses })
}

/// The same without a key.
fn open(mut operation: Value) -> Value {
    operation["security"] = json!([]);
    operation
}

fn content(content_type: &str, schema: Value) -> Value {
    json!({ content_type: { "schema": schema } })
}

fn in_json(schema: Value) -> Value {
    content("application/json", schema)
}

fn body(schema: Value) -> Value {
    json!({ "required": true, "content": in_json(schema) })
}

fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn schemas() -> Value {
    let text = || json!({ "type": "string" });
    let numbers = || json!({ "type": "array", "items": { "type": "number" } });
    let rows = || json!({ "type": "array", "items": numbers() });
    let list = |items: Value| json!({ "type": "array", "items": items });
    let tensor = |data: Value| {
        json!({
            "type": "object",
            "required": ["name", "shape", "datatype"],
            "properties": {
                "name": text(),
                "shape": { "type": "array", "items": { "type": "integer", "minimum": 0 } },
                "datatype": { "enum": ["UINT8", "FP32", "INT64"] },
                "data": data,
                "parameters": { "type": "object", "properties": {
                    "binary_data_size": { "type": "integer", "minimum": 0 }
                }}
            }
        })
    };
    json!({
        "Error": { "type": "object", "required": ["error"], "properties": { "error": text() } },
        "Picture": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "inputs": { "type": "string", "contentEncoding": "base64" },
                "parameters": { "type": ["object", "null"], "properties": {
                    "top_k": { "type": ["integer", "null"], "minimum": 1 },
                    "function_to_apply": { "enum": ["softmax", null] }
                }}
            }
        },
        "Scores": list(json!({
            "type": "object",
            "required": ["label", "score"],
            "properties": { "label": text(), "score": { "type": "number" } }
        })),
        "StepsRequest": {
            "type": "object",
            "additionalProperties": false,
            "description": "One of picture, pixels and sequence.",
            "properties": {
                "model": { "type": ["string", "null"] },
                "picture": { "type": ["string", "null"], "contentEncoding": "base64" },
                "pixels": { "description": "28 x 28 whole numbers from 0 to 255, nested or flat" },
                "sequence": { "description": "(T, I) numbers; null is a missing value" },
                "hidden": { "type": "boolean", "default": true }
            }
        },
        "Steps": {
            "type": "object",
            "required": ["model", "names", "prediction", "outputs", "saliency"],
            "properties": {
                "model": text(),
                "names": list(text()),
                "prediction": {},
                "outputs": rows(),
                "hidden": rows(),
                "saliency": numbers(),
                "pixels": numbers(),
                "warning": text()
            }
        },
        "InferRequest": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": { "type": ["string", "null"] },
                "inputs": list(tensor(json!({ "type": ["array", "null"] }))),
                "outputs": list(json!({
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "name": text(),
                        "parameters": { "type": "object", "properties": {
                            "binary_data": { "type": ["boolean", "null"] }
                        }}
                    }
                })),
                "parameters": { "type": "object", "properties": {
                    "binary_data_output": { "type": "boolean", "default": false }
                }}
            }
        },
        "InferResponse": {
            "type": "object",
            "required": ["model_name", "model_version", "outputs"],
            "properties": {
                "model_name": text(),
                "model_version": text(),
                "id": text(),
                "outputs": list(tensor(json!({ "type": "array", "items": { "type": "number" } })))
            }
        }
    })
}
