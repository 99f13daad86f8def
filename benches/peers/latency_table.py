"""Prints a table of latencies from the lines of the bench `stream`, `onnx_latency.py` and the example `vad`, on stdin.

The least of each program counts. A row holds ours to a bound in microseconds and to 0.8 of the faster of the others;
exit code 1 where one is not held.
"""

import json
import sys

OURS = "candle-rnn"
# By cell and job: the bound, and the part of the faster of the others.
GOALS = {
    ("tanh", "image"): (30, 0.8),
    ("gru", "image"): (80, 0.8),
    ("lstm", "image"): (105, 0.8),
    ("tanh", "step"): (2, 0.8),
    ("gru", "step"): (4, 0.8),
    ("lstm", "step"): (6, 0.8),
    ("silero", "frame"): (35, 0.8),
}


def main():
    least = {}
    for line in map(json.loads, sys.stdin):
        program = line["program"].split()[0].removesuffix("-kernels")
        jobs = least.setdefault((line["cell"], line["job"]), {})
        jobs[program] = min(line["least_us"], jobs.get(program, line["least_us"]))
    missed = False
    print(f"{'µs':14}{'ours':>8}{'bound':>8}{'ONNX Runtime':>15}{'tract':>8}{'of the faster':>16}")
    for (cell, job), (bound, part) in GOALS.items():
        found = least.get((cell, job), {})
        if OURS not in found or len(found) < 3:
            continue
        ours, runtime, tract = (found[name] for name in (OURS, "onnxruntime", "tract"))
        ratio = ours / min(runtime, tract)
        is_held = ours <= bound and ratio <= part
        missed |= not is_held
        row = f"{f'{cell} {job}':14}{ours:8.2f}{bound:8}{runtime:15.1f}{tract:8.1f}{ratio:16.2f}"
        print(row + ("" if is_held else "   missed"))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
