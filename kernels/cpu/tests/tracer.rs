//! A network that is looked at: the same outputs as `Network`, and gradients that are differences of them.

#![allow(clippy::unwrap_used)]

use candle_rnn_kernels::{
    Answer, CellKind, Float, Isa, LayerShape, Network, NetworkTrace, Readout, Tracer, WeightSlices,
};

const CELLS: [CellKind; 6] = [
    CellKind::Tanh,
    CellKind::Relu,
    CellKind::Gru,
    CellKind::GruResetBefore,
    CellKind::Lstm,
    CellKind::MinimalGru,
];
const STEPS: usize = 5;
const INPUTS: usize = 3;
const UNITS: usize = 6;
const OUTPUTS: usize = 4;

/// Numbers between -0.5 and 0.5 that look random.
fn numbers(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    (0..len).map(|_| next()).collect()
}

/// The same network to be run and to be looked at.
fn networks(
    cell: CellKind,
    layers: usize,
    directions: usize,
    readout: Readout,
) -> (Network<f64>, Tracer<f64>) {
    let isa = Isa::chosen().unwrap();
    let (mut network, mut tracer) =
        (Network::new(isa), Tracer::new(f64::kernels(isa, cell), readout));
    let rows = cell.gates() * UNITS;
    let mut inputs = INPUTS;
    for layer in 0..layers {
        let weights: Vec<[Vec<f64>; 3]> = (0..directions)
            .map(|direction| {
                let seed = (7 * layer + direction + 1) as u64;
                [rows * inputs, rows * UNITS, 2 * rows].map(|len| numbers(seed + len as u64, len))
            })
            .collect();
        let slices: Vec<_> =
            weights.iter().map(|[a, b, c]| WeightSlices::new(a, b, c, rows)).collect();
        network = network.layer(LayerShape::new(cell, inputs, UNITS), &slices);
        tracer = tracer.layer([inputs, UNITS], &slices);
        inputs = directions * UNITS;
    }
    let features = readout.features(inputs);
    let (weight, bias) = (numbers(99, OUTPUTS * features), numbers(98, OUTPUTS));
    (network.readout(readout).head(&weight, &bias), tracer.head(&weight, &bias))
}

/// The answer of a network to a sequence.
fn answer(network: &Network<f64>, x: &[f64], largest: Option<usize>) -> f64 {
    let outputs = network.run(x, [1, STEPS], None);
    largest.map_or_else(|| outputs.iter().sum(), |at| outputs[at])
}

fn check(network: &Network<f64>, trace: &NetworkTrace<f64>, x: &[f64], is_class: bool, what: &str) {
    let last = &trace.outputs[(STEPS - 1) * OUTPUTS..];
    let of_network = network.run(x, [1, STEPS], None);
    assert!(last.iter().zip(&of_network).all(|(a, b)| (a - b).abs() < 1e-12), "{what}");
    let largest = (0..OUTPUTS).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap();
    let largest = is_class.then_some(largest);
    for step in 0..STEPS {
        let squares = (0..INPUTS).map(|input| {
            let moved = |by: f64| {
                let mut x = x.to_vec();
                x[step * INPUTS + input] += by;
                answer(network, &x, largest)
            };
            ((moved(1e-5) - moved(-1e-5)) / 2e-5).powi(2)
        });
        let expected = squares.sum::<f64>().sqrt();
        let found = trace.saliency[step];
        assert!((found - expected).abs() < 1e-7, "{what}, step {step}: {found} {expected}");
    }
}

#[test]
fn saliencies_are_differences_of_the_answer() {
    let shapes = [
        (1, 1, Readout::Last),
        (3, 1, Readout::Last),
        (2, 2, Readout::Last),
        (2, 2, Readout::MeanMax),
        (1, 1, Readout::All { seq_len: STEPS }),
    ];
    let x = numbers(5, STEPS * INPUTS);
    for cell in CELLS {
        for (layers, directions, readout) in shapes {
            let (network, tracer) = networks(cell, layers, directions, readout);
            for (answer, is_class) in [(Answer::Largest, true), (Answer::Sum, false)] {
                let trace = tracer.trace(&x, answer);
                let what = format!("{cell:?} {layers} {directions} {readout:?} {answer:?}");
                assert_eq!(trace.saliency.len(), STEPS);
                check(&network, &trace, &x, is_class, &what);
            }
        }
    }
}

#[test]
fn outputs_are_those_of_each_beginning() {
    let x = numbers(6, STEPS * INPUTS);
    for (directions, readout) in [
        (1, Readout::Last),
        (2, Readout::Last),
        (1, Readout::MeanMax),
        (1, Readout::All { seq_len: STEPS }),
    ] {
        let (network, tracer) = networks(CellKind::Gru, 2, directions, readout);
        let trace = tracer.trace(&x, Answer::Largest);
        for end in 1..=STEPS {
            let mut beginning = x[..end * INPUTS].to_vec();
            let (mut steps, mut lengths) = (end, None);
            if readout != Readout::Last && readout != Readout::MeanMax {
                beginning.resize(x.len(), 0.);
                (steps, lengths) = (STEPS, Some([end]));
            }
            let expected =
                network.run(&beginning, [1, steps], lengths.as_ref().map(|len| &len[..]));
            let found = &trace.outputs[(end - 1) * OUTPUTS..][..OUTPUTS];
            let is_close = found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-12);
            assert!(is_close, "{directions} {readout:?} {end}");
        }
        assert_eq!(tracer.has_hidden(), (directions, readout) == (1, Readout::Last));
        assert_eq!(trace.hidden.is_empty(), !tracer.has_hidden());
    }
}

#[test]
fn a_head_that_reads_each_output_reads_that_of_the_last_step() {
    let x = numbers(7, STEPS * INPUTS);
    let (network, tracer) = networks(CellKind::Lstm, 1, 2, Readout::Last);
    let of_states = tracer.trace(&x, Answer::Sum);
    let (_, tracer) = networks(CellKind::Lstm, 1, 2, Readout::Last);
    let of_outputs = tracer.reading_each_output().trace(&x, Answer::Sum);
    let steps = network.run_steps(&x, [1, STEPS], None);
    let last = (STEPS - 1) * OUTPUTS;
    let pairs = of_outputs.outputs[last..].iter().zip(&steps[last..]);
    assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-12));
    assert_ne!(of_states.saliency, of_outputs.saliency);
}
