"""Shows the system calls of a training's saves, and checks their order.

    python3 tests/save-order.py target/debug/candle-rnn

What a crash leaves depends on nothing else: a file is written and synced under a temporary name
before it gets its own, and a folder with its files likewise; the folder above is synced before
anything else is renamed or removed. Ends with `error:` and the call that broke the order.
"""

import os
import re
import subprocess
import sys
import tempfile

CALLS = "openat,write,fsync,fdatasync,?rename,?renameat,renameat2,?mkdir,?mkdirat,?unlink,unlinkat,?rmdir"
TRAIN = "train --data sample --hidden 12 --epochs 3 --batch-size 400 --save-every 3 --quiet --out run"
TEMPORARY = re.compile(r"\.(tmp|old)-\d+\.\d+-")
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


def fail(text):
    sys.exit(f"error: {text}")


def trace(program, folder):
    """The calls in `folder`, each as (name, path, second path or None, flags), in their order."""
    command = ["strace", "-f", "-y", "-qq", "-s", "0", "-o", "calls", "-e", f"trace={CALLS}", program]
    try:
        done = subprocess.run(command + TRAIN.split(), cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        fail("no strace: `just debian-packages strace` installs it on Debian")
    if done.returncode != 0:
        fail(f"the training failed under strace: {done.stderr.strip()}")
    unfinished, calls = {}, []
    with open(os.path.join(folder, "calls"), encoding="utf-8", errors="replace") as lines:
        for line in lines:
            process, text = line.rstrip("\n").split(maxsplit=1)
            if text.endswith("<unfinished ...>"):
                unfinished[process] = text.removesuffix("<unfinished ...>")
                continue
            resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", text)
            if resumed:
                text = unfinished.pop(process) + resumed[1]
            call = parse(text, folder)
            if call:
                calls.append(call)
    return calls


def parse(text, folder):
    name, _, arguments = text.partition("(")
    if " = -1 " in arguments or not arguments:
        return None
    here = lambda path: os.path.relpath(os.path.join(folder, path), folder)
    if name in ("write", "fsync", "fdatasync"):
        path = here(re.match(r"\d+<(.*?)>[,)]", arguments)[1])
        return (name, path, None, "") if path.startswith("run") else None
    # unlinkat and its like may name a folder by its descriptor: -y says which it is.
    base = re.match(r"(?:AT_FDCWD|\d+)(?:<(.*?)>)?, ", arguments)
    at = (base[1] if base and base[1] else folder)
    paths = [here(os.path.join(at, path)) for path in STRING.findall(arguments)]
    if not paths or not paths[0].startswith("run"):
        return None
    name = {"renameat": "rename", "renameat2": "rename", "mkdirat": "mkdir", "unlinkat": "unlink",
            "rmdir": "unlink"}.get(name, name)
    if name == "openat":
        name = "create" if "O_CREAT" in arguments else "open"
    return name, paths[0], paths[1] if name == "rename" else None, arguments


def short(call):
    name, path, second, _ = call
    return f"{name:<7} {path}" + (f" -> {second}" if second else "")


class Order:
    """What is on its way to the disk, call by call."""

    def __init__(self):
        self.unsynced = {}  # files and folders that have changed since they were last synced
        self.pending = None  # a folder whose new entries nothing may overtake
        self.aside = None  # a folder that was moved aside for the one to come
        self.files = self.folders = 0
        self.made = {}  # temporary folders, with the names of their files

    def step(self, call):
        name, path, second, _ = call
        temporary = bool(TEMPORARY.match(os.path.basename(path)))
        if name in ("fsync", "fdatasync"):
            self.unsynced.pop(path, None)
            if path == self.pending:
                self.pending = None
            return
        if name == "write":
            self.unsynced[path] = "written"
            return
        if name == "open":
            return
        if self.pending:
            return f"{self.pending} is not synced yet"
        if self.aside and not (name == "rename" and second == self.aside):
            return f"{self.aside} is moved aside, and the new one is not in its place"
        return getattr(self, name)(path, second, temporary)

    def create(self, path, _, temporary):
        folder = os.path.dirname(path)
        if folder in self.made:
            self.made[folder].append(path)
            self.unsynced[folder] = "changed"
        elif not temporary and os.path.basename(path) != ".lock":
            return "a file is made under its final name"
        self.unsynced[path] = "created"

    def mkdir(self, path, _, temporary):
        if temporary:
            self.made[path] = []
            self.unsynced[path] = "created"

    def unlink(self, path, _, __):
        if not any(TEMPORARY.match(part) for part in path.split(os.sep)):
            return "removed under its final name"

    def rename(self, path, second, temporary):
        if not temporary:
            # To be removed, or to make place for a new one: in its place at once, or never.
            if os.path.basename(second).startswith(".old-"):
                self.aside = path
            return
        for part in [path, *self.made.get(path, [])]:
            if part in self.unsynced:
                return f"{part} is {self.unsynced[part]} and not synced"
        if path in self.made:
            names = {os.path.basename(file) for file in self.made.pop(path)}
            if "SHA256SUMS" not in names or len(names) != 4:
                return f"the folder holds {sorted(names)}"
            self.folders += 1
        else:
            self.files += 1
        self.aside, self.pending = None, os.path.dirname(second)


def main():
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        calls = trace(program, os.path.realpath(folder))
    # TensorBoard's files are appended to, and no run is resumed from them.
    calls = [call for call in calls if not os.path.basename(call[1]).startswith("events.out.tfevents.")]
    order, last = Order(), 0
    for index, call in enumerate(calls):
        if call[0] == "rename" and call[2] == "run/metrics.jsonl":
            last = index
        broken = order.step(call)
        if broken:
            print("\n".join(short(call) for call in calls[max(0, index - 12):index]))
            fail(f"{short(call)}: {broken}")
    if order.pending:
        fail(f"{order.pending} is not synced at the end")
    # From the temporary file of the last epoch's metrics on.
    first = max(i for i in range(last) if calls[i][0] == "create")
    print("\n".join(short(call) for call in calls[first:]))
    if order.files < 8 or order.folders < 5:
        fail(f"saw {order.files} files and {order.folders} folders put in place: too few")
    print(f"in order: {order.files} files and {order.folders} folders put in place")


if __name__ == "__main__":
    main()
