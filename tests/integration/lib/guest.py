"""A small Linux guest under QEMU (software emulation) whose ext4 disk is an NBD export."""

import contextlib
import json
import os
import pathlib
import socket
import threading

from .processes import Server, run
from .sluice import SOURCE

GUEST_CACHE = pathlib.Path(os.environ.get("SLUICE_GUEST", SOURCE / "build" / "guest"))


def build_image():
    """Kernel and initramfs; quick when they are there already."""
    run([SOURCE / "tests/guest/build.sh", GUEST_CACHE], timeout=600)
    return GUEST_CACHE


def make_ext4(path, size):
    """A raw image with an empty ext4 on it."""
    path = pathlib.Path(path)
    with open(path, "wb") as f:
        f.truncate(size)
    run(["mkfs.ext4", "-q", "-F", "-E", "nodiscard", path])


def check_ext4(path):
    """fsck of an image that nobody uses: raises when it is not clean."""
    run(["fsck.ext4", "-f", "-n", path])


class Guest(Server):
    """Boots, mounts the disk, and runs tests/guest/verify.c until told to stop."""

    name = "guest"
    start_timeout = 90

    def __init__(self, workdir, disk_socket, export, reconnect_s=0, name="guest"):
        super().__init__(workdir)
        self.name = name
        self.disk_socket = disk_socket
        self.export = export
        self.reconnect_s = reconnect_s
        self.port_path = workdir / f"{name}.port"
        self.console_path = workdir / f"{name}.console"
        self.reports = []
        self.complaints = []
        self.final = None
        self._news = threading.Condition()
        self._port = None
        self._reader = None

    def argv(self):
        disk = {
            "driver": "nbd",
            "node-name": "disk",
            "server": {"type": "unix", "path": str(self.disk_socket)},
            "export": self.export,
            "reconnect-delay": self.reconnect_s,
            "cache": {"direct": True, "no-flush": False},
            "discard": "unmap",
        }
        return [
            "qemu-system-x86_64", "-accel", "tcg", "-machine", "q35", "-m", "192", "-nodefaults",
            "-nographic", "-no-reboot", "-no-user-config",
            "-kernel", GUEST_CACHE / "vmlinuz", "-initrd", GUEST_CACHE / "initrd.img",
            "-append", "console=ttyS0 quiet panic=-1 loglevel=4",
            "-blockdev", json.dumps(disk),
            "-device", "virtio-blk-pci,drive=disk",
            "-chardev", f"file,id=console,path={self.console_path}",
            "-serial", "chardev:console",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=port,path={self.port_path},server=on,wait=off",
            "-device", "virtserialport,chardev=port,name=verify",
        ]

    def prepare(self):
        self.port_path.unlink(missing_ok=True)
        self.console_path.unlink(missing_ok=True)

    def ready(self):
        """The load inside runs: the first report is there."""
        if self._port is None:
            self._connect()
        return bool(self.reports)

    def _connect(self):
        port = socket.socket(socket.AF_UNIX)
        try:
            port.connect(str(self.port_path))
        except OSError:
            port.close()
            return
        self._port = port
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        with contextlib.suppress(OSError, ValueError), self._port.makefile("r") as lines:
            for line in lines:
                with contextlib.suppress(json.JSONDecodeError):
                    self._take(json.loads(line))
        with self._news:
            self._news.notify_all()

    def _take(self, report):
        with self._news:
            if "progress" in report:
                self.reports.append(report)
            elif "final" in report:
                self.final = report
            else:
                self.complaints.append(report)
            self._news.notify_all()

    @property
    def console(self):
        return self.console_path.read_text(errors="replace") if self.console_path.exists() else ""

    @property
    def kernel_errors(self):
        marks = ("I/O error", "EXT4-fs error", "Buffer I/O", "Remounting filesystem read-only", "blocked for more")
        return [line for line in self.console.splitlines() if any(m in line for m in marks)]

    def log_tail(self, lines=40):
        return super().log_tail(lines) + "\n" + "\n".join(self.console.splitlines()[-lines:])

    def wait_reports(self, count, timeout=60):
        """Lets the load run for `count` more reports (five a second)."""
        with self._news:
            target = len(self.reports) + count
            reached = self._news.wait_for(
                lambda: len(self.reports) >= target or not self.running, timeout
            )
            if not reached or len(self.reports) < target:
                raise TimeoutError(f"the guest went silent\n{self.log_tail()}")

    def wait_progress(self, operations=20, timeout=60):
        """Until the guest has completed so many more operations than now."""
        done = lambda: self.reports[-1]["writes"] + self.reports[-1]["reads"]
        with self._news:
            target = done() + operations
            if not self._news.wait_for(lambda: done() >= target or not self.running, timeout):
                raise TimeoutError(f"the guest makes no progress\n{self.log_tail()}")

    def gap_ms(self, since=0):
        """The longest pause without a completed operation in the reports from that index on."""
        with self._news:
            return max((r["gap_us"] for r in self.reports[since:]), default=0) / 1000

    def finish(self, timeout=90):
        """Stops the load, has every file verified once more, powers off; gives the last report."""
        self._port.sendall(b"stop\n")
        self.child.wait(timeout)
        self._reader.join(5)
        if self.final is None:
            raise RuntimeError(f"the guest ended without a final report\n{self.log_tail()}")
        return self.final

    def end(self):
        super().end()
        if self._port is not None:
            self._port.close()


