"""Writes the tables that scripts/check-html.sh trains on into a folder: 24 sequences of 4 to 9 steps of two features,
in gaps.csv with missing values."""

import math
import pathlib
import sys

HEAD = "id,t,a,b,class,at_step,number"


def row(n, t, has_gaps):
    wave = math.sin(1.3 * t + n) + 0.1 * ((7 * n + 3 * t) % 5)
    b = "" if has_gaps and (n + 2 * t) % 5 == 0 else f"{5 * wave - 3:.4f}"
    label = "xyz"[n % 3]
    return f"{n},{t},{wave + n % 3:.4f},{b},{label},{'uv'[(t + n) % 2]},{3 - 2 * (n % 4)}"


for name, has_gaps in [("whole", False), ("gaps", True)]:
    lines = [HEAD] + [row(n, t, has_gaps) for n in range(24) for t in range(4 + n % 6)]
    pathlib.Path(sys.argv[1], f"{name}.csv").write_text("\n".join(lines) + "\n")
