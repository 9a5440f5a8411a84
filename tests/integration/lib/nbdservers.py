"""Real NBD servers on UNIX sockets: nbdkit, qemu-nbd, qemu-storage-daemon."""

from .processes import Server, socket_answers


class NbdServer(Server):
    """Its socket path stays the same over restarts, as a storage server's address does."""

    def __init__(self, workdir, name, export=""):
        super().__init__(workdir)
        self.name = name
        self.export = export
        self.socket = workdir / f"{name}.sock"

    @property
    def uri(self):
        return f"nbd+unix:///{self.export}?socket={self.socket}"

    def prepare(self):
        self.socket.unlink(missing_ok=True)

    def ready(self):
        return socket_answers(self.socket)


class Nbdkit(NbdServer):
    """args: plugin and its parameters. filters: names. threads: per connection; nbdkit 1.32 with more than one
    stops with "raw_send_socket: Assertion `sock >= 0' failed" when a client vanishes while it answers."""

    def __init__(self, workdir, name, *args, filters=(), threads=1, read_only=False):
        super().__init__(workdir, name)
        self.args = args
        self.filters = tuple(filters)
        self.threads = threads
        self.read_only = read_only

    def argv(self):
        argv = ["nbdkit", "-f", "-U", self.socket, "-t", self.threads]
        if self.read_only:
            argv.append("-r")
        argv += [f"--filter={f}" for f in self.filters]
        return argv + list(self.args)


class TroubledNbdkit(Nbdkit):
    """A server on a file whose reads, writes or both start to fail when told so."""

    def __init__(self, workdir, name, path, error="EIO", **kwargs):
        self.read_trigger = workdir / f"{name}.fail-reads"
        self.write_trigger = workdir / f"{name}.fail-writes"
        settings = [f"error={error}"]
        for request, trigger in (
            ("pread", self.read_trigger),
            ("pwrite", self.write_trigger),
            ("zero", self.write_trigger),
            ("trim", self.write_trigger),
        ):
            settings += [f"error-{request}-rate=100%", f"error-{request}-file={trigger}"]
        super().__init__(workdir, name, "file", path, *settings, filters=["error"], **kwargs)

    def fail(self, reads=True, writes=True):
        if reads:
            self.read_trigger.touch()
        if writes:
            self.write_trigger.touch()

    def heal(self):
        self.read_trigger.unlink(missing_ok=True)
        self.write_trigger.unlink(missing_ok=True)


def nbdkit_file(workdir, name, path, **kwargs):
    return Nbdkit(workdir, name, "file", path, **kwargs)


def slow_nbdkit_file(workdir, name, path, delay, **kwargs):
    """delay: as nbdkit's delay filter takes it, e.g. "20ms"; for reads and writes."""
    return Nbdkit(
        workdir, name, "file", path, f"rdelay={delay}", f"wdelay={delay}", filters=["delay"], threads=16, **kwargs
    )


def nbdkit_memory(workdir, name, size, **kwargs):
    return Nbdkit(workdir, name, "memory", size, **kwargs)


class QemuNbd(NbdServer):
    def __init__(self, workdir, name, path, clients=8):
        super().__init__(workdir, name)
        self.path = path
        self.clients = clients

    def argv(self):
        return [
            "qemu-nbd", "--persistent", "--format=raw", "--discard=unmap",
            f"--shared={self.clients}", f"--socket={self.socket}", self.path,
        ]


class StorageDaemon(NbdServer):
    """qemu-storage-daemon with one raw file as the writable export `disk`."""

    def __init__(self, workdir, name, path):
        super().__init__(workdir, name, export="disk")
        self.path = path

    def argv(self):
        return [
            "qemu-storage-daemon",
            "--blockdev", f"driver=file,node-name=file,filename={self.path},discard=unmap",
            "--blockdev", "driver=raw,node-name=disk,file=file,discard=unmap",
            "--nbd-server", f"addr.type=unix,addr.path={self.socket},max-connections=0",
            "--export", "type=nbd,id=disk,node-name=disk,name=disk,writable=on",
        ]
