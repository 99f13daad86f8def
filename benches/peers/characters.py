"""Trains a character model in PyTorch as `candle-rnn train TEXT` does by default, and prints its speed.

    python3 benches/peers/characters.py TEXT [--epochs 1] [--threads 2]

An embedding of 64, one LSTM layer of 256, a dense layer; 32 streams, 64 characters a step, the state carried along;
Adam 3e-3, gradients clipped to norm 1. Needs torch.
"""

import argparse
import time

import torch
from torch import nn


class Network(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.embedding = nn.Embedding(size, 64)
        self.rnn = nn.LSTM(64, 256, batch_first=True)
        self.head = nn.Linear(256, size)

    def forward(self, ids, state):
        h, state = self.rnn(self.embedding(ids), state)
        return self.head(h), state


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    text = open(args.text, encoding="utf-8").read()
    names = sorted(set(text))
    number = {name: i for i, name in enumerate(names)}
    ids = torch.tensor([number[c] for c in text])[: int(len(text) * 0.95)]
    streams, steps = 32, 64
    pieces = (len(ids) - 1) // streams // steps
    length = pieces * steps
    x = ids[: streams * length].view(streams, length)
    y = ids[1 : streams * length + 1].view(streams, length)
    network = Network(len(names))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for epoch in range(args.epochs):
        start, total, state = time.perf_counter(), 0.0, None
        for piece in range(pieces):
            part = slice(piece * steps, (piece + 1) * steps)
            logits, state = network(x[:, part], state)
            state = tuple(s.detach() for s in state)
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), y[:, part].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            total += loss.item()
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1}  loss {total / pieces:.4f}  {seconds:.2f} s  {streams * length / seconds:.0f} characters/s", flush=True)


if __name__ == "__main__":
    main()
