//! The layer composed from Candle's ops: what it reads, and which weights its gradients are of.

use super::super::Outputs;
use super::*;

fn weights(args: &Arguments, cell: Cell) -> Weights {
    let weights = args.weights();
    let b_hh = cell.has_two_biases().then(|| weights.b_ih.clone());
    Weights { b_hh, ..weights }
}

/// Arguments of 4 rows of 4 steps.
fn arguments(cell: Cell) -> Arguments {
    Arguments::new(&sequence((4, 4, 3, 5), cell, 6), DType::F64)
}

#[test]
fn the_composed_layer_reads_no_padding() {
    let lengths = [4, 2, 0, 1];
    for cell in Cell::ALL {
        let grads = |padding: f64| -> Vec<f64> {
            let args = arguments(cell);
            let exists: Vec<u8> =
                lengths.iter().flat_map(|len| (0..4).map(move |t| u8::from(t < *len))).collect();
            let exists = Tensor::from_vec(exists, (4, 4, 1), &Device::Cpu).unwrap();
            let exists = exists.broadcast_as((4, 4, 3)).unwrap();
            let padding = Tensor::full(padding, (4, 4, 3), &Device::Cpu).unwrap();
            let x = exists.where_cond(args.x.as_tensor(), &padding).unwrap();
            let x = Var::from_tensor(&x).unwrap();
            let call = Call { lengths: Some(&lengths), ..Call::new(Outputs::All) };
            let directions = [&weights(&args, cell), &weights(&args, cell)];
            let (outputs, state) = composed_layer(&x, cell, &directions, &call).unwrap();
            let outputs = outputs.unwrap().sqr().unwrap().sum_all().unwrap();
            let loss = (outputs + state.h.sum_all().unwrap()).unwrap();
            let store = loss.backward().unwrap();
            args.weights
                .iter()
                .chain([&x])
                .flat_map(|var| values(store.get(var).unwrap()))
                .collect()
        };
        let expected = grads(0.);
        assert!(expected.iter().all(|grad| grad.is_finite()));
        for padding in [f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(grads(padding), expected, "{} {padding}", cell.name());
        }
    }
}

#[test]
fn the_composed_layer_keeps_the_weights_it_ran_with() {
    let grads = |change: bool| {
        let args = arguments(Cell::Lstm);
        let call = Call::new(Outputs::All);
        let weights = weights(&args, Cell::Lstm);
        let (outputs, _) = composed_layer(&args.x, Cell::Lstm, &[&weights], &call).unwrap();
        if change {
            for var in &args.weights {
                var.set(&(var.as_detached_tensor() * 3.).unwrap()).unwrap();
            }
        }
        let store = outputs.unwrap().sum_all().unwrap().backward().unwrap();
        let vars = args.weights.iter().chain([&args.x]);
        vars.flat_map(|var| values(store.get(var).unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(grads(true), grads(false));
}
