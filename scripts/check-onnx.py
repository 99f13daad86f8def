"""Compares exported ONNX files with the program's own predictions.

    python scripts/check-onnx.py PROGRAM

Trains a small network for every cell, depth, direction, readout, target and preprocessing on files made by chance,
exports it, and has ONNX Runtime and PROGRAM predict the same sequences of different lengths.
`just check-onnx` does it.
"""

import gzip
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

CELLS = ["tanh", "relu", "gru", "lstm", "gru-reset-before", "minimal-gru"]
SCALINGS = ["standard", "min-max", "per-sequence", "none"]
MISSING = ["zero", "mean", "forward-fill", "refuse"]
# A forecast needs a scale of its own: the program refuses it.
NO_FORECAST = ("forecast", "per-sequence")
TOLERANCE = 1e-5
FEATURES = 3
WINDOW, HORIZON = 8, 3
ROOT = Path(__file__).resolve().parent.parent


class Program:
    """The program, run in a folder."""

    def __init__(self, path, folder):
        self.path, self.folder = path, folder

    def __call__(self, *args):
        done = subprocess.run(
            [self.path, *map(str, args)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            env={**os.environ, "RAYON_NUM_THREADS": "1", "NO_COLOR": "1"},
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, args))}: {done.stderr.strip()}")
        return done.stdout

    def objects(self, *args):
        return [json.loads(line) for line in self(*args, "--json").splitlines()]


class Session:
    """An exported file in ONNX Runtime."""

    def __init__(self, path):
        onnx.checker.check_model(onnx.load(path), full_check=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.inputs = {port.name: port for port in self.session.get_inputs()}
        self.metadata = self.session.get_modelmeta().custom_metadata_map

    def __call__(self, **inputs):
        found = dict(zip(self.outputs, self.session.run(None, inputs)))
        if "logits" in found:
            exps = np.exp(found["logits"] - found["logits"].max(-1, keepdims=True))
            close(found["probabilities"], exps / exps.sum(-1, keepdims=True), "softmax of the logits")
        return found

    def start(self, rows):
        """The states before the first step."""
        states = {}
        for name, port in self.inputs.items():
            if name in ("h", "c"):
                states[name] = np.zeros((port.shape[0], rows, port.shape[2]), np.float32)
            elif name == "last":
                states[name] = np.full((rows, port.shape[1]), np.nan)
        return states

    def step(self, states, **inputs):
        found = self(**inputs, **states)
        return found, {name: found[f"next_{name}"] for name in states}


LARGEST = {}
LOCK = threading.Lock()


def close(found, expected, what):
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if found.shape != expected.shape:
        raise AssertionError(f"{what}: shape {found.shape}, expected {expected.shape}")
    if np.isnan(found).any():
        raise AssertionError(f"{what}: NaN")
    # Of numbers beyond 1, relative to their size.
    error = float((np.abs(found - expected) / np.maximum(1.0, np.abs(expected))).max(initial=0.0))
    with LOCK:
        LARGEST[what] = max(error, LARGEST.get(what, 0.0))
    if not error <= TOLERANCE:
        raise AssertionError(f"{what}: differs by {error:.1e}")


def sequences(rng, count, shortest, longest, holes, raw):
    """Walks; those that the network reads as they are (`raw`) are not so large that its units saturate."""
    made, width = [], FEATURES
    scale, start = ([0.3, 0.5, 0.1], 0) if raw else ([1, 30, 0.01], [0, 500, 0])
    for _ in range(count):
        length = int(rng.integers(shortest, longest + 1))
        level = rng.normal(0, 2, width)
        x = (level + rng.normal(0, 1, (length, width)).cumsum(0)) * scale + start
        x = x.astype(np.float32)
        if holes:
            x[rng.random(x.shape) < 0.2] = np.nan
        made.append(x)
    return made


def write(path, xs, target, rng):
    with open(path, "w") as file:
        for at, x in enumerate(xs):
            line = {"id": str(at), "x": [[None if np.isnan(v) else float(v) for v in step] for step in x]}
            if target == "class":
                line["y"] = ["up", "down", "flat"][at % 3]
            elif target == "steps":
                line["y"] = [["a", "b"][int(rng.integers(2))] for _ in x]
            elif target == "numbers":
                line["y"] = [float(rng.normal(300, 50)), float(rng.normal(0, 0.1))]
            file.write(json.dumps(line) + "\n")


def padded(xs, garbage):
    longest = max(len(x) for x in xs)
    batch = np.full((len(xs), longest, xs[0].shape[1]), garbage, np.float32)
    for row, x in enumerate(xs):
        batch[row, : len(x)] = x
    return {"x": batch, "lengths": np.array([len(x) for x in xs], np.int64)}


def compare(target, found, row, expected, length):
    """An answer of ONNX Runtime's with the program's."""
    if target == "class":
        close(found["probabilities"][row], expected["probabilities"], "class")
    elif target == "steps":
        close(found["probabilities"][row][:length], expected["steps"], "class at each step")
    elif target == "numbers":
        close(found["numbers"][row], expected["numbers"], "numbers")
    else:
        close(found["forecast"][row], expected["forecast"], "forecast")


def check_sequences(program, name, target, cell, layers, bidirectional, readout, scaling, missing, mask):
    holes, raw = missing != "refuse", scaling == "none"
    data = f"{target}{'-holes' if holes else ''}{'-raw' if raw else ''}"
    rng = np.random.default_rng(zlib.crc32(data.encode()))
    folder = program.folder
    train, test = f"{data}.jsonl", f"{data}-new.jsonl"
    with LOCK:
        if not (folder / test).exists():
            shortest, longest = (WINDOW, 3 * WINDOW) if target == "forecast" else (1, 9)
            long = 40 if target == "forecast" else 0
            write(folder / train, sequences(rng, 18, shortest + long, longest + long, holes, raw), target, rng)
            xs = sequences(rng, 7, shortest, longest, holes, raw)
            write(folder / test, xs, target, rng)
            np.savez(folder / f"{test}.npz", *xs)
    (folder / f"{name}.toml").write_text(f'cell = "{cell}"\n')
    args = ["train", train, "--config", f"{name}.toml", "--hidden", 5, "--layers", layers, "--epochs", 2]
    args += [f"--bidirectional={str(bidirectional).lower()}", "--scaling", scaling, "--missing", missing]
    args += [f"--missing-mask={str(mask).lower()}", "--lr", 0.02, "--quiet", "--out", name]
    args += ["--readout", readout] if target != "steps" else []
    args += ["--horizon", HORIZON, "--window", WINDOW] if target == "forecast" else ["--valid-fraction", 0]
    program(*args)
    with np.load(folder / f"{test}.npz") as file:
        xs = [file[key] for key in file.files]
    expected = program.objects("predict", name, test)
    answer = {"class": "probabilities", "numbers": "numbers", "forecast": "forecast"}.get(target)
    if answer and np.ptp([line[answer] for line in expected], axis=0).max() < 1e-3:
        raise AssertionError("all sequences have the same answer: nothing is compared")
    program("export", name, "--onnx", f"{name}.onnx")
    session = Session(folder / f"{name}.onnx")
    # All at once, behind whose ends anything may stand; one by one, each with its own T.
    for garbage in (0.0, 1e6, np.nan):
        found = session(**padded(xs, garbage))
        for row, x in enumerate(xs):
            compare(target, found, row, expected[row], len(x))
    for row in (0, 3):
        compare(target, session(**padded(xs[row : row + 1], 0.0)), 0, expected[row], len(xs[row]))
    is_stepwise = not bidirectional and (readout == "last" or target == "steps")
    if not is_stepwise or target == "forecast" or scaling == "per-sequence":
        try:
            program("export", name, "--onnx", f"{name}-step.onnx", "--streaming")
        except RuntimeError as error:
            if "graph of one step" in str(error):
                return
            raise
        raise AssertionError("there is a graph of one step where there can be none")
    program("export", name, "--onnx", f"{name}-step.onnx", "--streaming")
    session = Session(folder / f"{name}-step.onnx")
    batch, states, steps = padded(xs, 0.0), session.start(len(xs)), []
    for t in range(batch["x"].shape[1]):
        found, states = session.step(states, x=batch["x"][:, t])
        steps.append(found)
    for row, x in enumerate(xs):
        if target == "steps":
            each = np.stack([found["probabilities"][row] for found in steps[: len(x)]])
            close(each, expected[row]["steps"], "class at each step, streaming")
        else:
            close(steps[len(x) - 1][answer][row], expected[row][answer], f"{target}, streaming")


def check_images(program, name, cell, view, readout, more):
    args = ["--data", "sample", "--cell", cell, "--view", view, "--readout", readout, "--hidden", 6]
    program("train", *args, "--epochs", 1, "--batch-size", 400, "--lr", 0.02, "--quiet", "--out", name, *more)
    program("export", name, "--onnx", f"{name}.onnx")
    session = Session(program.folder / f"{name}.onnx")
    numbers = [0, 1, 2, 7, 300]
    expected = program.objects("predict", name, *[f"test:{n}" for n in numbers], "--data", "sample")
    with gzip.open(ROOT / "src/data/sample/t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 28, 28)[numbers]
    pixels = pixels.astype(np.float32) / np.float32(255)
    found = session(pixels=pixels)
    for row, line in enumerate(expected):
        close(found["probabilities"][row], line["probabilities"], "images")
    if "--bidirectional=true" in more or readout != "last":
        return
    program("export", name, "--onnx", f"{name}-step.onnx", "--streaming")
    session = Session(program.folder / f"{name}-step.onnx")
    flat = pixels.reshape(len(numbers), -1)
    steps = {
        "rows": lambda: pixels,
        "columns": lambda: pixels.transpose(0, 2, 1),
        "pixels": lambda: flat[:, :, None],
        "permuted": lambda: flat[:, json.loads(session.metadata["pixel_order"])][:, :, None],
    }[view]()
    states = session.start(len(numbers))
    for t in range(steps.shape[1]):
        found, states = session.step(states, x=np.ascontiguousarray(steps[:, t]))
    for row, line in enumerate(expected):
        close(found["probabilities"][row], line["probabilities"], "images, streaming")


def check_text(program, name, cell, layers):
    length = 16
    text = ("the cat sat on the mat. the dog ate the hät. " * 40)[: 90 * length + 1]
    (program.folder / f"{name}.txt").write_text(text)
    (program.folder / f"{name}.toml").write_text(f'cell = "{cell}"\n')
    args = ["--config", f"{name}.toml", "--hidden", 12, "--layers", layers, "--epochs", 3, "--batch-size", 4]
    args += ["--seq-len", length, "--embedding-size", 5, "--lr", 0.02, "--quiet", "--out", name]
    program("train", f"{name}.txt", *args)
    # Short enough to be read as one stream.
    text = text[: 20 * length + 1]
    (program.folder / f"{name}-new.txt").write_text(text)
    whole, stepped = f"{name}.onnx", f"{name}-step.onnx"
    program("export", name, "--onnx", whole)
    program("export", name, "--onnx", stepped, "--streaming")
    session = Session(program.folder / whole)
    ids = np.array([session.metadata["vocabulary"].index(character) for character in text], np.int64)
    found = session(ids=ids[None, :-1], lengths=np.array([len(ids) - 1], np.int64))
    loss = -np.log(found["probabilities"][0].astype(np.float64)[np.arange(len(ids) - 1), ids[1:]]).mean()
    [expected] = program.objects("eval", name, f"{name}-new.txt")
    close(loss, expected["loss"], "loss of a text")
    # Rows of different lengths, and the same character by character.
    rows = np.zeros((3, 20), np.int64)
    lengths = np.array([20, 1, 13], np.int64)
    for row, length in enumerate(lengths):
        rows[row, :length] = ids[7 * row :][:length]
    found = session(ids=rows, lengths=lengths)
    stepper = Session(program.folder / stepped)
    states = stepper.start(3)
    for t in range(20):
        step, states = stepper.step(states, id=rows[:, t])
        real = lengths > t
        close(step["logits"][real], found["logits"][real, t], "text, streaming")
    prompt = "the "
    [written] = program.objects("generate", name, "--prompt", prompt, "--length", 40, "--temperature", 0)
    vocabulary, states, text = stepper.metadata["vocabulary"], stepper.start(1), prompt
    for at in range(len(prompt) + 39):
        step, states = stepper.step(states, id=np.array([vocabulary.index(text[at])], np.int64))
        if at >= len(prompt) - 1:
            text += vocabulary[int(step["logits"][0].argmax())]
    if text != prompt + written["text"]:
        raise AssertionError(f"ONNX Runtime continues {text!r}, the program {prompt + written['text']!r}")


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


def main():
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        program = Program(os.path.abspath(sys.argv[1]), Path(folder))

        def run(numbered):
            number, (check, *args) = numbered
            try:
                check(program, f"run{number}", *args)
            except Exception as error:
                return f"{check.__name__}{tuple(args)}: {type(error).__name__}: {error}"
            return None

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            results = list(pool.map(run, enumerate(cases())))
    failed = [result for result in results if result]
    for line in failed[:20]:
        print(f"error: {line}", file=sys.stderr)
    for what, error in sorted(LARGEST.items()):
        print(f"  {what:<32} differs by at most {error:.1e}")
    seconds = time.monotonic() - start
    print(f"{len(results) - len(failed)} of {len(results)} runs agree with ONNX Runtime "
          f"{onnxruntime.__version__} to {TOLERANCE:.0e}, in {seconds:.0f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
