//! Texts that a language model continues, whole and as events: those of `generate`.

use candle_rnn::predict::Generator;
use serde_json::{json, Value};

use crate::http::head;
use crate::stream::Events;
use crate::{program, Running, RUNS};

#[test]
fn a_text_is_the_one_that_generate_writes() {
    let server = Running::new();
    for (flags, request) in [
        ("--length 40 --seed 7", json!({ "length": 40, "seed": 7 })),
        ("--length 40 --seed 8", json!({ "length": 40, "seed": 8 })),
        (
            "--length 33 --temperature 1.5 --top-k 3",
            json!({ "length": 33, "temperature": 1.5, "top_k": 3 }),
        ),
        ("--length 0", json!({ "length": 0 })),
        ("", json!({})),
    ] {
        let text = program(&RUNS, &format!("generate words --prompt to {flags} --json"));
        let expected: Value = serde_json::from_str(&text).unwrap();
        let mut request = request;
        request["prompt"] = json!("to");
        let found = server.post_json("/v1/generate", &request).done();
        assert_eq!(
            (&found["text"], &found["prompt"]),
            (&expected["text"], &json!("to")),
            "{flags}"
        );
        let bits = &found["prompt_bits_per_character"];
        request["stream"] = json!(true);
        let body = request.to_string();
        let head = head("POST", "/v1/generate/words", &[], body.len());
        let mut events = Events::open(&server, &(String::from_utf8(head).unwrap() + &body));
        let mut drawn = String::new();
        loop {
            let (name, data) = events.next().unwrap();
            if name == "end" {
                assert_eq!(data["length"], drawn.chars().count());
                assert_eq!(&data["prompt_bits_per_character"], bits, "{flags}");
                break;
            }
            assert_eq!(name, "text", "{data}");
            drawn.push_str(data["text"].as_str().unwrap());
        }
        assert_eq!(drawn, expected["text"].as_str().unwrap(), "{flags}");
        assert_eq!(events.next(), None);
    }
}

#[test]
fn the_prompt_has_the_bits_that_an_evaluation_finds() {
    let server = Running::new();
    let generator = Generator::load(RUNS.join("words")).unwrap();
    for prompt in ["to be or not", "eeeee", "to"] {
        let expected = generator.evaluate(prompt).unwrap().metrics["bits_per_character"];
        let request = json!({ "prompt": prompt, "length": 3 });
        let found = server.post_json("/v1/generate", &request).done();
        let bits = found["prompt_bits_per_character"].as_f64().unwrap();
        assert!((bits - expected).abs() <= 1e-4 * expected, "{prompt}: {bits} {expected}");
    }
    for request in [json!({ "prompt": "t", "length": 3 }), json!({ "prompt": "to", "length": 0 })] {
        let found = server.post_json("/v1/generate", &request).done();
        assert_eq!(found["prompt_bits_per_character"], Value::Null, "{request}");
    }
}

#[test]
fn texts_that_cannot_be_are_refused() {
    let server = Running::with("--max-body 1000000", None);
    let ask = |request: Value| server.post_json("/v1/generate", &request);
    ask(json!({})).refused(400, &["prompt"]);
    ask(json!({"prompt": "to", "top": 3})).refused(400, &["top"]);
    ask(json!({"prompt": ""})).refused(422, &["prompt", "at least one character"]);
    ask(json!({"prompt": "Z"})).refused(422, &["prompt", "Z"]);
    ask(json!({"prompt": "to", "temperature": -1})).refused(422, &["temperature", "-1"]);
    ask(json!({"prompt": "to", "seed": -1})).refused(400, &["a whole number of at least 0"]);
    ask(json!({"prompt": "to", "top_k": 0})).refused(422, &["top_k"]);
    ask(json!({"prompt": "to", "length": 65537})).refused(422, &["65536", "65537"]);
    ask(json!({"prompt": "to".repeat(40_000)})).refused(422, &["65536"]);
    let other = json!({"prompt": "to"});
    server.post_json("/v1/generate/lines", &other).refused(422, &["lines continues no texts"]);
    server.post_json("/v1/generate/other", &other).refused(404, &["words"]);
    let steps = json!({"sequence": [1], "model": "words"});
    server.post_json("/v1/steps", &steps).refused(422, &["/v1/generate"]);
    server.post_json("/v2/models/words/infer", &json!({"inputs": []})).refused(422, &["words"]);
    server.post("/predict/words", &[], b"x").refused(422, &["no pictures"]);
}
