//! `candle-onnx-run MODEL.onnx`: predicts with an ONNX file in candle-onnx.
//!
//! Each line of stdin has two paths with a tab between them: an npz file of the inputs, and where the npz file of the
//! outputs goes. Each line of stdout answers one: `ok`, or `error: ` and what candle-onnx says.

use std::io::{BufRead, Write};
use std::panic::{catch_unwind, AssertUnwindSafe};

use candle_core::{Error, Result, Tensor};
use candle_onnx::onnx::ModelProto;
use candle_onnx::{read_file, simple_eval};

fn main() -> Result<()> {
    let Some(path) = std::env::args().nth(1) else {
        return Err(Error::msg("no ONNX file is named: candle-onnx-run MODEL.onnx"));
    };
    let model = read_file(path)?;
    // candle-onnx panics at some graphs: the answer says so.
    std::panic::set_hook(Box::new(|_| {}));
    let mut stdout = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let answered = catch_unwind(AssertUnwindSafe(|| predict(&model, &line)));
        match answered {
            Ok(Ok(())) => writeln!(stdout, "ok")?,
            Ok(Err(error)) => {
                writeln!(stdout, "error: {}", error.to_string().lines().next().unwrap_or(""))?
            }
            Err(panic) => writeln!(stdout, "error: panicked: {}", reason(panic.as_ref()))?,
        }
        stdout.flush()?;
    }
    Ok(())
}

/// Predicts from the inputs in one file, and writes the outputs to another.
fn predict(model: &ModelProto, line: &str) -> Result<()> {
    let Some((inputs, outputs)) = line.split_once('\t') else {
        return Err(Error::msg("a line needs two paths with a tab between them"));
    };
    let values = simple_eval(model, Tensor::read_npz(inputs)?.into_iter().collect())?;
    let names = model.graph.iter().flat_map(|graph| &graph.output).map(|output| &output.name);
    let found: Vec<(&String, Tensor)> = names
        .map(|name| match values.get(name) {
            Some(value) => Ok((name, value.contiguous()?)),
            None => Err(Error::msg(format!("there is no output {name}"))),
        })
        .collect::<Result<_>>()?;
    Tensor::write_npz(&found, outputs)
}

/// The text of a panic.
fn reason(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text")
}
