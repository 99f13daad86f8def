"""Writes the weights of Silero VAD's ONNX file, 16 kHz, as safetensors: silero-weights.py ONNX SAFETENSORS

Both formats are read and written by themselves: Python's own library is all that this needs.
"""

import json
import struct
import sys
from pathlib import Path

# The names in the ONNX file, and those in the safetensors file: the LSTM has PyTorch's.
NAMES = {
    "model.stft.forward_basis_buffer": "stft.weight",
    **{
        f"model.encoder.{index}.reparam_conv.{part}": f"encoder.{index}.{part}"
        for index in range(4)
        for part in ("weight", "bias")
    },
    **{
        f"model.decoder.rnn.{part}": f"lstm.{part}_l0"
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    },
    "model.decoder.decoder.2.weight": "head.weight",
    "model.decoder.decoder.2.bias": "head.bias",
}
# Numbers of the fields in onnx.proto.
GRAPH, INITIALIZER = 7, 5
DIMS, DATA_TYPE, NAME, RAW_DATA = 1, 2, 8, 9
FLOAT = 1


def varint(data, at):
    """A number of 7 bits a byte, and where it ends."""
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data):
    """The fields of a protocol buffers message: numbers and values, numbers or bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = varint(data, at)
        elif wire == 2:
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, at = data[at : at + size], at + size
        else:
            sys.exit(f"error: field {number} has wire type {wire}, which ONNX does not use")
        yield number, value


def tensor(message):
    """The name, shape and bytes of an initializer of floats."""
    shape, content, name, kind = [], None, None, None
    for number, value in fields(message):
        if number == DIMS:
            if isinstance(value, int):
                shape.append(value)
            else:
                at = 0
                while at < len(value):
                    size, at = varint(value, at)
                    shape.append(size)
        elif number == DATA_TYPE:
            kind = value
        elif number == NAME:
            name = bytes(value).decode()
        elif number == RAW_DATA:
            content = bytes(value)
    elements = 1
    for size in shape:
        elements *= size
    if name in NAMES and (kind != FLOAT or content is None or len(content) != 4 * elements):
        sys.exit(f"error: {name} is not {shape} raw floats")
    return name, shape, content


def main(onnx, safetensors):
    model = memoryview(Path(onnx).read_bytes())
    [graph] = [value for number, value in fields(model) if number == GRAPH]
    tensors = {}
    for number, value in fields(graph):
        if number == INITIALIZER:
            name, shape, content = tensor(value)
            if name in NAMES:
                tensors[NAMES[name]] = shape, content
    missing = set(NAMES.values()) - set(tensors)
    if missing:
        sys.exit(f"error: {onnx} lacks {', '.join(sorted(missing))}")
    header, at = {}, 0
    for name, (shape, content) in sorted(tensors.items()):
        offsets = [at, at + len(content)]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
        at += len(content)
    header = json.dumps(header).encode()
    header += b" " * (-len(header) % 8)
    written = Path(safetensors).with_suffix(".part")
    with written.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for _, (_, content) in sorted(tensors.items()):
            file.write(content)
    written.rename(safetensors)


if __name__ == "__main__":
    main(*sys.argv[1:])
