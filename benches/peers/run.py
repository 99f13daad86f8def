"""Times candle-rnn beside PyTorch, Keras, JAX and plain Candle, in interleaved rounds.

    python3 benches/peers/run.py [--rounds N] [--threads N] [--only epoch|layers] [--data DIR]
                                 [--epochs N] [--cells tanh,gru,lstm] [--record FILE]
    python3 benches/peers/run.py --install

`just bench-peers` runs it. It needs Python and Rust. With --install (`just peers`) it installs the
peers instead, each into a virtual environment of its own under .venv-peers/, in the versions of
requirements-*.txt (about 8 GB, most of it the CUDA libraries that PyTorch's package brings along
and nothing here uses).

Every round runs every program once, for the layers once a cell: then a neighbour on the machine
slows all of them, and a round compares what ran side by side.

How to read what it prints:
- reference job: seconds of an epoch (366 batches: forward, backward, Adam; no validation). Of the
  epochs that a program trains in a round the best counts: two, in each setting that is tried; six
  of ours, which take as long; one of the slow composition.
- layers: milliseconds of a call, the best of half a second of them and of 5 at least. Forward is
  that of inference and ends in the last state. Backward gives the gradients of the weights, not of
  the inputs. A GRU resets after the product; plain Candle is timed for tanh alone.
- `x ours` is a program's figure over candle-rnn's of the same round, for each round; `worst` is
  the smallest of them, and that is the one to quote.
- memory: the largest resident set of a program's process while it ran the reference job.
A program whose loss says that it did not learn is an error: it was not the reference job.
"""

import argparse
import datetime
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VENVS = ROOT / ".venv-peers"
EXE = ".exe" if os.name == "nt" else ""

OURS = "candle-rnn"
PYTHON_PEERS = {"pytorch": "pytorch.py", "keras": "keras_.py", "jax": "jax_.py"}
COMPOSITION = "composition"
PROGRAMS = [OURS, *PYTHON_PEERS, COMPOSITION]
# Where it is not clear which setting suits a peer best, each round tries both and the better counts.
# OpenMP's threads wait by spinning, which is fast on a quiet machine and ruinous on a busy one.
SETTINGS = {
    "pytorch": [{}, {"OMP_WAIT_POLICY": "PASSIVE"}],
    "keras": [{"PEERS_UNROLL": "0"}, {"PEERS_UNROLL": "1"}],
}

# Layers: each cell in each shape B, T, I, H. One sequence alone is timed forward only.
CELLS = ["tanh", "gru", "lstm"]
SHAPES = ["150,28,28,150", "128,784,1,128", "64,128,256,512", "32,64,512,1024", "1,28,28,150"]
# Plain Candle needs seconds for a call of the larger ones, and is written for one cell.
COMPOSITION_CELL = "tanh"
COMPOSITION_SHAPES = ["150,28,28,150", "1,28,28,150"]
# What the worst round's ratio is meant to reach, and in a layer to exceed.
EPOCH_TARGETS = {"keras": 2.2, "pytorch": 2.8, "jax": 2.4, COMPOSITION: 8.0}
LAYER_TARGET = 1.0
# For one sequence alone.
LATENCY_TARGETS_MS = {"tanh": 0.040, "gru": 0.100, "lstm": 0.120}
MEMORY_TARGET_MB = 250

# Mean loss of the first epoch, and loss of the last batch: chance is 2.3.
FIRST_EPOCH_LOSS = (0.2, 1.2)
LAST_BATCH_LOSS = 0.5


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=2, help="per program and round")
    parser.add_argument("--only", choices=["epoch", "layers"])
    parser.add_argument("--cells", type=cells, default=CELLS, help="of the layers: tanh,gru,lstm")
    parser.add_argument("--data", type=Path, help="folder with MNIST's four files")
    parser.add_argument("--record", type=Path, help="write all figures to this JSON file")
    parser.add_argument("--install", action="store_true", help="install the peers, time nothing")
    args = parser.parse_args()

    if args.install:
        for name in PYTHON_PEERS:
            install(name)
        return
    pythons = {name: environment(name) for name in PYTHON_PEERS}
    build()
    runner = Runner(args.threads, pythons)
    record = {"machine": machine(), "threads": args.threads, "rounds": args.rounds}
    if args.only != "layers":
        record["epoch"] = runner.epochs(args.rounds, args.epochs, args.data or cached_mnist())
    if args.only != "epoch":
        record["layers"] = runner.layers(args.rounds, args.cells)
    record["programs"] = runner.versions
    print_machine(record)
    if "epoch" in record:
        print_epochs(record["epoch"])
    if "layers" in record:
        print_layers(record["layers"])
    if args.record:
        args.record.parent.mkdir(parents=True, exist_ok=True)
        args.record.write_text(json.dumps(record, indent=1) + "\n")
        say(f"\nwritten to {args.record}")


def cells(text):
    names = text.split(",")
    if not set(names) <= set(CELLS):
        raise ValueError(text)
    return [cell for cell in CELLS if cell in names]


def say(text):
    print(text, flush=True)


def note(text):
    print(text, file=sys.stderr, flush=True)


def fail(text):
    sys.exit(f"error: {text}")


# Setting up


class Environment:
    """A peer's virtual environment, and the versions that it is for."""

    def __init__(self, name):
        self.requirements = HERE / f"requirements-{name}.txt"
        self.wanted = hashlib.sha256(self.requirements.read_bytes()).hexdigest()
        self.venv = VENVS / name
        self.python = self.venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.stamp = self.venv / "requirements.sha256"

    def is_ready(self):
        has_stamp = self.python.exists() and self.stamp.exists()
        return has_stamp and self.stamp.read_text() == self.wanted


def environment(name):
    """The Python of the peer's virtual environment."""
    found = Environment(name)
    if not found.is_ready():
        fail(f"{name} is not installed, or not in the versions of {found.requirements.name}: `just peers` installs it")
    return found.python


def install(name):
    """Makes the peer's virtual environment, unless it is there with these versions."""
    wanted = Environment(name)
    if wanted.is_ready():
        return
    note(f"installing {wanted.requirements.name} into {wanted.venv.relative_to(ROOT)}")
    subprocess.run([base_python(), "-m", "venv", "--clear", wanted.venv], check=True)
    pip = [wanted.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", wanted.requirements], check=True)
    wanted.stamp.write_text(wanted.wanted)


def base_python():
    """A Python that all peers support: 3.12 or 3.13."""
    candidates = [sys.executable, "python3.13", "python3.12"]
    candidates += sorted(Path.home().glob(".pyenv/versions/3.1[23].*/bin/python3"), reverse=True)
    code = "import sys, venv; sys.exit(sys.version_info[:2] not in [(3, 12), (3, 13)])"
    for candidate in candidates:
        path = shutil.which(candidate)
        if path and subprocess.run([path, "-c", code], capture_output=True).returncode == 0:
            return path
    fail("no Python 3.12 or 3.13 on PATH: TensorFlow and JAX have a version in common for no other")


def build():
    note("building candle-rnn and its peers in plain Candle")
    examples = ["--example", "peers-layers", "--example", "peers-composition"]
    command = ["cargo", "build", "--release", "--locked", "--bin", OURS, *examples]
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        fail("the build failed")


def target(*path):
    folder = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    return ROOT.joinpath(folder, "release", *path[:-1], path[-1] + EXE)


def cached_mnist():
    """The user's cache folder, which `candle-rnn data` fills if need be."""
    command = [target(OURS), "data", "--quiet"]
    if subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL).returncode != 0:
        fail("no MNIST: name a folder that holds its four files with --data")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "candle-rnn" / "mnist"


# Running


class Runner:
    def __init__(self, threads, pythons):
        self.threads, self.pythons, self.versions = threads, pythons, {}
        names = ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
        self.environment = os.environ | {name: str(threads) for name in names}

    def settings(self, name, job):
        # Keras's layers try both ways of their own accord.
        return SETTINGS.get(name, [{}]) if (name, job) != ("keras", "layers") else [{}]

    def peer(self, name, setting, *arguments):
        """The objects that a program prints, and the most memory it had, in MB."""
        threads = ["--threads", str(self.threads)]
        if name in self.pythons:
            command = [self.pythons[name], HERE / PYTHON_PEERS[name], *threads, *arguments]
        else:
            example = "peers-composition" if name == COMPOSITION else "peers-layers"
            command = [target("examples", example), *threads, *arguments]
        lines, memory = self.run(name, command, setting)
        self.versions[name] = lines[0]["version"]
        return lines[1:], memory

    def run(self, name, command, setting=None):
        command = [str(part) for part in command]

        def pin():
            # To as many cores as threads, and the same ones for every program.
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: self.threads])

        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment | (setting or {}),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                preexec_fn=pin if hasattr(os, "sched_setaffinity") else None,
            )
            output = process.stdout.read()
            if hasattr(os, "wait4"):
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                unit = 1 if sys.platform == "darwin" else 1024
                memory = usage.ru_maxrss * unit / 1e6
            else:
                process.wait()
                memory = None
            if process.returncode != 0:
                errors.seek(0)
                fail(f"{name}: {' '.join(command)} failed:\n{errors.read()[-2000:]}")
        return [json.loads(line) for line in output.splitlines() if line.startswith("{")], memory

    def epochs(self, rounds, epochs, data):
        """{program: [{seconds, train_loss, loss_batch, memory_mb} of each round]}"""
        result = {name: [] for name in PROGRAMS}
        for number in range(1, rounds + 1):
            for name in PROGRAMS:
                settings = self.settings(name, "epoch")
                if name == OURS:
                    # Its first epoch is its warm-up. As many follow as take about as long as
                    # a peer's: a neighbour's burst would else hit all that it has.
                    runs = [self.train(data, 3 * epochs + 1)]
                else:
                    # After a warm-up of their own.
                    count = 1 if name == COMPOSITION else epochs
                    job = ["epoch", data, "--epochs", count]
                    runs = [self.peer(name, setting, *job) for setting in settings]
                for lines, _ in runs:
                    check_learning(name, lines)
                lines = [line for of_run, _ in runs for line in of_run]
                counted = lines[1:] if name == OURS else lines
                memory = max((memory for _, memory in runs if memory), default=None)
                of_round = {
                    "seconds": min(line["seconds"] for line in counted),
                    "epochs": [line["seconds"] for line in lines],
                    "train_loss": lines[0]["train_loss"],
                    "loss_batch": lines[-1]["loss_batch"],
                    "memory_mb": memory,
                }
                result[name].append(of_round)
                note(
                    f"round {number}: {name}: {of_round['seconds']:.3f} s; loss of the first epoch "
                    f"{of_round['train_loss']:.3f}, of the last batch {of_round['loss_batch']:.3f}"
                )
        return result

    def train(self, data, epochs):
        with tempfile.TemporaryDirectory() as folder:
            command = [target(OURS), "train", "--json", "--quiet", "--device", "cpu"]
            command += ["--threads", self.threads, "--epochs", epochs]
            return self.run(OURS, [*command, "--data", data, "--out", Path(folder) / "run"])

    def layers(self, rounds, cells):
        """{"cell B,T,I,H what": {program: [{best_ms, median_ms, calls} of each round]}}"""
        result = {}
        for number in range(1, rounds + 1):
            for cell in cells:
                for name in PROGRAMS:
                    if name == COMPOSITION and cell != COMPOSITION_CELL:
                        continue
                    best = self.layers_of(name, cell)
                    for job, line in best.items():
                        result.setdefault(job, {}).setdefault(name, []).append(line)
                    note(f"round {number}: {name}: {len(best)} figures of {cell} layers")
        return result

    def layers_of(self, name, cell):
        """{"cell B,T,I,H what": {best_ms, median_ms, calls}}, each in its best setting"""
        # Plain Candle's arguments name no cell: it has but one.
        layers = COMPOSITION_SHAPES if name == COMPOSITION else [f"{cell}:{s}" for s in SHAPES]
        best = {}
        for setting in self.settings(name, "layers"):
            lines, _ = self.peer(name, setting, "layers", *layers)
            for line in lines:
                job = f"{cell} {','.join(map(str, line['shape']))} {line['what']}"
                if job not in best or line["best_ms"] < best[job]["best_ms"]:
                    best[job] = line | {"setting": setting}
        keys = ["best_ms", "median_ms", "calls", "variant", "setting"]
        return {
            job: {key: line[key] for key in keys if line.get(key)} for job, line in best.items()
        }


def check_learning(name, lines):
    first, last = lines[0]["train_loss"], lines[-1]["loss_batch"]
    low, high = FIRST_EPOCH_LOSS
    if not (low < first < high and last < LAST_BATCH_LOSS):
        fail(f"{name} does not learn: loss {first:.3f} in its first epoch, {last:.3f} at its end")


# Reporting


def machine():
    def ask(*command):
        output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        return output.stdout.strip()

    cpu, flags = platform.processor(), []
    if Path("/proc/cpuinfo").exists():
        info = Path("/proc/cpuinfo").read_text()
        cpu = "; ".join(
            match.group(1)
            for key in ["model name", "cpu family", "model"]
            if (match := re.search(rf"^{key}\s*: (.*)$", info, re.MULTILINE))
        )
        flags = re.findall(r"^(?:flags|Features)\s*: (.*)$", info, re.MULTILINE)[:1]
        flags = flags[0].split() if flags else []
    wanted = ["avx2", "fma", "avx512f", "avx512dq", "asimd"]
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "instruction_sets": [flag for flag in wanted if flag in flags],
        "forced_isa": os.environ.get("CANDLE_RNN_ISA") or None,
        "system": f"{platform.system()} {platform.release()}",
        "rustc": ask("rustc", "--version"),
        "rustflags": os.environ.get("RUSTFLAGS") or None,
        "commit": ask("git", "rev-parse", "HEAD"),
        "changed_files": bool(ask("git", "status", "--porcelain", "--untracked-files=no")),
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def print_machine(record):
    info = record["machine"]
    changed = " with changes" if info["changed_files"] else ""
    forced = f", forced to {info['forced_isa']}" if info["forced_isa"] else ""
    say(f"\n{info['cpu']}; {' '.join(info['instruction_sets'])}{forced}")
    say(f"{info['rustc']}; commit {info['commit'][:12]}{changed}; {info['date']}")
    say(f"{record['threads']} threads; load before: {info['load_before']}")
    say("; ".join(f"{name} {version}" for name, version in record["programs"].items()))


def print_epochs(result):
    say("\nreference job, one epoch: seconds, the best of each round")
    seconds = {name: [of_round["seconds"] for of_round in rounds] for name, rounds in result.items()}
    print_table(seconds, EPOCH_TARGETS, "{:8.3f}")
    for name, rounds in result.items():
        memory = [of_round["memory_mb"] for of_round in rounds if of_round["memory_mb"]]
        target = f", target <= {MEMORY_TARGET_MB}" if name == OURS else ""
        if memory:
            say(f"  memory {name:<12} {max(memory):8.0f} MB{target}")


def print_layers(result):
    for job, programs in result.items():
        cell, sizes, what = job.split()
        latency = sizes.startswith("1,")
        scale, unit, form = (1e3, "µs", "{:8.1f}") if latency else (1, "ms", "{:8.3f}")
        say(f"\n{cell} ({sizes}) {what.replace('_', ' + ')}: {unit}, the best of each round")
        times = {
            name: [scale * of_round["best_ms"] for of_round in rounds]
            for name, rounds in programs.items()
        }
        targets = {name: LAYER_TARGET for name in times if name != OURS}
        print_table(times, targets, form, exceed=True)
        if latency:
            best, worst = min(times[OURS]), max(times[OURS])
            target = scale * LATENCY_TARGETS_MS[cell]
            reached = "yes" if best <= target else "NO"
            say(f"  ours {best:.1f} to {worst:.1f} µs, target: best <= {target:.0f} {reached}")


def print_table(figures, targets, form, exceed=False):
    """A line a program: its figure and its ratio to ours in each round, the worst, the target.

    The worst is to reach the target, or to exceed it.
    """
    ours = figures[OURS]
    width = 8 * len(ours)
    say(f"  {'':<12}{'round 1..':>{width}}  {'x ours':>{width}}  {'worst':>7}  target")
    for name, of_rounds in figures.items():
        line = f"  {name:<12}" + "".join(form.format(figure) for figure in of_rounds)
        if name != OURS:
            ratios = [theirs / mine for theirs, mine in zip(of_rounds, ours, strict=True)]
            worst, target = min(ratios), targets[name]
            line += "  " + "".join(f"{ratio:8.2f}" for ratio in ratios)
            reached = worst > target if exceed else worst >= target
            # Against rounding up: 2.1996 has not reached 2.2.
            line += f"  {worst:7.2f}  {'>' if exceed else '>='} {target:.1f} "
            line += "yes" if reached else "NO"
        say(line)


if __name__ == "__main__":
    main()
