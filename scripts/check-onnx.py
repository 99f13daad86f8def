"""Compares exported ONNX files with the program's own predictions, in ONNX Runtime.

    python scripts/check-onnx.py PROGRAM

Every cell, depth, direction, readout, target and preprocessing, in batches of sequences of different lengths.
`just check-onnx` does it.
"""

import itertools
import sys

import onnx
import onnxruntime
from onnx_runs import SCALINGS, Session, check_images, check_sequences, check_text, compare_all

CELLS = ["tanh", "relu", "gru", "lstm", "gru-reset-before", "minimal-gru"]
MISSING = ["zero", "mean", "forward-fill", "refuse"]
# A forecast needs a scale of its own: the program refuses it.
NO_FORECAST = ("forecast", "per-sequence")


class OnnxRuntimeSession(Session):
    """An exported file in ONNX Runtime."""

    def __init__(self, path):
        onnx.checker.check_model(onnx.load(path), full_check=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.inputs = {port.name: port.shape for port in self.session.get_inputs()}
        self.metadata = self.session.get_modelmeta().custom_metadata_map

    def predict(self, inputs):
        return dict(zip(self.outputs, self.session.run(None, inputs)))


def cases():
    turn = itertools.count()
    targets = [("class", "last"), ("class", "mean-max"), ("steps", "last"), ("numbers", "last")]
    targets += [("numbers", "mean-max"), ("forecast", "last"), ("forecast", "mean-max")]
    for cell, layers, both in itertools.product(CELLS, (1, 2), (False, True)):
        for target, readout in targets:
            n = next(turn)
            scaling, missing = SCALINGS[n % 4], MISSING[n // 4 % 4]
            # Where missing values are refused, there is nothing to mask.
            mask = n % 3 == 0 and missing != "refuse"
            if (target, scaling) == NO_FORECAST:
                scaling = "standard"
            yield check_sequences, target, cell, layers, both, readout, scaling, missing, mask
    for scaling, missing, mask in itertools.product(SCALINGS, MISSING, (False, True)):
        if mask and missing == "refuse":
            continue
        for target in ("class", "forecast"):
            if (target, scaling) != NO_FORECAST:
                yield check_sequences, target, "gru", 1, False, "last", scaling, missing, mask
    for cell, readout in itertools.product(("tanh", "gru", "lstm"), ("last", "mean-max", "all")):
        yield check_images, cell, "rows", readout, []
    for readout in ("last", "mean-max", "all"):
        yield check_images, "gru", "columns", readout, ["--bidirectional=true", "--layers", 2]
    yield check_images, "relu", "columns", "last", []
    yield check_images, "tanh", "pixels", "last", []
    yield check_images, "tanh", "permuted", "last", []
    yield check_images, "lstm", "rows", "last", ["--dtype", "f64"]
    for cell, layers in (("lstm", 1), ("gru", 2), ("tanh", 1), ("minimal-gru", 1)):
        yield check_text, cell, layers


if __name__ == "__main__":
    compare_all(sys.argv[1], OnnxRuntimeSession, cases(), f"ONNX Runtime {onnxruntime.__version__}")
