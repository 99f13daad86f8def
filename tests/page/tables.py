"""Writes the data that scripts/check-page.sh and check-html.sh train on into a folder.

- whole.csv: 24 sequences of 4 to 9 steps of two features; gaps.csv: the same with missing values
- lines.csv: rising and falling sequences of one feature, a row each
- series.csv: two waves of 12 steps that go on; holes.csv: the same with missing values
- words.txt: a text
"""

import math
import pathlib
import sys

folder = pathlib.Path(sys.argv[1])


def write(name, lines):
    (folder / name).write_text("\n".join(lines) + "\n")


def row(n, t, has_gaps):
    wave = math.sin(1.3 * t + n) + 0.1 * ((7 * n + 3 * t) % 5)
    b = "" if has_gaps and (n + 2 * t) % 5 == 0 else f"{5 * wave - 3:.4f}"
    label = "xyz"[n % 3]
    return f"{n},{t},{wave + n % 3:.4f},{b},{label},{'uv'[(t + n) % 2]},{3 - 2 * (n % 4)}"


for name, has_gaps in [("whole", False), ("gaps", True)]:
    rows = [row(n, t, has_gaps) for n in range(24) for t in range(4 + n % 6)]
    write(f"{name}.csv", ["id,t,a,b,class,at_step,number", *rows])


def line(n):
    values = [(n % 2 - 0.5) / 4 * t + 0.01 * ((n * 7 + t * 3) % 11) for t in range(16)]
    return ",".join([("down", "up")[n % 2], *(f"{value:.4f}" for value in values)])


write("lines.csv", [",".join(["label", *(f"t{t + 1}" for t in range(16))]), *map(line, range(40))])


def step(t, has_holes):
    turn = 2 * math.pi * t / 12
    tide = "" if has_holes and t % 7 == 3 else f"{40 + 15 * math.cos(turn) + 0.05 * t:.3f}"
    return f"{t},{10 + 3 * math.sin(turn) + 0.2 * (t * 5 % 3):.3f},{tide}"


for name, has_holes in [("series", False), ("holes", True)]:
    write(f"{name}.csv", ["t,level,tide", *(step(t, has_holes) for t in range(160))])

write("words.txt", ["to be or not to be, that is the question, " * 5] * 20)
