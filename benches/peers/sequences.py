"""Trains PyTorch on a .ts or UCR text file as `candle-rnn train FILE` does by default, and prints its figures.

    python3 benches/peers/sequences.py TRAIN TEST [--seeds 1,2,3] [--epochs 60] [--batch 16] [--threads 2] [--per-sequence]

One bidirectional GRU layer of 64 units over packed sequences, mean and maximum over the real steps, a dense layer;
AdamW 3e-3, cosine schedule, gradients clipped to norm 1; features standardised over the training file, or each sequence
by itself. Needs torch and numpy. The last epoch's weights are measured: no validation data are held out.
"""

import argparse
import math
import statistics
import time

import numpy
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def read(path):
    """Sequences of shape (T, I) and their targets as texts."""
    sequences, targets = [], []
    is_data = not path.endswith(".ts")
    for line in open(path, encoding="utf-8"):
        line = line.strip()
        if not line or line.startswith("#") or line.startswith("%"):
            continue
        if not is_data:
            is_data = line.lower() == "@data"
            continue
        if ":" in line:
            *dims, target = line.split(":")
            rows = [[float(x) if x != "?" else math.nan for x in dim.split(",")] for dim in dims]
            sequences.append(numpy.array(rows, dtype=numpy.float32).T)
        else:
            cells = line.replace(",", " ").split()
            target = cells[0]
            sequences.append(numpy.array([[float(x)] for x in cells[1:]], dtype=numpy.float32))
        targets.append(target)
    return sequences, targets


class Network(nn.Module):
    def __init__(self, features, outputs, hidden=64):
        super().__init__()
        self.rnn = nn.GRU(features, hidden, batch_first=True, bidirectional=True)
        self.head = nn.Linear(4 * hidden, outputs)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        h, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        real = (torch.arange(h.shape[1])[None, :] < lengths[:, None])[..., None]
        mean = (h * real).sum(1) / lengths[:, None]
        largest = h.masked_fill(~real, -math.inf).amax(1)
        return self.head(torch.cat([mean, largest], 1))


def batch(sequences, numbers):
    parts = [torch.from_numpy(sequences[n]) for n in numbers]
    lengths = torch.tensor([len(part) for part in parts])
    return nn.utils.rnn.pad_sequence(parts, batch_first=True), lengths


def standardised(sequence):
    scale = sequence.std(0)
    return (sequence - sequence.mean(0)) / numpy.where(scale == 0, 1, scale)


def run(train, test, seed, epochs, size, per_sequence):
    torch.manual_seed(seed)
    (x, y), (x_test, y_test) = train, test
    numbers = is_numbers(y)
    steps = numpy.concatenate(x)
    mean, scale = numpy.nanmean(steps, 0), numpy.nanstd(steps, 0)
    scale[scale == 0] = 1
    scaled = standardised if per_sequence else lambda sequence: numpy.nan_to_num((sequence - mean) / scale)
    x, x_test = ([scaled(sequence) for sequence in part] for part in (x, x_test))
    if numbers:
        y, y_test = ([float(v) for v in part] for part in (y, y_test))
        centre, spread = statistics.fmean(y), statistics.pstdev(y)
        targets = torch.tensor([[(v - centre) / spread] for v in y], dtype=torch.float32)
        outputs, loss_of = 1, nn.functional.mse_loss
    else:
        names = sorted(set(y))
        targets = torch.tensor([names.index(v) for v in y])
        outputs, loss_of = len(names), nn.functional.cross_entropy
    network = Network(x[0].shape[1], outputs)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    batches = -(-len(x) // size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    start = time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(len(x)).tolist()
        for at in range(0, len(x), size):
            part = order[at : at + size]
            optimizer.zero_grad()
            loss_of(network(*batch(x, part)), targets[part]).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    seconds = time.perf_counter() - start
    with torch.no_grad():
        found = torch.cat([network(*batch(x_test, range(i, min(i + 256, len(x_test))))) for i in range(0, len(x_test), 256)])
    if numbers:
        error = found[:, 0].numpy() * spread + centre - numpy.array(y_test)
        return math.sqrt((error**2).mean()), seconds
    right = [names[i] == label for i, label in zip(found.argmax(1).tolist(), y_test)]
    return sum(right) / len(right), seconds


def is_numbers(targets):
    try:
        return any(not float(target).is_integer() for target in targets)
    except ValueError:
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--per-sequence", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train, test = read(args.train), read(args.test)
    found = [run(train, test, int(seed), args.epochs, args.batch, args.per_sequence) for seed in args.seeds.split(",")]
    for seed, (measure, seconds) in zip(args.seeds.split(","), found):
        per_second = args.epochs * len(train[0]) / seconds
        print(f"seed {seed}  {measure:.4f}  {seconds:.2f} s  {per_second:.0f} examples/s")
    print(f"median {statistics.median(measure for measure, _ in found):.4f}")


if __name__ == "__main__":
    main()
