"""Runs whose exported ONNX files are compared with the program's own predictions, by check-onnx.py and check-candle-onnx.py.

Trains a small network for a cell, depth, direction, readout, target and preprocessing on files made by chance, exports
it, and has PROGRAM and what reads the file predict the same sequences.
"""

import gzip
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

SCALINGS = ["standard", "min-max", "per-sequence", "none"]
TOLERANCE = 1e-5
FEATURES = 3
WINDOW, HORIZON = 8, 3
ROOT = Path(__file__).resolve().parent.parent


class Program:
    """The program, run in a folder, and the class of sessions that read what it exports."""

    def __init__(self, path, folder, session):
        self.path, self.folder, self.session = path, folder, session

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

    def exported(self, run, name, *args):
        """A session of what a run is exported to."""
        self("export", run, "--onnx", f"{name}.onnx", *args)
        return self.session(self.folder / f"{name}.onnx")


class Session:
    """An exported file, read by another program. Subclasses set `inputs` (shapes by names) and `metadata`, and predict."""

    # Whether rows of one batch may differ in length.
    takes_lengths = True

    def predict(self, inputs):
        """The outputs by their names."""
        raise NotImplementedError

    def __call__(self, **inputs):
        found = self.predict(inputs)
        if "logits" in found:
            exps = np.exp(found["logits"] - found["logits"].max(-1, keepdims=True))
            close(found["probabilities"], exps / exps.sum(-1, keepdims=True), "softmax of the logits")
        return found

    def start(self, rows):
        """The states before the first step."""
        states = {}
        for name, shape in self.inputs.items():
            if name in ("h", "c"):
                states[name] = np.zeros((shape[0], rows, shape[2]), np.float32)
            elif name == "last":
                states[name] = np.full((rows, shape[1]), np.nan)
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
    """An answer of the session's with the program's."""
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
    session = program.exported(name, name)
    # All at once, behind whose ends anything may stand; one by one, each with its own T.
    for garbage in (0.0, 1e6, np.nan) if session.takes_lengths else ():
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
    session = program.exported(name, f"{name}-step", "--streaming")
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
    session = program.exported(name, name)
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
    session = program.exported(name, f"{name}-step", "--streaming")
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
    session = program.exported(name, name)
    ids = np.array([session.metadata["vocabulary"].index(character) for character in text], np.int64)
    found = session(ids=ids[None, :-1], lengths=np.array([len(ids) - 1], np.int64))
    loss = -np.log(found["probabilities"][0].astype(np.float64)[np.arange(len(ids) - 1), ids[1:]]).mean()
    [expected] = program.objects("eval", name, f"{name}-new.txt")
    close(loss, expected["loss"], "loss of a text")
    # Rows of different lengths, and the same character by character.
    rows = np.zeros((3, 20), np.int64)
    lengths = np.array([20, 1, 13] if session.takes_lengths else [20, 20, 20], np.int64)
    for row, length in enumerate(lengths):
        rows[row, :length] = ids[7 * row :][:length]
    found = session(ids=rows, lengths=lengths)
    stepper = program.exported(name, f"{name}-step", "--streaming")
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
        raise AssertionError(f"the exported file continues {text!r}, the program {prompt + written['text']!r}")


def compare_all(path, session, cases, reader):
    """Runs all cases, each a function and what follows the name of its run; exits with 1 if one failed."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        program = Program(os.path.abspath(path), Path(folder), session)

        def run(numbered):
            number, (check, *args) = numbered
            try:
                check(program, f"run{number}", *args)
            except Exception as error:
                return f"{check.__name__}{tuple(args)}: {type(error).__name__}: {error}"
            return None

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            results = list(pool.map(run, enumerate(cases)))
    failed = [result for result in results if result]
    for line in failed[:20]:
        print(f"error: {line}", file=sys.stderr)
    for what, error in sorted(LARGEST.items()):
        print(f"  {what:<32} differs by at most {error:.1e}")
    seconds = time.monotonic() - start
    print(f"{len(results) - len(failed)} of {len(results)} runs agree with {reader} to {TOLERANCE:.0e}, in {seconds:.0f} s")
    sys.exit(1 if failed else 0)
