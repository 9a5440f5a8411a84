"""The build directories of the check: which compiler and which sanitizers, and how their tests are run."""

import os
import shutil

import stages
from stages import Outcome, StageError

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Build:
    """One meson build directory. env and prefix: for its tests; target: "" = all."""

    def __init__(self, directory, cc, options=(), env=None, prefix=(), multiplier=1, target=""):
        self.directory = directory
        self.cc = cc
        self.options = list(options)
        self.env = env or {}
        self.prefix = prefix
        self.multiplier = multiplier
        self.target = target

    def compile(self, log):
        """Sets it up when it is new, or was set up with another compiler, and builds all of it."""
        stamp = os.path.join(self.directory, ".check-setup")
        wanted = " ".join([self.cc] + self.options)
        if not os.path.exists(os.path.join(self.directory, "build.ninja")):
            self.setup(log, stamp, wanted)
        elif os.path.exists(stamp) and open(stamp, encoding="utf-8").read() != wanted:
            shutil.rmtree(self.directory)
            self.setup(log, stamp, wanted)
        command = ["meson", "compile", "-C", self.directory] + ([self.target] if self.target else [])
        if stages.run_command(command, log, timeout=1800) != 0:
            return Outcome(failed=1, notes=[f"{self.directory} does not build"])
        return Outcome(counted=False)

    def setup(self, log, stamp, wanted):
        command = ["meson", "setup", self.directory] + self.options
        if stages.run_command(command, log, env={"CC": self.cc}) != 0:
            raise StageError(f"meson setup {self.directory} failed")
        with open(stamp, "w", encoding="utf-8") as file:
            file.write(wanted)

    def test(self, suites):
        def run(log):
            return stages.run_meson_tests(self.directory, log, suites, self.env, self.prefix, self.multiplier)
        return run


# -Werror stays with the plain builds: what a sanitizer makes of the code draws warnings that are not about the code
SANITIZER_OPTIONS = ["-Dwerror=false", "-Db_lundef=false"]


def asan(directory, cc):
    return Build(directory, cc, SANITIZER_OPTIONS + ["-Db_sanitize=address,undefined"], env={
        "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "LSAN_OPTIONS": "print_suppressions=0:suppressions=" + os.path.join(TOOLS, "runner", "lsan.supp"),
    }, multiplier=4)


def tsan(directory, cc):
    # Without address randomisation: TSan's shadow memory does not fit some kernels' random layouts
    return Build(directory, cc, SANITIZER_OPTIONS + ["-Db_sanitize=thread"], env={
        "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1:suppressions="
                        + os.path.join(TOOLS, "runner", "tsan.supp"),
    }, prefix=("setarch", "-R"), multiplier=8)


def fuzz(directory):
    options = SANITIZER_OPTIONS + ["-Dfuzz=true", "-Db_sanitize=address,undefined"]
    return Build(directory, "clang", options, target="fuzz")
