"""The layers and the training step of benches/device, by PyTorch and cuDNN on an NVIDIA GPU.

    python3 benches/peers/pytorch_cuda.py                  prints a table
    python3 benches/peers/pytorch_cuda.py serve [cpu]      answers what benches/device/serve.rs does, for `just gpu-report`

Needs PyTorch with CUDA; with `cpu` it runs on the CPU, to try it. As there: forward and backward to weights and inputs for the
loss sum(outputs^2), the median of 15 rounds, each waited for. Dtypes: f32 with exact products, tf32 (products of 10 significant
bits, which cuDNN takes unless told otherwise), bf16 and fp16, with weights, inputs and states in these. Mode `graph`: forward
and backward, or the whole step, captured once and replayed as a CUDA graph.
"""

import json
import statistics
import sys
import time

import torch
from torch import nn

ROUNDS = 15
WARM_UP = 3
STEPS = 20  # of a round of the reference job
CHECKED_STEPS = 128  # of a sequence that is held to f64
SHAPES = [
    (150, 28, 28, 150),
    (64, 128, 256, 256),
    (64, 128, 256, 512),
    (32, 64, 512, 1024),
    (16, 1024, 768, 768),
    (128, 128, 1024, 1024),
    (256, 64, 256, 256),
]
CELLS = {"tanh": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
DTYPES = {"f32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Failed(Exception):
    """A request that cannot be answered."""


class Job:
    """Something that is run in rounds, as it comes or as a CUDA graph."""

    def __init__(self, device, dtype, mode):
        if dtype not in DTYPES or mode not in ("eager", "graph"):
            raise Failed(f"no {dtype} {mode}")
        if mode == "graph" and device == "cpu":
            raise Failed("a CUDA graph needs a GPU")
        self.device, self.dtype, self.is_tf32 = device, DTYPES[dtype], dtype == "tf32"
        self.graph = None

    def wait(self):
        if self.device != "cpu":
            torch.cuda.synchronize()

    def set_products(self):
        torch.backends.cudnn.allow_tf32 = self.is_tf32
        torch.backends.cuda.matmul.allow_tf32 = self.is_tf32

    def capture(self):
        """Captures `body`, after it has run beside the default stream, as PyTorch asks for."""
        self.set_products()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.body()
        torch.cuda.current_stream().wait_stream(stream)
        self.zero()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.body()
        self.graph = graph

    def run(self):
        if self.graph is None:
            self.zero()
            self.body()
        else:
            self.graph.replay()

    def zero(self):
        """Forgets gradients: a leaf's would be added to."""

    def round(self, count=1):
        """Milliseconds until the device has done it."""
        self.set_products()
        self.wait()
        start = time.perf_counter()
        for _ in range(count):
            self.run()
        self.wait()
        return (time.perf_counter() - start) * 1e3 / count


class Layer(Job):
    """One recurrent layer, forward and backward."""

    def __init__(self, device, cell, shape, dtype, mode):
        super().__init__(device, dtype, mode)
        batch_size, seq_len, input_size, hidden_size = shape
        torch.manual_seed(1)
        module = CELLS[cell](input_size, hidden_size, batch_first=True).to(device)
        x = torch.empty(batch_size, seq_len, input_size, device=device).uniform_(-1, 1)
        self.wide = (module, x)
        self.cell, self.sizes = cell, (input_size, hidden_size)
        self.module, self.x = self.copy(self.dtype)
        self.errors = self.found_errors()
        if mode == "graph":
            self.capture()

    def copy(self, dtype, steps=None):
        """The layer and its inputs in a dtype, of the first steps."""
        module, x = self.wide
        own = CELLS[self.cell](*self.sizes, batch_first=True).to(self.device, dtype)
        own.load_state_dict(module.state_dict())
        return own, x[:, :steps].to(dtype).contiguous().requires_grad_()

    def body(self):
        self.module(self.x)[0].float().square().sum().backward()

    def zero(self):
        self.module.zero_grad(set_to_none=True)
        self.x.grad = None

    def found_errors(self):
        """The largest difference of outputs, and of gradients, from f64, over the largest number of a tensor."""
        self.set_products()

        def computed(dtype, wide):
            module, x = self.copy(dtype, CHECKED_STEPS)
            outputs = module(x)[0]
            outputs.to(wide).square().sum().backward()
            return outputs.detach(), [x.grad] + [weight.grad for weight in module.parameters()]

        def difference(a, b):
            b = b.double()
            return ((a.double() - b).abs().max() / b.abs().max()).item()

        outputs, grads = computed(self.dtype, torch.float32)
        wide_outputs, wide_grads = computed(torch.float64, torch.float64)
        return {
            "outputs": difference(outputs, wide_outputs),
            "gradients": max(difference(*pair) for pair in zip(grads, wide_grads)),
        }


class Step(Job):
    """A training step of the reference job: 150 tanh units, the last state read by a dense layer, the fused Adam."""

    def __init__(self, device, dtype, mode):
        super().__init__(device, dtype, mode)
        torch.manual_seed(1)
        self.rnn = nn.RNN(28, 150, batch_first=True).to(device, self.dtype)
        self.head = nn.Linear(150, 10).to(device, self.dtype)
        parameters = [*self.rnn.parameters(), *self.head.parameters()]
        self.x = torch.rand(150, 28, 28, device=device, dtype=self.dtype)
        self.y = torch.randint(10, (150,), device=device)
        self.adam = torch.optim.Adam(parameters, lr=1e-3, fused=True, capturable=mode == "graph")
        self.loss = None
        if mode == "graph":
            self.capture()

    def body(self):
        self.loss = nn.functional.cross_entropy(self.head(self.rnn(self.x)[0][:, -1]), self.y)
        self.loss.backward()
        self.adam.step()

    def zero(self):
        self.adam.zero_grad(set_to_none=True)

    def run(self):
        super().run()
        # The loss is looked at every step, as training does.
        self.loss.item()

    def round(self, count=STEPS):
        return super().round(count)


def prepared(device, words):
    """The job of a request, which has run once."""
    try:
        match words:
            case ["layer", cell, shape, dtype, mode] if cell in CELLS:
                job = Layer(device, cell, tuple(map(int, shape.split(","))), dtype, mode)
            case ["step", dtype, mode]:
                job = Step(device, dtype, mode)
            case _:
                raise Failed(f"no job {words}")
        job.run()
        job.wait()
        return job
    except (RuntimeError, ValueError) as error:
        raise Failed(str(error).splitlines()[0] if str(error) else repr(error)) from error


def serve(device):
    """Answers requests until stdin ends."""
    jobs = {}
    for line in sys.stdin:
        try:
            match line.split():
                case ["prepare", slot, *words]:
                    jobs[slot] = prepared(device, words)
                    answer = {"errors": jobs[slot].errors} if isinstance(jobs[slot], Layer) else {}
                case ["round", slot] if slot in jobs:
                    answer = {"ms": jobs[slot].round()}
                case ["clear"]:
                    jobs.clear()
                    if device != "cpu":
                        torch.cuda.empty_cache()
                    answer = {}
                case words:
                    raise Failed(f"no answer to {words}")
        except (Failed, RuntimeError) as error:
            answer = {"failed": str(error)}
        # NaN is no JSON.
        print(json.dumps(answer).replace("NaN", "null").replace("Infinity", "null"), flush=True)


def main():
    """A table of all of it."""
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")

    def median(*words):
        try:
            job = prepared("cuda", words)
        except Failed as error:
            return f"failed ({error})"
        for _ in range(2):
            job.round()
        return f"{statistics.median(job.round() for _ in range(ROUNDS)):.3f} ms"

    for mode in ("eager", "graph"):
        print(f"a training step of the reference job, {mode}: {median('step', 'f32', mode)}", flush=True)
    for shape in SHAPES:
        for cell in CELLS:
            sizes = ",".join(map(str, shape))
            times = [
                f"{dtype} {mode} {median('layer', cell, sizes, dtype, mode)}"
                for dtype in DTYPES
                for mode in ("eager", "graph")
            ]
            print(f"{cell:5} {list(shape)}: {', '.join(times)}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve("cpu" if sys.argv[2:] == ["cpu"] else "cuda")
    else:
        main()
