"""House rules that clang-format does not know: braces always, no typedef that hides a struct, no left-overs, no default:
without a reason, and no sleeping where a reactor or a test's clock should be used."""

import re

from source import line_of, matching_close_parenthesis, strip
from tree import Finding

NAME = "style"
LEFT_OVERS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
CONTROL = re.compile(r"\b(if|for|while|switch|list_for_each\w*)\s*\(")
BARE = re.compile(r"\b(else|do)\b(?!\s*\{)(?!\s*if\b)")
TYPEDEF = re.compile(r"\btypedef\s+(struct|union)\b(?!\s+\w+\s*\**\s*\()")
DEFAULT = re.compile(r"^[ \t]*default:(?![^\n]*/\*)", re.MULTILINE)
OURS = ("src/", "lib/", "cli/")
SLEEP = re.compile(r"\b(sleep|usleep|nanosleep|clock_nanosleep)\s*\(")
NO_SLEEP = ("src/", "tests/unit/", "tests/sim/")
TEXT = (".c", ".h", ".py", ".sh", ".md", ".build", ".js", ".html", ".css", ".yaml", ".yml", ".json", ".txt", "Makefile")


def braces(path, code):
    for match in CONTROL.finditer(code):
        end = matching_close_parenthesis(code, match.end() - 1)
        following = code[end + 1:end + 200].lstrip()
        if following.startswith("{"):
            continue
        if match.group(1) == "while" and following.startswith(";") and code[:match.start()].rstrip().endswith("}"):
            continue  # the end of do { } while ();
        yield Finding(NAME, f"{path}:{line_of(code, match.start())}", f"{match.group(1)} without braces")
    for match in BARE.finditer(code):
        yield Finding(NAME, f"{path}:{line_of(code, match.start())}", f"{match.group(1)} without braces")


def check_c(tree, path):
    code = strip(tree.text(path))
    yield from braces(path, code)
    for match in TYPEDEF.finditer(code):
        yield Finding(NAME, f"{path}:{line_of(code, match.start())}", "a typedef hides a struct")
    if path.startswith(OURS):
        for match in DEFAULT.finditer(tree.text(path)):
            yield Finding(NAME, f"{path}:{line_of(tree.text(path), match.start())}",
                          "default: without a comment that says why the cases cannot all be named")
    if path.startswith(NO_SLEEP):
        for match in SLEEP.finditer(code):
            yield Finding(NAME, f"{path}:{line_of(code, match.start())}",
                          f"{match.group(1)}(): a reactor never blocks, and a sleep is never synchronisation")


def run(tree):
    for path in tree.select(*TEXT):
        text = tree.text(path)
        for match in LEFT_OVERS.finditer(text):
            yield Finding(NAME, f"{path}:{line_of(text, match.start())}", f"says {match.group(1)}: do it or drop it")
    for path in tree.select(".c", ".h"):
        yield from check_c(tree, path)
