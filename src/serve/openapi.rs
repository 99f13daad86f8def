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
            let mut parameters = vec![json!({
                "name": "model", "in": "path", "required": true, "schema": { "type": "string" }
            })];
            parameters.extend(operation["parameters"].as_array().into_iter().flatten().cloned());
            operation["parameters"] = Value::Array(parameters);
        }
        paths.insert(path.into(), json!({ method: operation }));
    };
    add(
        "/",
        "get",
        open(operation("The page", content("text/html", json!({ "type": "string" })), &[])),
    );
    for path in ["/healthz", "/v2/health/live"] {
        add(
            path,
            "get",
            open(operation("Whether the process is there", in_json(flag("live")), &[])),
        );
    }
    for path in ["/readyz", "/v2/health/ready"] {
        let text = "Whether requests are welcome: not any more once the server was told to stop";
        add(path, "get", open(operation(text, in_json(flag("ready")), &[503])));
    }
    let text = content("text/plain", json!({ "type": "string" }));
    add("/metrics", "get", operation("Counters for Prometheus", text, &[401]));
    add(
        "/openapi.json",
        "get",
        open(operation("This document", in_json(json!({ "type": "object" })), &[])),
    );
    for path in ["/predict", "/predict/{model}"] {
        let mut classify = operation(
            "Classes of a picture (Hugging Face image classification), the most probable first; a body of 784 bytes \
             that is neither a picture nor a text is 28 x 28 pixels",
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
    add(
        "/v1/models",
        "get",
        operation("The models that are served", in_json(schema("Models")), &[401]),
    );
    let text = "Ten digits of MNIST, one of each class";
    add("/v1/samples", "get", operation(text, in_json(schema("Samples")), &[401, 500]));
    let mut steps = operation(
        "What a network predicts and holds after each step, and the saliency of each step",
        in_json(schema("Steps")),
        &[400, 401, 404, 408, 413, 415, 422, 429, 500, 503, 504],
    );
    steps["requestBody"] = body(schema("StepsRequest"));
    add("/v1/steps", "post", steps);
    for path in ["/v1/stream", "/v1/stream/{model}"] {
        let mut stream = operation(
            "What a network predicts after each step of a sequence whose steps arrive one by one, a line each: the \
             events start, step (one a step, as soon as it has arrived) and end, or error",
            content("text/event-stream", schema("Event")),
            &[400, 401, 404, 415, 422, 500, 503],
        );
        let lines = json!({ "schema": {
            "type": "string",
            "description": "A JSON list a line, the values of a step; null is a missing value"
        }});
        stream["requestBody"] = json!({ "required": true, "content": {
            "application/x-ndjson": lines, "text/plain": lines
        }});
        stream["parameters"] = json!([{
            "name": "hidden", "in": "query", "required": false,
            "description": "Whether events have hidden states",
            "schema": { "type": "boolean", "default": false }
        }]);
        add(path, "post", stream);
    }
    for path in ["/v1/generate", "/v1/generate/{model}"] {
        let mut generate = operation(
            "The text that continues a prompt; with stream as events: text, with what was drawn, and end, or error",
            in_json(schema("Generated")),
            &[400, 401, 404, 408, 413, 415, 422, 429, 500, 503, 504],
        );
        generate["requestBody"] = body(schema("GenerateRequest"));
        let events = json!({ "schema": schema("Event") });
        generate["responses"]["200"]["content"]["text/event-stream"] = events;
        add(path, "post", generate);
    }
    add(
        "/v2",
        "get",
        open(operation(
            "The server and the extensions of its protocol",
            in_json(schema("Server")),
            &[],
        )),
    );
    let text = "The tensors of a model (Open Inference Protocol)";
    let described = operation(text, in_json(schema("Metadata")), &[401, 404, 422]);
    let text = "Whether a model takes requests";
    let ready = operation(text, in_json(flag("ready")), &[401, 404, 503]);
    let mut infer = operation(
        "Tensors in, tensors out (Open Inference Protocol); with the header Inference-Header-Content-Length binary \
         tensors follow the JSON",
        in_json(schema("InferResponse")),
        &[400, 401, 404, 408, 413, 415, 422, 429, 500, 503, 504],
    );
    infer["requestBody"] = body(schema("InferRequest"));
    infer["responses"]["200"]["content"]["application/octet-stream"] = json!({ "schema": {} });
    for version in ["", "/versions/1"] {
        let path = |rest: &str| format!("/v2/models/{{model}}{version}{rest}");
        add(&path(""), "get", described.clone());
        add(&path("/ready"), "get", ready.clone());
        add(&path("/infer"), "post", infer.clone());
    }
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
        (503, "the server is stopping, or too many streams are open or large bodies being read"),
        (504, "there was no answer in time"),
    ];
    for (status, description) in all.iter().filter(|(status, _)| errors.contains(status)) {
        let content = in_json(schema("Error"));
        responses
            .insert(status.to_string(), json!({ "description": description, "content": content }));
    }
    json!({ "summary": summary, "responses": responses })
}

/// An object with one member, which is true or false.
fn flag(name: &str) -> Value {
    json!({ "type": "object", "required": [name], "properties": { name: { "type": "boolean" } } })
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

/// An object that has all of these members.
fn object(properties: Value) -> Value {
    let names: Vec<&String> = properties.as_object().into_iter().flat_map(Map::keys).collect();
    json!({ "type": "object", "required": names, "properties": properties })
}

fn schemas() -> Value {
    let text = || json!({ "type": "string" });
    let numbers = || json!({ "type": "array", "items": { "type": "number" } });
    let rows = || json!({ "type": "array", "items": numbers() });
    let list = |items: Value| json!({ "type": "array", "items": items });
    let flag = || json!({ "type": "boolean" });
    let count = || json!({ "type": "integer", "minimum": 1 });
    // A tensor without its data, in which -1 is any size.
    let described = || {
        object(json!({
            "name": text(),
            "datatype": text(),
            "shape": list(json!({ "type": "integer", "minimum": -1 }))
        }))
    };
    let tensor = |data: Value| {
        json!({
            "type": "object",
            "required": ["name", "shape", "datatype"],
            "properties": {
                "name": text(),
                "shape": { "type": "array", "items": { "type": "integer", "minimum": 0 } },
                "datatype": { "enum": ["UINT8", "FP32", "INT64", "BYTES"] },
                "data": data,
                "parameters": { "type": "object", "additionalProperties": false, "properties": {
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
                "parameters": { "type": ["object", "null"], "additionalProperties": false, "properties": {
                    "top_k": { "type": ["integer", "null"], "minimum": 1 },
                    "function_to_apply": { "enum": ["softmax", "sigmoid", "none", null] }
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
                "pixels": {
                    "type": ["array", "null"],
                    "description": "28 x 28 whole numbers from 0 to 255, nested or flat"
                },
                "sequence": {
                    "type": ["array", "null"],
                    "description": "(T, I) numbers; null is a missing value"
                },
                "hidden": { "type": "boolean", "default": true }
            }
        },
        "Steps": {
            "type": "object",
            "required": ["model", "names", "prediction", "outputs", "saliency"],
            "properties": {
                "model": text(),
                "names": list(text()),
                "prediction": { "type": ["string", "array"], "items": { "type": "number" } },
                "outputs": rows(),
                "hidden": rows(),
                "saliency": numbers(),
                "pixels": numbers(),
                "warning": text()
            }
        },
        "Models": object(json!({ "models": list(object(json!({
            "name": text(),
            "kind": { "enum": ["images", "sequences", "texts"] },
            "target": text(),
            "view": { "type": ["string", "null"] },
            "digits": flag(),
            "steps": flag(),
            "hidden": flag(),
            "stream": flag(),
            "forecast": { "type": ["object", "null"] },
            "features": list(text()),
            "outputs": list(text()),
            "cell": text(),
            "hidden_size": count(),
            "num_layers": count(),
            "bidirectional": flag()
        })))})),
        "Samples": object(json!({ "samples": list(object(json!({
            "label": text(),
            "pixels": list(json!({ "type": "integer", "minimum": 0, "maximum": 255 }))
        })))})),
        "Server": object(json!({ "name": text(), "version": text(), "extensions": list(text()) })),
        "Metadata": object(json!({
            "name": text(),
            "versions": list(text()),
            "platform": text(),
            "inputs": list(described()),
            "outputs": list(described())
        })),
        "Event": {
            "type": "object",
            "description": "An event of the answer, the last of which is end or error.",
            "required": ["event", "data"],
            "properties": {
                "event": { "enum": ["start", "step", "text", "end", "error"] },
                "data": { "type": "string", "contentMediaType": "application/json" }
            }
        },
        "GenerateRequest": {
            "type": "object",
            "additionalProperties": false,
            "required": ["prompt"],
            "properties": {
                "prompt": { "type": "string", "minLength": 1, "maxLength": 65536 },
                "length": { "type": ["integer", "null"], "minimum": 0, "maximum": 65536, "default": 500 },
                "temperature": { "type": ["number", "null"], "minimum": 0, "default": 0.8 },
                "top_k": { "type": ["integer", "null"], "minimum": 1 },
                "seed": { "type": ["integer", "null"], "minimum": 0, "default": 42 },
                "stream": { "type": "boolean", "default": false }
            }
        },
        "Generated": {
            "type": "object",
            "required": ["model", "prompt", "prompt_bits_per_character", "text"],
            "properties": {
                "model": text(),
                "prompt": text(),
                "prompt_bits_per_character": { "type": ["number", "null"] },
                "text": text()
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
                        "parameters": { "type": "object", "additionalProperties": false, "properties": {
                            "binary_data": { "type": ["boolean", "null"] },
                            "classification": {
                                "type": ["integer", "null"],
                                "minimum": 1,
                                "description": "So many of the most probable classes, as texts, in the place of probabilities"
                            }
                        }}
                    }
                })),
                "parameters": { "type": "object", "additionalProperties": false, "properties": {
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
                "outputs": list(tensor(json!({ "type": "array", "items": { "type": ["number", "string"] } })))
            }
        }
    })
}
