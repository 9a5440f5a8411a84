"""Documents: what they point to is there: links, files and folders they name, targets of make."""

import os
import re

from source import line_of
from tree import Finding

NAME = "documents"
LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")
QUOTED = re.compile(r"`([^`\n]+)`")
FOLDERS = "src|include|lib|cli|tests|tools|docs|bench|packaging|.ci"
NAMED = re.compile(rf"^(?:{FOLDERS})(?:/[\w.-]+)*/?$")
MAKE = re.compile(r"^make ([a-z]+)\b")
TARGET = re.compile(r"^([a-z][a-z -]*):", re.MULTILINE)


def exists(tree, path):
    return os.path.exists(tree.path(os.path.normpath(path)))


def placeholder(path):
    """corpus/NAME: a word in capitals stands for something that the reader puts in."""
    return any(part.isupper() and "." not in part for part in path.split("/"))


def make_targets(tree):
    targets = set()
    for group in TARGET.findall(tree.text("Makefile") if "Makefile" in tree.files else ""):
        targets.update(group.split())
    return targets


def named_things(text):
    """(position, words) of what stands in backquotes, and of the lines of code blocks."""
    inside = False
    position = 0
    for line in text.splitlines(keepends=True):
        if line.startswith("```"):
            inside = not inside
        elif inside:
            yield position, line.strip()
        else:
            for match in QUOTED.finditer(line):
                yield position + match.start(), match.group(1)
        position += len(line)


def check_document(tree, path, targets):
    text = tree.text(path)
    for match in LINK.finditer(text):
        target = match.group(1)
        if "://" not in target and not exists(tree, os.path.join(os.path.dirname(path), target)):
            yield Finding(NAME, f"{path}:{line_of(text, match.start())}", f"links to {target}, which is not there")
    for position, words in named_things(text):
        where = f"{path}:{line_of(text, position)}"
        for word in words.split():
            word = word.rstrip(",;:")
            if "/" in word and NAMED.match(word) and not placeholder(word) and not exists(tree, word):
                yield Finding(NAME, where, f"names {word}, which is not there")
        make = MAKE.match(words)
        if make and make.group(1) not in targets:
            yield Finding(NAME, where, f"names make {make.group(1)}, which the Makefile does not have")


def run(tree):
    targets = make_targets(tree)
    for path in tree.select(".md"):
        yield from check_document(tree, path, targets)
