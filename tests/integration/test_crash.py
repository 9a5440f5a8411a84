"""kill -9 of the daemon at random moments: what was answered is there, and the store is whole."""

import contextlib
import sqlite3
import threading

import pytest

from lib.load import images_equal, nbd_copy
from lib.processes import run
from lib.scene import SIZE
from lib.sluice import Daemon


def assert_store_is_whole(daemon):
    """Opened by SQLite itself while the daemon is down."""
    store = sqlite3.connect(daemon.data / "store.db")
    assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    store.close()


@pytest.mark.soak
def test_nothing_answered_is_lost_by_kill_9(two_paths, verify, rng, count, workdir):
    daemon = two_paths.daemon
    state = workdir / "model"
    load = verify(two_paths.uri, connections=2, reconnect_s=60, state=state)
    for _ in range(count(8, 50)):
        before = load.report()
        threading.Event().wait(rng.uniform(0, 0.5))
        daemon.kill()
        assert_store_is_whole(daemon)
        daemon.start()
        two_paths.wait_up()
        while load.report()["reads"] <= before["reads"]:
            assert load.running, load.complaints
    last = load.finish()
    assert last["reconnects"] >= count(8, 50)
    # Past the daemon: the file itself holds what the model says.
    check_file_against_model(two_paths, verify, state)


def check_file_against_model(scene, verify, state):
    scene.daemon.stop()
    verify(scene.servers["a"].uri, state=state, seconds=0.01, extra=["--check-first"]).finish()


@pytest.mark.soak
def test_kill_9_in_the_middle_of_a_switch(two_paths, verify, rng, count):
    """Whatever the change had come to, the volume serves again, on one of the two paths, and the change has ended."""
    daemon = two_paths.daemon
    load = verify(two_paths.uri, connections=2, reconnect_s=60)
    for _ in range(count(8, 100)):
        source = two_paths.active()
        destination = "b" if source == "a" else "a"
        command = threading.Thread(
            target=daemon.cli.raw, args=("volume", "switch-path", "v", "--from", source, "--to", destination)
        )
        command.start()
        threading.Event().wait(rng.uniform(0.01, 0.06))
        daemon.kill()
        command.join()
        daemon.start()
        two_paths.wait_up()
        assert load.running, load.complaints
        change = two_paths.last_change()
        assert change is None or change["state"] in ("done", "aborted", "rolled-back"), change
        assert two_paths.active() in ("a", "b")
    load.finish()


def test_file_lu_survives_kill_9(daemon, image, verify, rng):
    path = image()
    daemon.cli("lu", "add", "lu", "--file", path)
    uri = daemon.volume("v", SIZE, "lu")
    load = verify(uri, reconnect_s=60)
    for _ in range(4):
        load.report()
        threading.Event().wait(rng.uniform(0, 0.3))
        daemon.kill()
        daemon.start()
    load.finish()


def test_restart_brings_everything_back(two_paths, workdir, rng):
    daemon = two_paths.daemon
    source = workdir / "source.img"
    source.write_bytes(rng.randbytes(SIZE))
    nbd_copy(source, two_paths.uri)
    before = {noun: daemon.cli(noun, "list") for noun in ("interface", "lu", "path", "volume", "export")}
    assert daemon.stop() == 0
    daemon.start()
    two_paths.wait_up()
    assert images_equal(source, two_paths.uri)
    after = {noun: daemon.cli(noun, "list") for noun in before}
    assert names(after) == names(before)


def names(lists):
    """What identifies the objects: figures and states differ after a restart."""
    keys = ("name", "uuid", "size", "kind", "lu", "via", "address", "id", "uri", "generation", "identity")
    return {
        noun: sorted(tuple((k, str(item.get(k))) for k in keys) for item in next(iter(answer.values())))
        for noun, answer in lists.items()
    }


def test_removed_objects_stay_removed(two_paths):
    daemon = two_paths.daemon
    export = daemon.cli("export", "list")["exports"][0]["id"]
    daemon.cli("export", "remove", str(export))
    daemon.cli("volume", "delete", "v")
    daemon.cli("path", "remove", "lu", "--via", "b")
    daemon.kill()
    daemon.start()
    assert daemon.cli("export", "list")["exports"] == []
    assert daemon.cli("volume", "list")["volumes"] == []
    assert [p["via"] for p in daemon.cli("path", "list")["paths"]] == ["a"]


def test_servers_that_are_down_at_the_start_are_found_later(two_paths, verify):
    daemon = two_paths.daemon
    daemon.stop()
    for server in two_paths.servers.values():
        server.kill()
    daemon.start()
    assert daemon.cli("lu", "show", "lu")["state"] == "down"
    for server in two_paths.servers.values():
        server.start()
    two_paths.wait_up()
    verify(two_paths.uri, seconds=0.5).finish()


def test_second_daemon_on_the_same_data_is_refused(two_paths):
    daemon = two_paths.daemon
    argv = daemon.argv()
    argv[argv.index(f"unix:{daemon.api}")] = f"unix:{daemon.workdir / 'second.api'}"
    second = run(argv, check=False)
    assert second.returncode == 1
    assert str(daemon.data) in second.stderr
    assert daemon.cli("status")


@pytest.fixture
def small_disk(workdir):
    """A file system of 8 MiB of its own."""
    where = workdir / "small"
    where.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=8m", "sluice-test", where])
    yield where
    run(["umount", "-l", where])


def test_full_disk_under_the_store_is_reported_and_harms_nothing(small_disk, workdir, start, image, verify):
    daemon = Daemon(workdir)
    daemon.data = small_disk / "data"
    daemon.data.mkdir()
    start(daemon)
    daemon.cli("lu", "add", "lu", "--file", image())
    load = verify(daemon.volume("v", SIZE, "lu"))
    fill_up(small_disk / "filler")
    refused = None
    for i in range(200):
        result = daemon.cli.raw("client", "add", f"client-{i}")
        if result.returncode != 0:
            refused = result
            break
    assert refused is not None and refused.returncode == 1
    assert len(refused.stderr.strip().splitlines()) == 1
    (small_disk / "filler").unlink()
    daemon.cli("client", "add", "after")
    load.finish()
    daemon.kill()
    assert_store_is_whole(daemon)
    daemon.start()
    assert "after" in [c["name"] for c in daemon.cli("client", "list")["clients"]]
    assert daemon.stop() == 0


def fill_up(path):
    with open(path, "wb", buffering=0) as f:
        for size in (65536, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    f.write(bytes(size))
