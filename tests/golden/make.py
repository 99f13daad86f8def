"""Writes reference_job.safetensors: the reference job on the sample, as PyTorch computes it.

tests/library/golden.rs holds this crate to these values.

Command, from the repository's root (`just golden` does both):
    python3 -m venv .venv-golden && .venv-golden/bin/pip install -r tests/golden/requirements.txt
    .venv-golden/bin/python tests/golden/make.py
Versions: Python 3.11.7, and those of requirements.txt. Runs on the CPU, on one thread.
Seed: 42. Two runs on one machine write the same bytes; another CPU or version may round otherwise.

The model is `torch.nn.RNN(28, 150, nonlinearity="tanh", batch_first=True)`, its second bias frozen
at zero, and `torch.nn.Linear(150, 10)` on the last state. The data are the sample's training digits:
the first 400 of 2,000 validate, the other 1,600 train. Step s (from 0) trains on the 100 images
`order[100 * (s % 16):][:100]`, counted from the first training image. The loss is the mean
cross-entropy; Adam makes the steps (learning rate 1e-3, betas 0.9 and 0.999, epsilon 1e-8).

What the file holds; everything behind a dtype was computed in it, from the same initial values:
    initial.NAME    f32, the parameters before the first step
    order           u32, (1600,), a permutation of the training images
    DTYPE.logits    (100, 10), of the first batch
    DTYPE.grad.NAME gradients of the first batch's loss
    DTYPE.losses    (100,), losses of the first 100 steps, each before its step
with DTYPE f32 and f64, and NAME rnn.weight_ih_l0 (150, 28), rnn.weight_hh_l0 (150, 150),
rnn.bias_ih_l0 (150,), head.weight (10, 150), head.bias (10,).
"""

import gzip
import math
from pathlib import Path

import numpy
import torch
from safetensors.numpy import save

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parent.parent / "src" / "data" / "sample"
TARGET = HERE / "reference_job.safetensors"

SEED = 42
VALIDATION = 400
BATCH_SIZE = 100
STEPS = 100
INPUTS, UNITS, CLASSES = 28, 150, 10


def read_idx(name, header_bytes):
    """The values behind the header of a gzipped IDX file of bytes."""
    content = gzip.decompress((SAMPLE / name).read_bytes())
    return numpy.frombuffer(content, dtype=numpy.uint8, offset=header_bytes).copy()


def initial_values(generator):
    """Glorot uniform kernels, the recurrent one joined as in TensorFlow 1's BasicRNNCell.

    The biases are not zero, as the reference job's are: one left out then shows in the first logits.
    """

    def uniform(limit, *shape):
        return torch.empty(*shape).uniform_(-limit, limit, generator=generator)

    kernel = math.sqrt(6 / (INPUTS + UNITS + UNITS))
    return {
        "rnn.weight_ih_l0": uniform(kernel, UNITS, INPUTS),
        "rnn.weight_hh_l0": uniform(kernel, UNITS, UNITS),
        "rnn.bias_ih_l0": uniform(0.1, UNITS),
        "head.weight": uniform(math.sqrt(6 / (UNITS + CLASSES)), CLASSES, UNITS),
        "head.bias": uniform(0.1, CLASSES),
    }


class Classifier(torch.nn.Module):
    """(B, T, I) to logits (B, C)."""

    def __init__(self, initial):
        super().__init__()
        self.rnn = torch.nn.RNN(INPUTS, UNITS, nonlinearity="tanh", batch_first=True)
        self.head = torch.nn.Linear(UNITS, CLASSES)
        frozen = {"rnn.bias_hh_l0": torch.zeros(UNITS)}
        self.load_state_dict(initial | frozen)
        self.rnn.bias_hh_l0.requires_grad_(False)

    def forward(self, x):
        outputs, _ = self.rnn(x)
        return self.head(outputs[:, -1])

    def trained(self):
        return {name: p for name, p in self.named_parameters() if p.requires_grad}


def run(initial, pixels, labels, order, dtype):
    """Logits and gradients of the first batch, and the losses of all steps, computed in `dtype`."""
    model = Classifier(initial).to(dtype)
    parameters = model.trained()
    assert parameters.keys() == initial.keys()
    adam = torch.optim.Adam(parameters.values(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    x = torch.from_numpy(pixels).to(dtype) / 255
    y = torch.from_numpy(labels.astype(numpy.int64))
    batches = torch.from_numpy(order.astype(numpy.int64)).split(BATCH_SIZE)
    result, losses = {}, []
    for step in range(STEPS):
        batch = batches[step % len(batches)]
        logits = model(x[batch])
        loss = torch.nn.functional.cross_entropy(logits, y[batch])
        adam.zero_grad()
        loss.backward()
        if step == 0:
            result["logits"] = logits.detach().numpy().copy()
            for name, parameter in parameters.items():
                result[f"grad.{name}"] = parameter.grad.numpy().copy()
        losses.append(loss.detach())
        adam.step()
    assert not model.rnn.bias_hh_l0.any()
    result["losses"] = torch.stack(losses).numpy()
    return result


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    pixels = read_idx("train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)[VALIDATION:]
    labels = read_idx("train-labels-idx1-ubyte.gz", 8)[VALIDATION:]
    assert len(pixels) == len(labels) == 1600

    generator = torch.Generator().manual_seed(SEED)
    initial = initial_values(generator)
    order = torch.randperm(len(labels), generator=generator).numpy().astype(numpy.uint32)
    f32 = run(initial, pixels, labels, order, torch.float32)
    f64 = run(initial, pixels, labels, order, torch.float64)

    tensors = {f"initial.{name}": value.numpy() for name, value in initial.items()}
    tensors["order"] = order
    for dtype, result in [("f32", f32), ("f64", f64)]:
        tensors |= {f"{dtype}.{name}": value for name, value in result.items()}
    # One entry at most: the order of several is random in the file.
    TARGET.write_bytes(save(tensors, metadata={"format": "pt"}))

    print(f"torch {torch.__version__}, numpy {numpy.__version__}")
    print(f"{TARGET.name}: {TARGET.stat().st_size} bytes, {len(tensors)} tensors")
    print(f"losses: first {f64['losses'][0]:.6f}, last {f64['losses'][-1]:.6f}")
    print("what PyTorch's own f32 is off its f64, max|a - b| / max|b|:")
    for name in f32:
        off = numpy.abs(f32[name] - f64[name]).max() / numpy.abs(f64[name]).max()
        print(f"  {name:25} {off:.1e}")


if __name__ == "__main__":
    main()
