"""Runs the fuzz targets for a while each, two at a time, starting from the committed corpus."""

import concurrent.futures
import glob
import os
import shutil

import stages
from stages import Outcome, StageError

GRACE_SECONDS = 120
MAX_RSS_MB = 1024


def targets(build):
    paths = sorted(glob.glob(os.path.join(build.directory, "tests", "fuzz", "fuzz_*")))
    return [path for path in paths if os.access(path, os.X_OK) and os.path.isfile(path)]


def run_one(binary, corpus, seconds, log_path):
    """New inputs go beside the log, never into the committed corpus; a finding is kept there too."""
    name = os.path.basename(binary)
    found = log_path + "-found"
    shutil.rmtree(found, ignore_errors=True)
    os.makedirs(found)
    command = [binary, f"-max_total_time={seconds}", "-timeout=10", f"-rss_limit_mb={MAX_RSS_MB}",
               f"-artifact_prefix={found}/", found]
    if os.path.isdir(corpus):
        command.append(corpus)
    with open(log_path, "w", encoding="utf-8", errors="replace") as log:
        try:
            code = stages.run_command(command, log, timeout=seconds + GRACE_SECONDS,
                                      env={"UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"})
        except StageError as error:
            return f"{name}: {error}"
    return None if code == 0 else f"{name}: ended with {code}, see {os.path.relpath(log_path)} and {os.path.relpath(found)}"


def corpus_of(root, binary):
    return os.path.join(root, "tests", "fuzz", "corpus", os.path.basename(binary)[len("fuzz_"):])


def run_all(root, build, seconds, log, jobs=2):
    binaries = targets(build)
    if not binaries:
        raise StageError("there is no fuzz target")
    outcome = Outcome()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        runs = [pool.submit(run_one, binary, corpus_of(root, binary), seconds,
                            f"{os.path.splitext(log.name)[0]}-{os.path.basename(binary)}.log") for binary in binaries]
        for binary, run in zip(binaries, runs):
            problem = run.result()
            log.write(f"{problem or os.path.basename(binary) + ': nothing found'}\n")
            outcome.passed += problem is None
            if problem:
                outcome.failed += 1
                outcome.notes.append(problem)
    return outcome
