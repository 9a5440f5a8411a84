"""Long holds, many reconnects, idleness: what is bounded stays bounded."""

import nbd
import pytest

from lib.processes import cpu_seconds, descriptors, resident_kib, voluntary_switches, wait_until
from lib.scene import SIZE

MIB = 1024


@pytest.fixture
def stoppable(daemon, image):
    """A volume on a fault LU: its requests can be stopped and resumed."""
    daemon.cli("lu", "add", "inner", "--file", image())
    daemon.cli("lu", "add", "lu", "--fault", "inner")
    return daemon, daemon.volume("v", SIZE, "lu")


def test_long_stop_with_clients_that_never_stop_loses_nothing(stoppable, verify):
    """Back-pressure: what is not answered is not taken in for ever, so memory stays bounded."""
    daemon, uri = stoppable
    share = SIZE // 4
    loads = [
        verify(uri, depth=256, connections=8, extra=["--range", f"{i * share}+{share}"]) for i in range(4)
    ]
    for load in loads:
        load.report()
    daemon.cli("lu", "fault", "lu", "--stop")
    before = resident_kib(daemon.pid)
    stopped = [load.report() for load in loads]
    wait_until(
        lambda: all(load.report()["gap_us"] > 500_000 for load in loads), 30, "every client being held up"
    )
    assert resident_kib(daemon.pid) - before < 256 * MIB
    daemon.cli("lu", "fault", "lu", "--resume")
    for load, then in zip(loads, stopped):
        wait_until(lambda load=load, then=then: load.report()["reads"] > then["reads"] + 100, what="requests going on")
        load.finish()


def test_flood_of_large_requests_is_bounded(stoppable):
    """Clients that send 32 MiB writes into a stopped disk wait; they do not fill memory."""
    daemon, uri = stoppable
    daemon.cli("lu", "fault", "lu", "--stop")
    before = resident_kib(daemon.pid)
    data = nbd.Buffer(32 << 20)
    handles = []
    for _ in range(4):
        handle = nbd.NBD()
        handle.connect_uri(uri)
        for i in range(64):
            handle.aio_pwrite(data, 0)
        handles.append(handle)
    for _ in range(200):
        for handle in handles:
            handle.poll(5)
    grown = resident_kib(daemon.pid) - before
    print(f"4 connections with 64 writes of 32 MiB each: {grown // MIB} MiB")
    assert grown < 4 * 80 * MIB
    daemon.cli("lu", "fault", "lu", "--resume")
    for handle in handles:
        while handle.aio_in_flight():
            handle.poll(-1)
        handle.shutdown()


@pytest.mark.soak
def test_reconnects_leak_nothing(two_paths, count):
    daemon = two_paths.daemon

    def round_trip():
        handle = nbd.NBD()
        handle.connect_uri(two_paths.uri)
        handle.pread(4096, 0)
        handle.shutdown()

    for _ in range(count(100, 1000)):
        round_trip()
    settle(daemon)
    memory, files = resident_kib(daemon.pid), descriptors(daemon.pid)
    for _ in range(count(300, 10000)):
        round_trip()
    settle(daemon)
    print(f"memory {memory} -> {resident_kib(daemon.pid)} KiB, descriptors {files} -> {descriptors(daemon.pid)}")
    assert descriptors(daemon.pid) <= files
    assert resident_kib(daemon.pid) - memory < 1024


def settle(daemon):
    export = str(daemon.cli("export", "list")["exports"][0]["id"])
    wait_until(lambda: daemon.cli("export", "show", export)["connections"] == 0, what="all connections ending")


@pytest.mark.soak
def test_configuration_changes_leak_nothing(two_paths, count):
    daemon = two_paths.daemon

    for _ in range(10):
        two_paths.switch("a", "b")
        two_paths.switch("b", "a")
    memory, files = resident_kib(daemon.pid), descriptors(daemon.pid)
    for _ in range(count(40, 1000)):
        two_paths.switch("a", "b")
        two_paths.switch("b", "a")
    print(f"memory {memory} -> {resident_kib(daemon.pid)} KiB, descriptors {files} -> {descriptors(daemon.pid)}")
    assert descriptors(daemon.pid) <= files + 1
    assert resident_kib(daemon.pid) - memory < count(2048, 4096)


def test_paths_that_come_and_go_leak_no_descriptors(two_paths):
    daemon = two_paths.daemon
    server = two_paths.servers["b"]

    def bounce():
        server.kill()
        wait_until(lambda: not two_paths.path_up("b"), what="the path going down")
        server.start()
        two_paths.wait_up("b")

    bounce()
    files = descriptors(daemon.pid)
    for _ in range(4):
        bounce()
    assert descriptors(daemon.pid) <= files + 1


def test_idle_daemon_sleeps(two_paths):
    """Reported, not judged by the clock: how often it woke, and what it used, over a second of nothing."""
    daemon = two_paths.daemon
    before = voluntary_switches(daemon.pid), cpu_seconds(daemon.pid)
    stream = daemon.events()
    # Something that takes its time on its own: an event that does not come.
    with pytest.raises(TimeoutError):
        stream.wait(lambda e: e["type"] == "never", timeout=3)
    stream.end()
    woken = voluntary_switches(daemon.pid) - before[0]
    used = cpu_seconds(daemon.pid) - before[1]
    print(f"idle for 3 s: woken {woken} times, {used * 1000:.0f} ms of CPU, {resident_kib(daemon.pid)} KiB resident")
    # A spinning loop would use all three seconds and never sleep.
    assert used < 1.0
