"""Loads on NBD exports: nbdverify (our own, with a model of the disk) and fio with verification."""

import contextlib
import json
import subprocess
import threading

from .processes import run, spawn
from .sluice import program


class Verify:
    """nbdverify, controlled over its standard input: finish() ends it and gives the verdict; with seconds it ends by
    itself, and finish() waits for that. end() is for clean-up."""

    name = "nbdverify"

    def __init__(self, uri, *, seed, depth=32, connections=1, reconnect_s=0, seconds=None, state=None, extra=()):
        argv = [
            program("nbdverify"), "--seed", seed, "--depth", depth, "--connections", connections,
            "--reconnect", reconnect_s, *extra,
        ]
        if seconds:
            argv += ["--seconds", seconds]
        if state:
            argv += ["--state", state]
        self.child = spawn(
            [*argv, uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.timed = seconds is not None
        self.complaints = []
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()

    def _drain(self):
        for line in self.child.stderr:
            self.complaints.append(line.rstrip())

    @property
    def running(self):
        return self.child.poll() is None

    def log_tail(self):
        return "\n".join(self.complaints)

    def report(self):
        """Counters so far; gap_us and slowest_us since the last report."""
        self.child.stdin.write("report\n")
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        if not line:
            self._reader.join(5)
            raise AssertionError(f"the load has ended early: {self.complaints}")
        return json.loads(line)

    def finish(self, timeout=120):
        """Ends the load, has everything read back; the last report. Raises when anything was wrong."""
        last = self.result(timeout)
        assert last["errors"] == 0 and last["mismatches"] == 0, (last, self.complaints)
        assert self.child.returncode == 0, (last, self.complaints)
        return last

    def result(self, timeout=120):
        """As finish(), for loads that are to fail."""
        # stderr is the reader's; what is left on stdout is a few lines, which fit into the pipe.
        with contextlib.suppress(OSError):
            if not self.timed:
                self.child.stdin.write("stop\n")
            self.child.stdin.close()
        self.child.wait(timeout)
        self._reader.join(5)
        out = self.child.stdout.read()
        lines = out.splitlines()
        if not lines:
            raise AssertionError(f"the load ended without a report: {self.complaints}")
        return json.loads(lines[-1])

    def end(self):
        if self.running:
            self.child.kill()
        self.child.wait()


class Fio:
    """fio's nbd engine: random writes that are read back and verified by checksum."""

    name = "fio"

    def __init__(self, workdir, uri, *, seed, depth=32, size="64M", seconds=None, loops=1, name="fio"):
        self.output = workdir / f"{name}.json"
        argv = [
            "fio", "--name=verify", "--ioengine=nbd", f"--uri={uri}", "--rw=randwrite", "--bs=4k",
            f"--size={size}", f"--iodepth={depth}", f"--randseed={seed}", "--verify=crc32c",
            "--verify_fatal=1", "--verify_backlog=256", "--random_generator=tausworthe64",
            f"--loops={loops}", "--output-format=json", f"--output={self.output}",
            "--verify_state_save=0",
        ]
        if seconds:
            argv += ["--time_based=1", f"--runtime={seconds}"]
        self.log = open(workdir / f"{name}.log", "w+b")
        self.child = spawn(argv, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd=workdir)

    @property
    def running(self):
        return self.child.poll() is None

    def finish(self, timeout=180):
        status = self.child.wait(timeout)
        self.log.seek(0)
        assert status == 0, self.log.read().decode(errors="replace")
        job = json.loads(self.output.read_text())["jobs"][0]
        assert job["error"] == 0, job["error"]
        assert job["write"]["total_ios"] > 0 and job["read"]["total_ios"] > 0
        return job

    def end(self):
        if self.running:
            self.child.kill()
        self.child.wait()
        self.log.close()


def nbd_info(uri):
    return json.loads(run(["nbdinfo", "--json", uri]).stdout)


def nbd_copy(source, destination, *args):
    return run(["nbdcopy", *args, source, destination], timeout=300)


def images_equal(a, b):
    """qemu-img compare, raw images or NBD URIs."""
    result = run(["qemu-img", "compare", "-f", "raw", "-F", "raw", a, b], timeout=300, check=False)
    assert result.returncode in (0, 1), result.stderr
    return result.returncode == 0
