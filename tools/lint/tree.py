"""The files that a check looks at, and what it reports."""

import os
import subprocess

SAMPLES = "tools/lint/samples/"


class Finding:
    """where: a path, perhaps with :LINE; subject: what a waiver names, a path or PATH:FUNCTION."""

    def __init__(self, check, where, text, subject=None):
        self.check = check
        self.where = where
        self.text = text
        self.subject = subject or where.split(":")[0]

    def __str__(self):
        return f"{self.where}: {self.text} [{self.check}]"


class Tree:
    """The files under root, as paths relative to it."""

    def __init__(self, root, files=None):
        self.root = root
        self.files = sorted(files if files is not None else self.list_files())
        self.texts = {}

    def list_files(self):
        """What git knows or would add; in a tree without git, all but the build directories."""
        if os.path.exists(os.path.join(self.root, ".git")):
            listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=self.root,
                                    check=True, capture_output=True, text=True).stdout.split("\0")
        else:
            listed = [path for path in walk(self.root) if not path.startswith("build")]
        return [path for path in listed
                if path and not path.startswith(SAMPLES) and os.path.isfile(os.path.join(self.root, path))]

    def path(self, name):
        return os.path.join(self.root, name)

    def select(self, *suffixes, under=""):
        return [path for path in self.files if path.startswith(under) and path.endswith(suffixes)]

    def text(self, name):
        if name not in self.texts:
            with open(self.path(name), encoding="utf-8", errors="replace") as file:
                self.texts[name] = file.read()
        return self.texts[name]


def walk(directory):
    files = []
    for folder, _, names in os.walk(directory):
        files += [os.path.relpath(os.path.join(folder, name), directory) for name in names]
    return files


def sample_tree(directory):
    return Tree(directory, walk(directory))
