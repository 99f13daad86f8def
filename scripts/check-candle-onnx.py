"""Compares exported ONNX files with the program's own predictions, in candle-onnx.

    python scripts/check-candle-onnx.py PROGRAM CANDLE_ONNX_RUN

candle-onnx reads tanh and LSTM layers in the forward direction, a row at a time: those runs are compared. Of each kind that
docs/export.md says it cannot read, one run is exported, and must fail as the page says.
`just check-candle-onnx` does it.
"""

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx_runs import SCALINGS, Session, check_images, check_sequences, check_text, compare_all

TARGETS = [("class", "last"), ("class", "mean-max"), ("steps", "last"), ("numbers", "last"), ("numbers", "mean-max")]
GRUS = ["gru", "gru-reset-before", "minimal-gru"]


class CandleOnnxSession(Session):
    """An exported file in candle-onnx, whose process predicts from npz files."""

    # No rows of different lengths; more rows than one fail (RNN) or are mixed up (Y of LSTM).
    takes_lengths = False
    runner = None

    def __init__(self, path):
        model = onnx.load(path)
        self.inputs = {
            port.name: [axis.dim_value for axis in port.type.tensor_type.shape.dim] for port in model.graph.input
        }
        self.metadata = {entry.key: entry.value for entry in model.metadata_props}
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [self.runner, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def predict(self, inputs):
        rows = inputs[next(iter(inputs))].shape[0]
        each = []
        for row in range(rows):
            one = {name: value.take([row], batch_axis(name)) for name, value in inputs.items()}
            each.append(self.predict_row(one))
        return {name: np.concatenate([found[name] for found in each], batch_axis(name)) for name in each[0]}

    def predict_row(self, inputs):
        given, found = (Path(self.folder.name) / name for name in ("inputs.npz", "outputs.npz"))
        np.savez(given, **{name: np.ascontiguousarray(value) for name, value in inputs.items()})
        print(given, found, sep="\t", file=self.process.stdin, flush=True)
        said = self.process.stdout.readline().strip()
        if said != "ok":
            raise RuntimeError(said or "candle-onnx-run has ended")
        with np.load(found) as file:
            return dict(file)


def batch_axis(name):
    return 1 if name.removeprefix("next_") in ("h", "c") else 0


def refused(program, name, said, check, *args):
    """A run that candle-onnx cannot read: it must say so."""
    try:
        check(program, name, *args)
    except RuntimeError as error:
        if said in str(error):
            return
        raise AssertionError(f"candle-onnx says {str(error)!r}, docs/export.md that {said!r}") from error
    raise AssertionError(f"candle-onnx reads what docs/export.md says it does not ({said})")


def cases():
    scalings = itertools.cycle(SCALINGS)
    for cell, layers, (target, readout) in itertools.product(("tanh", "lstm"), (1, 2), TARGETS):
        for scaling in (next(scalings), next(scalings)):
            yield check_sequences, target, cell, layers, False, readout, scaling, "refuse", False
    for cell, view in itertools.product(("tanh", "lstm"), ("rows", "columns")):
        for readout, layers in itertools.product(("last", "mean-max", "all"), (1, 2)):
            yield check_images, cell, view, readout, ["--layers", layers]
    yield check_images, "tanh", "pixels", "last", []
    yield check_images, "lstm", "permuted", "last", []
    yield check_images, "lstm", "rows", "last", ["--dtype", "f64"]
    for cell, layers in itertools.product(("tanh", "lstm"), (1, 2)):
        yield check_text, cell, layers
    for cell in GRUS:
        run = ("class", cell, 1, False, "last", "standard", "refuse", False)
        yield refused, "unsupported op_type GRU", check_sequences, *run
    yield refused, "unsupported activation Relu", check_images, "relu", "rows", "last", []
    for cell in ("tanh", "lstm"):
        yield refused, 'only supports direction == "forward"', check_images, cell, "rows", "last", ["--bidirectional=true"]
    for missing in ("zero", "mean", "forward-fill"):
        run = ("class", "tanh", 1, False, "last", "standard", missing, False)
        yield refused, "unsupported op_type IsNaN", check_sequences, *run
    run = ("forecast", "tanh", 1, False, "last", "standard", "refuse", False)
    yield refused, "unsupported op_type Max", check_sequences, *run


if __name__ == "__main__":
    CandleOnnxSession.runner = sys.argv[2]
    compare_all(sys.argv[1], CandleOnnxSession, cases(), "candle-onnx")
