"""The loads notice what they are there to notice: without this, every other test could pass on a broken disk."""

from lib.load import Fio
from lib.nbdservers import TroubledNbdkit, nbdkit_file, nbdkit_memory

SIZE = 16 << 20


def test_sound_server_passes(workdir, start, image, verify):
    load = verify(start(nbdkit_file(workdir, "server", image(size=SIZE))).uri, connections=2, seconds=1)
    last = load.finish()
    assert last["reads"] > 0 and last["writes"] > 0 and last["trims"] > 0 and last["zeroes"] > 0


def test_lost_writes_are_noticed(workdir, start, verify):
    server = start(nbdkit_memory(workdir, "server", SIZE))
    load = verify(server.uri, reconnect_s=20)
    while load.report()["writes"] < 200:
        pass
    server.kill()
    server.start()
    assert load.result()["mismatches"] > 0


def test_foreign_write_is_noticed_and_explained(workdir, start, image, verify):
    path = image(size=SIZE)
    server = start(nbdkit_file(workdir, "server", path))
    load = verify(server.uri)
    while load.report()["writes"] < 200:
        pass
    with open(path, "r+b") as f:
        f.write(b"\xa5" * SIZE)
    assert load.result()["mismatches"] > 0
    assert any("torn or foreign data" in text for text in load.complaints)


def test_server_errors_are_noticed(workdir, start, image, verify):
    server = start(TroubledNbdkit(workdir, "server", image(size=SIZE)))
    load = verify(server.uri)
    load.report()
    server.fail()
    while load.report()["errors"] == 0:
        pass
    server.heal()
    last = load.result()
    assert last["errors"] > 0 and last["mismatches"] == 0


def test_lost_connection_is_an_error_unless_reconnecting(workdir, start, image, verify):
    server = start(nbdkit_file(workdir, "server", image(size=SIZE)))
    load = verify(server.uri)
    load.report()
    server.kill()
    assert load.result()["errors"] > 0


def test_model_outlives_the_load(workdir, start, image, verify):
    path = image(size=SIZE)
    server = start(nbdkit_file(workdir, "server", path))
    state = workdir / "model"
    verify(server.uri, state=state, seconds=0.5).finish()
    verify(server.uri, state=state, seconds=0.5, extra=["--check-first"]).finish()
    with open(path, "r+b") as f:
        f.write(bytes(SIZE))
    stale = verify(server.uri, state=state, seconds=0.1, extra=["--check-first"]).result()
    assert stale["mismatches"] > 0


def test_fio_passes_on_a_sound_server_and_notices_a_lost_one(workdir, start, image, crew, seed):
    server = start(nbdkit_file(workdir, "server", image(size=SIZE)))
    crew.add(Fio(workdir, server.uri, seed=seed, size="8M")).finish()
    load = crew.add(Fio(workdir, server.uri, seed=seed, size="8M", seconds=60, name="fio-lost"))
    server.kill()
    assert load.child.wait(60) != 0
