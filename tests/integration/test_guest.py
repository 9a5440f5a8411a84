"""A Linux guest with its ext4 on a Sluice disk, and the demo without a terminal."""

import os
import signal
import subprocess
import sys

import pytest

from lib.guest import Guest, check_ext4, make_ext4
from lib.processes import run, spawn, wait_until
from lib.scene import Scene, file_servers
from lib.sluice import BUILD, SOURCE

SIZE = 128 << 20


@pytest.fixture
def guest_scene(daemon, workdir, start):
    path = workdir / "disk.img"
    make_ext4(path, SIZE)
    scene = Scene(daemon, file_servers(workdir, start, path, ("a", "b")), size=SIZE)
    scene.backing = path
    return scene


@pytest.fixture
def boot(guest_image, workdir, start, guest_scene):
    return lambda **options: start(Guest(workdir, guest_scene.daemon.exports, "v", **options))


def finish(guest, scene):
    """No error, no wrong data, and a file system that is whole."""
    final = guest.finish()
    assert (final["errors"], final["mismatches"]) == (0, 0), guest.complaints
    assert final["writes"] > 0 and final["reads"] > 0
    assert guest.kernel_errors == []
    scene.daemon.stop()
    for server in scene.servers.values():
        server.stop()
    check_ext4(scene.backing)


@pytest.mark.soak
def test_guest_works_through_switches(boot, guest_scene, rng, count):
    guest = boot()
    for _ in range(count(15, 200)):
        assert guest_scene.switch_away(rng)["state"] == "done"
        guest.wait_progress(10)
    finish(guest, guest_scene)


@pytest.mark.soak
def test_guest_works_through_dying_servers(boot, guest_scene, count):
    guest = boot()
    for _ in range(count(3, 40)):
        for name in ("a", "b"):
            guest_scene.servers[name].kill()
            guest.wait_progress(10)
            guest_scene.servers[name].start()
            guest_scene.wait_up()
    finish(guest, guest_scene)


@pytest.mark.soak
def test_guest_works_through_kill_9_of_the_daemon(boot, guest_scene, count):
    """QEMU dials again; the guest waits and sees no error."""
    guest = boot(reconnect_s=60)
    for _ in range(count(3, 30)):
        guest_scene.daemon.kill()
        guest_scene.daemon.start()
        guest_scene.wait_up()
        guest.wait_progress(10)
    finish(guest, guest_scene)


def demo():
    return [sys.executable, SOURCE / "tools/demo.py", "--build", BUILD]


def test_demo_without_a_terminal(guest_image):
    result = run(demo(), timeout=170, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "errors: 0" in result.stdout and "mismatches: 0" in result.stdout
    for word in ("held for", "rolled back", "refused", "killed"):
        assert word in result.stdout
    assert "\033" not in result.stdout, "colours are for terminals"
    assert result.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_interrupted_demo_leaves_nothing_running(guest_image, workdir, number):
    env = {**os.environ, "TMPDIR": str(workdir)}
    child = spawn(demo(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    for line in child.stdout:
        if line.startswith("1."):
            break
    assert processes_below(workdir)
    child.send_signal(number)
    child.wait(30)
    child.stdout.close()
    assert child.returncode != 0
    wait_until(lambda: not processes_below(workdir), 30, "the demo's processes ending")


def processes_below(path):
    """Those whose command line names a file below path."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as f:
                if str(path).encode() + b"/" in f.read():
                    found.append(int(entry))
        except OSError:
            continue
    return found
