"""clang-format leaves every C file as it is."""

import re
import subprocess

from tree import Finding

NAME = "format"
WARNING = re.compile(r"^(.+?):(\d+):\d+: (?:error|warning): code should be clang-formatted", re.MULTILINE)


def run(tree):
    files = tree.select(".c", ".h")
    if not files:
        return
    result = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], cwd=tree.root, capture_output=True,
                            text=True)
    seen = set()
    for path, line in WARNING.findall(result.stderr):
        if path not in seen:
            seen.add(path)
            yield Finding(NAME, f"{path}:{line}", f"is not formatted: clang-format -i {path}")
    if result.returncode != 0 and not seen:
        yield Finding(NAME, ".clang-format", f"clang-format failed: {result.stderr.strip()[:400]}")
