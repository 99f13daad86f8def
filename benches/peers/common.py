"""What the Python peers share: command line, data, clock and output.

    python PEER.py --threads N epoch DATA [--epochs N]    the reference job on MNIST's files in DATA
    python PEER.py --threads N layers CELL:B,T,I,H ...    a layer of each of these cells and sizes

A peer is a class that `main` is given; it says how its framework does these two jobs:

    name, version           of the framework
    __init__(threads)       imports the framework, limited to so many threads
    reference_job(x, y)     builds model and optimizer; returns `train` and `loss`:
                            `train(batches)` makes one optimizer step for each array of indices into
                            x and y and returns the mean of their losses, `loss(batch)` only looks
    layer(cell, x, w_ih, w_hh, b, grad_h)
                            returns two functions of no argument for each way in which a user may
                            write it: `forward` computes the last state, `forward_backward` the
                            gradients of the weights, not of x, for the loss
                            sum(last state * grad_h); the faster way counts, in each of the two
All of them return when the result is there. Initial values are each framework's own in the
reference job, since no program's time depends on them; in a layer they are random.

`cell` is "tanh", "gru" or "lstm". Shapes are PyTorch's, for G = 1, 3 or 4 gates: w_ih (G*H, I),
w_hh (G*H, H), b (G*H). The order of the gates is each framework's own: no time depends on it.
A GRU resets after the product, so that it has a second bias, which starts at zero and is trained.

Every line on stdout is a JSON object: first the program, then what was timed.
"""

import argparse
import gzip
import json
import os
import statistics
import time
from pathlib import Path

import numpy

TRAIN, VALIDATION = 55_000, 5_000
BATCH_SIZE = 150
STEPS, INPUTS, UNITS, CLASSES = 28, 28, 150, 10
GATES = {"tanh": 1, "gru": 3, "lstm": 4}
LEARNING_RATE = 1e-3
WARM_UP = 20  # batches
SEED = 42


def main(peer_class):
    parser = argparse.ArgumentParser(description=f"Times {peer_class.name}.")
    parser.add_argument("--threads", type=int, default=2)
    jobs = parser.add_subparsers(dest="job", required=True)
    epoch = jobs.add_parser("epoch")
    epoch.add_argument("data", type=Path, metavar="DATA")
    epoch.add_argument("--epochs", type=int, default=2)
    layers = jobs.add_parser("layers")
    layers.add_argument("layers", nargs="+", type=layer, metavar="CELL:B,T,I,H")
    layers.add_argument("--seconds", type=float, default=0.5, help="of calls, for each figure")
    args = parser.parse_args()

    # Some frameworks take one thread for each core that they may run on.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    peer = peer_class(args.threads)
    say(program=peer.name, version=peer.version, threads=args.threads)
    if args.job == "epoch":
        time_epochs(peer, args.data, args.epochs)
    else:
        for cell, sizes in args.layers:
            time_layer(peer, cell, sizes, args.seconds)


def layer(text):
    cell, _, sizes = text.partition(":")
    sizes = tuple(int(size) for size in sizes.split(","))
    if cell not in GATES or len(sizes) != 4:
        raise ValueError(text)
    return cell, sizes


def say(**fields):
    print(json.dumps(fields), flush=True)


def time_epochs(peer, data, epochs):
    """Every epoch's permutation is cut into 366 batches, the first 100 of 151 images."""
    x = read_idx(data / "train-images-idx3-ubyte", 16).reshape(-1, STEPS, INPUTS)[VALIDATION:]
    y = read_idx(data / "train-labels-idx1-ubyte", 8)[VALIDATION:]
    assert len(x) == len(y) == TRAIN, f"{data} does not hold MNIST"
    train, loss = peer.reference_job(
        x.astype(numpy.float32) / numpy.float32(255), y.astype(numpy.int32)
    )
    generator = numpy.random.default_rng(SEED)

    def batches():
        return numpy.array_split(generator.permutation(TRAIN), TRAIN // BATCH_SIZE)

    # Batches of both sizes, so that nothing is compiled while the clock runs.
    warm_up = batches()
    train(warm_up[: WARM_UP // 2] + warm_up[-WARM_UP // 2 :])
    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        of_epoch = batches()
        train_loss = train(of_epoch)
        seconds = time.perf_counter() - start
        say(job="epoch", epoch=epoch, batches=len(of_epoch), seconds=seconds,
            train_loss=float(train_loss), loss_batch=float(loss(of_epoch[-1])))  # fmt: skip


def read_idx(path, header_bytes):
    """The values behind the header of an IDX file of bytes, gzipped or not."""
    if not path.exists():
        content = gzip.decompress(path.with_name(path.name + ".gz").read_bytes())
    else:
        content = path.read_bytes()
    return numpy.frombuffer(content, dtype=numpy.uint8, offset=header_bytes)


def time_layer(peer, cell, sizes, seconds):
    """One sequence alone (B = 1) is timed forward only: there it is the latency that counts."""
    batch_size, seq_len, inputs, units = sizes
    rows = GATES[cell] * units
    generator = numpy.random.default_rng(SEED)

    def normal(*shape):
        return generator.standard_normal(shape, dtype=numpy.float32)

    def uniform(*shape):
        return generator.uniform(-(units**-0.5), units**-0.5, shape).astype(numpy.float32)

    variants = peer.layer(
        cell,
        normal(batch_size, seq_len, inputs),
        uniform(rows, inputs),
        uniform(rows, units),
        uniform(rows),
        normal(batch_size, units),
    )
    for index, what in enumerate(["forward", "forward_backward"][: 1 if batch_size == 1 else 2]):
        calls = {variant: functions[index] for variant, functions in variants.items()}
        variant = fastest(calls) if len(calls) > 1 else next(iter(calls))
        fields = {"cell": cell, "shape": sizes, "what": what, "variant": variant}
        time_calls(fields, calls[variant], seconds)


def fastest(calls):
    """The variant whose best of a few calls is the shortest; all are compiled by then."""
    times = {variant: [] for variant in calls}
    for call in calls.values():
        call()
    for _ in range(3):
        for variant, call in calls.items():
            times[variant].append(seconds_of(call))
    return min(times, key=lambda variant: min(times[variant]))


def seconds_of(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def time_calls(fields, call, seconds):
    """Repeats `call` until it has run for so many seconds, and 5 times at least."""
    warm_up = 0.0
    while warm_up < 0.2 * seconds:
        warm_up += seconds_of(call)
    times = []
    while len(times) < 5 or sum(times) < seconds:
        times.append(seconds_of(call))
    say(job="layer", **fields, calls=len(times),
        best_ms=1e3 * min(times), median_ms=1e3 * statistics.median(times))  # fmt: skip
