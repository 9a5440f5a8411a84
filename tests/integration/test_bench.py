"""The benchmark measures what it says, and notices a server that is wrong."""

import json
import os
import signal
import subprocess

import pytest

from lib.nbdservers import TroubledNbdkit, nbdkit_memory
from lib.processes import run
from lib.sluice import BUILD, SOURCE

SIZE = 16 << 20


def nbdload(server, *args):
    return [str(a) for a in (BUILD / "bench" / "nbdload", "--connect", f"unix:{server.socket}", *args)]


def load(server, *args):
    result = run(nbdload(server, "--seconds", 0.3, "--warmup", 0, *args), timeout=60)
    return json.loads(result.stdout)


def bench(*args):
    result = run([SOURCE / "bench" / "run.py", "--build", BUILD, "--quick", "--json", *args], timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("structured", [(), ("--structured",)], ids=["simple", "structured"])
@pytest.mark.parametrize("op", ["read", "write", "randread", "randwrite", "randrw"])
def test_load_finds_its_own_data_again(workdir, start, op, structured):
    server = start(nbdkit_memory(workdir, "server", SIZE))
    result = load(server, "--op", op, "--depth", 16, "--connections", 2, "--verify", *structured)
    assert result["requests"] > 0
    assert result["errors"] == 0 and result["mismatches"] == 0
    assert result["p50_us"] <= result["p99_us"] <= result["max_us"]


def test_load_notices_data_that_was_not_kept(workdir, start):
    # The null plugin forgets what is written
    server = start(nbdkit_memory(workdir, "server", SIZE))
    server.args = ("null", SIZE)
    server.kill()
    server.start()
    assert load(server, "--op", "randread", "--depth", 4, "--verify")["mismatches"] > 0


def test_load_counts_errors(workdir, start, image):
    server = start(TroubledNbdkit(workdir, "server", image(size=SIZE)))
    server.fail()
    for structured in ((), ("--structured",)):
        result = load(server, "--depth", 4, *structured)
        assert result["errors"] >= result["requests"] > 0


def test_load_says_that_the_server_is_gone(workdir, start):
    server = start(nbdkit_memory(workdir, "server", SIZE))
    command = nbdload(server, "--hold", "--depth", 4)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "ready\n"
    assert holder.returncode == 0
    with subprocess.Popen(nbdload(server, "--seconds", 60, "--depth", 4), stderr=subprocess.PIPE, text=True) as running:
        # It runs as soon as the server has a connection, which is as soon as it does not say otherwise
        server.kill()
        assert "nbdload: " in running.stderr.read()
    assert running.returncode == 1


def test_peers_are_compared_and_nothing_is_left(workdir):
    document = bench("--servers", "qemu,nbdkit", "--backings", "null", "--dir", str(workdir), "--no-memory")
    assert len(document["results"]) == 8
    for result in document["results"]:
        assert set(result["servers"]) == {"qemu", "nbdkit"}
        for figures in result["servers"].values():
            assert figures["per_second"] > 0 and figures["per_cpu_second"] > 0 and figures["errors"] == 0
    assert os.listdir(workdir) == []


def test_sluice_is_compared_and_its_memory_measured(workdir):
    document = bench("--backings", "null", "--dir", str(workdir))
    assert all(result["ratios"]["per_cpu_second"]["ratio"] > 0 for result in document["results"])
    assert 0 < document["memory"]["idle"] < 24 << 20
    assert all(size < 1 << 20 for size in document["memory"]["per_connection"].values())
    assert document["memory"]["reconnect_growth"] < 1 << 20


def test_terminated_run_ends_its_servers(workdir):
    command = [SOURCE / "bench" / "run.py", "--build", BUILD, "--quick", "--servers", "qemu,nbdkit", "--dir", workdir]
    with subprocess.Popen(command) as process:
        while not list(workdir.glob("sluice-bench-*/nbdkit-null/nbd.sock")):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 143
    assert os.listdir(workdir) == []
    assert run(["pgrep", "-f", str(workdir)], check=False, timeout=20).stdout == ""
