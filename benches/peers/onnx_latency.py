"""Times ONNX Runtime and tract at the jobs of `cargo bench -p candle-rnn-kernels --bench stream`: one sequence of 28 steps
of 28 numbers through 150 units and a head of 10 classes, and single steps of it; and with `--silero MODEL` at a frame of
Silero VAD. On one thread, in turns.

    python3 benches/peers/onnx_latency.py [--rounds N] [--only tanh|gru|lstm] [--silero silero_vad_16k_op15.onnx]

It needs what requirements-onnx.txt lists (`just latency-peers`; `just bench-latency` runs it beside the bench). The model is one
ONNX node for the recurrent layer and one for the head, as `torch.onnx` and candle-rnn export it, with random weights: no
time depends on them. Inputs and outputs are in memory that is there already: ONNX Runtime's `io_binding`, and tract's C
functions called by ctypes. `median_us` is the median over rounds of 5 calls, `least_us` the fastest round. Every line on
stdout is a JSON object, as the bench prints them with `-- --json`.
"""

import argparse
import ctypes
import json
import os
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy
import onnx
import onnxruntime
import tract
from onnx import TensorProto, helper, numpy_helper

STEPS, INPUTS, UNITS, CLASSES = 28, 28, 150, 10
CALLS = 5
RATE, SOUND = 16000, {"input": [1, 576], "state": [2, 1, 128]}
CELLS = {"tanh": ("RNN", 1), "gru": ("GRU", 3), "lstm": ("LSTM", 4)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--only", choices=CELLS)
    parser.add_argument("--silero", type=Path)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    for cell in [args.only] if args.only else CELLS:
        for job, steps in [("image", STEPS), ("step", 1)]:
            model = recurrent(cell, steps, has_state=steps == 1).SerializeToString()
            compare(cell, job, in_onnx_runtime(model), in_tract(model), args.rounds)
    if args.silero:
        fixed = without_branches(args.silero)
        compare("silero", "frame", in_onnx_runtime(fixed), in_tract(fixed), args.rounds)


def compare(cell, job, onnx_runtime, in_tract, rounds):
    """Prints the times of a job in both programs, which take turns."""
    calls = {"onnxruntime": onnx_runtime, "tract": in_tract}
    for (name, _), times in zip(calls.items(), timed(calls.values(), rounds)):
        line = {"program": f"{name} {version(name)}", "cell": cell, "job": job}
        line |= {"median_us": round(statistics.median(times), 3), "least_us": round(min(times), 3)}
        print(json.dumps(line), flush=True)


def recurrent(cell, steps, has_state):
    """The model; with a state, the states before the step are inputs and those after it outputs."""
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
    return model


def without_branches(path):
    """Silero VAD for one frame, whose branches on shapes and sampling rate are gone: tract refuses them."""
    model = onnx.load(path)
    for port in list(model.graph.input):
        if port.name == "sr":
            model.graph.input.remove(port)
        else:
            port.CopyFrom(value(port.name, SOUND[port.name]))
    model.graph.initializer.append(numpy_helper.from_array(numpy.array(RATE), "sr"))
    del model.graph.value_info[:]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "fixed.onnx")
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return Path(options.optimized_model_filepath).read_bytes()


def value(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def numbers(shape):
    return numpy.random.default_rng(1).random(shape, dtype=numpy.float32)


def in_onnx_runtime(model):
    """A call of ONNX Runtime whose inputs and outputs stay where they are."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for found in session.get_inputs():
        binding.bind_ortvalue_input(found.name, onnxruntime.OrtValue.ortvalue_from_numpy(numbers(found.shape)))
    for found in session.get_outputs():
        if all(isinstance(size, int) for size in found.shape):
            values = numpy.zeros(found.shape, dtype=numpy.float32)
            binding.bind_ortvalue_output(found.name, onnxruntime.OrtValue.ortvalue_from_numpy(values))
        else:
            binding.bind_output(found.name)
    return lambda: session.run_with_iobinding(binding)


def in_tract(model):
    """A call of tract whose inputs stay where they are; the outputs are new ones, and freed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        runnable = tract.onnx().load(path).into_model().into_runnable()
    state = runnable.spawn_state()
    shapes = [str(fact).split(",")[:-1] for fact in runnable.input_facts()]
    given = [tract.Tensor.from_numpy(numbers([int(size) for size in shape])) for shape in shapes]
    inputs = (ctypes.c_void_p * len(given))(*[tensor.ptr for tensor in given])
    outputs = (ctypes.c_void_p * runnable.output_count())()
    run, destroy = tract.bindings.lib.tract_state_run, tract.bindings.lib.tract_tensor_destroy

    def call():
        tract.bindings.check(run(state.ptr, inputs, outputs))
        for output in outputs:
            destroy(ctypes.byref(ctypes.c_void_p(output)))

    # What the pointers point to lives as long as the call.
    call.owners = given, state, runnable
    return call


def timed(calls, rounds):
    """For each function the microseconds of a call, round by round; the functions take turns."""
    calls = list(calls)
    times = [[] for _ in calls]
    for call in calls:
        for _ in range(5 * CALLS):
            call()
    for _ in range(rounds):
        for call, of in zip(calls, times):
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            of.append((time.perf_counter() - start) * 1e6 / CALLS)
    return times


if __name__ == "__main__":
    main()
