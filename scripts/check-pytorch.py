"""Compares exported weights in PyTorch with the program's own predictions.

    python scripts/check-pytorch.py PROGRAM

Trains a small network for every cell that PyTorch has, depth, direction, readout and target, exports its weights, has
examples/load_in_pytorch.py load them and both predict the same sequences. `just check-pytorch` does it.
"""

import gzip
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples"))
from load_in_pytorch import load, scaled  # noqa: E402

TOLERANCE = 1e-5
LARGEST = {}


def close(found, expected, what):
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, f"{what}: {found.shape} and {expected.shape}"
    error = float((np.abs(found - expected) / np.maximum(1.0, np.abs(expected))).max())
    LARGEST[what] = max(error, LARGEST.get(what, 0.0))
    assert error <= TOLERANCE, f"{what}: differs by {error:.1e}"


def main():
    program, torch_only = os.path.abspath(sys.argv[1]), "safetensors" not in installed()
    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)

        def run(*args):
            env = {**os.environ, "RAYON_NUM_THREADS": "1"}
            args = [program, *map(str, args)]
            done = subprocess.run(args, cwd=folder, capture_output=True, text=True, env=env)
            assert done.returncode == 0, f"{args}: {done.stderr}"
            return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

        new = {}
        for target in ("class", "steps", "numbers"):
            for part, count in (("", 18), ("-new", 6)):
                xs = [rng.normal(5, 2, (int(rng.integers(1, 9)), 3)).astype(np.float32) for _ in range(count)]
                with open(folder / f"{target}{part}.jsonl", "w") as file:
                    for at, x in enumerate(xs):
                        y = {
                            "class": ["up", "down", "flat"][at % 3],
                            "steps": [["a", "b"][int(rng.integers(2))] for _ in x],
                            "numbers": [float(rng.normal(300, 50)), float(rng.normal())],
                        }[target]
                        file.write(json.dumps({"id": str(at), "x": x.tolist(), "y": y}) + "\n")
                new[target] = xs
        runs = 0
        # Classes of steps have no readout to choose.
        readouts = [("class", "last"), ("class", "mean-max"), ("steps", None), ("numbers", "mean-max")]
        for cell, layers, both in itertools.product(("tanh", "relu", "gru", "lstm"), (1, 2), ("false", "true")):
            for target, readout in readouts:
                name = f"run{runs}"
                args = ["--cell", cell, "--layers", layers, f"--bidirectional={both}"]
                args += ["--readout", readout] if readout else []
                args += ["--hidden", 5, "--epochs", 2, "--lr", 0.02, "--valid-fraction", 0, "--quiet"]
                run("train", f"{target}.jsonl", *args, "--out", name)
                file = f"{name}.pt" if runs % 2 == 0 or torch_only else f"{name}.safetensors"
                run("export", name, "--pytorch", file)
                expected = run("predict", name, f"{target}-new.jsonl", "--json")
                network, config = load(folder / name, str(folder / file))
                xs = new[target]
                lengths = torch.tensor([len(x) for x in xs])
                padded = torch.zeros(len(xs), int(lengths.max()), 3)
                for row, x in enumerate(xs):
                    padded[row, : len(x)] = scaled(config, torch.from_numpy(x))
                with torch.no_grad():
                    found = network(padded, lengths).double()
                for row, line in enumerate(expected):
                    if target == "numbers":
                        scaler = config["target_scaler"]
                        numbers = found[row].numpy() * scaler["scale"] + scaler["center"]
                        close(numbers, line["numbers"], target)
                    elif target == "steps":
                        close(found[row, : lengths[row]].softmax(-1), line["steps"], target)
                    else:
                        close(found[row].softmax(-1), line["probabilities"], target)
                runs += 1
        with gzip.open(ROOT / "src/data/sample/t10k-images-idx3-ubyte.gz") as file:
            images = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 28, 28)[:4] / np.float32(255)
        for readout in ("last", "mean-max", "all"):
            name = f"images-{readout}"
            args = ["--cell", "gru", "--readout", readout, "--hidden", 6, "--epochs", 1, "--quiet"]
            run("train", "--data", "sample", *args, "--out", name)
            run("export", name, "--pytorch", f"{name}.pt")
            network, _ = load(folder / name, str(folder / f"{name}.pt"))
            with torch.no_grad():
                found = network(torch.from_numpy(images), torch.full((4,), 28)).double().softmax(-1)
            expected = run("predict", name, *[f"test:{n}" for n in range(4)], "--data", "sample", "--json")
            close(found, [line["probabilities"] for line in expected], "images")
            runs += 1
        text = ("the cat sat on the mat. the dog ate the hat. " * 40)[:1441]
        (folder / "book.txt").write_text(text)
        args = ["--hidden", 12, "--epochs", 3, "--batch-size", 4, "--seq-len", 16, "--quiet"]
        run("train", "book.txt", *args, "--out", "text")
        # Short enough to be read as one stream.
        text = text[:321]
        (folder / "new.txt").write_text(text)
        run("export", "text", "--pytorch", "text.pt")
        network, config = load(folder / "text", str(folder / "text.pt"))
        ids = torch.tensor([[config["vocabulary"].index(character) for character in text]])
        with torch.no_grad():
            logits = network(ids[:, :-1], torch.tensor([len(text) - 1])).double()
        loss = torch.nn.functional.cross_entropy(logits[0], ids[0, 1:])
        [expected] = run("eval", "text", "new.txt", "--json")
        close(loss, expected["loss"], "loss of a text")
        runs += 1
    for what, error in sorted(LARGEST.items()):
        print(f"  {what:<16} differs by at most {error:.1e}")
    formats = "torch.save's format" if torch_only else "both formats"
    print(f"{runs} runs agree with PyTorch {torch.__version__} to {TOLERANCE:.0e}, in {formats}")


def installed():
    try:
        import safetensors.torch  # noqa: F401
    except ImportError:
        return []
    return ["safetensors"]


if __name__ == "__main__":
    main()
