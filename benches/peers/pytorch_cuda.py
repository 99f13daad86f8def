"""The layers and the training step of benches/device.rs, by PyTorch and cuDNN on an NVIDIA GPU.

    python3 benches/peers/pytorch_cuda.py

Needs PyTorch with CUDA. As there: forward and backward to weights and inputs for the loss sum(outputs^2), `f32`, the
median of 15 rounds, each waited for. "tf32" is what cuDNN does unless told otherwise: products of 10 significant bits.
"""

import statistics
import time

import torch
from torch import nn

ROUNDS = 15
SIZES = [(150, 28, 28, 150), (64, 128, 256, 512), (32, 64, 512, 1024)]
CELLS = {"tanh": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def median(body):
    """Milliseconds until the device has done it."""
    times = []
    for turn in range(ROUNDS + 2):
        torch.cuda.synchronize()
        start = time.perf_counter()
        body()
        torch.cuda.synchronize()
        if turn >= 2:
            times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def layer(cell, size):
    """Of one layer, with exact products and with tf32."""
    batch_size, seq_len, input_size, hidden_size = size
    torch.manual_seed(1)
    module = CELLS[cell](input_size, hidden_size, batch_first=True).cuda()
    x = torch.empty(batch_size, seq_len, input_size, device="cuda").uniform_(-1, 1).requires_grad_()

    def body():
        # A leaf's gradient would be added to.
        module.zero_grad()
        x.grad = None
        module(x)[0].square().sum().backward()

    times = []
    for tf32 in (False, True):
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
        times.append(median(body))
    print(f"{cell:5} {list(size)}: {times[0]:.3f} ms, tf32 {times[1]:.3f} ms", flush=True)


def reference_job():
    """A training step: 150 tanh units, the last state read by a dense layer, Adam."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.manual_seed(1)
    rnn, head = nn.RNN(28, 150, batch_first=True).cuda(), nn.Linear(150, 10).cuda()
    parameters = [*rnn.parameters(), *head.parameters()]
    x = torch.rand(150, 28, 28, device="cuda")
    y = torch.randint(10, (150,), device="cuda")
    for kind in ({}, {"fused": True}):
        adam = torch.optim.Adam(parameters, lr=1e-3, **kind)

        def body():
            adam.zero_grad()
            loss = nn.functional.cross_entropy(head(rnn(x)[0][:, -1]), y)
            loss.backward()
            adam.step()
            loss.item()

        print(f"a training step of the reference job, Adam {kind or 'as it comes'}: {median(body):.3f} ms", flush=True)


def main():
    """All of it."""
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")
    reference_job()
    for size in SIZES:
        for cell in CELLS:
            layer(cell, size)


if __name__ == "__main__":
    main()
