"""Destinations that must not be used, and changes that go back."""

import pytest

from lib.nbdservers import TroubledNbdkit, nbdkit_file
from lib.processes import wait_until
from lib.proxy import READ, SWALLOW, NbdProxy, fail_reads_once_committed
from lib.scene import SIZE, Scene, file_servers


@pytest.fixture
def trapped(daemon, image, workdir, start, crew):
    """The interface b leads through a proxy, scene.trap."""
    path = image()
    servers = file_servers(workdir, start, path, ("a", "behind"))
    servers["b"] = crew.add(NbdProxy(workdir, "trap", servers.pop("behind"))).start()
    scene = Scene(daemon, servers)
    scene.trap = servers["b"]
    scene.backing = path
    return scene


def other_image(workdir, rng):
    path = workdir / "other.img"
    path.write_bytes(rng.randbytes(SIZE))
    return path


def fill(scene, rng):
    """The fingerprint can only tell images apart that differ."""
    with open(scene.backing, "r+b") as f:
        f.write(rng.randbytes(SIZE))


def test_path_to_other_data_is_refused_when_added(two_paths, workdir, start, rng):
    fill(two_paths, rng)
    server = start(nbdkit_file(workdir, "server-c", other_image(workdir, rng)))
    two_paths.cli("interface", "add", "c", "--kind", "nbd")
    refused = two_paths.cli.refused("path", "add", "lu", "--via", "c", "--nbd", server.uri)
    assert refused.status == 1 and len(refused.stderr.strip().splitlines()) == 1
    paths = {p["via"]: p["state"] for p in two_paths.cli("path", "list")["paths"]}
    assert paths.get("c") in (None, "refused")


def test_path_to_another_size_is_refused(two_paths, workdir, start, image):
    server = start(nbdkit_file(workdir, "server-c", image("small.img", SIZE // 2)))
    two_paths.cli("interface", "add", "c", "--kind", "nbd")
    refused = two_paths.cli.refused("path", "add", "lu", "--via", "c", "--nbd", server.uri)
    assert refused.status == 1 and str(SIZE // 2) in refused.stderr


def test_server_that_comes_back_with_other_data_is_refused(two_paths, workdir, rng, verify):
    fill(two_paths, rng)
    server = two_paths.servers["b"]
    server.kill()
    server.args = ("file", other_image(workdir, rng))
    server.start()
    wait_until(lambda: two_paths.path("b")["state"] == "refused", what="the path being refused")
    assert two_paths.path("b")["reason"] != ""
    refused, change = two_paths.failed_switch("a", "b")
    assert refused.status == 1
    assert change is None or change["state"] == "aborted"
    assert two_paths.active() == "a"
    server.kill()
    server.args = ("file", two_paths.backing)
    server.start()
    two_paths.wait_up("b")
    assert two_paths.switch("a", "b")["state"] == "done"


def test_data_swapped_under_an_open_path_is_found_before_the_switch(two_paths, workdir, rng):
    """The session stays, the data does not: what the checks of a change are for."""
    fill(two_paths, rng)
    trap_file = workdir / "shadow.img"
    trap_file.write_bytes(two_paths.backing.read_bytes())
    server = two_paths.servers["b"]
    server.kill()
    server.args = ("file", trap_file)
    server.start()
    two_paths.wait_up("b")
    trap_file.write_bytes(rng.randbytes(SIZE))
    refused, change = two_paths.failed_switch("a", "b")
    assert refused.status == 1
    assert change["state"] == "aborted" and change["reason"] != ""
    assert two_paths.active() == "a"


def test_stale_copy_is_found_by_what_was_written_since(two_paths, workdir, verify):
    """A copy that was the same a moment ago differs in recently written blocks only."""
    stale = workdir / "stale.img"
    stale.write_bytes(two_paths.backing.read_bytes())
    server = two_paths.servers["b"]
    server.kill()
    server.args = ("file", stale)
    server.start()
    two_paths.wait_up("b")
    load = verify(two_paths.uri)
    wait_until(lambda: load.report()["writes"] > 500, what="writes that the copy lacks")
    refused, change = two_paths.failed_switch("a", "b")
    assert refused.status == 1
    assert change["state"] == "aborted", change
    assert two_paths.active() == "a"
    load.finish()


def test_destination_that_fails_its_verification_is_rolled_back(trapped, verify, events):
    load = verify(trapped.uri)
    load.report()
    trapped.trap.judge = fail_reads_once_committed(trapped.daemon, "v")
    refused, change = trapped.failed_switch("a", "b")
    assert refused.status == 1 and len(refused.stderr.strip().splitlines()) == 1
    assert change["state"] == "rolled-back", change
    assert change["reason"] != ""
    assert 0 < change["held_us"] < 2_000_000
    assert trapped.active() == "a"
    event = events.wait(lambda e: e["type"].startswith("change.") and "rolled" in e["type"] + e["message"])
    assert event["level"] in ("warn", "error")
    trapped.trap.judge = lambda *_: None
    assert trapped.switch("a", "b")["state"] == "done"
    load.finish()


def test_destination_that_goes_mute_after_the_commit_is_rolled_back_in_time(trapped, verify):
    load = verify(trapped.uri)
    load.report()
    asks = fail_reads_once_committed(trapped.daemon, "v")
    trapped.trap.judge = lambda *request: SWALLOW if asks(*request) else None
    _, change = trapped.failed_switch("a", "b")
    assert change["state"] == "rolled-back", change
    assert change["held_us"] <= 2_500_000
    assert trapped.active() == "a"
    trapped.trap.judge = lambda *_: None
    load.finish()


def test_hold_ends_by_its_deadline_when_the_drain_hangs(trapped, verify):
    """Requests hang on the healthy-looking destination's predecessor: the hold gives up, nothing is lost."""
    trapped.switch("a", "b")
    load = verify(trapped.uri)
    load.report()
    hung = set()

    def hang_some(kind, offset, _length):
        if kind == READ and len(hung) < 4:
            hung.add(offset)
            return SWALLOW
        return None

    trapped.trap.judge = hang_some
    wait_until(lambda: len(hung) == 4, what="requests that hang")
    result = trapped.cli.raw("volume", "switch-path", "v", "--from", "b", "--to", "a")
    change = trapped.last_change()
    assert change["state"] in ("done", "aborted"), change
    assert change["held_us"] <= 2_500_000, change
    assert (result.returncode == 0) == (change["state"] == "done")
    trapped.trap.judge = lambda *_: None
    load.finish()


def test_destination_that_cannot_be_read_is_found_out_before_the_commit(daemon, image, workdir, start, verify):
    path = image()
    servers = {
        "a": start(nbdkit_file(workdir, "server-a", path)),
        "b": start(TroubledNbdkit(workdir, "server-b", path)),
    }
    scene = Scene(daemon, servers)
    load = verify(scene.uri)
    servers["b"].fail(writes=False)
    refused, change = scene.failed_switch("a", "b")
    assert refused.status == 1
    assert change is None or change["state"] == "aborted", change
    assert scene.active() == "a"
    load.finish()
