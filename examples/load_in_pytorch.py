"""Loads the weights of a run into PyTorch, strictly, and predicts with them.

    candle-rnn export runs/0001 --pytorch model.pt
    python examples/load_in_pytorch.py runs/0001 model.pt

`Network` is all that it takes: a `torch.nn.RNN`, `GRU` or `LSTM`, a `torch.nn.Linear`, and what is read of the outputs.
`just check-pytorch` compares its answers with the program's.
"""

import json
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Network(nn.Module):
    """The network of a run; `config` is the content of its config.json."""

    def __init__(self, config):
        super().__init__()
        model = config["model"]
        self.is_text, self.is_of_steps = "vocabulary" in config, config.get("target") == "step-class"
        self.readout = model["readout"]
        cell, hidden, both = model["cell"], model["hidden_size"], model["bidirectional"]
        inputs = model["embedding_size"] if self.is_text else model["input_size"]
        settings = dict(num_layers=model["num_layers"], bidirectional=both, batch_first=True)
        if cell in ("tanh", "relu"):
            self.rnn = nn.RNN(inputs, hidden, nonlinearity=cell, **settings)
        else:
            self.rnn = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](inputs, hidden, **settings)
        features = hidden * (2 if both else 1)
        if self.readout == "mean-max":
            features *= 2
        elif self.readout == "all":
            features *= model["seq_len"]
        if self.is_text:
            self.embedding = nn.Embedding(model["vocabulary_size"], inputs)
        self.head = nn.Linear(features, model["vocabulary_size" if self.is_text else "num_classes"])

    def forward(self, x, lengths):
        """Logits, or scaled numbers, of padded sequences: x is (B, T, I), or the numbers of characters, (B, T)."""
        if self.is_text:
            x = self.embedding(x)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        outputs, state = self.rnn(packed)
        outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])
        if self.is_text or self.is_of_steps:
            return self.head(outputs)
        if self.readout == "all":
            return self.head(outputs.flatten(1))
        if self.readout == "mean-max":
            real = (torch.arange(x.shape[1])[None] < lengths[:, None])[:, :, None]
            mean = (outputs * real).sum(1) / lengths[:, None]
            return self.head(torch.cat([mean, outputs.masked_fill(~real, -torch.inf).amax(1)], 1))
        h = state[0] if isinstance(state, tuple) else state
        directions = 2 if self.rnn.bidirectional else 1
        return self.head(h[-directions:].transpose(0, 1).flatten(1))


def scaled(config, x):
    """Values as the network reads them, where none is missing and the scale is that of the training data."""
    scaler = config["preprocessor"]["scaler"]
    center, scale = torch.tensor(scaler["center"]), torch.tensor(scaler["scale"])
    return ((x.double() - center) / scale).float()


def load(run, file):
    """The network of a run with the weights of an exported file, and the run's configuration."""
    config = json.loads((Path(run) / "config.json").read_text())
    if str(file).endswith(".safetensors"):
        from safetensors.torch import load_file

        weights = load_file(file)
    else:
        weights = torch.load(file, weights_only=True)
    network = Network(config)
    network.load_state_dict(weights, strict=True)
    return network.eval(), config


if __name__ == "__main__":
    network, config = load(sys.argv[1], sys.argv[2])
    print(network)
    with torch.no_grad():
        if network.is_text:
            x = torch.zeros(1, 4, dtype=torch.long)
        else:
            x = torch.zeros(1, config["model"].get("seq_len") or 28, config["model"]["input_size"])
        print("outputs of zeros:", network(x, torch.tensor([x.shape[1]])))
