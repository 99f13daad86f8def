"""Reads a run's event files with TensorBoard's own reader and compares them with its metrics.

    python tests/event_files.py RUN

`just check-tensorboard` trains such a run, interrupted and resumed in between.
"""

import json
import struct
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAGS = {
    "epoch": "epoch",
    "loss/train": "train_loss",
    "loss/valid": "valid_loss",
    "accuracy/batch": "acc_batch",
    "accuracy/valid": "valid_accuracy",
    "learning_rate": "learning_rate",
}


def as_f32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def main(run):
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    files = sorted(run.glob("events.out.tfevents.*"))
    assert len(files) >= 2, f"the run was to be interrupted once, but has {files}"
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    steps = None
    for tag, name in TAGS.items():
        found = events.Scalars(tag)
        assert len(found) == len(metrics), f"{tag}: {len(found)} values for {len(metrics)} epochs"
        for event, epoch in zip(found, metrics):
            assert event.value == as_f32(epoch[name]), f"{tag}: {event} is not {epoch}"
        assert steps in (None, [event.step for event in found]), tag
        steps = [event.step for event in found]
    assert steps == [steps[0] * epoch["epoch"] for epoch in metrics], steps
    # Of a step that a resumed process begins with the end of its epoch, the loss is gone.
    losses = [event.step for event in events.Scalars("loss/batch")]
    expected = set(range(10, steps[-1] + 1, 10))
    assert losses == sorted(set(losses)) and set(losses) <= expected, losses
    assert len(expected) - len(losses) < len(files), losses
    print(f"{len(files)} event files, {len(TAGS)} tags of {len(metrics)} epochs and {len(losses)} losses: as in metrics.jsonl")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
