//! The device kernels, executed on the CPU, against the definition: `just emulate`.
//!
//! `kernels/host/emulate.cpp` runs one launch from a file; the launches here are those of
//! `recurrence::plan`. What the caller of the kernels does, products over all steps, is done here in
//! plain loops.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use candle_rnn::bptt::Truncation;
use candle_rnn::recurrence::plan::{
    kernel_family, plan, DeviceLimits, Launch, LaunchPlan, Sweep, Word,
};
use candle_rnn::recurrence::reference::{Sequence, StateGradients};
use candle_rnn::recurrence::{Cell, SequenceDims};
use candle_rnn::rng::{Purpose, Stream};

/// A consumer card of 99 KB.
const CARD: DeviceLimits =
    DeviceLimits { shared_bytes: 99 << 10, multiprocessors: 4, max_grid: 1 << 30 };

/// A launch as a file.
struct Case {
    kernel: String,
    launch: Launch,
    ints: Vec<(&'static str, i32)>,
    tensors: Vec<(&'static str, Data, Vec<usize>)>,
}

enum Data {
    In(Vec<f32>),
    Lengths(Vec<i32>),
    Out,
}

impl Case {
    fn new(kernel: String, launch: Launch) -> Self {
        Self { kernel, launch, ints: Vec::new(), tensors: Vec::new() }
    }

    fn input(&mut self, name: &'static str, values: &[f64], shape: &[usize]) {
        if !values.is_empty() {
            let values = values.iter().map(|value| *value as f32).collect();
            self.tensors.push((name, Data::In(values), shape.to_vec()));
        }
    }

    fn out(&mut self, name: &'static str, shape: &[usize]) {
        self.tensors.push((name, Data::Out, shape.to_vec()));
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"CRNNCASE".to_vec();
        let text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend((text.len() as u32).to_le_bytes());
            bytes.extend(text.as_bytes());
        };
        bytes.extend(1u32.to_le_bytes());
        text(&mut bytes, &self.kernel);
        bytes.extend((self.launch.grid as u32).to_le_bytes());
        bytes.extend((self.launch.block as u32).to_le_bytes());
        bytes.extend((self.launch.shared_bytes as u64).to_le_bytes());
        bytes.extend((self.ints.len() as u32).to_le_bytes());
        for (name, value) in &self.ints {
            text(&mut bytes, name);
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(0u32.to_le_bytes());
        bytes.extend((self.tensors.len() as u32).to_le_bytes());
        for (name, data, shape) in &self.tensors {
            text(&mut bytes, name);
            let (dtype, direction) = match data {
                Data::In(_) => (0, 0),
                Data::Lengths(_) => (2, 0),
                Data::Out => (0, 1),
            };
            bytes.extend([dtype, direction]);
            bytes.extend((shape.len() as u32).to_le_bytes());
            shape.iter().for_each(|dim| bytes.extend((*dim as u64).to_le_bytes()));
            match data {
                Data::In(values) => values.iter().for_each(|v| bytes.extend(v.to_le_bytes())),
                Data::Lengths(values) => values.iter().for_each(|v| bytes.extend(v.to_le_bytes())),
                Data::Out => {}
            }
        }
        bytes
    }

    /// Runs it and returns the out tensors.
    fn run(&self, folder: &Path) -> BTreeMap<String, Vec<f64>> {
        let program = std::env::var("CANDLE_RNN_EMULATE").expect("run this by `just emulate`");
        let (case, result) = (folder.join("case"), folder.join("result"));
        std::fs::write(&case, self.bytes()).unwrap();
        let output = Command::new(program).args([&case, &result]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", self.kernel);
        read_result(&std::fs::read(&result).unwrap())
    }
}

fn read_result(bytes: &[u8]) -> BTreeMap<String, Vec<f64>> {
    let mut rest = bytes.strip_prefix(b"CRNNCASE").expect("a result");
    let mut take = |count: usize| {
        let (taken, after) = rest.split_at(count);
        rest = after;
        taken
    };
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap()) as usize;
    take(4);
    let kernel = number(take(4));
    take(kernel);
    let mut tensors = BTreeMap::new();
    for _ in 0..number(take(4)) {
        let len = number(take(4));
        let name = String::from_utf8(take(len).to_vec()).unwrap();
        assert_eq!(take(2)[0], 0, "{name} is f32");
        let rank = number(take(4));
        let dims = (0..rank).map(|_| u64::from_le_bytes(take(8).try_into().unwrap()) as usize);
        let count: usize = dims.collect::<Vec<_>>().iter().product();
        let values = take(4 * count).chunks_exact(4);
        let values = values.map(|v| f64::from(f32::from_le_bytes(v.try_into().unwrap())));
        tensors.insert(name, values.collect());
    }
    tensors
}

/// What a case is like.
#[derive(Clone, Copy, Debug)]
struct Way {
    cell: Cell,
    ragged: bool,
    reverse: bool,
    masked: bool,
    segment: usize,
}

fn sequence(way: Way, (b, t, i, h): (usize, usize, usize, usize), seed: u64) -> Sequence {
    let mut rng = Stream::new(seed, Purpose::Init);
    let mut draw = |count: usize, limit: f64| -> Vec<f64> {
        (0..count).map(|_| f64::from(rng.symmetric(limit) as f32)).collect()
    };
    let (cell, rows) = (way.cell, way.cell.gates() * h);
    let dims =
        SequenceDims { batch_size: b, seq_len: t, input_size: i, hidden_size: h, output_size: h };
    let mut sequence = Sequence {
        dims,
        cell,
        x: draw(b * t * i, 1.),
        w_ih: draw(rows * i, 1. / (i as f64).sqrt()),
        w_hh: draw(rows * h, 1. / (h as f64).sqrt()),
        b_ih: draw(rows, 0.5),
        b_hh: if cell.has_two_biases() { draw(rows, 0.5) } else { Vec::new() },
        w_hr: Vec::new(),
        h_0: draw(b * h, 1.),
        c_0: if cell.has_c() { draw(b * h, 1.) } else { Vec::new() },
        lengths: Vec::new(),
        reverse: way.reverse,
        mask: Vec::new(),
    };
    if way.ragged {
        sequence.lengths = (0..b).map(|row| (row * 7 + 3) % (t + 1)).collect();
    }
    if way.masked {
        sequence.mask = (0..b * h).map(|_| if rng.unit() < 0.3 { 0. } else { 1.5 }).collect();
    }
    sequence
}

/// `W v + b` for every row of `v`.
fn products(w: &[f64], v: &[f64], b: &[f64], columns: usize) -> Vec<f64> {
    let of_row = |v: &[f64]| -> Vec<f64> {
        let row = |(w, b): (&[f64], &f64)| w.iter().zip(v).map(|(w, v)| w * v).sum::<f64>() + b;
        w.chunks_exact(columns).zip(b).map(row).collect()
    };
    v.chunks_exact(columns).flat_map(of_row).collect()
}

/// `Σ d vᵀ` over all rows of `d` and `v`.
fn outer(d: &[f64], v: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    let mut sum = vec![0.; rows * columns];
    for (d, v) in d.chunks_exact(rows).zip(v.chunks_exact(columns)) {
        for (sum, d) in sum.chunks_exact_mut(columns).zip(d) {
            sum.iter_mut().zip(v).for_each(|(sum, v)| *sum += d * v);
        }
    }
    sum
}

/// `max|a - b| <= tolerance · max|b|`; NaN fails.
fn assert_close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0f64, |scale, value| scale.max(value.abs()));
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        let holds = (a - b).abs() <= 1e-5 * scale + f64::from(f32::MIN_POSITIVE);
        assert!(holds, "{what}[{index}]: {a} instead of {b}, scale {scale}");
    }
}

fn persistent(way: Way, dims: &SequenceDims, sweep: Sweep) -> (usize, Launch) {
    match plan(way.cell, dims, Word::F32, sweep, &CARD).unwrap() {
        LaunchPlan::Persistent { rows, launch } => (rows, launch),
        LaunchPlan::Stepwise { .. } => panic!("this size is for the persistent kernels"),
    }
}

fn common(case: &mut Case, way: Way, sequence: &Sequence, rows: usize) {
    let SequenceDims { batch_size: b, seq_len: t, hidden_size: h, .. } = sequence.dims;
    let sizes = [("batch_size", b), ("seq_len", t), ("hidden_size", h), ("rows", rows)];
    case.ints.extend(sizes.map(|(name, size)| (name, size as i32)));
    case.ints.extend([
        ("outputs_row_stride", (t * h) as i32),
        ("outputs_step_stride", h as i32),
        ("reverse", i32::from(way.reverse)),
    ]);
    if matches!(way.cell, Cell::Tanh | Cell::Relu) {
        case.ints.push(("function", i32::from(way.cell == Cell::Relu)));
    }
    case.input("mask", &sequence.mask, &[b, h]);
    if way.ragged {
        let lengths = sequence.lengths.iter().map(|len| *len as i32).collect();
        case.tensors.push(("lengths", Data::Lengths(lengths), vec![b]));
    }
}

fn check(way: Way, size: (usize, usize, usize, usize), seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let sequence = sequence(way, size, seed);
    let dims = sequence.dims;
    let (b, t, i, h) = size;
    let rows = way.cell.gates() * h;
    let family = kernel_family(way.cell, false).unwrap();
    let what = format!("{way:?} {size:?}");
    let gx = products(&sequence.w_ih, &sequence.x, &sequence.b_ih, i);

    let (tile, launch) = persistent(way, &dims, Sweep::Forward);
    let mut case = Case::new(format!("{family}_forward_f32"), launch);
    common(&mut case, way, &sequence, tile);
    case.input("gx", &gx, &[b, t, rows]);
    case.input("w_hh", &sequence.w_hh, &[rows, h]);
    case.input("b_hh", &sequence.b_hh, &[rows]);
    case.input("h_0", &sequence.h_0, &[b, h]);
    case.input("c_0", &sequence.c_0, &[b, h]);
    case.out("outputs", &[b, t, h]);
    case.out("h_in", &[b, t, h]);
    case.out("h_n", &[b, h]);
    if family != "rnn" {
        case.out("gates", &[b, t, 4 * h]);
    }
    if family == "lstm" {
        case.out("c", &[b, t, h]);
        case.out("c_n", &[b, h]);
    }
    let forward = case.run(folder.path());
    let states = sequence.forward();
    assert_close(&format!("{what} outputs"), &forward["outputs"], &states.outputs);
    assert_close(&format!("{what} h_n"), &forward["h_n"], &states.h_n);
    if family == "lstm" {
        assert_close(&format!("{what} c_n"), &forward["c_n"], &states.c_n);
    }

    let mut rng = Stream::new(seed + 1, Purpose::Init);
    let mut draw = |count: usize| -> Vec<f64> {
        (0..count).map(|_| f64::from(rng.symmetric(1.) as f32)).collect()
    };
    let grad = StateGradients {
        outputs: draw(b * t * h),
        h_n: draw(b * h),
        c_n: draw(sequence.c_0.len()),
    };
    let (tile, launch) = persistent(way, &dims, Sweep::Backward);
    let mut case = Case::new(format!("{family}_backward_f32"), launch);
    common(&mut case, way, &sequence, tile);
    case.ints.push(("segment", way.segment as i32));
    case.input("w_hh", &sequence.w_hh, &[rows, h]);
    if family != "lstm" {
        case.input("outputs", &forward["outputs"], &[b, t, h]);
    }
    if family == "gru" {
        case.input("h_0", &sequence.h_0, &[b, h]);
    }
    if family != "rnn" {
        case.input("gates", &forward["gates"], &[b, t, 4 * h]);
    }
    if family == "lstm" {
        case.input("c", &forward["c"], &[b, t, h]);
        case.input("c_0", &sequence.c_0, &[b, h]);
        case.input("grad_c_n", &grad.c_n, &[b, h]);
        case.out("grad_c_0", &[b, h]);
    }
    case.input("grad_outputs", &grad.outputs, &[b, t, h]);
    case.input("grad_h_n", &grad.h_n, &[b, h]);
    case.out("delta_x", &[b, t, rows]);
    if family == "gru" {
        case.out("delta_h", &[b, t, rows]);
    }
    case.out("grad_h_0", &[b, h]);
    let backward = case.run(folder.path());
    let delta_x = &backward["delta_x"];
    let delta_h = backward.get("delta_h").unwrap_or(delta_x);
    let truncation = match way.segment {
        0 => Truncation::FULL,
        k => Truncation::segments(k).unwrap(),
    };
    let expected = sequence.backward(&grad, truncation);
    let ones = vec![1.; b * t];
    let transposed: Vec<f64> = (0..i)
        .flat_map(|column| (0..rows).map(move |row| (row, column)))
        .map(|(row, column)| sequence.w_ih[row * i + column])
        .collect();
    let grad_x = products(&transposed, delta_x, &vec![0.; i], rows);
    let mut pairs = vec![
        ("x", grad_x, &expected.x),
        ("w_ih", outer(delta_x, &sequence.x, rows, i), &expected.w_ih),
        ("w_hh", outer(delta_h, &forward["h_in"], rows, h), &expected.w_hh),
        ("b_ih", outer(delta_x, &ones, rows, 1), &expected.b_ih),
        ("h_0", backward["grad_h_0"].clone(), &expected.h_0),
    ];
    if !expected.b_hh.is_empty() {
        pairs.push(("b_hh", outer(delta_h, &ones, rows, 1), &expected.b_hh));
    }
    if family == "lstm" {
        pairs.push(("c_0", backward["grad_c_0"].clone(), &expected.c_0));
    }
    for (name, found, expected) in pairs {
        assert_close(&format!("{what} grad {name}"), &found, expected);
    }
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn persistent_kernels_give_the_values_and_gradients_of_the_reference() {
    let sizes = [(1, 1, 1, 1), (5, 4, 3, 7), (3, 6, 2, 32), (9, 3, 4, 33), (2, 28, 28, 75)];
    for cell in [Cell::Tanh, Cell::Relu, Cell::Gru, Cell::Lstm] {
        for bits in 0..16 {
            let has = |bit: usize| bits >> bit & 1 == 1;
            let way = Way {
                cell,
                ragged: has(0),
                reverse: has(1),
                masked: has(2),
                segment: if has(3) { 3 } else { 0 },
            };
            check(way, sizes[bits * 3 % 5], bits as u64);
        }
    }
}

#[test]
#[ignore = "needs the emulator: just emulate"]
fn the_reference_jobs_layer_is_one_launch_a_sweep() {
    let way = Way { cell: Cell::Tanh, ragged: false, reverse: false, masked: false, segment: 0 };
    check(way, (6, 28, 28, 150), 1);
}
