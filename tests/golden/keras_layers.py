"""Writes keras.safetensors: recurrent layers and their gradients, as Keras computes them.

Command, from the repository's root:
    python3.13 -m venv .venv-golden-keras
    .venv-golden-keras/bin/pip install -r benches/peers/requirements-keras.txt safetensors==0.8.0
    .venv-golden-keras/bin/python tests/golden/keras_layers.py
Versions: Python 3.13.0, keras 3.15.1 on tensorflow-cpu 2.21.0, numpy 2.5.5, safetensors 0.8.0. Runs
on the CPU, on one thread.
Seed: 42 and the case's name. Two runs on one machine write the same bytes; another CPU or version
may round otherwise.

The cases; all return every output and the last states, and start from given states:
    gru-after       keras.layers.GRU(reset_after=True), G = 3: gates z, r, h
    gru-before      keras.layers.GRU(reset_after=False), G = 3: gates z, r, h
    lstm            keras.layers.LSTM, G = 4: gates i, f, c, o
    lstm-ragged     the same with a mask: rows of 3, 5 and 1 steps, zero_output_for_mask=True
    simple          keras.layers.SimpleRNN, tanh, G = 1
Inputs and gradients behind a row's length are random too, so that reading them would show. The loss
is sum(outputs * grad_outputs) + sum(h_n * grad_h_n), and + sum(c_n * grad_c_n) for an LSTM.

What the file holds, f64 but for the lengths. B = 3 rows, T = 5 steps, I = 3 inputs, H = 4 units:
    CASE/x                  (B, T, I)
    CASE/lengths            i64, (B,), of lstm-ragged
    CASE/h_0                (B, H)
    CASE/c_0                (B, H), of an LSTM, as everything named c
    CASE/kernel             (I, G*H), as Keras keeps it: x @ kernel
    CASE/recurrent_kernel   (H, G*H), as Keras keeps it: h @ recurrent_kernel
    CASE/bias               (G*H,); of gru-after (2, 3*H), the input's row and then the state's
    CASE/grad_outputs, CASE/grad_h_n, CASE/grad_c_n     shaped as the three results below
These are f32 numbers: a test in f32 starts from them unrounded. From them, computed in f64:
    CASE/outputs            (B, T, H), zero behind a row's length
    CASE/h_n, CASE/c_n      (B, H), after the last step within a row's length
    CASE/grads/NAME         of the loss, NAME being x, h_0, c_0, kernel, recurrent_kernel, bias
"""

import math
import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy
import tensorflow
from safetensors.numpy import load, save

TARGET = Path(__file__).resolve().parent / "keras.safetensors"

SEED = 42
B, T, I, H = 3, 5, 3, 4
RAGGED = [3, 5, 1]

CASES = ["gru-after", "gru-before", "lstm", "lstm-ragged", "simple"]
# As every layer here names and orders them.
WEIGHTS = ["kernel", "recurrent_kernel", "bias"]


def built_layer(case, dtype):
    """The layer of a case, its weights still Keras's own."""
    settings = {"return_sequences": True, "return_state": True, "dtype": dtype}
    match case:
        case "gru-after":
            layer = keras.layers.GRU(H, reset_after=True, **settings)
        case "gru-before":
            layer = keras.layers.GRU(H, reset_after=False, **settings)
        case "lstm":
            layer = keras.layers.LSTM(H, **settings)
        case "lstm-ragged":
            layer = keras.layers.LSTM(H, zero_output_for_mask=True, **settings)
        case "simple":
            layer = keras.layers.SimpleRNN(H, **settings)
    layer.build((B, T, I))
    assert [variable.name for variable in layer.trainable_variables] == WEIGHTS
    return layer


def states(case):
    """What the layer carries from step to step."""
    return ["h", "c"] if case.startswith("lstm") else ["h"]


def given(case):
    """What a case starts from: f32 numbers in f64, by their names in the file."""
    generator = numpy.random.default_rng([SEED, *case.encode()])

    def normal(*shape):
        return generator.standard_normal(shape).astype(numpy.float32).astype(numpy.float64)

    def uniform(limit, *shape):
        return generator.uniform(-limit, limit, shape).astype(numpy.float32).astype(numpy.float64)

    tensors = {"x": normal(B, T, I), "grad_outputs": normal(B, T, H)}
    for state in states(case):
        tensors[f"{state}_0"] = normal(B, H)
        tensors[f"grad_{state}_n"] = normal(B, H)
    for variable in built_layer(case, "float64").trainable_variables:
        tensors[variable.name] = uniform(1 / math.sqrt(H), *variable.shape)
    if case.endswith("-ragged"):
        tensors["lengths"] = numpy.array(RAGGED, dtype=numpy.int64)
    return tensors


def computed(case, tensors, dtype):
    """Outputs, last states and gradients by their names in the file, computed in `dtype`."""
    def read(name):
        return tensorflow.constant(tensors[name], dtype)

    # For what a layer makes without asking for its own dtype.
    keras.backend.set_floatx(dtype)
    layer = built_layer(case, dtype)
    layer.set_weights([tensors[name] for name in WEIGHTS])
    mask = tensorflow.sequence_mask(tensors["lengths"], T) if "lengths" in tensors else None
    inputs = {name: read(name) for name in ["x", *(f"{state}_0" for state in states(case))]}
    x, *initial = inputs.values()
    weights = {variable.name: variable.value for variable in layer.trainable_variables}
    with tensorflow.GradientTape() as tape:
        tape.watch(list(inputs.values()))
        outputs, *last = layer(x, mask=mask, initial_state=initial)
        results = {"outputs": outputs}
        results |= {f"{state}_n": t for state, t in zip(states(case), last, strict=True)}
        terms = [value * read(f"grad_{name}") for name, value in results.items()]
        loss = sum(tensorflow.reduce_sum(term) for term in terms)
    gradients = tape.gradient(loss, inputs | weights)
    results |= {f"grads/{name}": gradient for name, gradient in gradients.items()}
    assert all(value.dtype == dtype for value in results.values())
    return {name: value.numpy() for name, value in results.items()}


def main():
    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    tensorflow.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(SEED)
    tensors, worst = {}, {}
    for case in CASES:
        start = given(case)
        f64 = computed(case, start, "float64")
        f32 = computed(case, start, "float32")
        assert not start.keys() & f64.keys()
        for name, value in f64.items():
            assert numpy.isfinite(value).all() and value.any(), f"{case}/{name}"
            off = numpy.abs(f32[name] - value).max() / numpy.abs(value).max()
            worst[case] = max(worst.get(case, (0, "")), (off, name))
        tensors |= {f"{case}/{name}": value for name, value in (start | f64).items()}
    # `save` writes memory as it lies: a transposed view, as of batch-first outputs, would be wrong.
    tensors = {name: numpy.ascontiguousarray(value) for name, value in tensors.items()}
    # One entry at most: the order of several is random in the file. Names are sorted by `save`.
    content = save(tensors, metadata={"format": "pt"})
    for name, value in load(content).items():
        assert numpy.array_equal(value, tensors[name]), name
    TARGET.write_bytes(content)

    versions = f"keras {keras.__version__}, tensorflow {tensorflow.__version__}"
    print(f"{versions}, numpy {numpy.__version__}")
    print(f"{TARGET.name}: {len(content)} bytes, {len(CASES)} cases, {len(tensors)} tensors")
    print("what Keras's own f32 is off its f64 at most, max|a - b| / max|b|:")
    for case, (off, name) in worst.items():
        print(f"  {case:12} {off:.1e} {name}")


if __name__ == "__main__":
    main()
