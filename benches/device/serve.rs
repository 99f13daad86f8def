//! Rounds on demand: what [`protocol`](super::protocol) asks for in a line of stdin is answered by a line of JSON on stdout.
//!
//! ```text
//! prepare SLOT layer tanh 150,28,28,150 f32 eager    {"errors": {"outputs": .., "gradients": ..}}
//! prepare SLOT step f32 eager                        {}
//! prepare SLOT step f32 graph                        {}, by one CUDA graph a step
//! round SLOT                                         {"ms": ..}
//! clear                                              {}
//! ```
//!
//! What cannot be done is answered by `{"failed": TEXT}`. benches/peers/pytorch_cuda.py answers the same.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use candle_core::Device;
use candle_rnn::recurrence::Cell;
use serde_json::{json, Value};

use super::jobs::{recurrent_dtype, Layer, ReferenceJob, Shape};

enum Job {
    Layer(Box<Layer>),
    Step(Box<ReferenceJob>),
}

/// Answers until stdin ends.
pub(crate) fn serve(device: &Device) {
    let mut jobs = BTreeMap::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = answer(device, &mut jobs, &words);
        println!("{}", answer.unwrap_or_else(|error| json!({ "failed": error })));
        std::io::stdout().flush().unwrap();
    }
}

fn answer(
    device: &Device,
    jobs: &mut BTreeMap<String, Job>,
    words: &[&str],
) -> Result<Value, String> {
    match *words {
        ["prepare", slot, "layer", cell, shape, dtype, "eager"] => {
            let wrong = || format!("no layer is called {cell} {shape}");
            let cell = Cell::ALL.into_iter().find(|own| own.name() == cell).ok_or_else(wrong)?;
            let sizes: Result<Vec<usize>, _> = shape.split(',').map(str::parse).collect();
            let shape: Shape =
                sizes.ok().and_then(|sizes| sizes.try_into().ok()).ok_or_else(wrong)?;
            let layer = Layer::new(device, cell, shape, recurrent_dtype(dtype)?);
            let errors = layer.errors()?;
            jobs.insert(slot.into(), Job::Layer(Box::new(layer)));
            Ok(json!({ "errors": { "outputs": errors.outputs, "gradients": errors.gradients } }))
        }
        ["prepare", slot, "step", "f32", mode @ ("eager" | "graph")] => {
            let job = ReferenceJob::new(device, mode == "graph")?;
            jobs.insert(slot.into(), Job::Step(Box::new(job)));
            Ok(json!({}))
        }
        ["round", slot] => match jobs.get_mut(slot) {
            Some(Job::Layer(layer)) => Ok(json!({ "ms": layer.round()? })),
            Some(Job::Step(job)) => Ok(json!({ "ms": job.round()? })),
            None => Err(format!("nothing is prepared as {slot}")),
        },
        ["clear"] => {
            jobs.clear();
            Ok(json!({}))
        }
        _ => Err(format!("this program does not answer {words:?}")),
    }
}
