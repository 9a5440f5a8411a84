#!/usr/bin/env python3
"""Runs everything that `make check` promises, stage by stage, and sums it up.

Each stage says what it ran, how many checks passed and failed, and how long it took; the last line is
`N passed, N failed`. What a stage printed is kept in build-check/STAGE.log, and shown when it failed. A stage
that ran nothing has failed: a dead check must not look like a good one.
"""

import argparse
import os
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "runner"))

import builds  # noqa: E402
import fuzzing  # noqa: E402
import selftest  # noqa: E402
import stages  # noqa: E402
from stages import PYTHON, Outcome, Stage  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def parse_arguments():
    parser = argparse.ArgumentParser(description="Builds and runs all tests of Sluice.")
    parser.add_argument("--build", default="build", help="directory of the main build (default: build)")
    parser.add_argument("--cc", default="gcc", help="compiler of the main build (default: gcc)")
    parser.add_argument("--fuzz-seconds", type=int, default=60, help="per fuzz target (default: 60)")
    parser.add_argument("--pytest-args", default="", help="more arguments for the integration tests")
    parser.add_argument("--only", default="", help="comma-separated names of stages")
    parser.add_argument("--list", action="store_true", help="list the stages and end")
    return parser.parse_args()


def integration(args):
    def run(log):
        command = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/integration"]
        return stages.run_pytest(command + args.pytest_args.split(), log, cwd=ROOT, timeout=2400,
                                 env={"SLUICE_BUILD": os.path.join(ROOT, args.build)})
    return run


def make_stages(args):
    other = "gcc" if "clang" in args.cc else "clang"
    main = builds.Build(args.build, args.cc)
    second = builds.Build("build-" + other, other)
    asan = builds.asan("build-asan", args.cc)
    tsan = builds.tsan("build-tsan", args.cc)
    fuzz = builds.fuzz("build-fuzz")
    return [
        Stage("runner", "the runner notices tests that fail", selftest.stage(ROOT)),
        Stage("build", f"build with {main.cc}", main.compile),
        Stage("lint", "layers, bounds, format, headers, scripts", stages.lint(ROOT)),
        Stage("tests", f"unit tests and simulation, {main.cc}", main.test([])),
        Stage("integration", "real clients on a real daemon", integration(args)),
        Stage(f"build-{other}", f"build with {second.cc}", second.compile),
        Stage(f"tests-{other}", f"unit tests and simulation, {second.cc}", second.test([])),
        Stage("build-asan", "build with ASan and UBSan", asan.compile),
        Stage("tests-asan", "unit tests and simulation, ASan and UBSan", asan.test(["unit", "sim"])),
        Stage("build-tsan", "build with TSan", tsan.compile),
        Stage("tests-tsan", "unit tests and simulation, TSan", tsan.test(["unit", "sim"])),
        Stage("build-fuzz", "build the fuzz targets with libFuzzer", fuzz.compile),
        Stage("fuzz", f"fuzz targets, {args.fuzz_seconds} s each",
              lambda log: fuzzing.run_all(ROOT, fuzz, args.fuzz_seconds, log)),
    ]


def report(stage, outcome, seconds, log_path):
    counts = f"{outcome.passed} passed" if outcome.counted else "done"
    if outcome.skipped:
        counts += f", {outcome.skipped} skipped"
    if outcome.failed:
        counts += f", {outcome.failed} FAILED"
    print(f"  {stage.title:<52} {counts:<32} {seconds:7.1f} s", flush=True)
    for note in outcome.notes:
        if note.startswith("skipped: "):
            print(f"      {note}", flush=True)
    if outcome.failed:
        stages.show_failure(outcome, log_path)


def run_stage(stage, log_dir):
    log_path = os.path.join(log_dir, stage.name + ".log")
    begin = time.monotonic()
    with open(log_path, "w", encoding="utf-8", errors="replace") as log:
        try:
            outcome = stage.run(log)
        except stages.StageError as error:
            outcome = Outcome(failed=1, notes=[str(error)])
    report(stage, outcome, time.monotonic() - begin, log_path)
    return outcome


def select(all_stages, only):
    names = [name for name in only.split(",") if name]
    unknown = set(names) - {stage.name for stage in all_stages}
    if unknown:
        sys.exit(f"check: there is no stage {', '.join(sorted(unknown))}")
    return [stage for stage in all_stages if not names or stage.name in names]


def main():
    args = parse_arguments()
    chosen = select(make_stages(args), args.only)
    if args.list:
        for stage in chosen:
            print(f"{stage.name:<14} {stage.title}")
        return 0
    log_dir = os.path.join(ROOT, "build-check")
    shutil.rmtree(log_dir, ignore_errors=True)
    os.makedirs(log_dir)
    os.chdir(ROOT)
    total = Outcome()
    broken = set()
    for stage in chosen:
        if stages.needs(stage.name) in broken:
            print(f"  {stage.title:<52} not run: its build failed", flush=True)
            total.failed += 1
            continue
        outcome = run_stage(stage, log_dir)
        if outcome.failed:
            broken.add(stage.name)
        total.add(outcome)
    if total.skipped:
        print(f"{total.skipped} skipped")
    print(f"{total.passed} passed, {total.failed} failed")
    return 1 if total.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
