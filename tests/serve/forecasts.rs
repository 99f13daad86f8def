//! Forecasts of a series: those of `predict`.

use serde_json::{json, Value};

use crate::{assert_close, numbers, predict, tide, Running};

#[test]
fn a_forecast_is_the_one_that_predict_says() {
    let server = Running::new();
    let expected: Vec<f64> = predict("tides tides.csv")[0]["forecast"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(numbers)
        .collect();
    let known: Vec<[f64; 2]> = (0..80).map(tide).collect();
    let ask = |steps: &[[f64; 2]]| {
        let shape = [1, steps.len(), 2];
        let input =
            json!({"name": "sequence", "datatype": "FP32", "shape": shape, "data": [steps]});
        server.post_json("/v2/models/tides/infer", &json!({ "inputs": [input] }))
    };
    // The last window is all that counts.
    for steps in [&known[..], &known[68..]] {
        let found = ask(steps).done();
        assert_eq!(found["outputs"][0]["shape"], json!([1, 3, 2]));
        assert_close(&numbers(&found["outputs"][0]["data"]), &expected);
    }
    ask(&known[..11]).refused(422, &["sequence 1 has 11 steps", "the last 12 steps"]);
    let steps = json!({"model": "tides", "sequence": known});
    server.post_json("/v1/steps", &steps).refused(422, &["whole window", "/v2/models/tides/infer"]);
}

#[test]
fn the_page_is_told_what_is_forecast() {
    let models = Running::new().get("/v1/models").done();
    let forecast = &models["models"][4]["forecast"];
    assert_eq!((&forecast["window"], &forecast["horizon"]), (&json!(12), &json!(3)));
    for name in ["means", "scales"] {
        assert_eq!(forecast[name].as_array().unwrap().len(), 2);
    }
    assert_eq!(models["models"][1]["forecast"], Value::Null);
}
