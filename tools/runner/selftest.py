"""Tests that must fail, under the same functions as the real ones: each of them must be counted as failed."""

import os
import shutil

import fuzzing
from stages import PYTHON, Outcome, StageError, run_command, run_meson_tests, run_pytest

PYTEST = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider"]


def expect(outcome, passed, failed, what, total):
    good = (outcome.passed, outcome.failed) == (passed, failed)
    total.passed += good
    total.failed += not good
    if not good:
        total.notes.append(f"{what}: counted {outcome.passed} passed, {outcome.failed} failed, "
                           f"should be {passed} and {failed}")


def expect_error(function, what, total):
    try:
        function()
    except StageError:
        total.passed += 1
        return
    total.failed += 1
    total.notes.append(what)


def build_samples(samples, directory, log):
    shutil.rmtree(directory, ignore_errors=True)
    if run_command(["meson", "setup", directory, samples], log) != 0 or \
            run_command(["meson", "compile", "-C", directory], log) != 0:
        raise StageError("the samples do not build")


def fuzz_sample(samples, directory, log):
    binary = os.path.join(directory, "fuzz_crash")
    command = ["clang", "-fsanitize=fuzzer", os.path.join(samples, "fuzz_crash.c"), "-o", binary]
    if run_command(command, log) != 0:
        raise StageError("the fuzz sample does not build")
    problem = fuzzing.run_one(binary, os.path.join(directory, "no-corpus"), 20, log.name + "-fuzz-sample")
    return Outcome(passed=problem is None, failed=problem is not None)


def stage(root):
    samples = os.path.join(root, "tools", "runner", "samples")
    directory = os.path.join(root, "build-check", "runner-samples")

    def run(log):
        total = Outcome()
        build_samples(samples, directory, log)
        expect(run_meson_tests(directory, log, ["cases"]), 1, 1, "one cmocka case of two fails", total)
        expect(run_meson_tests(directory, log, ["crash"]), 1, 1, "a cmocka case ends the program", total)
        expect(run_meson_tests(directory, log, ["hang"]), 0, 1, "a test does not end", total)
        expect_error(lambda: run_meson_tests(directory, log, ["none"]), "no test ran, and that passed", total)
        expect(run_pytest(PYTEST + ["sample_fails.py"], log, samples, 60), 1, 2, "two pytest cases of three fail", total)
        expect(run_pytest(PYTEST + ["-k", "nothing", "sample_fails.py"], log, samples, 60), 0, 1,
               "no pytest case was selected", total)
        expect_error(lambda: run_command(["sleep", "60"], log, timeout=1), "a hang was not ended", total)
        expect(fuzz_sample(samples, directory, log), 0, 1, "a fuzz target crashes", total)
        return total
    return run
