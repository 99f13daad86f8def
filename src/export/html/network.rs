//! A network's weights as the program in a page reads them; see `network.rs` of kernels/web.

use super::super::trained::TrainedRun;
use crate::model::{ClassifierConfig, Readout};
use crate::Result;

/// I, H, layers, directions, readout, its steps, outputs, and whether the head reads each output by itself, as
/// `u32`; then as `f32` of each layer and direction `W_ih (G·H, I)`, `W_hh (G·H, H)`, `b_ih (G·H,)` and `b_hh (G·H,)`;
/// then the head's weights and biases; in little-endian order.
///
/// - `reads_each_output`: whether the head reads each output by itself
pub(super) fn bytes(
    run: &TrainedRun,
    model: &ClassifierConfig,
    reads_each_output: bool,
) -> Result<Vec<u8>> {
    let network = run.network();
    let directions = if network.bidirectional { 2 } else { 1 };
    let readout = match network.readout {
        Readout::Last => 0,
        Readout::MeanMax => 1,
        Readout::All => 2,
    };
    let head = [
        model.input_size,
        network.hidden_size,
        network.num_layers,
        directions,
        readout,
        model.seq_len,
        model.num_classes,
        usize::from(reads_each_output),
    ];
    let rows = network.cell.gates() * network.hidden_size;
    let mut weights = Vec::new();
    for layer in 0..network.num_layers {
        for suffix in ["", "_reverse"].into_iter().take(directions) {
            let name = |part: &str| format!("rnn.{part}_l{layer}{suffix}");
            for part in ["weight_ih", "weight_hh", "bias_ih"] {
                weights.extend(run.floats(&name(part))?);
            }
            if network.cell.has_two_biases() {
                weights.extend(run.floats(&name("bias_hh"))?);
            } else {
                weights.resize(weights.len() + rows, 0.);
            }
        }
    }
    weights.extend(run.floats("head.weight")?);
    weights.extend(run.floats("head.bias")?);
    let head = head.into_iter().flat_map(|number| (number as u32).to_le_bytes());
    Ok(head.chain(weights.into_iter().flat_map(f32::to_le_bytes)).collect())
}
