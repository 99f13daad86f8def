"""PyTorch: torch.nn.RNN, torch.nn.Linear on the last state, torch.optim.Adam; and, as layers,
torch.nn.GRU and torch.nn.LSTM.
"""

import common


class PyTorch:
    name = "pytorch"

    def __init__(self, threads):
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(common.SEED)
        self.torch, self.version = torch, torch.__version__

    def rnn(self, inputs, units):
        """One bias is trained, as in the reference job; the other stays zero."""
        torch = self.torch
        rnn = torch.nn.RNN(inputs, units, nonlinearity="tanh", batch_first=True)
        torch.nn.init.zeros_(rnn.bias_hh_l0)
        rnn.bias_hh_l0.requires_grad_(False)
        return rnn

    def reference_job(self, x, y):
        torch = self.torch
        rnn = self.rnn(common.INPUTS, common.UNITS)
        head = torch.nn.Linear(common.UNITS, common.CLASSES)
        parameters = [p for p in [*rnn.parameters(), *head.parameters()] if p.requires_grad]
        adam = torch.optim.Adam(parameters, lr=common.LEARNING_RATE, fused=True)
        x, y = torch.from_numpy(x), torch.from_numpy(y).long()

        def forward(batch):
            batch = torch.from_numpy(batch)
            _, h_n = rnn(x[batch])
            return torch.nn.functional.cross_entropy(head(h_n[0]), y[batch])

        def train(batches):
            losses = []
            for batch in batches:
                loss = forward(batch)
                adam.zero_grad()
                loss.backward()
                adam.step()
                losses.append(loss.detach())
            return torch.stack(losses).mean().item()

        def loss(batch):
            with torch.inference_mode():
                return forward(batch).item()

        return train, loss

    def layer(self, cell, x, w_ih, w_hh, b, grad_h):
        torch = self.torch
        inputs, units = w_ih.shape[1], w_hh.shape[1]
        if cell == "tanh":
            rnn = self.rnn(inputs, units)
        else:
            # As their users have them: with two biases, both trained.
            kind = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell]
            rnn = kind(inputs, units, batch_first=True)
            torch.nn.init.zeros_(rnn.bias_hh_l0)
        with torch.no_grad():
            rnn.weight_ih_l0.copy_(torch.from_numpy(w_ih))
            rnn.weight_hh_l0.copy_(torch.from_numpy(w_hh))
            rnn.bias_ih_l0.copy_(torch.from_numpy(b))
        parameters = [p for p in rnn.parameters() if p.requires_grad]
        x, grad_h = torch.from_numpy(x), torch.from_numpy(grad_h)

        def forward():
            with torch.inference_mode():
                return rnn(x)

        def forward_backward():
            _, state = rnn(x)
            # (1, B, H), of an LSTM beside its memory.
            h_n = state[0] if cell == "lstm" else state
            return torch.autograd.grad((h_n[0] * grad_h).sum(), parameters)

        return {f"nn.{type(rnn).__name__}": (forward, forward_backward)}


if __name__ == "__main__":
    common.main(PyTorch)
