"""Candidates, balance, and interfaces that show signs of failing."""

import pytest

from lib.nbdservers import Nbdkit, nbdkit_file
from lib.processes import wait_until
from lib.scene import SIZE, Scene, file_servers


@pytest.fixture
def three_paths(daemon, image, workdir, start):
    path = image()
    scene = Scene(daemon, file_servers(workdir, start, path, ("a", "b", "c")), size=SIZE // 2)
    scene.backing = path
    return scene


def candidates(scene, *args):
    return {c["interface"]: c for c in scene.cli("volume", "candidates", "v", *args)["candidates"]}


def test_candidates_are_healthy_and_reach_the_lu(three_paths, daemon):
    daemon.cli("interface", "add", "lonely", "--kind", "nbd")
    daemon.cli("interface", "add", "scsi", "--kind", "iscsi", "--network-id", "iqn.2026-01.org.example:x")
    three_paths.servers["c"].kill()
    wait_until(lambda: not three_paths.path_up("c"), what="the path over c going down")
    found = candidates(three_paths, "--from", "a")
    assert found["b"]["suitable"] and found["b"]["iops"] >= 0
    for name in ("c", "lonely"):
        assert name not in found or (not found[name]["suitable"] and found[name]["reason"])
    assert "a" not in found and not found.get("scsi", {}).get("suitable")


def test_balance_moves_a_volume_from_the_busiest_to_the_idlest(three_paths, daemon, verify):
    second = daemon.volume("w", SIZE // 2, f"lu:{SIZE // 2}")
    loads = [verify(three_paths.uri), verify(second)]
    wait_until(lambda: all(load.report()["reads"] > 2000 for load in loads), what="load on both volumes")
    assert {daemon.active("v"), daemon.active("w")} == {"a"}
    plan = daemon.cli("interface", "balance", "--dry-run")
    assert {daemon.active("v"), daemon.active("w")} == {"a"}
    done = daemon.cli("interface", "balance")
    print(plan, done)
    assert sorted((daemon.active("v"), daemon.active("w")))[0] == "a"
    assert daemon.active("v") != daemon.active("w")
    for load in loads:
        load.finish()


@pytest.fixture
def slowing(daemon, image, workdir, start):
    """The server of a becomes slow when it is restarted with the delay filter."""
    path = image()
    servers = file_servers(workdir, start, path, ("a", "b"))
    return Scene(daemon, servers)


def make_slow(server, delay="60ms"):
    """The same server, and its sessions, behind a delay from now on."""
    server.kill()
    server.filters = ("delay",)
    server.args = (*server.args, f"rdelay={delay}", f"wdelay={delay}")
    server.threads = 16
    server.start()


def warm_up(load):
    """A past to compare with."""
    wait_until(lambda: load.report()["reads"] > 20000, 60, "a past of the interface")


def test_interface_that_slows_down_is_reported_with_candidates(slowing, verify, events):
    load = verify(slowing.uri)
    warm_up(load)
    make_slow(slowing.servers["a"])
    slowing.wait_up("a")
    if slowing.active() != "a":
        slowing.cli.raw("volume", "switch-path", "v", "--from", "b", "--to", "a")
    event = events.wait(lambda e: e["type"] == "interface.degraded" and e["object"] == "a", timeout=60)
    assert event["level"] in ("warn", "error")
    assert "b" in str(event["data"])
    load.finish()


def test_policy_auto_evacuates(slowing, verify, events):
    slowing.cli("interface", "set", "a", "--policy", "auto")
    load = verify(slowing.uri)
    warm_up(load)
    make_slow(slowing.servers["a"])
    events.wait(lambda e: e["type"] == "interface.degraded" and e["object"] == "a", timeout=60)
    wait_until(lambda: slowing.active() == "b", 30, "the evacuation")
    load.finish()


def test_rising_errors_degrade_an_interface(daemon, image, workdir, start, verify, events):
    path = image()
    trigger = workdir / "errors"
    servers = {
        "a": start(
            Nbdkit(workdir, "server-a", "file", path, "error-rate=30%", f"error-file={trigger}", filters=["error"])
        ),
        "b": start(nbdkit_file(workdir, "server-b", path)),
    }
    scene = Scene(daemon, servers)
    load = verify(scene.uri)
    warm_up(load)
    trigger.touch()
    events.wait(lambda e: e["type"] == "interface.degraded" and e["object"] == "a", timeout=60)
    trigger.unlink()
    load.finish()
