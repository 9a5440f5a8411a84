"""The servers that are compared: Sluice, qemu-storage-daemon and nbdkit, each serving one backing over a UNIX socket."""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import time

START_SECONDS = 20
STOP_SECONDS = 10
SETTLE_SECONDS = 30
QUIET_SECONDS = 0.5
PR_SET_PDEATHSIG = 1
EXPORT = "bench"


class BenchError(Exception):
    """Something that a person has to mend; the text says what."""


def child_setup(cpu):
    """What a child does before it becomes its program: it stays on one processor and dies with us."""
    libc = ctypes.CDLL(None)

    def setup():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})

    return setup


def read_status(pid, field):
    """A size in bytes from /proc/PID/status, e.g. VmRSS."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    raise BenchError(f"/proc/{pid}/status has no {field}")


def read_ticks(pid):
    """Clock ticks of processor time used so far (proc(5): utime and stime)."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


class Server:
    """One process, running from __enter__ to __exit__. A subclass gives command() and perhaps configure()."""

    name = "?"
    # Whether it goes to the disk by O_DIRECT where the backing says so; else it is shown but not compared
    direct = True

    def __init__(self, directory, backing, cpu, variant=None):
        self.directory = os.path.join(directory, f"{self.name}-{backing.name}")
        self.backing = backing
        self.cpu = cpu
        self.variant = variant
        self.socket = os.path.join(self.directory, "nbd.sock")
        self.process = None

    def command(self):
        """The program and its arguments."""
        raise NotImplementedError

    def configure(self):
        """What has to be done when it runs, before it serves."""

    @classmethod
    def variants(cls, _backing):
        """Ways to run it, of which the best is compared; the first is the one for a short run."""
        return [None]

    @property
    def pid(self):
        return self.process.pid

    def rss(self):
        return read_status(self.pid, "VmRSS")

    def settled_rss(self):
        """The resident size once it has nothing to do any more (events are written after the fact)."""
        end = time.monotonic() + SETTLE_SECONDS
        before = None
        while (now := read_ticks(self.pid)) != before and time.monotonic() < end:
            before = now
            time.sleep(QUIET_SECONDS)
        return self.rss()

    def log_text(self):
        with open(os.path.join(self.directory, "log"), encoding="utf-8", errors="replace") as log:
            return log.read()[-2000:]

    def wait_for(self, what, ready):
        """Polls until ready(); the process must stay alive meanwhile."""
        end = time.monotonic() + START_SECONDS
        while not ready():
            if self.process.poll() is not None:
                raise BenchError(f"{self.name} ended when it was started:\n{self.log_text()}")
            if time.monotonic() > end:
                raise BenchError(f"{self.name}: no {what} after {START_SECONDS} s:\n{self.log_text()}")
            time.sleep(0.02)

    def answers(self, path):
        """Whether somebody accepts connections on a UNIX socket."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
            except OSError:
                return False
        return True

    def __enter__(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory, mode=0o700)
        with open(os.path.join(self.directory, "log"), "wb") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=child_setup(self.cpu)
            )
        try:
            self.configure()
            self.wait_for("NBD socket", lambda: self.answers(self.socket))
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exc):
        self.stop()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Sluice(Server):
    """sluiced with one data reactor, set up by the command line."""

    name = "sluice"
    build = "build"

    @classmethod
    def programs(cls):
        return [os.path.join(cls.build, path) for path in ("src/daemon/sluiced", "cli/sluice")]

    def command(self):
        sluiced, _ = self.programs()
        return [sluiced, "--data", os.path.join(self.directory, "data"), "--reactors", "1", "--log-level", "warn"]

    def sluice(self, *arguments):
        """Runs the command line; returns what it printed as JSON."""
        _, sluice = self.programs()
        environment = {**os.environ, "SLUICE_URL": "unix:" + os.path.join(self.directory, "data", "api.sock")}
        done = subprocess.run(
            [sluice, *arguments, "--json"], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode != 0:
            raise BenchError(f"sluice {' '.join(arguments)}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def configure(self):
        path = os.path.join(self.directory, "data", "api.sock")
        self.wait_for("API socket", lambda: self.answers(path))
        size = str(self.backing.size)
        if self.backing.file is None:
            self.sluice("lu", "add", "lu", "--null", size)
        else:
            self.sluice("lu", "add", "lu", "--file", self.backing.file_of(self.name))
        self.sluice("volume", "create", EXPORT, "--size", size, "--on", "lu")
        self.sluice("export", "add", EXPORT, "--nbd", f"unix:{self.socket}", "--name", EXPORT)


class Qemu(Server):
    """qemu-storage-daemon; its NBD server runs in one thread."""

    name = "qemu"

    @classmethod
    def variants(cls, backing):
        if backing.file is None:
            return [None]
        return ["io_uring", "native", "threads"] if backing.direct else ["io_uring", "threads"]

    def blockdev(self):
        # With read-zeroes=off it would send whatever is in its buffers, which the others do not do
        if self.backing.file is None:
            return {"driver": "null-co", "node-name": "disk", "size": self.backing.size, "read-zeroes": True}
        return {
            "driver": "file",
            "node-name": "disk",
            "filename": self.backing.file_of(self.name),
            "aio": self.variant,
            "cache": {"direct": self.backing.direct},
        }

    def command(self):
        export = {"type": "nbd", "id": "export", "node-name": "disk", "name": EXPORT, "writable": True}
        server = {"addr": {"type": "unix", "path": self.socket}}
        return [
            "qemu-storage-daemon",
            "--blockdev", json.dumps(self.blockdev()),
            "--nbd-server", json.dumps(server),
            "--export", json.dumps(export),
        ]  # fmt: skip


class Nbdkit(Server):
    """nbdkit with its null or file plugin. The file plugin cannot open with O_DIRECT."""

    name = "nbdkit"
    direct = False

    @classmethod
    def variants(cls, _backing):
        return ["4", "1", "16"]

    def command(self):
        if self.backing.file is None:
            plugin = ["null", str(self.backing.size)]
        else:
            plugin = ["file", self.backing.file_of(self.name)]
        return ["nbdkit", "--foreground", "--unix", self.socket, "--threads", self.variant, *plugin]
