"""What a stage of the check is, and the kinds of stage that are not a build: commands, meson tests, pytest, lint."""

import json
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree

PYTHON = "/usr/bin/python3"  # Debian's: python3-pytest and python3-libnbd belong to it
TAIL_LINES = 60


class StageError(Exception):
    """The stage could not be run at all; the text says why."""


class Outcome:
    """How many checks passed, failed and were skipped; notes name those that failed."""

    def __init__(self, passed=0, failed=0, skipped=0, notes=None, counted=True):
        self.passed = passed
        self.failed = failed
        self.skipped = skipped
        self.notes = notes or []
        self.counted = counted  # False: a step that has no checks of its own, such as a build

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.notes += other.notes


class Stage:
    """name: of the log and for --only; title: for people; run(log) gives an Outcome."""

    def __init__(self, name, title, run):
        self.name = name
        self.title = title
        self.run = run


def needs(name):
    """The stage without which this one has nothing to run."""
    if name in ("tests", "integration"):
        return "build"
    if name == "fuzz":
        return "build-fuzz"
    return name.replace("tests-", "build-") if name.startswith("tests-") else None


def run_command(command, log, cwd=None, env=None, timeout=1200):
    """Runs it in a process group of its own, which ends with it, with everything it prints in log. Gives its exit code."""
    log.write("$ " + " ".join(command) + "\n")
    log.flush()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=cwd,
                               env={**os.environ, **(env or {})}, start_new_session=True)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise StageError(f"no end after {timeout} s: {' '.join(command)}") from None
    finally:
        end_group(process)


def end_group(process):
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)
        os.killpg(process.pid, signal.SIGKILL)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    except ProcessLookupError:
        process.wait()


def junit_outcome(path):
    """Counts the cases of a JUnit file; an error outside any case is a failed one."""
    try:
        root = xml.etree.ElementTree.parse(path).getroot()
    except (OSError, xml.etree.ElementTree.ParseError) as error:
        raise StageError(f"pytest left no results: {error}") from None
    outcome = Outcome()
    for case in root.iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            outcome.failed += 1
            outcome.notes.append(name)
        elif case.find("skipped") is not None:
            outcome.skipped += 1
            outcome.notes.append(f"skipped: {name}: {case.find('skipped').get('message')}")
        else:
            outcome.passed += 1
    return outcome


def run_pytest(command, log, cwd, timeout, env=None):
    results = log.name + ".xml"
    if os.path.exists(results):
        os.unlink(results)
    code = run_command(command + ["--junitxml", results], log, cwd=cwd, timeout=timeout, env=env)
    outcome = junit_outcome(results)
    if code != 0 and outcome.failed == 0:
        outcome.failed = 1
        outcome.notes.append(f"pytest ended with {code}")
    if outcome.passed + outcome.failed == 0:
        outcome.failed = 1
        outcome.notes.append("pytest ran no test")
    return outcome


CMOCKA_LINE = re.compile(r"^\[\s*(RUN|OK|FAILED|SKIPPED)\s*\]\s+(\S+)", re.MULTILINE)


def count_cases(test):
    """The cases of one meson test: cmocka's where it printed some, else the program is the case."""
    outcome = Outcome()
    last = {}
    for verdict, case in CMOCKA_LINE.findall(test.get("stdout", "")):
        last[case] = verdict
    for case, verdict in last.items():
        outcome.passed += verdict == "OK"
        if verdict == "SKIPPED":
            outcome.skipped += 1
            outcome.notes.append(f"skipped: {test['name']}: {case}")
        if verdict in ("FAILED", "RUN"):  # RUN: it never came back
            outcome.failed += 1
            outcome.notes.append(f"{test['name']}: {case}")
    if test["result"] == "SKIP":
        outcome.skipped += 1
        outcome.notes.append(f"skipped: {test['name']}")
    elif test["result"] not in ("OK", "EXPECTEDFAIL") and outcome.failed == 0:
        outcome.failed = 1
        outcome.notes.append(f"{test['name']}: {test['result']}")
    elif test["result"] == "OK" and not last:
        outcome.passed = 1
    return outcome


def run_meson_tests(build, log, suites=(), env=None, prefix=(), multiplier=1):
    """Runs the tests of a build directory and counts their cases. prefix: a command that runs the command after it."""
    results = os.path.join(build, "meson-logs", "testlog.json")
    if os.path.exists(results):
        os.unlink(results)
    command = [*prefix, "meson", "test", "-C", build, "--no-rebuild", "--print-errorlogs", "-t", str(multiplier)]
    for suite in suites:
        command += ["--suite", suite]
    code = run_command(command, log, env=env, timeout=1800)
    outcome = Outcome()
    if os.path.exists(results):
        with open(results, encoding="utf-8") as lines:
            for line in lines:
                outcome.add(count_cases(json.loads(line)))
    if code != 0 and outcome.failed == 0:
        outcome.failed = 1
        outcome.notes.append(f"meson test ended with {code}")
    if outcome.passed + outcome.failed == 0:
        raise StageError("meson ran no test")
    return outcome


def lint(root):
    def run(log):
        results = log.name + ".json"
        code = run_command([sys.executable, os.path.join(root, "tools", "lint"), "--results", results], log, cwd=root,
                           timeout=600)
        try:
            with open(results, encoding="utf-8") as file:
                counts = json.load(file)
        except OSError:
            raise StageError(f"lint ended with {code} and left no results") from None
        outcome = Outcome(counts["passed"], counts["failed"])
        if code != 0 and outcome.failed == 0:
            outcome.failed = 1
        return outcome
    return run


def show_failure(outcome, log_path):
    for note in outcome.notes[:20]:
        print(f"      {note}")
    try:
        with open(log_path, encoding="utf-8", errors="replace") as log:
            lines = log.read().splitlines()
    except OSError:
        return
    for line in lines[-TAIL_LINES:]:
        print(f"      | {line}")
    print(f"      the whole log: {os.path.relpath(log_path)}", flush=True)
