"""Times ONNX Runtime at the jobs of `cargo bench -p candle-rnn-kernels --bench stream`: one sequence of 28 steps of 28
numbers through 150 units and a head of 10 classes, and single steps of it, on one thread.

    python3 benches/peers/onnx_latency.py [--rounds N] [--only tanh|gru|lstm]

It needs numpy, onnx and onnxruntime, in the versions of requirements-onnx.txt. The model is one ONNX node for the
recurrent layer and one for the head, as `torch.onnx` and candle-rnn export it, with random weights: no time depends on
them. Inputs and outputs are bound to memory that is there already (`io_binding`), which is the faster of the two ways to
call it; `median_us` is the median over rounds of 20 calls, `least_us` the fastest round. Every line on stdout is a JSON
object, as the bench prints them with `-- --json`.
"""

import argparse
import json
import os
import statistics
import time

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

STEPS, INPUTS, UNITS, CLASSES = 28, 28, 150, 10
CALLS = 20
CELLS = {"tanh": ("RNN", 1), "gru": ("GRU", 3), "lstm": ("LSTM", 4)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--only", choices=CELLS)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    for cell in [args.only] if args.only else CELLS:
        for job, steps in [("image", STEPS), ("step", 1)]:
            call = bound(session(cell, steps, has_state=steps == 1))
            median, least = timed(call, args.rounds)
            print(
                json.dumps(
                    {
                        "program": f"onnxruntime {onnxruntime.__version__}",
                        "cell": cell,
                        "job": job,
                        "median_us": round(median, 3),
                        "least_us": round(least, 3),
                    }
                ),
                flush=True,
            )


def session(cell, steps, has_state):
    """A session on one thread; with a state, the states before the step are inputs and those after it outputs."""
    operator, gates = CELLS[cell]
    random = numpy.random.default_rng(0)

    def weight(name, *shape):
        values = (random.random(shape, dtype=numpy.float32) - 0.5) * 0.2
        return numpy_helper.from_array(values, name)

    initializers = [
        weight("W", 1, gates * UNITS, INPUTS),
        weight("R", 1, gates * UNITS, UNITS),
        weight("B", 1, 2 * gates * UNITS),
        weight("head.weight", CLASSES, UNITS),
        weight("head.bias", CLASSES),
        numpy_helper.from_array(numpy.array([1, UNITS]), "shape"),
    ]
    state = [1, 1, UNITS]
    inputs, outputs = [value("x", [steps, 1, INPUTS])], [value("y", [1, CLASSES])]
    reads, writes = ["x", "W", "R", "B"], ["", "h"]
    if has_state:
        inputs.append(value("h_0", state))
        outputs.append(value("h", state))
        reads += ["", "h_0"]
        if cell == "lstm":
            inputs.append(value("c_0", state))
            outputs.append(value("c", state))
            reads.append("c_0")
            writes.append("c")
    attributes = {"linear_before_reset": 1} if cell == "gru" else {}
    nodes = [
        helper.make_node(operator, reads, writes, hidden_size=UNITS, **attributes),
        helper.make_node("Reshape", ["h", "shape"], ["rows"]),
        helper.make_node("Gemm", ["rows", "head.weight", "head.bias"], ["y"], transB=1),
    ]
    graph = helper.make_graph(nodes, "model", inputs, outputs, initializers)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def value(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def bound(session):
    """A call of the session whose inputs and outputs stay where they are."""
    binding = session.io_binding()
    for found in session.get_inputs():
        values = numpy.random.default_rng(1).random(found.shape, dtype=numpy.float32)
        binding.bind_ortvalue_input(found.name, onnxruntime.OrtValue.ortvalue_from_numpy(values))
    for found in session.get_outputs():
        values = numpy.zeros(found.shape, dtype=numpy.float32)
        binding.bind_ortvalue_output(found.name, onnxruntime.OrtValue.ortvalue_from_numpy(values))
    return lambda: session.run_with_iobinding(binding)


def timed(call, rounds):
    """Median and least of the microseconds of a call."""
    for _ in range(5 * CALLS):
        call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        times.append((time.perf_counter() - start) * 1e6 / CALLS)
    return statistics.median(times), min(times)


if __name__ == "__main__":
    main()
