"""Moving a volume to another path while it is used: US 8,103,721, columns 5-9."""

import threading

import pytest

from lib.load import Fio, images_equal, nbd_copy
from lib.nbdservers import QemuNbd, StorageDaemon, nbdkit_file
from lib.processes import wait_until
from lib.scene import SIZE, Scene, file_servers
from lib.sluice import Daemon


def switch_while(scene, rng, busy, count):
    """Switches at random moments as long as the load runs, count times; the changes."""
    changes = []
    pause = threading.Event()
    while len(changes) < count and busy():
        # The moment is random in time on purpose; nothing waits for it.
        pause.wait(rng.uniform(0, 0.03))
        changes.append(scene.switch_away(rng))
    return changes


def assert_all_done(changes):
    assert changes
    for change in changes:
        assert change["state"] == "done", change
        assert change["reason"] == ""


@pytest.mark.soak
def test_switches_under_verified_load_lose_nothing(two_paths, verify, rng, count):
    load = verify(two_paths.uri, connections=2)
    wanted = count(60, 500)
    changes = switch_while(two_paths, rng, lambda: load.running, wanted)
    assert len(changes) == wanted
    assert_all_done(changes)
    load.finish()
    assert two_paths.active() in ("a", "b")


@pytest.mark.soak
def test_switches_under_fio_with_verification(two_paths, crew, workdir, seed, rng, count):
    load = crew.add(Fio(workdir, two_paths.uri, seed=seed, size=str(SIZE // 2), seconds=count(6, 60)))
    changes = switch_while(two_paths, rng, lambda: load.running, 10000)
    assert_all_done(changes)
    load.finish()


@pytest.mark.soak
def test_copies_through_switches_are_exact(two_paths, workdir, rng, count):
    source = workdir / "source.img"
    source.write_bytes(rng.randbytes(SIZE))
    for _ in range(count(3, 40)):
        copied = threading.Event()

        def copy():
            nbd_copy(source, two_paths.uri)
            nbd_copy(two_paths.uri, workdir / "copy.img")
            copied.set()

        copier = threading.Thread(target=copy)
        copier.start()
        changes = switch_while(two_paths, rng, lambda: not copied.is_set(), 10000)
        copier.join()
        assert copied.is_set()
        assert_all_done(changes)
        assert images_equal(source, two_paths.uri)
        assert images_equal(source, workdir / "copy.img")
        assert images_equal(source, two_paths.backing)


def test_outcome_tells_how_long_requests_were_held(two_paths, verify):
    load = verify(two_paths.uri)
    load.report()
    change = two_paths.switch("a", "b")
    shown = two_paths.cli("change", "show", str(change["id"]))
    assert shown == change
    assert (change["kind"], change["volume"], change["state"]) == ("switch-path", "v", "done")
    assert (change["from"], change["to"]) == ("a", "b")
    assert 0 < change["held_us"] < 2_000_000
    assert change["drain_us"] >= 0 and change["commit_us"] > 0 and change["verify_us"] > 0
    assert change["held_requests"] > 0
    assert change["generation"] == two_paths.cli("volume", "map", "v")["generation"]
    assert [node["state"] for node in change["nodes"]] == ["resumed"]
    load.finish()


def test_requests_go_over_the_new_path_only(two_paths, verify):
    load = verify(two_paths.uri)
    two_paths.switch("a", "b")
    # What is left on the old interface is the probe of an idle path, not the volume's requests.
    before = two_paths.path("a")["stats"]["requests"]
    busy = two_paths.path("b")["stats"]["requests"]
    wait_until(lambda: two_paths.path("b")["stats"]["requests"] > busy + 2000, what="requests on the new path")
    assert two_paths.path("a")["stats"]["requests"] - before < 20
    load.finish()


@pytest.mark.parametrize("make", [QemuNbd, StorageDaemon], ids=["qemu-nbd", "qemu-storage-daemon"])
def test_switches_over_qemu_servers(daemon, image, workdir, start, verify, rng, make):
    # Two such servers would each lock the image: one is nbdkit.
    path = image()
    servers = {**file_servers(workdir, start, path, ("a",), nbdkit_file), **file_servers(workdir, start, path, ("b",), make)}
    scene = Scene(daemon, servers)
    load = verify(scene.uri)
    assert_all_done(switch_while(scene, rng, lambda: load.running, 10))
    load.finish()


def test_only_the_named_volume_moves(daemon, image, workdir, start, verify):
    """Two clients that share an interface are moved apart."""
    scene = Scene(daemon, file_servers(workdir, start, image(), ("a", "b")), size=SIZE // 2)
    second = daemon.volume("w", SIZE // 2, f"lu:{SIZE // 2}")
    loads = [verify(scene.uri), verify(second)]
    assert [daemon.active("v"), daemon.active("w")] == ["a", "a"]
    assert daemon.switch("w", "a", "b")["state"] == "done"
    assert [daemon.active("v"), daemon.active("w")] == ["a", "b"]
    for load in loads:
        load.finish()


def test_switch_on_several_reactors(workdir, image, start, verify, rng):
    daemon = start(Daemon(workdir, args=("--reactors", "2")))
    scene = Scene(daemon, file_servers(workdir, start, image(), ("a", "b")))
    load = verify(scene.uri, connections=4)
    assert_all_done(switch_while(scene, rng, lambda: load.running, 30))
    load.finish()


def test_switch_without_any_client(two_paths):
    change = two_paths.switch("a", "b")
    assert change["state"] == "done"
    assert change["held_requests"] == 0
    assert two_paths.active() == "b"


def test_switch_survives_a_restart_of_the_daemon(two_paths):
    two_paths.switch("a", "b")
    two_paths.daemon.stop()
    two_paths.daemon.start()
    two_paths.wait_up()
    wait_until(lambda: two_paths.active() == "b", what="the volume using b again")


def test_refused_when_the_volume_is_not_on_the_source(two_paths):
    refused = two_paths.cli.refused("volume", "switch-path", "v", "--from", "b", "--to", "a")
    assert refused.status == 1 and len(refused.stderr.strip().splitlines()) == 1
    assert two_paths.active() == "a"


def test_refused_when_the_destination_has_no_path(two_paths):
    two_paths.cli("interface", "add", "lonely", "--kind", "nbd")
    refused = two_paths.cli.refused("volume", "switch-path", "v", "--from", "a", "--to", "lonely")
    assert refused.status == 1 and "lonely" in refused.stderr
    assert two_paths.active() == "a"


def test_dead_destination_is_refused_before_anything_is_held(two_paths, verify):
    load = verify(two_paths.uri)
    two_paths.servers["b"].kill()
    refused, change = two_paths.failed_switch("a", "b")
    assert refused.status == 1
    assert change is None or (change["state"] == "aborted" and change["held_us"] == 0), change
    assert two_paths.active() == "a"
    load.finish()


def test_network_id_is_refused_where_the_kind_has_none(two_paths):
    refused = two_paths.cli.refused("volume", "switch-path", "v", "--from", "a", "--to", "b", "--take-network-id")
    assert refused.status == 1
    assert "network" in refused.stderr.lower()
    assert two_paths.active() == "a"


def test_two_changes_of_one_volume_do_not_mix(two_paths, verify):
    """Of switches asked for at the same moment each is done or refused, and all end."""
    load = verify(two_paths.uri)
    results = []

    def switch():
        results.append(two_paths.cli.raw("volume", "switch-path", "v", "--from", "a", "--to", "b"))

    threads = [threading.Thread(target=switch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [r.returncode for r in results].count(0) >= 1
    assert {r.returncode for r in results} <= {0, 1}
    assert two_paths.active() == "b"
    states = {change["state"] for change in two_paths.cli("change", "list")["changes"]}
    assert states <= {"done", "aborted"}
    load.finish()
