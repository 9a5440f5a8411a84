"""Shell and Python files are sound: bash -n, shellcheck, and Python's own compiler."""

import subprocess

from tree import Finding

NAME = "scripts"


def is_shell(tree, path):
    if path.endswith(".sh"):
        return True
    if "." in path.split("/")[-1]:
        return False
    first = tree.text(path).split("\n", 1)[0]
    return first.startswith("#!") and first.endswith(("/sh", "bash"))


def check_shell(tree, path):
    for command in (["bash", "-n"], ["shellcheck", "--format=gcc"]):
        result = subprocess.run(command + [path], cwd=tree.root, capture_output=True, text=True)
        if result.returncode != 0:
            yield Finding(NAME, path, f"{command[0]}: {(result.stdout + result.stderr).strip()[:400]}")
            return


def check_python(tree, path):
    try:
        compile(tree.text(path), path, "exec")
    except SyntaxError as error:
        yield Finding(NAME, f"{path}:{error.lineno}", f"Python: {error.msg}")


def run(tree):
    for path in tree.files:
        if is_shell(tree, path):
            yield from check_shell(tree, path)
    for path in tree.select(".py"):
        yield from check_python(tree, path)
