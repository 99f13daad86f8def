//! The fused op against its definition, on every instruction set that this machine has.
//!
//! [`parity`]: values and gradients at the edges of every size; [`layers`]: every cell in every way
//! that a layer runs; [`composed`]: the layer composed from Candle's ops; [`bptt`]: truncation and states that are computed again; [`op`]: threads, steps,
//! odd inputs, errors; [`functions`]: the last bits of tanh and the logistic function; [`gpu`]:
//! layers and training on a GPU, and [`emulated`]: the same with a GPU's kernels executed on
//! the CPU, by [`emulator`]; [`counted`]: what a layer asks a GPU's driver for; [`alarmed`]: what becomes of a
//! team that gave up.

pub(crate) mod alarmed;
mod bptt;
pub(super) mod column_major;
mod composed;
mod counted;
mod device_memory;
mod emulated;
pub(crate) mod emulator;
mod functions;
mod ids;
pub(crate) mod gpu;
mod layers;
mod op;
mod parity;
pub(super) mod reference;
pub(super) mod stand_in;

use candle_core::{DType, Device, Tensor, Var};

use super::call::{Call, CheckedCall};
use super::{run_layer, Cell, LayerWeights, SequenceDims, State, Unroll, Weights};
use crate::rng::{Purpose, SeededRng};
use crate::Result;
use candle_rnn_kernels::Isa;
use reference::{Sequence, SequenceGradients, StateGradients};

fn sequence((b, t, i, h): (usize, usize, usize, usize), cell: Cell, seed: u64) -> Sequence {
    let mut rng = SeededRng::new(seed, Purpose::Init);
    let mut draw = |count: usize, limit: f64| -> Vec<f64> {
        (0..count).map(|_| rng.symmetric(limit)).collect()
    };
    // Contractive: a recurrence that amplifies makes every tolerance meaningless.
    let limit = 1. / (h as f64).sqrt();
    let dims =
        SequenceDims { batch_size: b, seq_len: t, input_size: i, hidden_size: h, output_size: h };
    let rows = cell.gates() * h;
    Sequence {
        dims,
        cell,
        x: draw(b * t * i, 1.),
        w_ih: draw(rows * i, 1. / (i as f64).sqrt()),
        w_hh: draw(rows * h, limit),
        b_ih: draw(rows, 0.5),
        h_0: draw(b * h, 1.),
        b_hh: if cell.has_two_biases() { draw(rows, 0.5) } else { Vec::new() },
        c_0: if cell.has_c() { draw(b * h, 1.) } else { Vec::new() },
        w_hr: Vec::new(),
        lengths: Vec::new(),
        reverse: false,
        mask: Vec::new(),
    }
}

/// Gradients of outputs alone.
fn of_outputs(sequence: &Sequence, outputs: Vec<f64>) -> StateGradients {
    let SequenceDims { batch_size, hidden_size, output_size, .. } = sequence.dims;
    let c = if sequence.cell.has_c() { batch_size * hidden_size } else { 0 };
    StateGradients { outputs, h_n: vec![0.; batch_size * output_size], c_n: vec![0.; c] }
}

/// Rounds every number to `f32`, so that the oracle computes from what the kernel sees.
fn rounded(sequence: &Sequence) -> Sequence {
    let round = |values: &[f64]| values.iter().map(|v| f64::from(*v as f32)).collect();
    Sequence {
        x: round(&sequence.x),
        w_ih: round(&sequence.w_ih),
        w_hh: round(&sequence.w_hh),
        b_ih: round(&sequence.b_ih),
        b_hh: round(&sequence.b_hh),
        w_hr: round(&sequence.w_hr),
        h_0: round(&sequence.h_0),
        c_0: round(&sequence.c_0),
        mask: round(&sequence.mask),
        lengths: sequence.lengths.clone(),
        ..*sequence
    }
}

/// The arguments as variables, so that every gradient is asked for.
struct Arguments {
    x: Var,
    weights: [Var; 3],
    h_0: Var,
}

impl Arguments {
    fn new(sequence: &Sequence, dtype: DType) -> Self {
        let SequenceDims { batch_size: b, seq_len: t, input_size: i, hidden_size: h, .. } =
            sequence.dims;
        let rows = sequence.cell.gates() * h;
        let var = |values: &[f64], shape: &[usize]| {
            let tensor = Tensor::from_slice(values, shape, &Device::Cpu).unwrap();
            Var::from_tensor(&tensor.to_dtype(dtype).unwrap()).unwrap()
        };
        Self {
            x: var(&sequence.x, &[b, t, i]),
            weights: [
                var(&sequence.w_ih, &[rows, i]),
                var(&sequence.w_hh, &[rows, h]),
                var(&sequence.b_ih, &[rows]),
            ],
            h_0: var(&sequence.h_0, &[b, h]),
        }
    }

    fn weights(&self) -> Weights {
        let [w_ih, w_hh, b] = self.weights.clone().map(|var| var.as_tensor().clone());
        Weights::new(w_ih, w_hh, b)
    }
}

/// All outputs, `(B, T, H)`, or the last one, `(B, H)`, of a layer of one direction from `h_0`, `(B, H)`.
fn rnn_sequence(
    x: &Tensor,
    weights: &LayerWeights,
    h_0: Option<&Tensor>,
    unroll: impl Into<Unroll>,
) -> Result<Tensor> {
    let initial = h_0.map(|h_0| Ok::<_, candle_core::Error>(State::new(h_0.unsqueeze(0)?)));
    let initial = initial.transpose()?;
    let call = Call { initial: initial.as_ref(), ..Call::new(unroll) };
    let (outputs, state) = run_layer(x, weights, &call)?;
    match outputs {
        Some(outputs) => Ok(outputs),
        None => Ok(state.h.squeeze(0)?),
    }
}

/// A layer composed from Candle's ops.
fn composed_layer(
    x: &Tensor,
    cell: Cell,
    directions: &[&Weights],
    call: &Call,
) -> Result<(Option<Tensor>, State)> {
    let directions = directions.iter().map(|weights| (*weights).clone()).collect();
    let weights = LayerWeights::of_directions(cell, directions)?;
    let (x, call) = CheckedCall::new(x, &weights, call)?.looked_up(x)?;
    super::composed::run(&x, &weights, &call)
}

fn values(tensor: &Tensor) -> Vec<f64> {
    // Metal has no f64.
    let tensor = tensor.to_device(&Device::Cpu).unwrap();
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The output of the op, and the gradients of `Σ output · grad`.
fn run(
    sequence: &Sequence,
    isa: Isa,
    dtype: DType,
    unroll: impl Into<Unroll>,
    grad: &[f64],
    with_h_0: bool,
) -> (Vec<f64>, SequenceGradients) {
    let args = Arguments::new(sequence, dtype);
    let packed = LayerWeights::new(sequence.cell, args.weights()).unwrap().packed_for(isa);
    let h_0 = with_h_0.then(|| args.h_0.as_tensor());
    let output = rnn_sequence(args.x.as_tensor(), &packed, h_0, unroll).unwrap();
    let grad = Tensor::from_slice(grad, output.shape(), &Device::Cpu).unwrap();
    let loss = (&output * grad.to_dtype(dtype).unwrap()).unwrap().sum_all().unwrap();
    let grads = loss.backward().unwrap();
    let of = |var: &Var| values(grads.get(var).expect("a gradient is missing"));
    let [w_ih, w_hh, b] = &args.weights;
    let h_0 = if with_h_0 { of(&args.h_0) } else { vec![0.; sequence.h_0.len()] };
    let gradients = SequenceGradients {
        x: of(&args.x),
        w_ih: of(w_ih),
        w_hh: of(w_hh),
        b_ih: of(b),
        b_hh: Vec::new(),
        w_hr: Vec::new(),
        h_0,
        c_0: Vec::new(),
    };
    (values(&output), gradients)
}

/// `max|a - b| <= tolerance · max|b|`; NaN fails. What vanished below the smallest normal `f32` on
/// its way through the steps counts as zero.
fn assert_close(what: &str, a: &[f64], b: &[f64], tolerance: f64) {
    assert_close_at(what, a, b, tolerance, 0.);
}

/// As [`assert_close`], on a scale of at least `least`.
fn assert_close_at(what: &str, a: &[f64], b: &[f64], tolerance: f64, least: f64) {
    assert_eq!(a.len(), b.len(), "{what}");
    let scale = b.iter().fold(least, |scale, value| scale.max(value.abs()));
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        let holds = (a - b).abs() <= tolerance * scale + f64::from(f32::MIN_POSITIVE);
        assert!(holds, "{what}[{index}]: {a} instead of {b}, scale {scale}");
    }
}

fn assert_gradients(
    what: &str,
    found: &SequenceGradients,
    expected: &SequenceGradients,
    tolerance: f64,
) {
    // A weight's gradient is a sum over rows and steps, of terms up to about 1: where it is the only one, all of it may
    // cancel, but not its rounding errors.
    const TERM: f64 = 1.;
    let pairs = [
        ("x", &found.x, &expected.x, 0.),
        ("w_ih", &found.w_ih, &expected.w_ih, TERM),
        ("w_hh", &found.w_hh, &expected.w_hh, TERM),
        ("b_ih", &found.b_ih, &expected.b_ih, TERM),
        ("b_hh", &found.b_hh, &expected.b_hh, TERM),
        ("w_hr", &found.w_hr, &expected.w_hr, TERM),
        ("h_0", &found.h_0, &expected.h_0, 0.),
        ("c_0", &found.c_0, &expected.c_0, 0.),
    ];
    for (name, found, expected, least) in pairs {
        assert_close_at(&format!("{what} grad {name}"), found, expected, tolerance, least);
    }
}

/// Every bit of all gradients.
fn bits(gradients: &SequenceGradients) -> Vec<u64> {
    let SequenceGradients { x, w_ih, w_hh, b_ih, b_hh, w_hr, h_0, c_0 } = gradients;
    [x, w_ih, w_hh, b_ih, b_hh, w_hr, h_0, c_0]
        .into_iter()
        .flatten()
        .map(|value| value.to_bits())
        .collect()
}
