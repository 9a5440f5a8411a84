"""A slow, mute, hostile or vanished client hurts itself alone: beside each of them another client works."""

import socket
import struct

import pytest

from lib.processes import resident_kib, wait_until
from lib.scene import SIZE

GREETING = 18
CLIENT_FLAGS = struct.pack(">I", 3)
GO = 7
REQUEST_MAGIC = 0x25609513


@pytest.fixture
def exported(daemon, image):
    daemon.cli("lu", "add", "lu", "--file", image())
    daemon.volume("v", SIZE, "lu")
    return daemon


def dial(daemon):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(str(daemon.exports))
    return s


def go(daemon, name=b"v"):
    """A client in transmission, simple replies."""
    s = dial(daemon)
    assert len(s.recv(GREETING, socket.MSG_WAITALL)) == GREETING
    payload = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
    s.sendall(CLIENT_FLAGS + b"IHAVEOPT" + struct.pack(">II", GO, len(payload)) + payload)
    while True:
        _, _, kind, length = struct.unpack(">QIII", s.recv(20, socket.MSG_WAITALL))
        s.recv(length, socket.MSG_WAITALL)
        if kind == 1:
            return s


def request(kind, offset, length, handle=1, flags=0, magic=REQUEST_MAGIC):
    return struct.pack(">IHHQQI", magic, flags, kind, handle, offset, length)


def assert_closed(s):
    """The server hangs up; anything it says before is fine."""
    while True:
        try:
            if not s.recv(65536):
                return
        except ConnectionResetError:
            return


GARBAGE = {
    "nothing but zeros": bytes(4096),
    "unknown client flags": struct.pack(">I", 0xFFFFFFFF),
    "wrong option magic": CLIENT_FLAGS + b"IHAVEOPZ" + struct.pack(">II", GO, 0) + bytes(64),
    "endless option": CLIENT_FLAGS + b"IHAVEOPT" + struct.pack(">II", GO, 0xFFFFFFFF) + bytes(4096),
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("bytes_sent", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_in_the_handshake_ends_that_connection_only(exported, verify, bytes_sent):
    load = verify(exported.uri("v"))
    s = dial(exported)
    s.recv(GREETING, socket.MSG_WAITALL)
    s.sendall(bytes_sent)
    assert_closed(s)
    load.finish()


def test_garbage_in_the_transmission_ends_that_connection_only(exported, verify):
    load = verify(exported.uri("v"))
    s = go(exported)
    s.sendall(request(0, 0, 4096, magic=0xDEADBEEF))
    assert_closed(s)
    load.finish()


def test_unknown_command_and_flags_are_answered_with_an_error(exported):
    s = go(exported)
    for bad in (request(99, 0, 4096), request(0, 0, 4096, flags=0x8000), request(0, SIZE, 4096), request(4, 0, 0)):
        s.sendall(bad)
        magic, error, handle = struct.unpack(">IIQ", s.recv(16, socket.MSG_WAITALL))
        assert (magic, handle) == (0x67446698, 1)
        assert error != 0 or bad == request(4, 0, 0)
    s.sendall(request(0, 0, 512))
    _, error, _ = struct.unpack(">IIQ", s.recv(16, socket.MSG_WAITALL))
    assert error == 0
    assert len(s.recv(512, socket.MSG_WAITALL)) == 512


def test_write_that_is_too_long_does_not_take_memory(exported, verify):
    load = verify(exported.uri("v"))
    before = resident_kib(exported.pid)
    s = go(exported)
    s.sendall(request(1, 0, 0xFFFFF000))
    assert_closed(s)
    assert resident_kib(exported.pid) - before < 64 * 1024
    load.finish()


def test_client_that_never_speaks(exported, verify):
    mute = [dial(exported) for _ in range(20)]
    verify(exported.uri("v"), seconds=1).finish()
    for s in mute:
        s.close()


def test_client_that_stops_in_the_middle_of_a_write(exported, verify):
    stuck = [go(exported) for _ in range(20)]
    for s in stuck:
        s.sendall(request(1, 0, 1 << 20) + bytes(1000))
    verify(exported.uri("v"), seconds=1, extra=["--range", f"{SIZE // 2}+{SIZE // 2}"]).finish()
    for s in stuck:
        s.close()


def test_client_that_asks_and_never_reads(exported, verify):
    """Its answers pile up at its own door: the memory that they take is bounded."""
    before = resident_kib(exported.pid)
    deaf = [go(exported) for _ in range(4)]
    for s in deaf:
        s.setblocking(False)
        sent = 0
        try:
            while sent < 20000:
                s.send(request(0, 0, 1 << 20, handle=sent))
                sent += 1
        except BlockingIOError:
            pass
    verify(exported.uri("v"), seconds=1).finish()
    grown = resident_kib(exported.pid) - before
    print(f"four deaf clients: {grown} KiB")
    assert grown < 4 * 80 * 1024
    for s in deaf:
        s.close()


def test_clients_that_vanish_in_mid_request(exported, verify):
    load = verify(exported.uri("v"))
    for i in range(100):
        s = go(exported)
        s.sendall(request(0, 0, 1 << 20) * 8)
        if i % 2:
            s.sendall(request(3, 0, 0))
        s.close()
    load.finish()
    export = exported.cli("export", "list")["exports"][0]["id"]
    wait_until(lambda: exported.cli("export", "show", str(export))["connections"] == 0, what="all connections ending")


def test_hostile_client_does_not_stop_a_switch(two_paths, verify):
    """A client that left a request half sent holds nothing in flight."""
    load = verify(two_paths.uri)
    stuck = go(two_paths.daemon)
    stuck.sendall(request(1, 0, 1 << 20) + bytes(1000))
    deaf = go(two_paths.daemon)
    deaf.sendall(request(0, 0, 1 << 20) * 16)
    assert two_paths.switch("a", "b")["state"] == "done"
    load.finish()
    stuck.close()
    deaf.close()
