//! Networks and streams by their public functions: a stream gives the bits that whole sequences give, its state can be
//! copied, and a step allocates nothing.

#![allow(clippy::unwrap_used)]

mod counting;
mod values;

use std::sync::Arc;

use candle_rnn_kernels::{
    CellKind, Isa, LayerShape, Network, NotStreamable, Number, Readout, Stream, WeightSlices,
};

use counting::allocations_of;
use values::Values;

const CELLS: [CellKind; 7] = [
    CellKind::Tanh,
    CellKind::Relu,
    CellKind::Gru,
    CellKind::GruResetBefore,
    CellKind::Lstm,
    CellKind::ProjectedLstm,
    CellKind::MinimalGru,
];

/// The magnitude of weights and inputs.
const SCALE: f64 = 0.4;

/// A network of some layers with 3 inputs, 5 outputs, and sizes that fill no register.
fn network<E: Number>(
    isa: Isa,
    cell: CellKind,
    layers: usize,
    directions: usize,
    readout: Readout,
) -> Network<E> {
    let mut values = Values(7 + layers as u64);
    let mut network = Network::new(isa);
    let (hidden_size, mut input_size) = (19, 3);
    let is_projected = cell == CellKind::ProjectedLstm;
    let output_size = if is_projected { 6 } else { hidden_size };
    for _ in 0..layers {
        let rows = cell.gates() * hidden_size;
        let biases = if is_projected { 2 * rows + 6 * hidden_size } else { 2 * rows };
        let parts: Vec<[Vec<E>; 3]> = (0..directions)
            .map(|_| {
                [rows * input_size, rows * output_size, biases].map(|len| values.take(len, SCALE))
            })
            .collect();
        let slices: Vec<WeightSlices<E>> = parts
            .iter()
            .map(|[w_ih, w_hh, others]| WeightSlices::new(w_ih, w_hh, others, rows))
            .collect();
        let shape = LayerShape { cell, input_size, hidden_size, output_size };
        network = network.layer(shape, &slices);
        input_size = directions * output_size;
    }
    let features = readout.features(input_size);
    network.readout(readout).head(&values.take(5 * features, SCALE), &values.take(5, SCALE))
}

/// More than twice those whose inputs are multiplied together, and odd.
const STEPS: usize = 19;

fn check_stream<E: Number>(isa: Isa, cell: CellKind, layers: usize) {
    let what = format!("{} {cell:?} {layers}", isa.name());
    let network = Arc::new(network::<E>(isa, cell, layers, 1, Readout::Last));
    let x: Vec<E> = Values(3).take(STEPS * 3, SCALE);
    let expected = network.run_steps(&x, [1, STEPS], None);
    let mut stream = Stream::new(network.clone()).unwrap();
    for (step, (x_t, expected)) in x.chunks(3).zip(expected.chunks(5)).enumerate() {
        assert_eq!(stream.step(x_t), expected, "{what}, step {step}");
    }
    assert_eq!(stream.outputs(), network.run(&x, [1, STEPS], None), "{what}");
    // Several steps at once, from any step on, by way of a copy, a saved state or a reset.
    for first in [1, 2, 3, 17] {
        stream.reset();
        stream.advance(&x[..first * 3]);
        let state = stream.state().to_vec();
        let mut copy = stream.clone();
        assert_eq!(
            stream.read(&x[first * 3..]),
            &expected[(STEPS - 1) * 5..],
            "{what}, from {first}"
        );
        assert_eq!(copy.state(), state, "{what}");
        assert_eq!(copy.read(&x[first * 3..]), &expected[(STEPS - 1) * 5..], "{what}, a copy");
        stream.set_state(&state);
        assert_eq!(stream.step(&x[first * 3..][..3]), &expected[first * 5..][..5], "{what}");
    }
}

#[test]
fn streams_give_the_bits_of_whole_sequences() {
    for isa in Isa::available() {
        for cell in CELLS {
            for layers in 1..=3 {
                check_stream::<f32>(isa, cell, layers);
                check_stream::<f64>(isa, cell, layers);
            }
        }
    }
}

#[test]
fn rows_of_a_batch_give_what_each_gives_alone() {
    let isa = Isa::available()[0];
    let lengths = [4, 1, 3];
    let x: Vec<f64> = Values(5).take(3 * 4 * 3, SCALE);
    for readout in [Readout::Last, Readout::MeanMax] {
        for directions in [1, 2] {
            let network = network::<f64>(isa, CellKind::Gru, 2, directions, readout);
            let together = network.run(&x, [3, 4], Some(&lengths));
            for (row, len) in lengths.into_iter().enumerate() {
                let alone = network.run(&x[row * 12..][..len * 3], [1, len], None);
                let pairs = together[row * 5..][..5].iter().zip(&alone);
                assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-14), "{readout:?}");
            }
        }
    }
    // Zeros stand behind the end of a row.
    let all = network::<f64>(isa, CellKind::Tanh, 1, 2, Readout::All { seq_len: 4 });
    let other = [&x[..3 * 3], &[9.; 3][..]].concat();
    assert_eq!(all.run(&x[..12], [1, 4], Some(&[3])), all.run(&other, [1, 4], Some(&[3])));
    assert_ne!(all.run(&x[..12], [1, 4], None), all.run(&other, [1, 4], None));
    assert!(all.run(&[], [0, 4], None).is_empty());
}

#[test]
fn means_and_maxima_are_those_of_the_outputs() {
    let isa = Isa::available()[0];
    let (w_ih, w_hh, b) = ([1.; 1], [0.; 1], [0.; 1]);
    let network = Network::<f64>::new(isa)
        .layer(LayerShape::new(CellKind::Relu, 1, 1), &[WeightSlices::new(&w_ih, &w_hh, &b, 1)])
        .readout(Readout::MeanMax);
    assert_eq!(network.run(&[1., 5., -2., 8.], [1, 4], Some(&[3])), [2., 5.]);
    assert_eq!(network.run(&[1., 5., -2., 8.], [2, 2], Some(&[2, 0])), [3., 5., 0., 0.]);
}

#[test]
fn an_embedding_is_read_by_number() {
    let isa = Isa::available()[0];
    let table: Vec<f32> = Values(1).take(4 * 3, SCALE);
    let (w_ih, w_hh, b) =
        (Values(2).take(6, SCALE), Values(3).take(4, SCALE), Values(4).take(2, SCALE));
    let weights = WeightSlices::new(&w_ih, &w_hh, &b, 2);
    let network = Network::new(isa)
        .embedding(&table)
        .layer(LayerShape::new(CellKind::Tanh, 3, 2), &[weights])
        .head(&Values(5).take(8, SCALE), &Values(6).take(4, SCALE));
    assert_eq!((network.vocabulary_size(), network.output_size()), (4, 4));
    let network = Arc::new(network);
    let mut stream = Stream::new(network.clone()).unwrap();
    stream.step_id(3);
    let found = stream.step_id(1).to_vec();
    assert_eq!(network.run(&network.embed(&[3, 1]), [1, 2], None), found);
    stream.reset();
    stream.advance_id(3);
    assert_eq!(stream.step(&table[3..6]), found);
}

#[test]
fn what_cannot_be_read_step_by_step_says_why() {
    let isa = Isa::available()[0];
    let reason = |network| Stream::<f32>::new(Arc::new(network)).err();
    let both = network(isa, CellKind::Lstm, 1, 2, Readout::Last);
    assert_eq!(reason(both), Some(NotStreamable::Bidirectional));
    let pooled = network(isa, CellKind::Lstm, 1, 1, Readout::MeanMax);
    assert_eq!(reason(pooled), Some(NotStreamable::Readout));
    assert_eq!(reason(Network::new(isa)), Some(NotStreamable::Empty));
}

#[test]
fn a_step_allocates_nothing() {
    for isa in Isa::available() {
        for cell in CELLS {
            for layers in [1, 3] {
                let network = network::<f32>(isa, cell, layers, 1, Readout::Last);
                let mut stream = Stream::new(Arc::new(network)).unwrap();
                let x: Vec<f32> = Values(3).take(11 * 3, SCALE);
                let state = stream.state().to_vec();
                let allocations = allocations_of(|| {
                    for x_t in x.chunks(3) {
                        std::hint::black_box(stream.step(x_t));
                    }
                    stream.read(&x);
                    stream.set_state(&state);
                    stream.reset();
                });
                assert_eq!(allocations, 0, "{} {cell:?} {layers}", isa.name());
            }
        }
    }
    assert!(
        allocations_of(|| drop(std::hint::black_box(vec![1u8; 100]))) > 0,
        "nothing is counted"
    );
}

#[test]
fn networks_and_streams_move_between_threads() {
    fn is_send<T: Send>() {}
    fn is_sync<T: Sync>() {}
    is_send::<Stream<f32>>();
    is_sync::<Stream<f64>>();
    is_send::<Network<f64>>();
    is_sync::<Network<f32>>();
    let isa = Isa::available()[0];
    let network = Arc::new(network::<f32>(isa, CellKind::Gru, 2, 1, Readout::Last));
    let mut stream = Stream::new(network.clone()).unwrap();
    let x: Vec<f32> = Values(3).take(4 * 3, SCALE);
    stream.advance(&x[..6]);
    let mut other = stream.clone();
    let found = std::thread::spawn(move || other.read(&x[6..]).to_vec()).join().unwrap();
    let x: Vec<f32> = Values(3).take(4 * 3, SCALE);
    assert_eq!(stream.read(&x[6..]), found);
}

#[test]
#[should_panic(expected = "inputs of a step")]
fn a_step_of_another_size_panics() {
    let network = network::<f32>(Isa::available()[0], CellKind::Gru, 1, 1, Readout::Last);
    Stream::new(Arc::new(network)).unwrap().step(&[0.; 4]);
}

#[test]
#[should_panic(expected = "w_hh")]
fn weights_of_another_size_panic() {
    let weights = WeightSlices::new(&[0f32; 6], &[0.; 5], &[0.; 2], 2);
    let shape = LayerShape::new(CellKind::Tanh, 3, 2);
    let _ = Network::new(Isa::available()[0]).layer(shape, &[weights]);
}
