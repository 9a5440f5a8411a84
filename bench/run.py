#!/usr/bin/python3
"""Compares Sluice with qemu-storage-daemon and nbdkit as NBD servers: same client, same backing, alternating in one run.

Prints a table; --out keeps everything as JSON. Writes only below a temporary directory, which it removes.
"""

import argparse
import dataclasses
import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import report
from servers import EXPORT, BenchError, Nbdkit, Qemu, Server, Sluice, child_setup

MIB = 1 << 20
LOAD_GROWTH_SAMPLES = 50
# More than the events that a daemon keeps: from then on an older one goes for each that comes; and as many as one burst,
# whose events wait to be written: the heap keeps the size of the largest burst
RECONNECTS_BEFORE = 10000


@dataclasses.dataclass
class Workload:
    name: str
    op: str
    block: str
    depth: int
    aim: str


@dataclasses.dataclass
class Backing:
    """What a server serves; file is the place of a copy for each server, None for the null device."""

    name: str
    size: int
    file: str | None = None
    direct: bool = False

    def file_of(self, server):
        return f"{self.file}.{server}"


WORKLOADS = [
    *[
        Workload(f"4 KiB random {op}, depth {depth}", f"rand{op}", "4K", depth, f"4K d{depth}")
        for op in ("read", "write")
        for depth in (1, 32, 128)
    ],
    Workload("128 KiB sequential read, depth 16", "read", "128K", 16, "128K"),
    Workload("128 KiB sequential write, depth 16", "write", "128K", 16, "128K"),
]


class Load:
    """Runs the load generator on its processor."""

    def __init__(self, build, cpu):
        self.program = os.path.join(build, "bench", "nbdload")
        self.cpu = cpu

    def arguments(self, server, *more):
        command = [self.program, "--connect", "unix:" + server.socket, "--export", EXPORT]
        return [*command, "--cpu", str(self.cpu), *map(str, more)]

    def run(self, server, *more, timeout=120):
        try:
            done = subprocess.run(
                self.arguments(server, "--server", server.pid, *more),
                capture_output=True, text=True, check=False, timeout=timeout, preexec_fn=child_setup(None),
            )  # fmt: skip
        except subprocess.TimeoutExpired as e:
            raise BenchError(f"{server.name}: a load does not end ({' '.join(map(str, more))})") from e
        if done.returncode != 0:
            raise BenchError(f"{server.name}: {done.stderr.strip()}\n{server.log_text()}")
        return json.loads(done.stdout)

    def measure(self, server, workload, seconds, warmup):
        return self.run(
            server, "--op", workload.op, "--block", workload.block, "--depth", workload.depth,
            "--seconds", seconds, "--warmup", warmup,
        )  # fmt: skip

    def check_data(self, server):
        """A server that answers fast and wrong is no peer."""
        for op in ("randrw", "randread"):
            result = self.run(server, "--op", op, "--depth", 32, "--size", "8M", "--seconds", 0.3, "--warmup", 0, "--verify")
            if result["errors"] or result["mismatches"]:
                raise BenchError(f"{server.name} on {server.backing.name}: wrong data or errors: {result}")

    def hold(self, server, connections, depth):
        """The resident size with these connections open and their reads done."""
        command = self.arguments(server, "--hold", "--connections", connections, "--depth", depth)
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=child_setup(None)
        ) as holder:
            if holder.stdout.readline().strip() != "ready":
                raise BenchError(f"{server.name}: {connections} connections were not all served")
            rss = server.rss()
            holder.stdin.close()
            holder.wait(timeout=60)
        return rss


# -- places for the backing files --


def supports_direct(directory):
    """Whether O_DIRECT works there and it is not memory."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", directory], capture_output=True, text=True, check=True).stdout.strip()
    if kind in ("tmpfs", "ramfs"):
        return False
    probe = os.path.join(directory, "probe")
    try:
        os.close(os.open(probe, os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o600))
    except OSError:
        return False
    finally:
        if os.path.exists(probe):
            os.unlink(probe)
    return True


def write_file(path, size):
    """Every byte is written, so that no server meets a hole, and is on the disk before anything is measured."""
    block = os.urandom(MIB)
    with open(path, "wb") as out:
        for _ in range(size // MIB):
            out.write(block)
        out.flush()
        os.fsync(out.fileno())


def make_backings(options, directory, memory_directory, servers):
    size = (64 if options.quick else 512) * MIB
    backings = []
    if "null" in options.backings:
        backings.append(Backing("null", 1024 * MIB))
    if "tmpfs" in options.backings:
        backings.append(Backing("tmpfs", size, os.path.join(memory_directory, "tmpfs")))
    if "disk" in options.backings:
        if supports_direct(directory):
            backings.append(Backing("disk", size, os.path.join(directory, "disk"), direct=True))
        else:
            print(f"bench: {directory} has no O_DIRECT: no disk; choose another --dir", file=sys.stderr)
    for backing in backings:
        for server in servers:
            if backing.file is not None:
                write_file(backing.file_of(server.name), backing.size)
    return backings


# -- measuring --


def start_best(server_class, options, load, directory, backing):
    """Starts the server in each of its ways, loads it for a moment, and returns the best way."""
    variants = server_class.variants(backing)
    if len(variants) == 1 or options.quick:
        return variants[0]
    trials = [w for w in WORKLOADS if w.depth == 32]
    scores = {}
    for variant in variants:
        with server_class(directory, backing, options.server_cpu, variant) as server:
            runs = [load.measure(server, w, 0.5, 0.1) for w in trials]
            # Both of what is compared count: requests per second, and per second of processor time
            scores[variant] = math.prod(run["per_second"] * report.per_cpu(run) for run in runs)
    return max(scores, key=scores.get)


def measure_backing(options, load, directory, backing, classes, document):
    """All workloads on one backing; the servers run side by side and are loaded in turn."""
    running = []
    try:
        for server_class in classes:
            variant = start_best(server_class, options, load, directory, backing)
            if variant is not None:
                document["variants"].setdefault(server_class.name, {})[backing.name] = variant
            server = server_class(directory, backing, options.server_cpu, variant)
            running.append(server.__enter__())
            if backing.file is not None:
                load.check_data(server)
        compared = [s.name for s in running if s.direct or not backing.direct]
        for workload in WORKLOADS:
            runs = {server.name: [] for server in running}
            for _ in range(options.repetitions):
                for server in running:
                    runs[server.name].append(load.measure(server, workload, options.seconds, options.warmup))
            document["results"].append(report.row(backing, workload, runs, compared, os.cpu_count()))
            progress(f"{backing.name}: {workload.name}")
    finally:
        for server in running:
            server.stop()


def load_growth(options, load, server):
    """Resident size at the end of a time of load, less that after its first tenth."""
    seconds = options.load_seconds
    command = load.arguments(server, "--op", "randrw", "--depth", 32, "--connections", 4, "--seconds", seconds)
    sizes = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=child_setup(None)) as process:
        while process.poll() is None:
            sizes.append(server.rss())
            time.sleep(seconds / LOAD_GROWTH_SAMPLES)
        if process.returncode != 0 or json.loads(process.stdout.read())["errors"]:
            raise BenchError("sluice: errors under load")
    return sizes[-1] - sizes[len(sizes) // 10], sizes


def measure_memory(options, load, directory):
    backing = Backing("memory", 1024 * MIB)
    reconnects = 1000 if options.quick else 10000
    memory = {"per_connection": {}, "reconnects": reconnects, "load_seconds": options.load_seconds, "idle_of_others": {}}
    for server_class in (Qemu, Nbdkit):
        with server_class(directory, backing, options.server_cpu, server_class.variants(backing)[0]) as server:
            memory["idle_of_others"][server.name] = server.rss()
    with Sluice(directory, backing, options.server_cpu) as server:
        memory["idle"] = server.settled_rss()
        for connections, depth in ((64, 1), (16, 128)):
            rss = load.hold(server, connections, depth)
            memory["per_connection"][f"depth {depth}"] = (rss - memory["idle"]) / connections
        progress("memory: connections")
        load.run(server, "--reconnect", RECONNECTS_BEFORE, timeout=600)
        before = server.settled_rss()
        load.run(server, "--reconnect", reconnects, timeout=600)
        memory["after_reconnects"] = server.settled_rss()
        memory["reconnect_growth"] = memory["after_reconnects"] - before
        progress("memory: reconnects")
        memory["load_growth"], memory["load_samples"] = load_growth(options, load, server)
        progress("memory: load")
    return memory


# -- the run --


def progress(what):
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)


def machine():
    model = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}"


def choose_servers(options):
    """Those that can be run; a peer that is missing is an error, Sluice that is not built yet too."""
    known = {s.name: s for s in (Sluice, Qemu, Nbdkit)}
    chosen = [known[name] for name in options.servers]
    Sluice.build = options.build
    programs = {"qemu": ["qemu-storage-daemon"], "nbdkit": ["nbdkit"], "sluice": Sluice.programs()}
    for server in chosen:
        for program in programs[server.name]:
            if shutil.which(program) is None:
                raise BenchError(f"{program} is missing: run `make bench`, which sets it up")
    return chosen


def measure_all(options, directory, memory_directory):
    servers = choose_servers(options)
    load = Load(options.build, options.load_cpu)
    document = {
        "machine": machine(),
        "server_cpu": options.server_cpu,
        "load_cpu": options.load_cpu,
        "repetitions": options.repetitions,
        "seconds": options.seconds,
        "servers": [server.name for server in servers],
        "variants": {},
        "results": [],
        "memory": None,
    }
    for backing in make_backings(options, directory, memory_directory, servers):
        measure_backing(options, load, directory, backing, servers, document)
    if Sluice in servers and options.memory:
        document["memory"] = measure_memory(options, load, directory)
    progress("")
    return document


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", help="the build directory (build)")
    parser.add_argument("--quick", action="store_true", help="a sample of one to two minutes")
    parser.add_argument("--full", action="store_true", help="with an hour of load for the growth of memory")
    parser.add_argument("--seconds", type=float, metavar="S", help="how long each load runs (2; quick: 0.4)")
    parser.add_argument("--repetitions", type=int, metavar="N", help="how often, of which the median counts (3; quick: 1)")
    parser.add_argument("--out", metavar="FILE", help="keep everything that was measured, as JSON")
    parser.add_argument("--json", action="store_true", help="print the JSON instead of the table")
    parser.add_argument("--markdown", action="store_true", help="print the table of docs/performance.md instead")
    parser.add_argument("--dir", default=tempfile.gettempdir(), help="where the file of the disk lies (%(default)s)")
    parser.add_argument("--servers", default="sluice,qemu,nbdkit", help="which, of sluice, qemu and nbdkit")
    parser.add_argument("--backings", default="null,tmpfs,disk", help="which, of null, tmpfs and disk")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="leave out the memory of sluiced")
    parser.add_argument("--server-cpu", type=int, default=0, help="the processor of the servers (0)")
    parser.add_argument("--load-cpu", type=int, default=1, help="the processor of the load (1)")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    for name, known in (("servers", {"sluice", "qemu", "nbdkit"}), ("backings", {"null", "tmpfs", "disk"})):
        chosen = getattr(options, name).split(",")
        if not set(chosen) <= known:
            parser.error(f"--{name} is of {', '.join(sorted(known))}")
        setattr(options, name, chosen)
    if max(options.server_cpu, options.load_cpu) >= (os.cpu_count() or 1):
        parser.error("two processors are needed: one for the servers, one for the load")
    options.repetitions = options.repetitions or (1 if options.quick else 3)
    options.seconds = options.seconds or (0.4 if options.quick else 2.0)
    options.warmup = 0.1 if options.quick else 0.3
    options.load_seconds = 5 if options.quick else 60
    if options.full:
        options.load_seconds = 3600
    return options


def main():
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with (
            tempfile.TemporaryDirectory(prefix="sluice-bench-", dir=options.dir) as directory,
            tempfile.TemporaryDirectory(prefix="sluice-bench-", dir="/dev/shm") as memory_directory,
        ):
            document = measure_all(options, directory, memory_directory)
    except BenchError as e:
        print(f"bench: {e}", file=sys.stderr)
        return 1
    if options.out:
        with open(options.out, "w", encoding="utf-8") as out:
            json.dump(document, out, indent=1)
    if options.json:
        print(json.dumps(document, indent=1))
    else:
        print(report.markdown(document) if options.markdown else report.text(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
