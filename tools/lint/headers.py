"""Headers: they begin with what they are for, are safe to include twice, and compile alone."""

import concurrent.futures
import re
import subprocess

from tree import Finding

NAME = "headers"
# The public header must suit the programs of others: old and new C, and C++.
PUBLIC = [["gcc", "-x", "c", "-std=c99", "-pedantic"], ["gcc", "-x", "c", "-std=c17"], ["g++", "-x", "c++", "-std=c++11"]]
PRIVATE = [["gcc", "-x", "c", "-std=gnu17", "-D_GNU_SOURCE", '-DSLUICE_VERSION="0"']]
OPENING = re.compile(r"\s*/\*(.*?)\*/", re.DOTALL)


def compile_alone(tree, path):
    compilers = PUBLIC if path.startswith("include/") else PRIVATE
    for compiler in compilers:
        command = [*compiler, "-Wall", "-Wextra", "-Werror", "-Wno-unused", "-fsyntax-only", "-I", tree.path("src"),
                   "-I", tree.path("include"), "-include", tree.path(path), "-"]
        result = subprocess.run(command, input="typedef int not_empty;\n", capture_output=True, text=True)
        if result.returncode != 0:
            return Finding(NAME, path, f"does not compile alone ({' '.join(compiler)}): {result.stderr.strip()[:400]}")
    return None


def check_text(path, text):
    opening = OPENING.match(text)
    if opening is None or len(opening.group(1).split()) < 5:
        yield Finding(NAME, path, "does not open with a comment that says what it is for")
    if path.startswith("include/"):
        if not re.search(r"^#ifndef \w+\n#define \w+\n", text, re.MULTILINE) or 'extern "C"' not in text:
            yield Finding(NAME, path, 'a public header has an include guard and extern "C"')
    elif not re.search(r"^#pragma once$", text, re.MULTILINE):
        yield Finding(NAME, path, "lacks #pragma once")


def run(tree):
    headers = tree.select(".h", under="src/") + tree.select(".h", under="include/")
    for path in headers:
        yield from check_text(path, tree.text(path))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield from filter(None, pool.map(lambda path: compile_alone(tree, path), headers))
