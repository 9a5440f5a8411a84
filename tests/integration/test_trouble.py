"""Candidates, balance, and interfaces that show signs of failing."""

import threading
import time

import pytest

from lib.nbdservers import Nbdkit, nbdkit_file
from lib.processes import wait_until
from lib.proxy import PASS, NbdProxy
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
def slowing(daemon, image, workdir, start, crew):
    """The interface a leads through a proxy that can be made slow; scene.slow_down() does it."""
    path = image()
    behind, other = (start(nbdkit_file(workdir, name, path)) for name in ("behind", "server-b"))
    proxy = crew.add(NbdProxy(workdir, "proxy", behind)).start()
    scene = Scene(daemon, {"a": proxy, "b": other})
    pause = threading.Event()

    def slow_down():
        proxy.judge = lambda *_: pause.wait(0.03) or PASS

    scene.slow_down = slow_down
    return scene


def warm_up(load):
    """A past to compare with: the daemon takes no measure from a shorter one than 10 s."""
    begin = time.monotonic()
    wait_until(lambda: load.report()["reads"] > 500 and time.monotonic() - begin > 13, 60, "a past of the interface")


def degraded(event):
    return event["type"] == "interface.degraded" and event["object"] == "a"


def test_interface_that_slows_down_is_reported_with_candidates(slowing, verify, events):
    load = verify(slowing.uri, depth=4)
    warm_up(load)
    slowing.slow_down()
    event = events.wait(degraded, timeout=60)
    assert event["level"] in ("warn", "error")
    (volume,) = event["data"]["volumes"]
    assert volume["volume"] == "v"
    assert [c["interface"] for c in volume["candidates"] if c["suitable"]] == ["b"]
    assert slowing.active() == "a", "the default policy only asks"
    load.finish()


def test_policy_auto_evacuates(slowing, verify, events):
    slowing.cli("interface", "set", "a", "--policy", "auto")
    load = verify(slowing.uri, depth=4)
    warm_up(load)
    slowing.slow_down()
    events.wait(degraded, timeout=60)
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
    events.wait(degraded, timeout=60)
    trigger.unlink()
    load.finish()
