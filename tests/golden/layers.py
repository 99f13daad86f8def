"""Writes layers.safetensors: recurrent layers and their gradients, as PyTorch computes them.

Command, from the repository's root, after the environment that make.py tells of:
    .venv-golden/bin/python tests/golden/layers.py
Versions: Python 3.11.7, and those of requirements.txt. Runs on the CPU, on one thread.
Seed: 42 and the case's name. Two runs on one machine write the same bytes; another CPU or version
may round otherwise.

A case is CELL-LAYERS-DIRECTIONS-LENGTHS: `torch.nn.RNN`, `GRU` or `LSTM` with batch_first=True.
    CELL        tanh, relu, gru, lstm; lstm-proj is an LSTM with proj_size=2
    LAYERS      1, 3; 2 for lstm-proj
    DIRECTIONS  uni, bi; bi for lstm-proj
    LENGTHS     full: every row is T steps long; ragged: 3, 5 and 1 steps, by a packed sequence
Inputs and gradients behind a row's length are random too, so that reading them would show. The loss
is sum(outputs * grad_outputs) + sum(h_n * grad_h_n), and + sum(c_n * grad_c_n) for an LSTM.

What the file holds, f64 but for the lengths. B = 3 rows, T = 5 steps, I = 3 inputs, H = 4 units,
P = 2 with proj_size and H otherwise, L layers, D directions:
    CASE/x              (B, T, I)
    CASE/lengths        i64, (B,), of a ragged case
    CASE/h_0            (L*D, B, P)
    CASE/c_0            (L*D, B, H), of an LSTM, as everything named c
    CASE/weights/NAME   under PyTorch's names, as weight_ih_l0_reverse; both biases are random
    CASE/grad_outputs, CASE/grad_h_n, CASE/grad_c_n     shaped as the three results below
These are f32 numbers: a test in f32 starts from them unrounded. From them, computed in f64:
    CASE/outputs        (B, T, D*P), zero behind a row's length
    CASE/h_n, CASE/c_n  (L*D, B, P) and (L*D, B, H), after the last step within a row's length
    CASE/grads/x, CASE/grads/h_0, CASE/grads/c_0, CASE/grads/NAME   of the loss
"""

import dataclasses
import itertools
import math
from pathlib import Path

import numpy
import torch
from safetensors.numpy import load, save
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

TARGET = Path(__file__).resolve().parent / "layers.safetensors"

SEED = 42
B, T, I, H = 3, 5, 3, 4
PROJ_SIZE = 2
RAGGED = [3, 5, 1]


@dataclasses.dataclass(frozen=True)
class Case:
    cell: str
    num_layers: int
    bidirectional: bool
    ragged: bool

    @property
    def name(self):
        directions = "bi" if self.bidirectional else "uni"
        lengths = "ragged" if self.ragged else "full"
        return f"{self.cell}-{self.num_layers}-{directions}-{lengths}"

    @property
    def states(self):
        """What the layer carries from step to step, and how wide each is."""
        match self.cell:
            case "lstm":
                return {"h": H, "c": H}
            case "lstm-proj":
                return {"h": PROJ_SIZE, "c": H}
            case _:
                return {"h": H}

    def layer(self):
        settings = {
            "input_size": I,
            "hidden_size": H,
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            "batch_first": True,
        }
        match self.cell:
            case "tanh" | "relu":
                return torch.nn.RNN(nonlinearity=self.cell, **settings)
            case "gru":
                return torch.nn.GRU(**settings)
            case "lstm":
                return torch.nn.LSTM(**settings)
            case "lstm-proj":
                return torch.nn.LSTM(proj_size=PROJ_SIZE, **settings)


YES_OR_NO = [False, True]
GRID = itertools.product(["tanh", "relu", "gru", "lstm"], [1, 3], YES_OR_NO, YES_OR_NO)
CASES = [
    *itertools.starmap(Case, GRID),
    Case("lstm-proj", 2, True, False),
    Case("lstm-proj", 2, True, True),
]


def given(case):
    """What a case starts from: f32 numbers in f64, by their names in the file."""
    generator = numpy.random.default_rng([SEED, *case.name.encode()])

    def normal(*shape):
        return generator.standard_normal(shape).astype(numpy.float32).astype(numpy.float64)

    def uniform(limit, *shape):
        return generator.uniform(-limit, limit, shape).astype(numpy.float32).astype(numpy.float64)

    directions = 2 if case.bidirectional else 1
    tensors = {"x": normal(B, T, I)}
    tensors["grad_outputs"] = normal(B, T, directions * case.states["h"])
    for state, width in case.states.items():
        tensors[f"{state}_0"] = normal(case.num_layers * directions, B, width)
        tensors[f"grad_{state}_n"] = normal(case.num_layers * directions, B, width)
    for name, parameter in case.layer().named_parameters():
        tensors[f"weights/{name}"] = uniform(1 / math.sqrt(H), *parameter.shape)
    if case.ragged:
        tensors["lengths"] = numpy.array(RAGGED, dtype=numpy.int64)
    return tensors


def forward(case, layer, x, initial):
    """The outputs, padded with zeros, and the last states, from a list of the initial ones."""
    # PyTorch takes and returns an LSTM's states as a pair, any other's as one tensor.
    initial = tuple(initial) if len(initial) > 1 else initial[0]
    if case.ragged:
        packed = pack_padded_sequence(x, RAGGED, batch_first=True, enforce_sorted=False)
        outputs, last = layer(packed, initial)
        outputs, lengths = pad_packed_sequence(outputs, batch_first=True, total_length=T)
        assert lengths.tolist() == RAGGED
    else:
        outputs, last = layer(x, initial)
    return outputs, list(last) if isinstance(last, tuple) else [last]


def computed(case, tensors, dtype):
    """Outputs, last states and gradients by their names in the file, computed in `dtype`."""

    def read(name):
        return torch.from_numpy(tensors[name]).to(dtype)

    layer = case.layer().to(dtype)
    weights = {name: read(f"weights/{name}") for name, _ in layer.named_parameters()}
    layer.load_state_dict(weights)
    inputs = {name: read(name).requires_grad_() for name in ["x", *(f"{s}_0" for s in case.states)]}
    x, *initial = inputs.values()
    outputs, last = forward(case, layer, x, initial)

    results = {"outputs": outputs} | {f"{s}_n": t for s, t in zip(case.states, last, strict=True)}
    loss = sum((value * read(f"grad_{name}")).sum() for name, value in results.items())
    loss.backward()
    gradients = {name: tensor.grad for name, tensor in [*inputs.items(), *layer.named_parameters()]}
    results |= {f"grads/{name}": gradient for name, gradient in gradients.items()}
    return {name: value.detach().numpy() for name, value in results.items()}


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    # oneDNN has f32 LSTMs of its own, but none with projections, of which it warns.
    torch.backends.mkldnn.set_flags(False)
    tensors, worst = {}, {}
    for case in CASES:
        start = given(case)
        f64 = computed(case, start, torch.float64)
        f32 = computed(case, start, torch.float32)
        assert not start.keys() & f64.keys()
        for name, value in f64.items():
            assert numpy.isfinite(value).all() and value.any(), f"{case.name}/{name}"
            off = numpy.abs(f32[name] - value).max() / numpy.abs(value).max()
            worst[case.cell] = max(worst.get(case.cell, (0, "")), (off, f"{case.name}/{name}"))
        tensors |= {f"{case.name}/{name}": value for name, value in (start | f64).items()}
    # `save` writes memory as it lies: a transposed view, as of batch-first outputs, would be wrong.
    tensors = {name: numpy.ascontiguousarray(value) for name, value in tensors.items()}
    # One entry at most: the order of several is random in the file. Names are sorted by `save`.
    content = save(tensors, metadata={"format": "pt"})
    for name, value in load(content).items():
        assert numpy.array_equal(value, tensors[name]), name
    TARGET.write_bytes(content)

    print(f"torch {torch.__version__}, numpy {numpy.__version__}")
    print(f"{TARGET.name}: {len(content)} bytes, {len(CASES)} cases, {len(tensors)} tensors")
    print("what PyTorch's own f32 is off its f64 at most, max|a - b| / max|b|:")
    for cell, (off, name) in worst.items():
        print(f"  {cell:10} {off:.1e} {name}")


if __name__ == "__main__":
    main()
