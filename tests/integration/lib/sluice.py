"""The daemon and the command line under test, and the REST API for what a test watches closely."""

import contextlib
import http.client
import json
import os
import pathlib
import queue
import socket
import subprocess
import threading

from .processes import Server, run, spawn

SOURCE = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get("SLUICE_BUILD", SOURCE / "build")).resolve()


def program(name):
    """Where meson puts it: the daemon in src/daemon, the command line in cli, helpers in tests."""
    for folder in ("src/daemon", "cli", "tests/tools"):
        path = BUILD / folder / name
        if path.exists():
            return path
    raise FileNotFoundError(f"{name} is not in {BUILD}: build first")


class UnixHttp(http.client.HTTPConnection):
    def __init__(self, path, timeout=30):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Refused(Exception):
    """The command line ended with an exit status other than 0."""

    def __init__(self, result):
        super().__init__(f"exit {result.returncode}: {result.stderr.strip()}")
        self.status = result.returncode
        self.stderr = result.stderr
        self.stdout = result.stdout


class Cli:
    def __init__(self, url):
        self.url = url
        self.env = {**os.environ, "SLUICE_URL": url, "LC_ALL": "C.UTF-8"}

    def raw(self, *args, timeout=60):
        """The finished process, whatever its status."""
        return run([program("sluice"), *args], timeout=timeout, check=False, env=self.env)

    def text(self, *args, timeout=60):
        result = self.raw(*args, timeout=timeout)
        if result.returncode != 0:
            raise Refused(result)
        return result.stdout

    def __call__(self, *args, timeout=60):
        """One JSON document, parsed."""
        return json.loads(self.text(*args, "--json", timeout=timeout))

    def refused(self, *args, timeout=60):
        """For commands that must fail: the Refused, to look at its stderr."""
        result = self.raw(*args, timeout=timeout)
        assert result.returncode != 0, f"{args} was not refused: {result.stdout}"
        return Refused(result)


class Events:
    """Live events over SSE, collected in a thread from the moment of creation."""

    def __init__(self, socket_path, since=None):
        self.seen = []
        self._queue = queue.Queue()
        self._http = UnixHttp(socket_path, timeout=None)
        headers = {"Accept": "text/event-stream"}
        if since is not None:
            headers["Last-Event-ID"] = str(since)
        self._http.request("GET", "/v1/events", headers=headers)
        # The stream works on its own copy of the socket once the response owns it.
        self._socket = self._http.sock
        self._response = self._http.getresponse()
        assert self._response.status == 200, self._response.status
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException, AttributeError):
            while line := self._response.readline():
                if line.startswith(b"data:"):
                    self._queue.put(json.loads(line[5:]))
        self._queue.put(None)

    def wait(self, matches, timeout=20):
        """The first event, seen already or yet to come, for which matches(event) is true."""
        for event in self.seen:
            if matches(event):
                return event
        while True:
            try:
                event = self._queue.get(timeout=timeout)
            except queue.Empty:
                event = None
            if event is None:
                types = [e.get("type") for e in self.seen]
                raise TimeoutError(f"the event did not come within {timeout} s; seen: {types}")
            self.seen.append(event)
            if matches(event):
                return event

    def wait_type(self, kind, timeout=20):
        return self.wait(lambda event: event["type"] == kind, timeout)

    def end(self):
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._http.close()


class Daemon(Server):
    """sluiced on a data directory of its own, with NBD exports on one UNIX socket."""

    def __init__(self, workdir, name="sluiced", args=("--reactors", "1")):
        super().__init__(workdir)
        self.name = name
        self.data = workdir / f"{name}.data"
        self.data.mkdir(exist_ok=True)
        self.api = workdir / f"{name}.api"
        self.exports = workdir / f"{name}.nbd"
        self.args = tuple(args)
        self.cli = Cli(f"unix:{self.api}")

    def argv(self):
        return [
            program("sluiced"), "--data", self.data, "--listen", f"unix:{self.api}", *self.args,
        ]

    def ready(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.http("GET", "/v1/health")[0] == 200
        return False

    def http(self, method, path, body=None, headers=None, timeout=30):
        """(status, parsed JSON or text)"""
        connection = UnixHttp(self.api, timeout)
        with contextlib.closing(connection):
            payload = None if body is None else json.dumps(body)
            head = {"Content-Type": "application/json"} if payload else {}
            connection.request(method, path, payload, {**head, **(headers or {})})
            response = connection.getresponse()
            data = response.read().decode()
            if "json" in (response.getheader("Content-Type") or ""):
                data = json.loads(data)
            return response.status, data

    def events(self, since=None):
        return Events(self.api, since)

    # -- what most tests set up

    def nbd_interfaces(self, *names):
        for name in names:
            self.cli("interface", "add", name, "--kind", "nbd")

    def nbd_lu(self, name, servers):
        """servers: {interface: NbdServer}, the first is the one the LU is added through."""
        pairs = list(servers.items())
        self.cli("lu", "add", name, "--nbd", pairs[0][1].uri, "--via", pairs[0][0])
        for interface, server in pairs[1:]:
            self.cli("path", "add", name, "--via", interface, "--nbd", server.uri)

    def export(self, volume, *args):
        """Exports a volume on the daemon's NBD socket and gives the URI."""
        self.cli("export", "add", volume, "--nbd", f"unix:{self.exports}", "--name", volume, *args)
        return self.uri(volume)

    def uri(self, name):
        return f"nbd+unix:///{name}?socket={self.exports}"

    def volume(self, name, size, on):
        self.cli("volume", "create", name, "--size", str(size), "--on", on)
        return self.export(name)

    def switch(self, volume, source, destination, *args, timeout=60):
        return self.cli(
            "volume", "switch-path", volume, "--from", source, "--to", destination, *args,
            timeout=timeout,
        )

    def active(self, volume):
        """The interface that the volume's first LU uses now; None when it has none."""
        active = self.cli("volume", "show", volume)["active"]
        return active[0]["via"] if active else None


def watch_events(cli):
    """`sluice event watch --json` as a child, for a test of the command itself."""
    return spawn(
        [program("sluice"), "event", "watch", "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=cli.env,
    )
