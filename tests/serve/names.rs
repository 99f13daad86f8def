//! The names under which runs are served.

use serde_json::{json, Value};

use crate::{numbers, predict, program, Running, RUNS, SAMPLE};

#[test]
fn runs_of_one_name_are_served_under_others() {
    let best = "digits/checkpoints/best";
    let server = Running::of(&[&format!("the best={best}"), "größe:2=lines", "digits"], None);
    let models = server.get("/v1/models").done();
    let names: Vec<&Value> =
        models["models"].as_array().unwrap().iter().map(|model| &model["name"]).collect();
    assert_eq!(names, ["the best", "größe:2", "digits"]);
    // In paths names are escaped, in JSON they are as they are.
    assert_eq!(server.get("/v2/models/the%20best").done()["name"], "the best");
    server.get("/v2/models/the%20best/ready").done();
    assert_eq!(server.get("/v2/models/gr%C3%B6%C3%9Fe%3A2").done()["name"], "größe:2");
    server.get("/v2/models/the%20worst").refused(404, &["the best, größe:2, digits"]);
    let found = server.post("/predict/the%20best", &[], SAMPLE.test.image(5)).done();
    let expected = predict(&format!("{best} test:5"));
    assert_eq!(found[0]["label"], expected[0]["label"].to_string());
    let steps = json!({ "model": "größe:2", "sequence": [1, 2] });
    assert_eq!(server.post_json("/v1/steps", &steps).done()["model"], "größe:2");
}

#[test]
fn a_folder_of_halved_weights_is_served() {
    for (run, half) in [("digits", "digits-half"), ("words", "words-half")] {
        program(&RUNS, &format!("export {run} --half {half} --overwrite"));
    }
    let server = Running::of(&["digits-half", "words-half"], None);
    let probabilities = numbers(&predict("digits-half test:3")[0]["probabilities"]);
    let found = server.post("/predict", &[], SAMPLE.test.image(3)).done();
    let best = probabilities.iter().copied().fold(0., f64::max);
    assert!((found[0]["score"].as_f64().unwrap() - best).abs() < 1e-5, "{found}");
    let request = json!({ "prompt": "to be", "length": 5 });
    assert_eq!(server.post_json("/v1/generate", &request).done()["model"], "words-half");
}
