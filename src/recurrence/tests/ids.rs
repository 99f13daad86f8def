//! Inputs that are looked up in a table, against the same inputs looked up by Candle.

use candle_core::{DType, Device, Tensor, Var};

use crate::nn::{Embedding, Init, Sequences, Stack, StackConfig, VarSink};
use crate::recurrence::{backward, Cell, Outputs};
use crate::recurrence::{run_layer, Call, LayerWeights, Truncation, Weights};
use crate::rng::{Purpose, SeededRng};
use crate::Error;

const CPU: &Device = &Device::Cpu;

/// B, T and V.
const SIZES: [usize; 3] = [5, 9, 11];

fn ids([b, t, v]: [usize; 3]) -> Tensor {
    let ids: Vec<u32> = (0..b * t).map(|index| (index * index % v) as u32).collect();
    Tensor::from_vec(ids, (b, t), CPU).unwrap()
}

/// An embedding of a vector for each number, and a stack of two layers on it.
fn model(cell: Cell, dtype: DType) -> (Embedding, Stack, VarSink) {
    let sink = VarSink::new(dtype, CPU);
    let rng = &mut SeededRng::new(3, Purpose::Init);
    let embedding = Embedding::init(SIZES[2], 6, Init::Pytorch, rng, &sink.pp("e")).unwrap();
    let config = StackConfig { num_layers: 2, ..StackConfig::new(cell, 6, 7) };
    let stack = Stack::init(config, Init::Pytorch, rng, &sink.pp("rnn")).unwrap();
    (embedding, stack, sink)
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// The outputs and the gradients of all variables, looked up by the layer and by Candle.
fn both(cell: Cell, dtype: DType, change: impl Fn(Sequences) -> Sequences) {
    let (embedding, stack, sink) = model(cell, dtype);
    let ids = ids(SIZES);
    let run = |sequences: Sequences| {
        let output = stack.forward(sequences).unwrap();
        let factors = Tensor::arange(0f64, output.outputs.elem_count() as f64, CPU).unwrap();
        let factors = factors.cos().unwrap().to_dtype(dtype).unwrap();
        let outputs = output.outputs.flatten_all().unwrap();
        let loss = (outputs * factors).unwrap().sum_all().unwrap();
        let grads = backward(&loss).unwrap();
        let own = loss.backward().unwrap();
        let of_vars = sink.named().unwrap().into_values().map(|var| {
            let grad = numbers(grads.get(&var).unwrap());
            assert_eq!(grad, numbers(own.get(&var).unwrap()));
            grad
        });
        (numbers(&output.outputs), numbers(&output.state.h), of_vars.collect::<Vec<_>>())
    };
    let x = embedding.forward(&ids).unwrap();
    let (found, expected) =
        (run(change(Sequences::embedded(&embedding, &ids))), run(change(Sequences::new(&x))));
    assert_eq!((found.0, found.1), (expected.0, expected.1), "{cell:?}");
    let tolerance = if dtype == DType::F64 { 1e-12 } else { 1e-4 };
    for (found, expected) in found.2.iter().flatten().zip(expected.2.iter().flatten()) {
        let off = (found - expected).abs();
        assert!(off <= tolerance * expected.abs().max(1.), "{cell:?}: {found} {expected}");
    }
}

#[test]
fn embedded_sequences_are_those_of_their_vectors() {
    for cell in Cell::ALL {
        for dtype in [DType::F32, DType::F64] {
            both(cell, dtype, |sequences| sequences);
            both(cell, dtype, |sequences| sequences.lengths(&[9, 0, 3, 1, 8]));
        }
        let segments = Truncation::segments(4).unwrap();
        both(cell, DType::F64, |sequences| sequences.truncated(segments));
    }
}

#[test]
fn time_major_and_few_steps_are_the_same_too() {
    let (embedding, stack, _) = model(Cell::Gru, DType::F64);
    // Fewer steps than vectors: Candle looks them up.
    for sizes in [SIZES, [2, 3, 11]] {
        let ids = ids(sizes);
        let expected = stack.forward(&embedding.forward(&ids).unwrap()).unwrap().outputs;
        let turned = ids.t().unwrap();
        let sequences = Sequences::embedded(&embedding, &turned).time_major();
        let found = stack.forward(sequences).unwrap().outputs.transpose(0, 1).unwrap();
        assert_eq!(numbers(&found), numbers(&expected));
        let last = stack.last(Sequences::embedded(&embedding, &ids).recomputing()).unwrap();
        let of_last_step = expected.narrow(1, sizes[1] - 1, 1).unwrap();
        assert_eq!(numbers(&last), numbers(&of_last_step));
    }
}

#[test]
fn a_table_changed_before_backward_changes_no_gradient() {
    let table = Var::rand(-1f64, 1., (11, 4), CPU).unwrap();
    let random = |shape: &[usize]| Tensor::rand(-1f64, 1., shape, CPU).unwrap();
    let w_ih = Var::from_tensor(&random(&[3, 4])).unwrap();
    let weights = Weights::new(w_ih.as_tensor().clone(), random(&[3, 3]), random(&[3]));
    let weights = LayerWeights::new(Cell::Tanh, weights).unwrap();
    let ids = ids(SIZES);
    let call = Call { ids: Some(&ids), ..Call::new(Outputs::All) };
    let grads = |change: bool| {
        let (outputs, _) = run_layer(&table, &weights, &call).unwrap();
        let kept = table.copy().unwrap();
        if change {
            table.set(&table.zeros_like().unwrap()).unwrap();
        }
        let store = outputs.unwrap().sum_all().unwrap().backward().unwrap();
        table.set(&kept).unwrap();
        [numbers(store.get(&w_ih).unwrap()), numbers(store.get(&table).unwrap())]
    };
    assert_eq!(grads(true), grads(false));
}

#[test]
fn ids_that_do_not_fit_are_errors() {
    let (embedding, stack, _) = model(Cell::Lstm, DType::F32);
    let error = |ids: candle_core::Result<Tensor>| -> Error {
        stack.forward(Sequences::embedded(&embedding, &ids.unwrap())).unwrap_err()
    };
    let text = error(Tensor::new(&[[0i64, 11]], CPU)).to_string();
    assert!(text.contains("the number 11 is out of range"), "{text}");
    assert!(matches!(error(Tensor::new(&[0u32, 1], CPU)), Error::Shape { tensor: "ids", .. }));
    assert!(matches!(error(Tensor::zeros((2, 0), DType::U32, CPU)), Error::Shape { .. }));
    assert!(matches!(error(Tensor::zeros((2, 3), DType::F32, CPU)), Error::DType { .. }));
}
