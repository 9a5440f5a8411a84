"""Sizes that keep code readable: lines per function and file, nesting."""

from source import functions, nesting, strip
from tree import Finding

NAME = "bounds"
FUNCTION_LINES = 70
FILE_LINES = 800
NESTING = 3


def check_c(tree, path):
    code = strip(tree.text(path))
    for function in functions(code):
        where = f"{path}:{function.first_line}"
        subject = f"{path}:{function.name}"
        if function.lines > FUNCTION_LINES:
            yield Finding(NAME, where, f"{function.name}() has {function.lines} lines, the bound is {FUNCTION_LINES}",
                          subject)
        depth, line = nesting(code, function)
        if depth > NESTING:
            yield Finding(NAME, f"{path}:{line}", f"{function.name}() nests {depth} deep, the bound is {NESTING}", subject)


def run(tree):
    for path in tree.select(".c", ".h", ".py", ".sh", ".js", ".html", ".css"):
        lines = tree.text(path).count("\n")
        if lines > FILE_LINES:
            yield Finding(NAME, path, f"has {lines} lines, the bound is {FILE_LINES}")
    for path in tree.select(".c", ".h"):
        yield from check_c(tree, path)
