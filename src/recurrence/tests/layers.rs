//! Every cell in every way that a layer runs: directions, lengths, masks, projections, initial and
//! final states, truncation, states that are computed again.

use candle_core::{DType, Tensor};

use super::super::{run_layer, Call, Outputs, RecurrentDType, State};
use super::*;
use crate::recurrence::Truncation;

/// A way to run a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) cell: Cell,
    pub(super) projection: Option<usize>,
    pub(super) bidirectional: bool,
    pub(super) ragged: bool,
    pub(super) masked: bool,
    pub(super) time_major: bool,
    pub(super) with_initial: bool,
    pub(super) read: Outputs,
    /// Whether the loss leaves final states out.
    pub(super) outputs_alone: bool,
    pub(super) truncation: Truncation,
    pub(super) recompute: bool,
}

impl Way {
    pub(super) fn plain(cell: Cell) -> Self {
        Self {
            cell,
            projection: None,
            bidirectional: false,
            ragged: false,
            masked: false,
            time_major: false,
            with_initial: true,
            read: Outputs::All,
            outputs_alone: false,
            truncation: Truncation::FULL,
            recompute: false,
        }
    }

    fn unroll(&self) -> Unroll {
        let unroll = Unroll::new(self.read).truncated(self.truncation);
        if self.recompute {
            unroll.recomputing().unwrap()
        } else {
            unroll
        }
    }
}

/// The directions of a layer as the reference has them: they share `x` and lengths.
pub(super) fn directions(
    way: Way,
    (b, t, i, h): (usize, usize, usize, usize),
    seed: u64,
) -> Vec<Sequence> {
    let mut rng = SeededRng::new(seed ^ 77, Purpose::Init);
    let lengths: Vec<usize> = if way.ragged {
        // The longest, none at all, and what lies between.
        (0..b)
            .map(|row| match row % 4 {
                0 => t,
                3 => 0,
                _ => (rng.unit() * (t + 1) as f64) as usize,
            })
            .collect()
    } else {
        Vec::new()
    };
    let number = if way.bidirectional { 2 } else { 1 };
    let mut directions: Vec<Sequence> = (0..number)
        .map(|direction| {
            let mut of = sequence((b, t, i, h), way.cell, seed + 1000 * direction);
            let mut draw = |count: usize, limit: f64| -> Vec<f64> {
                (0..count).map(|_| rng.symmetric(limit)).collect()
            };
            if let Some(outputs) = way.projection {
                of.dims.output_size = outputs;
                let limit = 1. / (h as f64).sqrt();
                of.w_hh = draw(way.cell.gates() * h * outputs, limit);
                of.w_hr = draw(outputs * h, limit);
                of.h_0 = draw(b * outputs, 1.);
            }
            if !way.with_initial {
                of.h_0.fill(0.);
                of.c_0.fill(0.);
            }
            if way.masked {
                let count = b * of.dims.output_size;
                of.mask = (0..count).map(|_| if rng.unit() < 0.3 { 0. } else { 1.5 }).collect();
            }
            of.reverse = direction == 1;
            of.lengths.clone_from(&lengths);
            of
        })
        .collect();
    let x = directions[0].x.clone();
    directions.iter_mut().for_each(|of| of.x.clone_from(&x));
    directions
}

/// `(first, second, len)` to `(second, first, len)`.
fn swap_axes(values: &[f64], first: usize, second: usize, len: usize) -> Vec<f64> {
    let mut swapped = Vec::with_capacity(values.len());
    for b in 0..second {
        for a in 0..first {
            swapped.extend_from_slice(&values[(a * second + b) * len..][..len]);
        }
    }
    swapped
}

/// The tensors of a layer, as variables.
pub(super) struct Layer {
    pub(super) x: Var,
    pub(super) weights: Vec<Vec<Var>>,
    initial: Option<State>,
    initial_vars: Vec<Var>,
    mask: Option<Tensor>,
    lengths: Option<Vec<usize>>,
}

impl Layer {
    fn new(directions: &[Sequence], way: Way, dtype: DType) -> Self {
        Self::on(&Device::Cpu, directions, way, dtype)
    }

    pub(super) fn on(device: &Device, directions: &[Sequence], way: Way, dtype: DType) -> Self {
        let var = |values: &[f64], shape: &[usize]| {
            let tensor = Tensor::from_slice(values, shape, &Device::Cpu).unwrap();
            let tensor = tensor.to_dtype(dtype).unwrap().to_device(device).unwrap();
            Var::from_tensor(&tensor).unwrap()
        };
        let SequenceDims {
            batch_size: b,
            seq_len: t,
            input_size: i,
            hidden_size: h,
            output_size: p,
        } = directions[0].dims;
        let x = if way.time_major {
            var(&swap_axes(&directions[0].x, b, t, i), &[t, b, i])
        } else {
            var(&directions[0].x, &[b, t, i])
        };
        let rows = way.cell.gates() * h;
        let weights = directions.iter().map(|of| {
            let mut vars =
                vec![var(&of.w_ih, &[rows, i]), var(&of.w_hh, &[rows, p]), var(&of.b_ih, &[rows])];
            if !of.b_hh.is_empty() {
                vars.push(var(&of.b_hh, &[rows]));
            }
            if !of.w_hr.is_empty() {
                vars.push(var(&of.w_hr, &[p, h]));
            }
            vars
        });
        let all = |of: fn(&Sequence) -> &Vec<f64>| -> Vec<f64> {
            directions.iter().flat_map(|direction| of(direction).clone()).collect()
        };
        let d = directions.len();
        let mut initial_vars = vec![var(&all(|of| &of.h_0), &[d, b, p])];
        if way.cell.has_c() {
            initial_vars.push(var(&all(|of| &of.c_0), &[d, b, h]));
        }
        let initial = way.with_initial.then(|| {
            let c = initial_vars.get(1).map(|c| c.as_tensor().clone());
            State::from_parts(initial_vars[0].as_tensor().clone(), c)
        });
        let mask = way.masked.then(|| var(&all(|of| &of.mask), &[d, b, p]).as_detached_tensor());
        let lengths = way.ragged.then(|| directions[0].lengths.clone());
        Self { x, weights: weights.collect(), initial, initial_vars, mask, lengths }
    }

    pub(super) fn weights(&self) -> Vec<Weights> {
        let of = |vars: &Vec<Var>| {
            let tensor = |index: usize| vars[index].as_tensor().clone();
            let mut weights = Weights::new(tensor(0), tensor(1), tensor(2));
            weights.b_hh = (vars.len() > 3).then(|| tensor(3));
            weights.w_hr = (vars.len() > 4).then(|| tensor(4));
            weights
        };
        self.weights.iter().map(of).collect()
    }

    pub(super) fn call(&self, way: Way) -> Call<'_> {
        Call {
            ids: None,
            initial: self.initial.as_ref(),
            lengths: self.lengths.as_deref(),
            mask: self.mask.as_ref(),
            time_major: way.time_major,
            unroll: way.unroll(),
            recurrent_dtype: RecurrentDType::F32,
        }
    }
}

/// The results of a layer: outputs batch-first if they were read, final states, and the gradients of
/// each direction, of which that of `x` stands with the first.
pub(super) struct Found {
    pub(super) outputs: Option<Vec<f64>>,
    pub(super) h_n: Vec<f64>,
    pub(super) c_n: Vec<f64>,
    pub(super) gradients: Vec<SequenceGradients>,
}

/// Gradients for all states: outputs `(B, T, D·P)`, h and c.
pub(super) fn state_gradients(directions: &[Sequence], seed: u64) -> [Vec<f64>; 3] {
    let SequenceDims { batch_size: b, seq_len: t, hidden_size: h, output_size: p, .. } =
        directions[0].dims;
    let mut rng = SeededRng::new(seed + 5, Purpose::Init);
    let d = directions.len();
    let c = if directions[0].cell.has_c() { d * b * h } else { 0 };
    [b * t * d * p, d * b * p, c].map(|count| {
        // Exact in f32.
        (0..count).map(|_| f64::from(rng.symmetric(1.) as f32)).collect()
    })
}

pub(super) fn found(
    outputs: Option<Tensor>,
    state: State,
    layer: &Layer,
    way: Way,
    directions: &[Sequence],
    grads: &[Vec<f64>; 3],
) -> Found {
    let (dtype, device) = (layer.x.dtype(), layer.x.device());
    let SequenceDims { batch_size: b, seq_len: t, input_size: i, output_size: p, .. } =
        directions[0].dims;
    let width = directions.len() * p;
    let weighted = |tensor: &Tensor, grad: &[f64]| {
        let grad = Tensor::from_slice(grad, tensor.shape(), &Device::Cpu).unwrap();
        let grad = grad.to_dtype(dtype).unwrap().to_device(device).unwrap();
        (tensor * grad).unwrap().sum_all().unwrap()
    };
    let mut loss = Tensor::zeros((), dtype, device).unwrap();
    if !way.outputs_alone {
        loss = weighted(&state.h, &grads[1]);
        if let Some(c) = &state.c {
            loss = (loss + weighted(c, &grads[2])).unwrap();
        }
    }
    let outputs = outputs.map(|outputs| {
        let grad =
            if way.time_major { swap_axes(&grads[0], b, t, width) } else { grads[0].clone() };
        loss = (&loss + weighted(&outputs, &grad)).unwrap();
        if way.time_major {
            swap_axes(&values(&outputs), t, b, width)
        } else {
            values(&outputs)
        }
    });
    let store = loss.backward().unwrap();
    let of = |var: &Var| values(store.get(var).expect("a gradient is missing"));
    let x = if way.time_major { swap_axes(&of(&layer.x), t, b, i) } else { of(&layer.x) };
    let gradients = layer.weights.iter().enumerate().map(|(direction, vars)| {
        let own = |index: usize| vars.get(index).map_or(Vec::new(), of);
        let initial = |index: usize| match layer.initial_vars.get(index) {
            None => Vec::new(),
            Some(var) if way.with_initial => {
                let all = of(var);
                let len = all.len() / directions.len();
                all[direction * len..][..len].to_vec()
            }
            Some(var) => vec![0.; var.elem_count() / directions.len()],
        };
        SequenceGradients {
            x: if direction == 0 { x.clone() } else { Vec::new() },
            w_ih: own(0),
            w_hh: own(1),
            b_ih: own(2),
            b_hh: own(3),
            w_hr: own(4),
            h_0: initial(0),
            c_0: initial(1),
        }
    });
    Found {
        outputs,
        h_n: values(&state.h),
        c_n: state.c.as_ref().map_or(Vec::new(), values),
        gradients: gradients.collect(),
    }
}

fn run_fused(
    directions: &[Sequence],
    way: Way,
    isa: Isa,
    dtype: DType,
    grads: &[Vec<f64>; 3],
) -> Found {
    let layer = Layer::new(directions, way, dtype);
    let weights = layer.weights();
    let packed = LayerWeights::of_directions(way.cell, weights).unwrap().packed_for(isa);
    let (outputs, state) = run_layer(layer.x.as_tensor(), &packed, &layer.call(way)).unwrap();
    found(outputs, state, &layer, way, directions, grads)
}

/// The same by the reference.
pub(super) fn expected(directions: &[Sequence], way: Way, grads: &[Vec<f64>; 3]) -> Found {
    let SequenceDims { batch_size: b, seq_len: t, hidden_size: h, output_size: p, .. } =
        directions[0].dims;
    let width = directions.len() * p;
    let mut outputs = vec![0.; b * t * width];
    let (mut h_n, mut c_n, mut gradients) = (Vec::new(), Vec::new(), Vec::new());
    for (direction, of) in directions.iter().enumerate() {
        let states = of.forward();
        let mut grad_outputs = vec![0.; b * t * p];
        for at in 0..b * t {
            let part = at * width + direction * p..at * width + (direction + 1) * p;
            outputs[part.clone()].copy_from_slice(&states.outputs[at * p..][..p]);
            if way.read == Outputs::All {
                grad_outputs[at * p..][..p].copy_from_slice(&grads[0][part]);
            }
        }
        h_n.extend(states.h_n);
        c_n.extend(states.c_n);
        let part = |all: &[f64], len: usize| {
            if all.is_empty() {
                Vec::new()
            } else {
                all[direction * len..][..len].to_vec()
            }
        };
        let mut grad = StateGradients {
            outputs: grad_outputs,
            h_n: part(&grads[1], b * p),
            c_n: part(&grads[2], b * h),
        };
        if way.outputs_alone {
            grad.h_n.fill(0.);
            grad.c_n.fill(0.);
        }
        let mut of_direction = of.backward(&grad, way.truncation);
        if !way.with_initial {
            of_direction.h_0.fill(0.);
            of_direction.c_0.fill(0.);
        }
        gradients.push(of_direction);
    }
    if let [first, second] = gradients.as_mut_slice() {
        first.x.iter_mut().zip(&second.x).for_each(|(sum, term)| *sum += term);
        second.x.clear();
    }
    let outputs = (way.read == Outputs::All).then_some(outputs);
    Found { outputs, h_n, c_n, gradients }
}

pub(super) fn assert_found(what: &str, found: &Found, expected: &Found, tolerance: f64) {
    assert_eq!(found.outputs.is_some(), expected.outputs.is_some(), "{what}");
    if let (Some(found), Some(expected)) = (&found.outputs, &expected.outputs) {
        assert_close(&format!("{what} outputs"), found, expected, tolerance);
    }
    assert_close(&format!("{what} h_n"), &found.h_n, &expected.h_n, tolerance);
    assert_close(&format!("{what} c_n"), &found.c_n, &expected.c_n, tolerance);
    for (found, expected) in found.gradients.iter().zip(&expected.gradients) {
        assert_gradients(what, found, expected, tolerance);
    }
}

fn check(way: Way, size: (usize, usize, usize, usize), seed: u64) {
    for isa in Isa::available() {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-5)] {
            let mut directions = directions(way, size, seed);
            if dtype == DType::F32 {
                directions = directions.iter().map(rounded).collect();
            }
            let grads = state_gradients(&directions, seed);
            let expected = expected(&directions, way, &grads);
            let found = run_fused(&directions, way, isa, dtype, &grads);
            let what = format!("{} {dtype:?} {size:?} {way:?}", isa.name());
            assert_found(&what, &found, &expected, tolerance);
        }
    }
}

/// `(B, T, I, H)` at the edges of vectors, tiles and groups of rows.
const SIZES: [(usize, usize, usize, usize); 10] = [
    (1, 1, 1, 1),
    (2, 3, 2, 4),
    (5, 4, 3, 7),
    (3, 5, 8, 8),
    (1, 9, 5, 15),
    (7, 3, 16, 16),
    (4, 6, 17, 17),
    (13, 2, 3, 33),
    (27, 3, 2, 11),
    (3, 40, 1, 20),
];

#[test]
fn every_cell_gives_the_values_and_gradients_of_the_reference() {
    for cell in Cell::ALL {
        for (seed, size) in SIZES.into_iter().enumerate() {
            let way = Way::plain(cell);
            check(way, size, seed as u64);
            let last = Way { read: Outputs::Last, with_initial: seed % 2 == 0, ..way };
            check(last, size, seed as u64 + 50);
        }
    }
}

#[test]
fn a_projection_gives_the_values_and_gradients_of_the_reference() {
    for (seed, size) in SIZES.into_iter().enumerate() {
        for outputs in [1, 3, size.3 + 2, 18] {
            let way = Way { projection: Some(outputs), ..Way::plain(Cell::Lstm) };
            check(way, size, seed as u64);
            check(
                Way { bidirectional: true, ragged: true, masked: seed % 2 == 0, ..way },
                size,
                seed as u64,
            );
        }
    }
}

#[test]
fn directions_lengths_and_masks_give_the_reference() {
    let sizes = [(6, 5, 3, 7), (9, 4, 2, 17), (30, 7, 3, 5)];
    for cell in Cell::ALL {
        for bits in 0..96 {
            let has = |bit: usize| bits >> bit & 1 == 1;
            let way = Way {
                bidirectional: has(0),
                ragged: has(1),
                masked: has(2),
                time_major: has(3),
                with_initial: has(4),
                read: if has(5) { Outputs::Last } else { Outputs::All },
                outputs_alone: has(6),
                ..Way::plain(cell)
            };
            // By other bits than those of a direction or lengths.
            check(way, sizes[bits * 7 % 3], bits as u64);
        }
    }
}

#[test]
fn truncated_gradients_of_every_cell_sum_over_single_windows() {
    let truncations = [
        Truncation::segments(1),
        Truncation::segments(3),
        Truncation::segments(20),
        Truncation::window(1, 4),
        Truncation::window(3, 5),
        Truncation::window(4, 11),
    ];
    for cell in Cell::ALL {
        for (index, truncation) in truncations.iter().enumerate() {
            let truncation = *truncation.as_ref().unwrap();
            for ragged in [false, true] {
                for bidirectional in [false, true] {
                    let way = Way {
                        truncation,
                        ragged,
                        bidirectional,
                        masked: index % 2 == 0,
                        ..Way::plain(cell)
                    };
                    check(way, (6, 10, 3, 9), index as u64);
                    check(Way { read: Outputs::Last, ..way }, (6, 10, 3, 9), index as u64);
                }
            }
        }
    }
    let way = Way { projection: Some(3), ..Way::plain(Cell::Lstm) };
    let truncation = Truncation::window(2, 5).unwrap();
    check(Way { truncation, ..way }, (6, 10, 3, 9), 3);
}

#[test]
fn recomputed_states_of_every_cell_give_the_bits_of_kept_ones() {
    let isa = Isa::available()[0];
    for cell in Cell::ALL {
        for size in [(3, 9, 4, 6), (2, 1, 3, 5), (60, 51, 2, 33), (5, 300, 1, 9)] {
            for bits in 0..8 {
                let has = |bit: usize| bits >> bit & 1 == 1;
                let kept = Way {
                    bidirectional: has(0),
                    ragged: has(1),
                    masked: has(2),
                    with_initial: !has(0),
                    read: Outputs::Last,
                    truncation: if has(1) {
                        Truncation::window(3, 40).unwrap()
                    } else {
                        Truncation::FULL
                    },
                    projection: (cell == Cell::Lstm && has(2)).then_some(4),
                    ..Way::plain(cell)
                };
                let directions = directions(kept, size, bits);
                let grads = state_gradients(&directions, bits);
                let with = |way: Way| run_fused(&directions, way, isa, DType::F64, &grads);
                let (kept_found, found) = (with(kept), with(Way { recompute: true, ..kept }));
                assert_eq!(found.h_n, kept_found.h_n);
                assert_eq!(found.c_n, kept_found.c_n);
                for (found, expected) in found.gradients.iter().zip(&kept_found.gradients) {
                    assert_eq!(super::bits(found), super::bits(expected), "{size:?} {kept:?}");
                }
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit_of_any_cell() {
    let isa = Isa::available()[0];
    for cell in Cell::ALL {
        for bits in 0..4 {
            let has = |bit: usize| bits >> bit & 1 == 1;
            let way = Way { bidirectional: has(0), ragged: has(1), ..Way::plain(cell) };
            let directions = directions(way, (61, 9, 12, 70), 4);
            let grads = state_gradients(&directions, 4);
            let with = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let found = pool.install(|| run_fused(&directions, way, isa, DType::F32, &grads));
                let gradients: Vec<Vec<u64>> = found.gradients.iter().map(super::bits).collect();
                (found.outputs, found.h_n, found.c_n, gradients)
            };
            let one = with(1);
            for threads in [2, 3, 5] {
                assert_eq!(with(threads), one, "{way:?} {threads} threads");
            }
        }
    }
}

#[test]
fn the_unrolled_form_of_every_cell_gives_the_same_gradients() {
    for cell in Cell::ALL {
        for bits in 0..16 {
            let has = |bit: usize| bits >> bit & 1 == 1;
            let way = Way {
                bidirectional: has(0),
                ragged: has(1),
                masked: has(2),
                time_major: has(3),
                projection: (cell == Cell::Lstm && has(0)).then_some(3),
                ..Way::plain(cell)
            };
            let directions = directions(way, (4, 5, 3, 6), bits);
            let grads = state_gradients(&directions, bits);
            let layer = Layer::new(&directions, way, DType::F64);
            let weights = layer.weights();
            let by_direction: Vec<&Weights> = weights.iter().collect();
            let x = layer.x.as_tensor();
            let (outputs, state) =
                composed_layer(x, cell, &by_direction, &layer.call(way)).unwrap();
            let found = found(outputs, state, &layer, way, &directions, &grads);
            let expected = expected(&directions, way, &grads);
            assert_found(&format!("{way:?}"), &found, &expected, 1e-11);
        }
    }
}

/// Central differences in f64, for every argument of every cell: the reference is tested here.
#[test]
fn gradients_of_every_cell_are_those_of_finite_differences() {
    const EPS: f64 = 1e-5;
    type Field = fn(&mut Sequence) -> &mut Vec<f64>;
    let fields: [(&str, Field); 8] = [
        ("x", |s| &mut s.x),
        ("w_ih", |s| &mut s.w_ih),
        ("w_hh", |s| &mut s.w_hh),
        ("b_ih", |s| &mut s.b_ih),
        ("b_hh", |s| &mut s.b_hh),
        ("w_hr", |s| &mut s.w_hr),
        ("h_0", |s| &mut s.h_0),
        ("c_0", |s| &mut s.c_0),
    ];
    for cell in Cell::ALL {
        for bits in 0..8 {
            let has = |bit: usize| bits >> bit & 1 == 1;
            let way = Way {
                bidirectional: has(0),
                ragged: has(1),
                masked: has(2),
                projection: (cell == Cell::Lstm && has(0)).then_some(3),
                ..Way::plain(cell)
            };
            let directions = directions(way, (5, 4, 3, 5), bits);
            let grads = state_gradients(&directions, bits);
            let found =
                run_fused(&directions, way, Isa::available()[0], DType::F64, &grads).gradients;
            let loss = |directions: &[Sequence]| -> f64 {
                let found = expected(directions, way, &grads);
                let dot = |values: &[f64], grads: &[f64]| -> f64 {
                    values.iter().zip(grads).map(|(value, grad)| value * grad).sum()
                };
                dot(&found.outputs.unwrap(), &grads[0])
                    + dot(&found.h_n, &grads[1])
                    + dot(&found.c_n, &grads[2])
            };
            for (direction, of_direction) in found.iter().enumerate() {
                let SequenceGradients { x, w_ih, w_hh, b_ih, b_hh, w_hr, h_0, c_0 } = of_direction;
                let tensors = [x, w_ih, w_hh, b_ih, b_hh, w_hr, h_0, c_0];
                for ((name, field), found) in fields.iter().zip(tensors) {
                    let differences: Vec<f64> = (0..found.len())
                        .map(|index| {
                            let shifted = |by: f64| {
                                let mut directions = directions.clone();
                                let shared = *name == "x";
                                for (other, of) in directions.iter_mut().enumerate() {
                                    if shared || other == direction {
                                        field(of)[index] += by;
                                    }
                                }
                                loss(&directions)
                            };
                            (shifted(EPS) - shifted(-EPS)) / (2. * EPS)
                        })
                        .collect();
                    assert_close(&format!("{way:?} {direction} {name}"), found, &differences, 1e-6);
                }
            }
        }
    }
}

#[test]
fn what_lies_behind_the_end_of_a_row_is_never_read() {
    for cell in Cell::ALL {
        for bidirectional in [false, true] {
            let way = Way { bidirectional, ragged: true, ..Way::plain(cell) };
            let clean = directions(way, (6, 5, 3, 7), 9);
            let grads = state_gradients(&clean, 9);
            let isa = Isa::available()[0];
            let expected = run_fused(&clean, way, isa, DType::F32, &grads);
            let mut dirty = clean.clone();
            for of in &mut dirty {
                for (row, len) in of.lengths.clone().into_iter().enumerate() {
                    of.x[(row * 5 + len) * 3..(row + 1) * 5 * 3].fill(f64::NAN);
                }
            }
            let found = run_fused(&dirty, way, isa, DType::F32, &grads);
            assert_eq!(found.outputs, expected.outputs);
            assert_eq!((found.h_n, found.c_n), (expected.h_n, expected.c_n));
            for (found, expected) in found.gradients.iter().zip(&expected.gradients) {
                assert_eq!(super::bits(found), super::bits(expected), "{way:?}");
            }
        }
    }
}

#[test]
fn weights_larger_than_the_caches_give_the_reference_bits() {
    // More than 8 MiB of weights in f64: those of the inputs are used for several steps at once, of
    // which the last block is not whole.
    let size = (7, 11, 24, 512);
    for (cell, projection) in [
        (Cell::Gru, None),
        (Cell::GruResetBefore, None),
        (Cell::Lstm, None),
        (Cell::Lstm, Some(300)),
    ] {
        for (read, ragged) in [(Outputs::All, true), (Outputs::Last, false)] {
            let way = Way {
                projection,
                ragged,
                read,
                masked: ragged,
                bidirectional: ragged && projection.is_none(),
                ..Way::plain(cell)
            };
            let directions = directions(way, size, 3);
            let grads = state_gradients(&directions, 3);
            let isa = Isa::available()[0];
            let with = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| run_fused(&directions, way, isa, DType::F64, &grads))
            };
            let found = with(2);
            let what = format!("{way:?}");
            assert_found(&what, &found, &expected(&directions, way, &grads), 1e-12);
            let again = with(3);
            for (found, again) in found.gradients.iter().zip(&again.gradients) {
                assert_eq!(super::bits(found), super::bits(again), "{what}");
            }
        }
    }
}

#[test]
fn the_unrolled_form_reads_nothing_behind_the_end_of_a_row() {
    let way = Way { ragged: true, ..Way::plain(Cell::Lstm) };
    let mut directions = directions(way, (6, 5, 3, 4), 9);
    let grads = state_gradients(&directions, 9);
    let expected = expected(&directions, way, &grads);
    for (row, len) in directions[0].lengths.clone().into_iter().enumerate() {
        directions[0].x[(row * 5 + len) * 3..(row + 1) * 5 * 3].fill(f64::NAN);
    }
    let layer = Layer::new(&directions, way, DType::F64);
    let weights = layer.weights();
    let by_direction: Vec<&Weights> = weights.iter().collect();
    let (outputs, state) =
        composed_layer(layer.x.as_tensor(), Cell::Lstm, &by_direction, &layer.call(way)).unwrap();
    assert_close("outputs", &values(&outputs.unwrap()), &expected.outputs.unwrap(), 1e-12);
    assert_close("h_n", &values(&state.h), &expected.h_n, 1e-12);
    assert_close("c_n", &values(&state.c.unwrap()), &expected.c_n, 1e-12);
}
