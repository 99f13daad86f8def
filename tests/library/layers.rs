//! Layers against PyTorch, Keras, TensorFlow 1's formulas and candle-nn: outputs, final states, and
//! every gradient.
//!
//! `tests/golden/layers.py` and `tests/golden/keras_layers.py` say what their safetensors hold and how they were
//! made. Each case runs in `f64`, where a tolerance leaves no room for another formula, and in `f32`
//! against the same numbers.

use std::collections::BTreeMap;

use crate::common;
use crate::common::compare::{failures, is_close, larger, tensor_difference};
use crate::common::golden::Golden;
use crate::common::{init_rng, sink, values};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::rnn::{self as candle_rnns, Direction, RNN};
use candle_nn::VarMap;
use candle_rnn::nn::weights::{
    from_keras, from_pytorch, from_tensorflow_gru, from_tensorflow_lstm, from_tensorflow_rnn,
    stack_from, to_pytorch,
};
use candle_rnn::nn::{Gru, GruConfig, Init, Lstm, LstmConfig, Sequences, Stack, StackConfig};
use candle_rnn::recurrence::{Cell, State, Weights};
use candle_rnn::rng::SeededRng;
use candle_rnn::VarSink;
use candle_rnn::{Error, Result};

/// How far values may be off in a dtype, `max|a - b| / max|b|` of each tensor.
///
/// `f64`: sums over 5 steps, 3 layers and 3 rows in another order, 2^53 being 9e15. `f32`: the same,
/// 2^29 times coarser; the golden values are not rounded to it.
fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-11,
        _ => 1e-5,
    }
}

/// A case of a golden file, and the dtype that it runs in.
#[derive(Clone, Copy)]
struct Case<'a> {
    golden: &'a Golden,
    name: &'a str,
    dtype: DType,
}

impl<'a> Case<'a> {
    fn find(&self, name: &str) -> Option<&'a Tensor> {
        self.golden.find(&format!("{}/{name}", self.name))
    }

    fn get(&self, name: &str) -> Result<Tensor> {
        match self.find(name) {
            Some(tensor) => Ok(tensor.to_dtype(self.dtype)?),
            None => Err(Error::Config(format!("{} lacks {name}", self.name))),
        }
    }

    fn var(&self, name: &str) -> Result<Var> {
        Ok(Var::from_tensor(&self.get(name)?)?)
    }

    /// The names behind a prefix, sorted.
    fn names(&self, prefix: &str) -> Vec<&'a str> {
        self.golden.names(&format!("{}/{prefix}", self.name))
    }

    fn has_c(&self) -> bool {
        self.find("c_0").is_some()
    }

    fn lengths(&self) -> Result<Option<Vec<usize>>> {
        let Some(lengths) = self.find("lengths") else { return Ok(None) };
        let lengths = lengths.to_vec1::<i64>()?;
        Ok(Some(lengths.into_iter().map(|length| length as usize).collect()))
    }

    /// How far each result is off: `outputs`, `h_n` and `c_n`, and `grads/NAME` of each variable. It
    /// is NaN for a gradient that is not there.
    fn differences(
        &self,
        results: &BTreeMap<&str, Tensor>,
        vars: &BTreeMap<String, Var>,
    ) -> Result<BTreeMap<String, f64>> {
        let mut differences = BTreeMap::new();
        let mut losses = Vec::new();
        for (name, result) in results {
            differences
                .insert((*name).to_string(), tensor_difference(result, &self.computed(name)?));
            losses.push((result * self.get(&format!("grad_{name}"))?)?.sum_all()?);
        }
        let grads = Tensor::stack(&losses, 0)?.sum_all()?.backward()?;
        for (name, var) in vars {
            let name = format!("grads/{name}");
            let off = match grads.get(var) {
                Some(grad) => tensor_difference(grad, &self.computed(&name)?),
                None => f64::NAN,
            };
            differences.insert(name, off);
        }
        let mut expected: Vec<String> =
            self.names("grads/").iter().map(|name| format!("grads/{name}")).collect();
        expected.extend(["h_n", "outputs"].map(String::from));
        if self.has_c() {
            expected.insert(0, "c_n".into());
        }
        assert!(differences.keys().eq(&expected), "{}: {differences:?}", self.name);
        Ok(differences)
    }

    /// What the golden file says that comes out, in `f64`.
    fn computed(&self, name: &str) -> Result<Tensor> {
        Self { dtype: DType::F64, ..*self }.get(name)
    }

    fn check(&self, differences: &BTreeMap<String, f64>) {
        let failed = failures(differences, tolerance(self.dtype));
        let (case, dtype) = (self.name, self.dtype);
        assert!(failed.is_empty(), "{case} in {dtype:?}: {failed:?} of {differences:?}");
    }
}

/// A layer of PyTorch, with the weights of a case as variables.
struct Pytorch<'a> {
    case: Case<'a>,
    /// By PyTorch's names.
    weights: BTreeMap<String, Var>,
    stack: Stack,
    /// `x`, `h_0` and, of an LSTM, `c_0`.
    inputs: BTreeMap<String, Var>,
}

impl<'a> Pytorch<'a> {
    fn new(case: Case<'a>) -> Result<Self> {
        let mut weights = BTreeMap::new();
        for name in case.names("weights/") {
            weights.insert(name.to_string(), case.var(&format!("weights/{name}"))?);
        }
        let stack = from_pytorch(Self::config(&case)?, &prefixed(&weights), "rnn.")?;
        let mut inputs = BTreeMap::new();
        for name in ["x", "h_0", "c_0"].into_iter().filter(|name| case.find(name).is_some()) {
            inputs.insert(name.to_string(), case.var(name)?);
        }
        Ok(Self { case, weights, stack, inputs })
    }

    /// What the case's name says: CELL-LAYERS-DIRECTIONS-LENGTHS.
    fn config(case: &Case) -> Result<StackConfig> {
        let parts: Vec<&str> = case.name.rsplitn(4, '-').collect();
        let [_, directions, layers, cell] = *parts else { panic!("{parts:?}") };
        let (cell, proj_size) = match cell {
            "tanh" => (Cell::Tanh, None),
            "relu" => (Cell::Relu, None),
            "gru" => (Cell::Gru, None),
            "lstm" => (Cell::Lstm, None),
            "lstm-proj" => (Cell::Lstm, Some(2)),
            other => panic!("{other}"),
        };
        let hidden_size = case.get("weights/weight_hh_l0")?.dim(0)? / cell.gates();
        let input_size = case.get("x")?.dim(2)?;
        Ok(StackConfig {
            num_layers: layers.parse().map_err(|_| Error::Config(layers.into()))?,
            bidirectional: directions == "bi",
            proj_size,
            ..StackConfig::new(cell, input_size, hidden_size)
        })
    }

    fn initial(&self) -> State {
        let state = |name: &str| self.inputs.get(name).map(|var| var.as_tensor().clone());
        State::from_parts(self.inputs["h_0"].as_tensor().clone(), state("c_0"))
    }

    /// `outputs`, `h_n` and, of an LSTM, `c_n`.
    fn results(&self, stack: &Stack) -> Result<BTreeMap<&'static str, Tensor>> {
        let (initial, lengths) = (self.initial(), self.case.lengths()?);
        let mut sequences = Sequences::new(&self.inputs["x"]).initial(&initial);
        if let Some(lengths) = &lengths {
            sequences = sequences.lengths(lengths);
        }
        let output = stack.forward(sequences)?;
        Ok(named(output.outputs, output.state.h, output.state.c))
    }

    fn differences(&self) -> Result<BTreeMap<String, f64>> {
        let vars = self.weights.iter().chain(&self.inputs);
        let vars = vars.map(|(name, var)| (name.clone(), var.clone())).collect();
        self.case.differences(&self.results(&self.stack)?, &vars)
    }
}

/// Variables as tensors of a state dict.
fn prefixed(weights: &BTreeMap<String, Var>) -> BTreeMap<String, Tensor> {
    let tensors =
        weights.iter().map(|(name, var)| (format!("rnn.{name}"), var.as_tensor().clone()));
    tensors.collect()
}

fn named(outputs: Tensor, h_n: Tensor, c_n: Option<Tensor>) -> BTreeMap<&'static str, Tensor> {
    let c_n = c_n.map(|c_n| ("c_n", c_n));
    [("outputs", outputs), ("h_n", h_n)].into_iter().chain(c_n).collect()
}

/// Runs `check` on so many cases whose names begin with that of the cell, in both dtypes.
fn for_each_case(cell: &str, count: usize, check: impl Fn(Pytorch) -> Result<()>) -> Result<()> {
    let golden = Golden::read("layers.safetensors")?;
    let is_of = |name: &&str| name.rsplitn(4, '-').last() == Some(cell);
    let cases: Vec<&str> = golden.cases().into_iter().filter(is_of).collect();
    assert_eq!(cases.len(), count, "{cases:?}");
    for dtype in [DType::F64, DType::F32] {
        for name in &cases {
            check(Pytorch::new(Case { golden: &golden, name, dtype })?)?;
        }
    }
    Ok(())
}

/// All results and gradients of a cell's cases.
fn check_cases(cell: &str, count: usize) -> Result<()> {
    for_each_case(cell, count, |pytorch| {
        let differences = pytorch.differences()?;
        let worst = differences.values().copied().fold(0., larger);
        println!("{} in {:?}: {worst:.1e}", pytorch.case.name, pytorch.case.dtype);
        pytorch.case.check(&differences);
        Ok(())
    })
}

/// The cells of the golden file, with the number of their cases.
const CELLS: [(&str, usize); 5] =
    [("tanh", 8), ("relu", 8), ("gru", 8), ("lstm", 8), ("lstm-proj", 2)];

#[test]
fn tanh_layers_and_every_gradient_are_pytorchs() -> Result<()> {
    check_cases("tanh", 8)
}

#[test]
fn relu_layers_and_every_gradient_are_pytorchs() -> Result<()> {
    check_cases("relu", 8)
}

#[test]
fn gru_layers_and_every_gradient_are_pytorchs() -> Result<()> {
    check_cases("gru", 8)
}

#[test]
fn lstm_layers_and_every_gradient_are_pytorchs() -> Result<()> {
    check_cases("lstm", 8)
}

#[test]
fn projected_lstm_layers_and_every_gradient_are_pytorchs() -> Result<()> {
    check_cases("lstm-proj", 2)
}

#[test]
fn frozen_detached_last_and_stepped_values_are_pytorchs_too() -> Result<()> {
    for (cell, count) in CELLS {
        for_each_case(cell, count, |pytorch| {
            let Pytorch { case, stack, inputs, .. } = &pytorch;
            let (mut differences, initial) = (BTreeMap::new(), pytorch.initial());
            let ways = [("frozen", stack.freeze()?), ("detached", stack.detach())];
            for (way, stack) in &ways {
                for (name, result) in pytorch.results(stack)? {
                    let off = tensor_difference(&result, &case.computed(name)?);
                    differences.insert(format!("{way} {name}"), off);
                }
            }
            let lengths = case.lengths()?;
            let (x, h_n) = (&inputs["x"], case.computed("h_n")?);
            let directions = stack.config().directions();
            let top = h_n.narrow(0, h_n.dim(0)? - directions, directions)?;
            let mut sequences = Sequences::new(x).initial(&initial);
            if let Some(lengths) = &lengths {
                sequences = sequences.lengths(lengths);
            }
            let last = stack.last(sequences)?;
            let expected = top.transpose(0, 1)?.flatten_from(1)?;
            differences.insert("last".into(), tensor_difference(&last, &expected));
            if directions == 1 && lengths.is_none() {
                let (mut outputs, mut state) = (Vec::new(), initial);
                for t in 0..x.dim(1)? {
                    let (y, after) = stack.step(&x.narrow(1, t, 1)?.squeeze(1)?, Some(&state))?;
                    outputs.push(y);
                    state = after;
                }
                for (name, result) in named(Tensor::stack(&outputs, 1)?, state.h, state.c) {
                    let off = tensor_difference(&result, &case.computed(name)?);
                    differences.insert(format!("stepped {name}"), off);
                }
            }
            case.check(&differences);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn what_was_imported_from_pytorch_is_exported_again() -> Result<()> {
    for (cell, count) in CELLS {
        for_each_case(cell, count, |pytorch| {
            let expected = prefixed(&pytorch.weights);
            let exported = to_pytorch(&pytorch.stack, "rnn.")?;
            assert!(exported.keys().eq(expected.keys()), "{:?}", exported.keys());
            for (name, tensor) in &exported {
                assert_eq!(tensor.dtype(), pytorch.case.dtype, "{name}");
                assert_eq!(values(tensor), values(&expected[name]), "{name}");
            }
            let again = from_pytorch(*pytorch.stack.config(), &exported, "rnn.")?;
            let [before, after] = [pytorch.results(&pytorch.stack)?, pytorch.results(&again)?];
            for (name, result) in &after {
                assert_eq!(values(result), values(&before[name]), "{name}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_weight_off_by_a_hundredth_or_a_lost_gradient_is_noticed() -> Result<()> {
    for (cell, count) in CELLS {
        for_each_case(cell, count, |pytorch| {
            for (name, var) in &pytorch.weights {
                let right = var.as_tensor().copy()?;
                var.set(&(&right + 0.01)?)?;
                // The sum of two biases is made once.
                let case = pytorch.case;
                let config = *pytorch.stack.config();
                let stack = from_pytorch(config, &prefixed(&pytorch.weights), "rnn.")?;
                let off = pytorch.results(&stack)?.remove("h_n");
                let expected = case.computed("h_n")?;
                let off = off.map(|h_n| tensor_difference(&h_n, &expected));
                assert!(off.is_some_and(|off| off > 1e-4), "{}: {name}", case.name);
                var.set(&right)?;
            }
            let missing = Pytorch { stack: pytorch.stack.detach(), ..pytorch };
            let differences = missing.differences()?;
            let failed = failures(&differences, tolerance(missing.case.dtype));
            let expected = missing.weights.keys().map(|name| format!("grads/{name}"));
            assert!(expected.eq(failed.iter().copied()), "{failed:?}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn layers_of_half_precision_are_those_of_pytorch_within_it() -> Result<()> {
    // Half a unit in the last place of each weight, and what 5 steps and 3 layers make of it.
    for (half, tolerance) in [(DType::F16, 4e-3), (DType::BF16, 3e-2)] {
        for (cell, count) in CELLS {
            for_each_case(cell, count, |pytorch| {
                if pytorch.case.dtype != DType::F32 {
                    return Ok(());
                }
                let convert = |(name, tensor): (&String, &Tensor)| -> Result<_> {
                    Ok((name.clone(), tensor.detach().to_dtype(half)?))
                };
                let tensors = prefixed(&pytorch.weights);
                let tensors = tensors.iter().map(convert).collect::<Result<BTreeMap<_, _>>>()?;
                let stack = from_pytorch(*pytorch.stack.config(), &tensors, "rnn.")?;
                assert_eq!(stack.dtype(), DType::F32);
                for (name, result) in pytorch.results(&stack)? {
                    let off = tensor_difference(&result, &pytorch.case.computed(name)?);
                    assert!(
                        is_close(off, tolerance),
                        "{} {name} {half:?}: {off}",
                        pytorch.case.name
                    );
                }
                // No more is lost than by the conversion.
                let widened = tensors.iter().map(|(name, tensor)| -> Result<_> {
                    Ok((name.clone(), tensor.to_dtype(DType::F32)?))
                });
                let widened = widened.collect::<Result<BTreeMap<_, _>>>()?;
                let widened = from_pytorch(*pytorch.stack.config(), &widened, "rnn.")?;
                let expected = pytorch.results(&widened)?;
                for (name, result) in pytorch.results(&stack)? {
                    assert_eq!(values(&result), values(&expected[&name]), "{name}");
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

#[test]
fn layers_without_biases_are_those_of_zeros() -> Result<()> {
    for (cell, count) in CELLS {
        for_each_case(cell, count, |pytorch| {
            let config = *pytorch.stack.config();
            let mut tensors = prefixed(&pytorch.weights);
            tensors.retain(|name, _| !name.starts_with("rnn.bias"));
            let without = pytorch.results(&from_pytorch(config, &tensors, "rnn.")?)?;
            for (name, shape) in config.parameters().iter().filter(|(n, _)| n.starts_with("bias")) {
                let zeros = Tensor::zeros(shape.as_slice(), pytorch.case.dtype, &Device::Cpu)?;
                tensors.insert(format!("rnn.{name}"), zeros);
            }
            let zeros = pytorch.results(&from_pytorch(config, &tensors, "rnn.")?)?;
            for (name, result) in &without {
                assert_eq!(values(result), values(&zeros[name]), "{name}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn layers_of_candle_without_biases_share_their_builder() -> Result<()> {
    let (inputs, units) = (3, 5);
    let config = candle_rnns::LSTMConfig { b_ih_init: None, b_hh_init: None, ..Default::default() };
    let vars = VarMap::new();
    let vb = candle_nn::VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let theirs = candle_rnns::lstm(inputs, units, config, vb.clone())?;
    assert_eq!(vars.all_vars().len(), 2);
    let tensors = vars.data().lock().unwrap().clone();
    let tensors = tensors.into_iter().map(|(name, var)| (name, var.as_tensor().clone()));
    let file = candle_nn::VarBuilder::from_tensors(tensors.collect(), DType::F32, &Device::Cpu);
    let x = seeded(&mut init_rng(6), &[3, 6, inputs], 1., DType::F32)?;
    let expected = candle_outputs(&theirs, &x, false)?;
    for vb in [file, vb] {
        let ours = Lstm::new(LstmConfig::new(inputs, units), vb)?;
        assert_same_in_f32(&ours.forward(x.as_tensor())?.outputs, &expected)?;
    }
    // They are constants: the `VarMap` has made no variables for them.
    assert_eq!(vars.all_vars().len(), 2);
    Ok(())
}

#[test]
fn layers_and_every_gradient_are_those_of_keras() -> Result<()> {
    let golden = Golden::read("keras.safetensors")?;
    let cells = [
        ("gru-after", Cell::Gru),
        ("gru-before", Cell::GruResetBefore),
        ("lstm", Cell::Lstm),
        ("lstm-ragged", Cell::Lstm),
        ("simple", Cell::Tanh),
    ];
    assert_eq!(golden.cases(), cells.map(|(name, _)| name));
    for dtype in [DType::F64, DType::F32] {
        for (name, cell) in cells {
            let case = Case { golden: &golden, name, dtype };
            let mut vars = BTreeMap::new();
            for name in case.names("grads/") {
                vars.insert(name.to_string(), case.var(name)?);
            }
            let [x, kernel, recurrent_kernel, bias] =
                ["x", "kernel", "recurrent_kernel", "bias"].map(|name| vars[name].as_tensor());
            let weights = from_keras(cell, kernel, recurrent_kernel, Some(bias))?;
            let config = StackConfig::new(cell, x.dim(2)?, recurrent_kernel.dim(0)?);
            let stack = stack_from(config, vec![vec![weights]])?;
            let c_0 = vars.get("c_0").map(|c| c.unsqueeze(0)).transpose()?;
            let initial = State::from_parts(vars["h_0"].unsqueeze(0)?, c_0);
            let lengths = case.lengths()?;
            let mut sequences = Sequences::new(x).initial(&initial);
            if let Some(lengths) = &lengths {
                sequences = sequences.lengths(lengths);
            }
            let output = stack.forward(sequences)?;
            let c_n = output.state.c.map(|c| c.squeeze(0)).transpose()?;
            let results = named(output.outputs, output.state.h.squeeze(0)?, c_n);
            let differences = case.differences(&results, &vars)?;
            println!("{name} in {dtype:?}: {:.1e}", differences.values().copied().fold(0., larger));
            case.check(&differences);
        }
    }
    Ok(())
}

/// Seeded numbers in ±`limit`, as a variable.
fn seeded(rng: &mut SeededRng, shape: &[usize], limit: f64, dtype: DType) -> Result<Var> {
    Ok(Var::from_tensor(&common::random(rng, shape, limit).to_dtype(dtype)?)?)
}

/// A step of a cell as TensorFlow 1 writes it: from `x_t` and a state to the state after it, whose
/// first part is the output.
type Step<'a> = &'a dyn Fn(&Tensor, &[Tensor]) -> Result<Vec<Tensor>>;

/// A stack of one layer gives the outputs of `step`, repeated from zeros, and its gradients of `vars`.
fn check_tensorflow(
    cell: Cell,
    weights: Weights,
    x: &Var,
    vars: &[&Var],
    step: Step,
) -> Result<()> {
    let hidden_size = weights.w_hh.dim(1)?;
    let config = StackConfig::new(cell, x.dim(2)?, hidden_size);
    let outputs = stack_from(config, vec![vec![weights]])?.forward(x.as_tensor())?.outputs;
    let zeros = Tensor::zeros((x.dim(0)?, hidden_size), x.dtype(), x.device())?;
    let mut state = vec![zeros; if cell.has_c() { 2 } else { 1 }];
    let mut expected = Vec::new();
    for t in 0..x.dim(1)? {
        state = step(&x.narrow(1, t, 1)?.squeeze(1)?, &state)?;
        expected.push(state[0].clone());
    }
    let expected = Tensor::stack(&expected, 1)?;
    let off = tensor_difference(&outputs, &expected);
    assert!(is_close(off, tolerance(x.dtype())), "{cell:?}: {off}");
    let weigh = seeded(&mut init_rng(8), outputs.dims(), 1., x.dtype())?;
    let grads = [outputs, expected]
        .map(|outputs| -> Result<_> { Ok((outputs * weigh.as_tensor())?.sum_all()?.backward()?) });
    let [Ok(grads), Ok(expected)] = grads else { panic!("{grads:?}") };
    for (index, var) in [&[x], vars].concat().into_iter().enumerate() {
        let (Some(grad), Some(expected)) = (grads.get(var), expected.get(var)) else {
            panic!("{cell:?}: no gradient of {index}");
        };
        let off = tensor_difference(grad, expected);
        assert!(is_close(off, tolerance(x.dtype())), "{cell:?}, gradient {index}: {off}");
    }
    Ok(())
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok(candle_nn::ops::sigmoid(x)?)
}

/// `[x_t, h] · kernel + bias`.
fn joined(x_t: &Tensor, h: &Tensor, kernel: &Var, bias: &Var) -> Result<Tensor> {
    Ok(Tensor::cat(&[x_t, h], 1)?.matmul(kernel)?.broadcast_add(bias)?)
}

#[test]
fn joined_kernels_compute_what_the_cells_of_tensorflow_1_do() -> Result<()> {
    let rng = &mut init_rng(7);
    let (inputs, units) = (3, 4);
    let mut var = |shape: &[usize]| seeded(rng, shape, 1., DType::F64);
    let x = var(&[2, 5, inputs])?;

    let (kernel, bias) = (var(&[inputs + units, units])?, var(&[units])?);
    let weights = from_tensorflow_rnn(&kernel, &bias, inputs)?;
    let vars = [&kernel, &bias];
    for cell in [Cell::Tanh, Cell::Relu] {
        check_tensorflow(cell, weights.clone(), &x, &vars, &|x_t, state| {
            let z = joined(x_t, &state[0], &kernel, &bias)?;
            Ok(vec![if cell == Cell::Tanh { z.tanh()? } else { z.relu()? }])
        })?;
    }

    let (kernel, bias) = (var(&[inputs + units, 4 * units])?, var(&[4 * units])?);
    for forget_bias in [0., 1.] {
        let weights = from_tensorflow_lstm(&kernel, &bias, inputs, forget_bias)?;
        check_tensorflow(Cell::Lstm, weights, &x, &[&kernel, &bias], &|x_t, state| {
            let gates = joined(x_t, &state[0], &kernel, &bias)?.chunk(4, 1)?;
            let [i, j, f, o] = gates.as_slice() else { panic!("{gates:?}") };
            let kept = (&state[1] * sigmoid(&(f + forget_bias)?)?)?;
            let c = (kept + (sigmoid(i)? * j.tanh()?)?)?;
            Ok(vec![(c.tanh()? * sigmoid(o)?)?, c])
        })?;
    }

    let (kernel, bias) = (var(&[inputs + units, 2 * units])?, var(&[2 * units])?);
    let (candidate, candidate_bias) = (var(&[inputs + units, units])?, var(&[units])?);
    let weights = from_tensorflow_gru(&kernel, &bias, &candidate, &candidate_bias, inputs)?;
    let vars = [&kernel, &bias, &candidate, &candidate_bias];
    check_tensorflow(Cell::GruResetBefore, weights, &x, &vars, &|x_t, state| {
        let gates = sigmoid(&joined(x_t, &state[0], &kernel, &bias)?)?.chunk(2, 1)?;
        let [r, u] = gates.as_slice() else { panic!("{gates:?}") };
        let c = joined(x_t, &(r * &state[0])?, &candidate, &candidate_bias)?.tanh()?;
        Ok(vec![((u * &state[0])? + ((1. - u)? * c)?)?])
    })
}

/// The outputs `(B, T, H)` of a layer of candle-nn, backwards in time if so.
fn candle_outputs<L: RNN>(layer: &L, x: &Tensor, backward: bool) -> Result<Tensor> {
    let flip = |x: &Tensor| if backward { x.flip(&[1]) } else { Ok(x.clone()) };
    let states = layer.seq(&flip(x)?)?;
    let joined = layer.states_to_tensor(&states)?;
    // Those of its GRU are side by side.
    let (batch_size, seq_len, _) = x.dims3()?;
    Ok(flip(&joined.reshape((batch_size, seq_len, ()))?)?)
}

/// Off by the rounding of `f32` alone.
#[track_caller]
fn assert_same_in_f32(ours: &Tensor, expected: &Tensor) -> Result<()> {
    let off = tensor_difference(ours, expected);
    assert!(is_close(off, 1e-6), "{off:e}");
    Ok(())
}

#[test]
fn an_lstm_of_candle_nn_computes_the_same() -> Result<()> {
    let (inputs, units, dtype) = (5, 7, DType::F32);
    for bidirectional in [false, true] {
        let vars = VarMap::new();
        let sink = VarSink::from_varmap(&vars, dtype, &Device::Cpu);
        let rng = &mut init_rng(5);
        let config = LstmConfig { num_layers: 2, bidirectional, ..LstmConfig::new(inputs, units) };
        let ours = Lstm::init(config, Init::Pytorch, rng, &sink.pp("lstm"))?;
        let count = vars.all_vars().len();
        let x = seeded(rng, &[3, 6, inputs], 1., dtype)?;
        let mut outputs = x.as_tensor().clone();
        for layer_idx in 0..2 {
            let mut directions = Vec::new();
            for direction in [Direction::Forward, Direction::Backward] {
                let backward = matches!(direction, Direction::Backward);
                if backward && !bidirectional {
                    continue;
                }
                let config = candle_rnns::LSTMConfig { layer_idx, direction, ..Default::default() };
                let layer =
                    candle_rnns::lstm(outputs.dim(2)?, units, config, sink.builder().pp("lstm"))?;
                directions.push(candle_outputs(&layer, &outputs, backward)?);
            }
            outputs = Tensor::cat(&directions, 2)?;
        }
        assert_eq!(vars.all_vars().len(), count, "candle-nn made variables of its own");
        assert_same_in_f32(&ours.forward(x.as_tensor())?.outputs, &outputs)?;
    }
    Ok(())
}

#[test]
fn a_gru_of_candle_nn_computes_the_same() -> Result<()> {
    let (inputs, units, dtype) = (5, 7, DType::F32);
    let vars = VarMap::new();
    let sink = VarSink::from_varmap(&vars, dtype, &Device::Cpu);
    let rng = &mut init_rng(6);
    let ours = Gru::init(GruConfig::new(inputs, units), Init::Pytorch, rng, &sink.pp("gru"))?;
    let theirs = candle_rnns::gru(inputs, units, Default::default(), sink.builder().pp("gru"))?;
    assert_eq!(vars.all_vars().len(), 4, "candle-nn made variables of its own");
    let x = seeded(rng, &[3, 6, inputs], 1., dtype)?;
    for _ in 0..2 {
        let expected = candle_outputs(&theirs, &x, false)?;
        assert_same_in_f32(&ours.forward(x.as_tensor())?.outputs, &expected)?;
        for var in vars.all_vars() {
            var.set(&var.affine(-0.5, 0.1)?)?;
        }
    }
    Ok(())
}

#[test]
fn the_graph_of_a_layer_has_as_many_nodes_for_5_steps_as_for_50() -> Result<()> {
    let vars = VarMap::new();
    let sink = VarSink::from_varmap(&vars, DType::F32, &Device::Cpu);
    let rng = &mut init_rng(9);
    let config = LstmConfig { num_layers: 2, bidirectional: true, ..LstmConfig::new(28, 128) };
    let lstm = Lstm::init(config, Init::Glorot, rng, &sink)?;
    let mut nodes = |seq_len: usize| -> Result<usize> {
        let x = seeded(rng, &[2, seq_len, 28], 1., DType::F32)?;
        let loss = lstm.forward(x.as_tensor())?.outputs.sqr()?.sum_all()?;
        let grads = loss.backward()?;
        assert!(vars.all_vars().iter().all(|var| grads.get(var).is_some()));
        Ok(loss.sorted_nodes().len())
    };
    let (few, many) = (nodes(5)?, nodes(50)?);
    println!("{few} nodes");
    assert_eq!(few, many);
    // 16 variables and `x`, and what is made of them.
    assert!((17..100).contains(&few), "{few}");
    Ok(())
}

#[test]
fn a_row_without_steps_gives_its_initial_state_no_gradient() -> Result<()> {
    for cell in Cell::ALL {
        let rng = &mut init_rng(10);
        let sink = sink(DType::F64);
        let config = StackConfig::new(cell, 3, 4);
        let stack = Stack::init(config, Init::Pytorch, rng, &sink)?;
        // Rows beyond a tile of those that have steps, and one among them.
        let lengths: Vec<usize> = (0..24).map(|row| if row < 12 { row % 6 } else { 0 }).collect();
        let mut var = |shape: &[usize]| seeded(rng, shape, 1., DType::F64);
        let (x, h_0, c_0) = (var(&[24, 5, 3])?, var(&[1, 24, 4])?, var(&[1, 24, 4])?);
        let c = cell.has_c().then(|| c_0.as_tensor().clone());
        let initial = State::from_parts(h_0.as_tensor().clone(), c);
        let grads = |lengths: &[usize]| -> Result<_> {
            let sequences = Sequences::new(&x).initial(&initial).lengths(lengths);
            Ok(stack.forward(sequences)?.outputs.sum_all()?.backward()?)
        };
        // Memory that is used again holds what this leaves.
        grads(&[5; 24])?;
        let grads = grads(&lengths)?;
        for (name, var) in [("h_0", &h_0), ("c_0", &c_0)] {
            let Some(grad) = grads.get(var) else { continue };
            for (row, _) in lengths.iter().enumerate().filter(|(_, length)| **length == 0) {
                let grad = values(&grad.narrow(1, row, 1)?);
                assert_eq!(grad, [0.; 4], "{cell:?}, {name} of row {row}");
            }
        }
    }
    Ok(())
}
