#!/usr/bin/env python3
"""A Linux guest works on a Sluice disk, and everything behind the disk changes meanwhile.

    tools/demo.py [--build DIRECTORY]

Ends with status 0 when every step went as it must and the guest saw neither an error nor wrong data.
"""

import argparse
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import textwrap
import time

SOURCE = pathlib.Path(__file__).resolve().parents[1]
DISK_SIZE = 256 << 20
WIDTH = 100


def say(text="", indent=0):
    for line in textwrap.wrap(text, WIDTH - indent) or [""]:
        print(" " * indent + line, flush=True)


def bold(text):
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


class Failed(Exception):
    """A step did not go as it must; the text says how."""


def require(condition, text):
    if not condition:
        raise Failed(text)


def describe_us(us):
    return f"{us} us" if us < 1000 else f"{us / 1000:.1f} ms"


class Demo:
    """The scene: two NBD servers on one file, a daemon between them and a guest."""

    def __init__(self, workdir, crew):
        self.workdir = workdir
        self.crew = crew
        self.started = time.monotonic()
        self.number = 0
        self.backing = workdir / "disk.img"
        self.servers = {}

    # -- the scene

    def command(self, *args):
        print(f"    $ sluice {' '.join(map(str, args))}", flush=True)
        return self.daemon.cli(*args)

    def set_up(self):
        guest.make_ext4(self.backing, DISK_SIZE)
        for name in ("left", "right"):
            server = nbdservers.nbdkit_file(self.workdir, name, self.backing)
            self.servers[name] = self.crew.add(server).start()
        self.daemon = self.crew.add(Daemon(self.workdir)).start()
        say("Two NBD servers, left and right, serve one backing file. sluiced is between them and the guest:")
        self.command("interface", "add", "if-left", "--kind", "nbd")
        self.command("interface", "add", "if-right", "--kind", "nbd")
        self.command("lu", "add", "disk", "--nbd", self.servers["left"].uri, "--via", "if-left")
        self.command("path", "add", "disk", "--via", "if-right", "--nbd", self.servers["right"].uri)
        self.command("volume", "create", "vol", "--size", DISK_SIZE, "--on", "disk")
        self.command("export", "add", "vol", "--nbd", f"unix:{self.daemon.exports}")
        require(self.daemon.active("vol") == "if-left", "the volume does not use if-left at the start")

    def boot(self):
        say("A guest boots, mounts the disk, and from now on writes and verifies checksummed files:")
        started = time.monotonic()
        self.guest = self.crew.add(guest.Guest(self.workdir, self.daemon.exports, "vol"))
        self.guest.start()
        self.guest.wait_reports(10)
        say(f"it is up after {time.monotonic() - started:.1f} s; without any change its longest pause between two "
            f"operations is {self.guest.gap_ms():.0f} ms", indent=4)

    # -- one step: what is done, what came of it, what the guest saw

    def step(self, title, action):
        self.number += 1
        say()
        print(bold(f"{self.number}. {title}"), flush=True)
        since = len(self.guest.reports)
        outcome = action()
        self.guest.wait_reports(3)
        self.guest.wait_progress()
        say(outcome, indent=4)
        say(f"longest pause in the guest: {self.guest.gap_ms(since):.0f} ms", indent=4)
        require(not self.guest.complaints, f"the guest complains: {self.guest.complaints}")

    def switch(self):
        change = self.command("volume", "switch-path", "vol", "--from", "if-left", "--to", "if-right")
        require(change["state"] == "done", f"the change ended as {change['state']}: {change['reason']}")
        require(self.daemon.active("vol") == "if-right", "the volume does not use if-right")
        return (f"done: I/O was held for {describe_us(change['held_us'])} ({change['held_requests']} requests waited), "
                f"of which {describe_us(change['drain_us'])} to drain and {describe_us(change['verify_us'])} to verify")

    def kill_active(self):
        self.servers["right"].kill()
        wait_until(lambda: self.daemon.active("vol") == "if-left", 30, "the fail-over to if-left")
        self.guest.wait_progress()
        return "the server of if-right was killed; the volume moved to if-left by itself"

    def bring_back(self):
        self.servers["right"].start()
        wait_until(lambda: self.path("if-right")["state"] in ("up", "damped"), 60, "the path over if-right coming back")
        return f"the server was started again; the path over if-right is {self.path('if-right')['state']}"

    def path(self, interface):
        return self.daemon.cli("path", "show", "disk", "--via", interface)

    def other_data(self):
        other = self.workdir / "other.img"
        guest.make_ext4(other, DISK_SIZE)
        self.servers["other"] = self.crew.add(nbdservers.nbdkit_file(self.workdir, "other", other)).start()
        self.command("interface", "add", "if-other", "--kind", "nbd")
        args = ("path", "add", "disk", "--via", "if-other", "--nbd", self.servers["other"].uri)
        print(f"    $ sluice {' '.join(map(str, args))}", flush=True)
        refused = self.daemon.cli.refused(*args)
        before = self.daemon.active("vol")
        again = self.daemon.cli.refused("volume", "switch-path", "vol", "--from", before, "--to", "if-other")
        require(self.daemon.active("vol") == before, "the volume has moved")
        return f"refused: {refused.stderr.strip()} And so is the switch: {again.stderr.strip()}"

    def failing_destination(self):
        """The proxy lets every check pass and fails the read that verifies the new path."""
        server = nbdservers.nbdkit_file(self.workdir, "bad", self.backing)
        self.servers["bad"] = self.crew.add(server).start()
        trap = self.crew.add(proxy.NbdProxy(self.workdir, "trap", server)).start()
        self.command("interface", "add", "if-bad", "--kind", "nbd")
        self.command("path", "add", "disk", "--via", "if-bad", "--nbd", trap.uri)
        trap.judge = proxy.fail_reads_once_committed(self.daemon, "vol")
        before = self.daemon.active("vol")
        args = ("volume", "switch-path", "vol", "--from", before, "--to", "if-bad")
        print(f"    $ sluice {' '.join(args)}", flush=True)
        refused = self.daemon.cli.refused(*args)
        change = self.daemon.cli("change", "list")["changes"][0]
        require(change["state"] == "rolled-back",
                f"the change ended as {change['state']}: {change['reason']} ({refused})")
        require(self.daemon.active("vol") == before, "the volume has moved")
        return (f"rolled back to {before}: {change['reason']}; "
                f"I/O was held for {describe_us(change['held_us'])} ({change['held_requests']} requests waited)")

    # -- the end

    def verdict(self):
        final = self.guest.finish()
        status = self.daemon.stop()
        for server in self.servers.values():
            server.stop()
        guest.check_ext4(self.backing)
        say()
        print(bold("Result"), flush=True)
        say(f"the guest wrote {final['writes']} files and read {final['reads']} back ({final['bytes'] >> 20} MiB), then "
            f"verified all of them once more", indent=4)
        say(f"longest pause in all that time: {self.guest.gap_ms():.0f} ms; mismatches: {final['mismatches']}; "
            f"errors: {final['errors']}", indent=4)
        say(f"the file system is clean; all that in {time.monotonic() - self.started:.0f} s", indent=4)
        require(final["errors"] == 0 and final["mismatches"] == 0, "the guest saw errors")
        require(not self.guest.kernel_errors, f"the guest's kernel saw errors: {self.guest.kernel_errors}")
        require(status == 0, f"sluiced ended with {status}")

    def run(self):
        self.set_up()
        self.boot()
        self.step("Switch the path while it is used", self.switch)
        self.step("Kill -9 the server behind the active path", self.kill_active)
        self.step("Bring the server back", self.bring_back)
        self.step("Try a destination that leads to other data", self.other_data)
        self.step("Try a destination that fails right after the switch", self.failing_destination)
        self.verdict()


def play():
    workdir = pathlib.Path(tempfile.mkdtemp(prefix="sluice-demo-"))
    crew = Crew()
    demo = Demo(workdir, crew)
    try:
        demo.run()
        return 0
    except Exception as error:  # pylint: disable=broad-except
        # Whatever it was, people see what happened and what the parts said, and the status says no.
        print(f"\nFAILED: {type(error).__name__}: {error}", file=sys.stderr)
        for name, text in crew.logs():
            if text.strip():
                print(f"-- log of {name}\n{text}", file=sys.stderr)
        return 1
    finally:
        crew.end()
        shutil.rmtree(workdir, ignore_errors=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.environ.get("SLUICE_BUILD", str(SOURCE / "build")),
                        help="where sluiced and sluice were built")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ["SLUICE_BUILD"] = str(pathlib.Path(parse().build).resolve())
    sys.path.insert(0, str(SOURCE / "tests" / "integration"))
    sys.dont_write_bytecode = True
    from lib import guest, nbdservers, proxy
    from lib.processes import Crew, wait_until
    from lib.sluice import Daemon

    # Ctrl-C and a polite kill end it through the clean-up too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    guest.build_image()
    sys.exit(play())
