"""Includes against tools/layers.txt: a folder uses what stands below it and nothing else."""

import os
import re

from source import line_of, strip_comments
from tree import Finding

NAME = "layers"
TABLE = "tools/layers.txt"
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)


class Rule:
    def __init__(self, folders):
        self.any = "*" in folders
        self.whole = {name for name in folders if not name.endswith("/control")}
        self.control = {name.split("/")[0] for name in folders if name.endswith("/control")}

    def allows(self, folder, header):
        if self.any or folder in self.whole:
            return True
        return folder in self.control and not header.endswith("_io.h")


def read_table(text):
    """FOLDER: FOLDER... per line; # begins a comment."""
    rules = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        name, colon, rest = line.partition(":")
        if not colon or name.strip() in rules:
            raise ValueError(f"{TABLE}:{number}: not FOLDER: FOLDER..., or FOLDER for the second time")
        rules[name.strip()] = Rule(rest.split())
    return rules


def layer_of(path):
    """src/lu/drivers/nbd.c is of lu, cli/main.c of cli."""
    parts = path.split("/")
    return parts[1] if parts[0] == "src" and len(parts) > 2 else parts[0]


def known_outside_src(tree, own, path, header):
    """Outside src a header may be the public one, beside the file, or (tests, benchmarks) anywhere in the same folder."""
    beside = os.path.normpath(os.path.join(os.path.dirname(path), header))
    return header == "sluice.h" or beside in tree.files or any(
        name.startswith(own + "/") and name.endswith("/" + header) for name in tree.files)


def check_include(tree, rules, path, where, header):
    own = layer_of(path)
    if path.startswith("src/") and "/" not in header:
        return Finding(NAME, where, f'"{header}": write the path from src/, as in "{own}/{header}"')
    if f"src/{header}" not in tree.files:
        if not path.startswith("src/") and known_outside_src(tree, own, path, header):
            return None
        return Finding(NAME, where, f'"{header}" is not a header of ours')
    folder = header.split("/")[0]
    if folder == own or folder == "base" or rules[own].allows(folder, header):
        return None
    return Finding(NAME, where, f'{own} may not include "{header}": see {TABLE}')


def run(tree):
    rules = read_table(tree.text(TABLE))
    for path in tree.select(".c", ".h"):
        own = layer_of(path)
        if own not in rules:
            yield Finding(NAME, path, f"the folder {own} is not in {TABLE}")
            continue
        text = strip_comments(tree.text(path))
        for match in INCLUDE.finditer(text):
            finding = check_include(tree, rules, path, f"{path}:{line_of(text, match.start())}", match.group(1))
            if finding:
                yield finding
