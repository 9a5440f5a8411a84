"""Third-party NBD clients on Sluice's export, in every variant of the handshake they can speak."""

import json
import os
import socket
import struct

import nbd
import pytest

from lib.load import Fio, images_equal, nbd_copy, nbd_info
from lib.processes import run
from lib.scene import SIZE


@pytest.fixture
def exported(daemon, image):
    """A volume on a file LU: (daemon, uri)."""
    daemon.cli("lu", "add", "lu", "--file", image())
    return daemon, daemon.volume("v", SIZE, "lu")


def write_and_read(handle):
    data = bytes(range(256)) * 16
    handle.pwrite(data, 8192)
    assert handle.pread(len(data), 8192) == data
    handle.pwrite(data, 4096, nbd.CMD_FLAG_FUA)
    handle.flush()
    assert handle.pread(len(data), 4096) == data


def connect(uri, set_up=lambda handle: None):
    handle = nbd.NBD()
    set_up(handle)
    handle.connect_uri(uri)
    return handle


def test_plain_handshake(exported):
    handle = connect(exported[1])
    assert handle.get_protocol() == "newstyle-fixed"
    assert handle.get_structured_replies_negotiated()
    assert handle.get_size() == SIZE
    write_and_read(handle)
    handle.shutdown()


def test_handshake_without_structured_replies(exported):
    handle = connect(exported[1], lambda h: h.set_request_structured_replies(False))
    assert not handle.get_structured_replies_negotiated()
    write_and_read(handle)
    handle.shutdown()


@pytest.mark.parametrize(
    "flags",
    [0, nbd.HANDSHAKE_FLAG_FIXED_NEWSTYLE, nbd.HANDSHAKE_FLAG_NO_ZEROES],
    ids=["none", "fixed-newstyle", "no-zeroes"],
)
def test_handshake_with_fewer_client_flags(exported, flags):
    """Without FIXED_NEWSTYLE a client may use EXPORT_NAME only; without NO_ZEROES it gets 124 bytes more."""
    handle = connect(exported[1], lambda h: h.set_handshake_flags(flags))
    write_and_read(handle)
    handle.shutdown()


def test_option_mode_lists_asks_and_goes(exported):
    handle = connect(exported[1], lambda h: h.set_opt_mode(True))
    names = []
    handle.opt_list(lambda name, _description: names.append(name))
    assert "v" in names
    handle.opt_info()
    assert handle.get_size() == SIZE
    handle.set_export_name("nobody")
    with pytest.raises(nbd.Error):
        handle.opt_info()
    handle.set_export_name("v")
    handle.opt_go()
    write_and_read(handle)
    handle.shutdown()


def test_option_mode_aborts(exported):
    handle = connect(exported[1], lambda h: h.set_opt_mode(True))
    handle.opt_abort()
    assert handle.aio_is_closed()


def test_unknown_export_is_refused(exported):
    daemon, _ = exported
    with pytest.raises(nbd.Error) as error:
        connect(daemon.uri("nobody"))
    assert error.value.errno == "ENOENT" or "nobody" in str(error.value) or "unknown" in str(error.value).lower()


def test_required_tls_is_refused_cleanly(exported):
    with pytest.raises(nbd.Error):
        connect(exported[1], lambda h: h.set_tls(nbd.TLS_REQUIRE))
    # And the server is as it was.
    write_and_read(connect(exported[1]))


def test_allowed_tls_falls_back_to_plain(exported):
    handle = connect(exported[1], lambda h: h.set_tls(nbd.TLS_ALLOW))
    assert not handle.get_tls_negotiated()
    write_and_read(handle)
    handle.shutdown()


def test_oldstyle_client_gets_a_newstyle_greeting(exported):
    """proto.md, "Oldstyle negotiation" is not for us: the magic tells such a client to go away."""
    daemon, _ = exported
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(daemon.exports))
        greeting = s.recv(18, socket.MSG_WAITALL)
    assert greeting[:16] == b"NBDMAGICIHAVEOPT"
    (flags,) = struct.unpack(">H", greeting[16:])
    assert flags & 1


def test_block_status_tells_holes_from_data(exported):
    handle = connect(exported[1], lambda h: h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION))
    assert handle.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    handle.pwrite(b"x" * (1 << 20), 1 << 20)
    handle.flush()
    extents = []

    def collect(context, offset, entries, _error):
        assert context == nbd.CONTEXT_BASE_ALLOCATION
        extents.append((offset, entries))

    handle.block_status(4 << 20, 0, collect)
    (offset, entries), = extents
    assert offset == 0
    spans = list(zip(entries[::2], entries[1::2]))
    assert sum(length for length, _ in spans) <= 4 << 20
    position, data = 0, []
    for length, flags in spans:
        if not flags & nbd.STATE_ZERO:
            data.append((position, position + length))
        position += length
    assert data == [(1 << 20, 2 << 20)]
    handle.shutdown()


def test_unknown_meta_context_is_not_given(exported):
    handle = connect(exported[1], lambda h: h.add_meta_context("x-nobody:knows"))
    assert not handle.can_meta_context("x-nobody:knows")
    handle.shutdown()


def test_read_that_may_not_be_fragmented(exported):
    handle = connect(exported[1])
    handle.pwrite(b"y" * 65536, 0)
    chunks = []

    def collect(data, offset, status, _error):
        chunks.append((offset, bytes(data), status))

    handle.pread_structured(131072, 0, collect, nbd.CMD_FLAG_DF)
    (offset, data, status), = chunks
    assert (offset, status) == (0, nbd.READ_DATA)
    assert data == b"y" * 65536 + bytes(65536)
    handle.shutdown()


def test_trim_and_zero(exported):
    handle = connect(exported[1])
    for fill in (
        lambda: handle.zero(65536, 65536),
        lambda: handle.zero(65536, 65536, nbd.CMD_FLAG_NO_HOLE),
        lambda: handle.zero(65536, 65536, nbd.CMD_FLAG_FUA),
    ):
        handle.pwrite(b"z" * 196608, 0)
        fill()
        assert handle.pread(196608, 0) == b"z" * 65536 + bytes(65536) + b"z" * 65536
    handle.trim(65536, 0)
    assert handle.pread(65536, 131072) == b"z" * 65536
    handle.shutdown()


def test_fast_zero_is_fast_or_refused(exported):
    handle = connect(exported[1])
    assert handle.can_fast_zero() in (True, False)
    if handle.can_fast_zero():
        try:
            handle.zero(65536, 0, nbd.CMD_FLAG_FAST_ZERO)
        except nbd.Error as error:
            assert error.errno in ("ENOTSUP", "EOPNOTSUPP")
    handle.shutdown()


def test_largest_and_oddest_requests(exported):
    handle = connect(exported[1])
    handle.set_strict_mode(0)
    large = b"\x5a" * (32 << 20)
    handle.pwrite(large, 0)
    assert handle.pread(len(large), 0) == large
    # Whatever the block size is said to be, what is advertised as allowed works.
    minimum = handle.get_block_size(nbd.SIZE_MINIMUM) or 1
    handle.pwrite(b"q" * minimum, minimum * 3)
    assert handle.pread(minimum * 3, minimum * 2) == b"\x5a" * minimum + b"q" * minimum + b"\x5a" * minimum
    handle.shutdown()


def test_requests_outside_the_disk_are_refused_and_the_connection_lives(exported):
    handle = connect(exported[1])
    handle.set_strict_mode(0)
    for request in (
        lambda: handle.pread(4096, SIZE),
        lambda: handle.pread(8192, SIZE - 4096),
        lambda: handle.pread(4096, (1 << 64) - 4096),
        lambda: handle.pwrite(b"x" * 4096, SIZE),
        lambda: handle.trim(4096, SIZE),
        lambda: handle.zero(4096, SIZE),
    ):
        with pytest.raises(nbd.Error) as error:
            request()
        assert error.value.errno in ("EINVAL", "ENOSPC")
    write_and_read(handle)
    handle.shutdown()


def test_read_only_export_refuses_writes(exported):
    daemon, _ = exported
    daemon.cli("export", "add", "v", "--nbd", f"unix:{daemon.exports}", "--name", "ro", "--read-only")
    handle = connect(daemon.uri("ro"))
    assert handle.is_read_only()
    handle.set_strict_mode(0)
    for request in (lambda: handle.pwrite(b"x" * 4096, 0), lambda: handle.trim(4096, 0), lambda: handle.zero(4096, 0)):
        with pytest.raises(nbd.Error) as error:
            request()
        assert error.value.errno in ("EPERM", "EROFS")
    assert handle.pread(4096, 0) == bytes(4096)
    handle.shutdown()


def test_connections_see_each_others_writes(exported):
    handles = [connect(exported[1]) for _ in range(4)]
    assert handles[0].can_multi_conn()
    for i, writer in enumerate(handles):
        writer.pwrite(bytes([i + 1]) * 4096, i * 4096)
        for reader in handles:
            assert reader.pread(4096, i * 4096) == bytes([i + 1]) * 4096
    for handle in handles:
        handle.shutdown()


def test_nbdinfo(exported):
    daemon, uri = exported
    info = nbd_info(uri)
    (export,) = info["exports"]
    assert (info["protocol"], info["structured"]) == ("newstyle-fixed", True)
    assert export["export-size"] == SIZE
    assert export["can_multi_conn"] and export["can_flush"] and export["can_fua"] and export["can_trim"]
    listed = json.loads(run(["nbdinfo", "--json", "--list", f"nbd+unix:///?socket={daemon.exports}"]).stdout)
    assert [e["export-name"] for e in listed["exports"]] == ["v"]
    total = json.loads(run(["nbdinfo", "--json", "--map", uri]).stdout)
    assert sum(e["length"] for e in total) == SIZE


def test_nbdcopy_both_ways(exported, workdir, rng):
    source = workdir / "source.img"
    source.write_bytes(rng.randbytes(8 << 20) + bytes(SIZE - (8 << 20)))
    nbd_copy(source, exported[1])
    nbd_copy(exported[1], workdir / "copy.img")
    assert images_equal(source, workdir / "copy.img")
    nbd_copy(exported[1], workdir / "plain.img", "--synchronous", "--no-extents")
    assert images_equal(source, workdir / "plain.img")


def test_nbdsh(exported):
    script = "data = b'sluice..' * 512; h.pwrite(data, 0); assert h.pread(4096, 0) == data; print(h.get_size())"
    # The script starts the first python3 of the PATH, and the module belongs to Debian's.
    env = {**os.environ, "PATH": "/usr/bin:/bin"}
    result = run(["nbdsh", "--uri", exported[1], "-c", script], env=env)
    assert result.stdout.strip() == str(SIZE)


def test_qemu_img_and_qemu_io(exported, workdir):
    info = json.loads(run(["qemu-img", "info", "--output=json", "-f", "raw", exported[1]]).stdout)
    assert info["virtual-size"] == SIZE
    qemu_io(exported[1], "write -P 0xab 1M 2M", "write -z 2M 512k", "discard 0 64k", "write -f -P 0xcd 8M 4k", "flush")
    qemu_io(
        exported[1], "read -P 0xab 1M 1M", "read -P 0 2M 512k", "read -P 0xab 2560k 512k", "read -P 0xcd 8M 4k",
        "aio_write -P 0x11 16M 64k", "aio_read 1M 64k", "aio_flush", "read -P 0x11 16M 64k",
    )
    run(["qemu-img", "convert", "-f", "raw", "-O", "raw", exported[1], workdir / "converted.img"])
    assert images_equal(exported[1], workdir / "converted.img")
    run(["qemu-img", "bench", "-f", "raw", "-c", "2000", "-d", "32", "-s", "4k", "-w", exported[1]])


def qemu_io(uri, *commands):
    argv = ["qemu-io", "-f", "raw"]
    for command in commands:
        argv += ["-c", command]
    result = run([*argv, uri])
    assert "Pattern verification failed" not in result.stdout, result.stdout


def test_fio(exported, crew, workdir, seed):
    crew.add(Fio(workdir, exported[1], seed=seed, size="16M")).finish()


def test_tcp_export_on_loopback(exported):
    daemon, _ = exported
    export = daemon.cli("export", "add", "v", "--nbd", "tcp:127.0.0.1:0", "--name", "over-tcp")
    assert export["uri"].startswith("nbd://127.0.0.1:")
    handle = connect(export["uri"])
    write_and_read(handle)
    handle.shutdown()


def test_many_exports_on_one_socket(daemon, image):
    daemon.cli("lu", "add", "lu", "--file", image())
    part = SIZE // 16
    for i in range(16):
        daemon.volume(f"part-{i}", part, f"lu:{i * part}")
    for i in range(16):
        handle = connect(daemon.uri(f"part-{i}"))
        handle.pwrite(bytes([i + 1]) * 512 * 8, part - 4096)
        handle.shutdown()
    for i in range(16):
        handle = connect(daemon.uri(f"part-{i}"))
        assert handle.pread(4096, part - 4096) == bytes([i + 1]) * 4096
        handle.shutdown()


def test_export_that_is_removed_lets_its_client_go(exported):
    daemon, uri = exported
    handle = connect(uri)
    write_and_read(handle)
    (export,) = daemon.cli("export", "list")["exports"]
    daemon.cli("export", "remove", str(export["id"]))
    with pytest.raises(nbd.Error):
        handle.pread(4096, 0)
    with pytest.raises(nbd.Error):
        connect(uri)


def test_connections_are_counted(exported):
    daemon, uri = exported
    export = daemon.cli("export", "list")["exports"][0]["id"]
    assert daemon.cli("export", "show", str(export))["connections"] == 0
    handles = [connect(uri) for _ in range(3)]
    assert daemon.cli("export", "show", str(export))["connections"] == 3
    for handle in handles:
        handle.shutdown()
