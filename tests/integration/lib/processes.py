"""Processes that end with the test, whatever happens to it.

Every child gets PR_SET_PDEATHSIG, so nothing survives a killed test run. The signal follows the
*thread* that forked, hence one thread that lives as long as the program does all the forking:
children may be started from any thread of a test.
"""

import contextlib
import os
import queue
import signal
import socket
import subprocess
import threading
import time

_requests = queue.Queue()
_spawner = None
_spawner_lock = threading.Lock()


def _serve_spawns():
    while True:
        argv, kwargs, answer = _requests.get()
        try:
            answer.put(subprocess.Popen(argv, **kwargs))
        except OSError as error:
            answer.put(error)


def spawn(argv, **kwargs):
    """subprocess.Popen that dies with this program. setpriv sets the death signal, so that no
    Python code runs between fork and exec."""
    global _spawner
    with _spawner_lock:
        if _spawner is None:
            _spawner = threading.Thread(target=_serve_spawns, name="spawner", daemon=True)
            _spawner.start()
    answer = queue.Queue()
    _requests.put((["setpriv", "--pdeathsig", "KILL", *map(str, argv)], kwargs, answer))
    result = answer.get()
    if isinstance(result, OSError):
        raise result
    return result


def wait_until(condition, timeout=20, what="the condition", interval=0.01):
    """Returns the first true value of condition(). The interval paces the asking only."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come true within {timeout} s")
        time.sleep(interval)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def socket_answers(path):
    """Somebody accepts connections on this UNIX socket."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as s:
        try:
            s.connect(str(path))
        except OSError:
            return False
        return True


def port_answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Server:
    """A child that serves until it is ended. Subclasses give argv() and ready()."""

    name = "server"
    start_timeout = 20

    def __init__(self, workdir):
        self.workdir = workdir
        self.child = None
        self.env = None

    def argv(self):
        raise NotImplementedError

    def ready(self):
        return True

    def prepare(self):
        """Called before each start: removes what a killed predecessor left behind."""

    @property
    def log_path(self):
        return self.workdir / f"{self.name}.log"

    @property
    def pid(self):
        return self.child.pid

    @property
    def running(self):
        return self.child is not None and self.child.poll() is None

    def start(self):
        assert not self.running, f"{self.name} is running already"
        self.prepare()
        with open(self.log_path, "ab") as log:
            self.child = spawn(
                self.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env
            )
        wait_until(self._ready_or_dead, self.start_timeout, f"{self.name} being ready")
        return self

    def _ready_or_dead(self):
        if self.child.poll() is not None:
            raise RuntimeError(
                f"{self.name} ended with {self.child.returncode} before it was ready:\n"
                + self.log_tail()
            )
        return self.ready()

    def signal(self, number):
        self.child.send_signal(number)

    def freeze(self):
        self.signal(signal.SIGSTOP)
        # The signal is sent, not yet obeyed: wait until the kernel shows it.
        wait_until(lambda: process_state(self.pid) == "T", what=f"{self.name} stopping")

    def thaw(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """kill -9, and wait until the kernel has closed what it had open."""
        self.signal(signal.SIGKILL)
        self.child.wait()

    def stop(self, timeout=20):
        """Asks politely, insists after the timeout. Returns the exit status, None when it was not
        running."""
        if not self.running:
            return self.child.returncode if self.child else None
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"{self.name} did not end on SIGTERM within {timeout} s") from None

    def end(self):
        """For clean-up: whatever state it is in, it is gone afterwards."""
        if self.running:
            self.kill()

    def log_tail(self, lines=40):
        try:
            text = self.log_path.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


class Crew:
    """Servers that end together, the youngest first."""

    def __init__(self):
        self.members = []

    def add(self, member):
        self.members.append(member)
        return member

    def end(self):
        while self.members:
            self.members.pop().end()

    def logs(self):
        return [(m.name, m.log_tail()) for m in self.members if hasattr(m, "log_tail")]


def run(argv, timeout=120, check=True, **kwargs):
    """Runs a program to its end, with its output as text."""
    child = spawn(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
        raise RuntimeError(
            f"{argv[0]} did not end within {timeout} s\nstdout: {out}\nstderr: {err}"
        ) from None
    result = subprocess.CompletedProcess(argv, child.returncode, out, err)
    if check and result.returncode != 0:
        raise RuntimeError(
            f"{' '.join(map(str, argv))} ended with {result.returncode}\n"
            f"stdout: {result.stdout}\nstderr: {result.stderr}"
        )
    return result


# -- facts about a process, from /proc ---------------------------------------------------------


def _status_field(pid, field):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
        for line in f:
            if line.startswith(field + ":"):
                return line.split(":", 1)[1].strip()
    raise KeyError(field)


def process_state(pid):
    return _status_field(pid, "State")[0]


def resident_kib(pid):
    return int(_status_field(pid, "VmRSS").split()[0])


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def voluntary_switches(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as f:
            for line in f:
                if line.startswith("voluntary_ctxt_switches"):
                    total += int(line.split()[1])
    return total
