"""What the pure core asks of the world: its undefined symbols against tools/core-symbols.txt.

No clock, socket, thread or allocation is in core/: the list of what it may call is short enough to prove it.
"""

import glob
import os
import subprocess
import tempfile

from tree import Finding

NAME = "symbols"
ALLOWED = "tools/core-symbols.txt"
FLAGS = ["-std=gnu17", "-D_GNU_SOURCE", "-O1", "-fno-stack-protector"]


def undefined(objects):
    """What these object files or archives use and none of them defines."""
    used, defined = {}, set()
    output = subprocess.run(["nm", "-A", *objects], check=True, capture_output=True, text=True).stdout
    for line in output.splitlines():
        place, _, rest = line.rpartition(": ") if ": " in line else line.rpartition(":")
        fields = rest.split()
        if len(fields) == 2 and fields[0] in ("U", "w"):
            used.setdefault(fields[1], os.path.basename(place.split(":")[-1]))
        elif fields:
            defined.add(fields[-1])
    return {symbol: place for symbol, place in used.items() if symbol not in defined}


def allowed_symbols(text):
    return {line.split("#")[0].strip() for line in text.splitlines()} - {""}


def compile_sources(tree, directory):
    """The pure core built here with plain flags: independent of how the tree was built (sanitizers, coverage)."""
    sources = tree.select(".c", under="src/core/")
    for source in sources:
        target = os.path.join(directory, source.replace("/", "_") + ".o")
        subprocess.run(["cc", *FLAGS, "-I", tree.path("src"), "-c", tree.path(source), "-o", target], check=True,
                       capture_output=True, text=True)
    return sorted(glob.glob(os.path.join(directory, "*.o")))


def run(tree):
    if ALLOWED not in tree.files:
        yield Finding(NAME, ALLOWED, "is missing: without it nothing of src/core is checked")
        return
    with tempfile.TemporaryDirectory() as directory:
        try:
            objects = compile_sources(tree, directory)
        except subprocess.CalledProcessError as error:
            yield Finding(NAME, "src/core", f"does not compile: {error.stderr.strip()[:400]}")
            return
        if not objects:
            yield Finding(NAME, "src/core", "has no sources: nothing was checked")
            return
        allowed = allowed_symbols(tree.text(ALLOWED))
        for symbol, place in sorted(undefined(objects).items()):
            if symbol not in allowed:
                yield Finding(NAME, "src/core/" + place, f"uses {symbol}, which {ALLOWED} does not allow")
