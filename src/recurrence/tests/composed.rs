//! The layer composed from Candle's ops: what it reads, and which weights its gradients are of.

use super::super::Outputs;
use super::*;

fn numbers(shape: &[usize], seed: usize) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f64> =
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f64 / 1009. - 0.5).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn vars(cell: Cell, inputs: usize, hidden: usize) -> [Var; 3] {
    let rows = cell.gates() * hidden;
    [(vec![rows, inputs], 1), (vec![rows, hidden], 2), (vec![rows], 3)]
        .map(|(shape, seed)| Var::from_tensor(&numbers(&shape, seed)).unwrap())
}

fn weights([w_ih, w_hh, b_ih]: &[Var; 3], cell: Cell) -> Weights {
    let [w_ih, w_hh, b_ih] = [w_ih, w_hh, b_ih].map(|var| var.as_tensor().clone());
    let b_hh = cell.has_two_biases().then(|| b_ih.clone());
    Weights { b_hh, ..Weights::new(w_ih, w_hh, b_ih) }
}

#[test]
fn the_composed_layer_reads_no_padding() {
    let lengths = [4, 2, 0, 1];
    for cell in Cell::ALL {
        let grads = |padding: f64| -> Vec<f64> {
            let vars = vars(cell, 3, 5);
            let exists: Vec<u8> =
                lengths.iter().flat_map(|len| (0..4).map(move |t| u8::from(t < *len))).collect();
            let exists = Tensor::from_vec(exists, (4, 4, 1), &Device::Cpu).unwrap();
            let exists = exists.broadcast_as((4, 4, 3)).unwrap();
            let padding = Tensor::full(padding, (4, 4, 3), &Device::Cpu).unwrap();
            let x = exists.where_cond(&numbers(&[4, 4, 3], 6), &padding).unwrap();
            let x = Var::from_tensor(&x).unwrap();
            let call = Call { lengths: Some(&lengths), ..Call::new(Outputs::All) };
            let directions = [&weights(&vars, cell), &weights(&vars, cell)];
            let (outputs, state) = composed_layer(&x, cell, &directions, &call).unwrap();
            let outputs = outputs.unwrap().sqr().unwrap().sum_all().unwrap();
            let loss = (outputs + state.h.sum_all().unwrap()).unwrap();
            let store = loss.backward().unwrap();
            vars.iter().chain([&x]).flat_map(|var| values(store.get(var).unwrap())).collect()
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
        let vars = vars(Cell::Lstm, 3, 5);
        let call = Call::new(Outputs::All);
        let weights = weights(&vars, Cell::Lstm);
        let x = Var::from_tensor(&numbers(&[2, 4, 3], 6)).unwrap();
        let (outputs, _) = composed_layer(&x, Cell::Lstm, &[&weights], &call).unwrap();
        if change {
            for var in &vars {
                var.set(&(var.as_detached_tensor() * 3.).unwrap()).unwrap();
            }
        }
        let store = outputs.unwrap().sum_all().unwrap().backward().unwrap();
        let vars = vars.iter().chain([&x]);
        vars.flat_map(|var| values(store.get(var).unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(grads(true), grads(false));
}
