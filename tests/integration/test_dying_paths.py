"""Paths die in every way a server can; as long as one is left, the client sees no error."""

import threading

import pytest

from lib.nbdservers import TroubledNbdkit, nbdkit_file, slow_nbdkit_file
from lib.processes import wait_until
from lib.scene import Scene, file_servers


def kill_and_restart(server):
    server.kill()
    server.start()


def freeze_and_thaw(server):
    server.freeze()
    # Long enough to be noticed by probes and time-outs in some rounds, not in others.
    threading.Event().wait(0.3)
    server.thaw()


def fail_and_heal(server):
    server.fail()
    threading.Event().wait(0.2)
    server.heal()


@pytest.fixture
def troubled(daemon, image, workdir, start):
    path = image()
    scene = Scene(daemon, file_servers(workdir, start, path, ("a", "b"), TroubledNbdkit))
    scene.backing = path
    return scene


@pytest.mark.soak
@pytest.mark.parametrize("hurt", [kill_and_restart, freeze_and_thaw, fail_and_heal])
def test_servers_suffer_in_turn_under_load(troubled, verify, rng, count, hurt):
    load = verify(troubled.uri, connections=2)
    for _ in range(count(8, 100)):
        troubled.wait_up()
        threading.Event().wait(rng.uniform(0, 0.2))
        hurt(troubled.servers[rng.choice(("a", "b"))])
        assert load.running, load.complaints
    troubled.wait_up()
    load.finish()


@pytest.mark.soak
def test_switches_while_servers_suffer(troubled, verify, rng, count):
    """Each switch is done, aborted or rolled back; whichever it is, nothing is lost."""
    load = verify(troubled.uri, connections=2)
    states = set()
    for _ in range(count(12, 150)):
        troubled.wait_up()
        hurt = rng.choice((kill_and_restart, freeze_and_thaw, fail_and_heal))
        hurting = threading.Thread(target=hurt, args=(troubled.servers[rng.choice(("a", "b"))],))
        hurting.start()
        threading.Event().wait(rng.uniform(0, 0.1))
        source = troubled.active()
        if source is not None:
            destination = "b" if source == "a" else "a"
            troubled.cli.raw("volume", "switch-path", "v", "--from", source, "--to", destination)
            change = troubled.last_change()
            states.add(change["state"] if change else "refused")
        hurting.join()
        assert load.running, load.complaints
    print(f"states seen: {states}")
    assert states <= {"done", "aborted", "rolled-back", "refused"}
    troubled.wait_up()
    load.finish()


def test_slow_path_is_slow_and_nothing_else(daemon, image, workdir, start, verify):
    path = image()
    servers = {
        "fast": start(nbdkit_file(workdir, "fast", path)),
        "slow": start(slow_nbdkit_file(workdir, "slow", path, "30ms")),
    }
    scene = Scene(daemon, servers)
    load = verify(scene.uri)
    assert scene.switch("fast", "slow")["state"] == "done"
    wait_until(lambda: load.report()["slowest_us"] > 30_000, what="requests being slow")
    change = scene.switch("slow", "fast")
    assert change["state"] == "done" and change["drain_us"] < 2_000_000
    load.finish()


def test_failover_is_an_event_and_shows(two_paths, verify, events):
    load = verify(two_paths.uri)
    load.report()
    two_paths.servers["a"].kill()
    wait_until(lambda: two_paths.active() == "b", what="the fail-over")
    down = events.wait(lambda e: e["object"] == "lu/a" and e["type"].startswith("path."))
    assert down["level"] in ("warn", "error")
    assert two_paths.cli("lu", "show", "lu")["state"] == "degraded"
    two_paths.servers["a"].start()
    events.wait(lambda e: e["type"] == "path.up" and e["object"] == "lu/a", timeout=60)
    two_paths.wait_up()
    load.finish()


def test_dead_destination_then_dead_source(two_paths, verify):
    """One after the other both are gone and back, never both at once."""
    load = verify(two_paths.uri)
    for name in ("b", "a", "b", "a"):
        two_paths.servers[name].kill()
        load.report()
        two_paths.servers[name].start()
        two_paths.wait_up()
    load.finish()


def test_requests_wait_while_no_path_is_left(two_paths, verify):
    load = verify(two_paths.uri)
    load.report()
    for server in two_paths.servers.values():
        server.kill()
    wait_until(lambda: two_paths.active() is None, what="the volume being without a path")
    before = load.report()
    two_paths.servers["b"].start()
    two_paths.wait_up("b")
    wait_until(lambda: load.report()["reads"] > before["reads"] + 100, what="requests running again")
    two_paths.servers["a"].start()
    two_paths.wait_up()
    load.finish()


def test_switch_away_from_a_frozen_server(two_paths, verify):
    """Requests in flight on a dead path are taken back after its session is torn down; the late ones of the
    server that wakes up must not land on newer data."""
    load = verify(two_paths.uri)
    load.report()
    two_paths.servers["a"].freeze()
    result = two_paths.cli.raw("volume", "switch-path", "v", "--from", "a", "--to", "b")
    wait_until(lambda: two_paths.active() == "b", what="the volume using b")
    two_paths.servers["a"].thaw()
    two_paths.wait_up()
    assert result.returncode in (0, 1)
    load.finish()


def test_error_on_every_path_reaches_the_client(troubled, verify):
    """What every path says is the medium's word: it is reported, not retried for ever."""
    for server in troubled.servers.values():
        server.fail(reads=False)
    load = verify(troubled.uri)
    wait_until(lambda: load.report()["errors"] > 0, what="an error")
    for server in troubled.servers.values():
        server.heal()
    last = load.result()
    assert last["mismatches"] == 0


@pytest.mark.soak
def test_a_path_that_loses_its_server_for_good_is_left(daemon, image, workdir, start, verify, rng, count):
    scene = Scene(daemon, file_servers(workdir, start, image(), ("a", "b", "c")))
    load = verify(scene.uri, connections=2)
    for _ in range(count(3, 30)):
        victims = rng.sample(scene.interfaces, 2)
        for name in victims:
            scene.servers[name].kill()
            threading.Event().wait(rng.uniform(0, 0.1))
        for name in victims:
            scene.servers[name].start()
        scene.wait_up()
    load.finish()
