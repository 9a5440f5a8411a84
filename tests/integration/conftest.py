"""Fixtures: everything that a test starts is ended by its finalizer, and dies with a killed run.

Counts: `make check` runs a sample of each long test; `-m soak` (make soak) or SOAK=1 runs the full count.
The seed of every random choice is printed; SEED=n replays it.
"""

import os
import pathlib
import random
import shutil
import tempfile

import pytest

from lib import guest
from lib.load import Verify
from lib.processes import Crew
from lib.scene import Scene, file_servers
from lib.sluice import Daemon, program


def pytest_configure(config):
    config.addinivalue_line("markers", "soak: has a long form, run by make soak")


def pytest_report_header(config):
    return f"daemon: {program('sluiced')}"


def soaking(config):
    return bool(os.environ.get("SOAK")) or "soak" in (config.option.markexpr or "")


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    """On a failure, what the processes of the test said."""
    outcome = yield
    report = outcome.get_result()
    if report.failed and "crew" in item.fixturenames:
        crew = item.funcargs.get("crew")
        for name, text in crew.logs() if crew else []:
            if text:
                report.sections.append((f"log of {name}", text))


@pytest.fixture
def count(request):
    """count(check=60, soak=500): how often, in this kind of run."""
    return lambda check, soak: soak if soaking(request.config) else check


@pytest.fixture
def seed():
    value = int(os.environ.get("SEED") or random.SystemRandom().randrange(1, 2**31))
    print(f"seed {value}: SEED={value} replays it")
    return value


@pytest.fixture
def rng(seed):
    return random.Random(seed)


@pytest.fixture
def workdir():
    """A short path: UNIX sockets allow 107 bytes."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="sluice-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def crew(workdir):
    """crew.add(x) for everything with end(): ended in reverse order, also after a failure."""
    members = Crew()
    try:
        yield members
    finally:
        members.end()


@pytest.fixture
def start(crew):
    """start(server): started, and ended with the test."""

    def start_server(server):
        crew.add(server)
        return server.start()

    return start_server


@pytest.fixture
def daemon(workdir, start):
    daemon = start(Daemon(workdir))
    yield daemon
    if daemon.running:
        status = daemon.stop()
        assert status == 0, f"sluiced ended with {status}\n{daemon.log_tail()}"


@pytest.fixture
def image(workdir):
    """image(name, size): a sparse file of zeros."""

    def make(name="disk.img", size=64 << 20):
        path = workdir / name
        with open(path, "wb") as f:
            f.truncate(size)
        return path

    return make


@pytest.fixture
def two_paths(daemon, image, workdir, start):
    """Two nbdkit servers on one file, the volume v over both; scene.backing is the file."""
    path = image("disk.img")
    scene = Scene(daemon, file_servers(workdir, start, path, ("a", "b")))
    scene.backing = path
    return scene


@pytest.fixture
def verify(crew, seed):
    """verify(uri, ...): the verifying load, seeded, ended with the test."""
    return lambda uri, **options: crew.add(Verify(uri, **{"seed": seed, **options}))


@pytest.fixture
def events(daemon):
    stream = daemon.events()
    yield stream
    stream.end()


@pytest.fixture(scope="session")
def guest_image():
    return guest.build_image()
