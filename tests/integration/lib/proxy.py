"""A proxy in front of an NBD server on a UNIX socket that can hurt chosen requests.

It understands the protocol just enough to see every request and to answer in the server's place
(doc/proto.md of the NBD project: "Option haggling", "Transmission", "Structured replies").
"""

import contextlib
import socket
import struct
import threading

from .processes import socket_answers

OPTION_MAGIC = b"IHAVEOPT"
REQUEST_MAGIC = 0x25609513
SIMPLE_REPLY_MAGIC = 0x67446698
STRUCTURED_REPLY_MAGIC = 0x668E33EF
OPTION_REPLY_MAGIC = 0x0003E889045565A9
OPT_STRUCTURED_REPLY = 8
READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS = range(8)
CHUNK_ERROR = 0x8001
EIO = 5

PASS = None
SWALLOW = "swallow"


class Gone(Exception):
    pass


def receive(sock, count):
    data = bytearray()
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise Gone
        data += piece
    return bytes(data)


class _Session:
    """One client's connection and the server's side of it."""

    def __init__(self, proxy, client):
        self.proxy = proxy
        self.client = client
        self.server = socket.socket(socket.AF_UNIX)
        self.server.connect(str(proxy.server_socket))
        self.structured = False
        self.reads = {}
        self.to_client = threading.Lock()
        for pump in (self._pump_requests, self._pump_replies):
            threading.Thread(target=self._run, args=(pump,), daemon=True).start()

    def _run(self, pump):
        with contextlib.suppress(Gone, OSError):
            pump()
        # The end of one direction ends both: a half-open proxy would be a fault of its own.
        self.cut()

    def cut(self):
        for sock in (self.client, self.server):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _pump_requests(self):
        self.server.sendall(receive(self.client, 4))  # client flags
        while True:
            head = receive(self.client, 4)
            if head == OPTION_MAGIC[:4]:
                self._forward_option(head)
            else:
                self._forward_request(head)

    def _forward_option(self, head):
        head += receive(self.client, 12)
        option, length = struct.unpack(">8xII", head)
        data = receive(self.client, length)
        if option == OPT_STRUCTURED_REPLY:
            self.structured = True
        self.server.sendall(head + data)

    def _forward_request(self, head):
        head += receive(self.client, 24)
        magic, _flags, kind, handle, offset, length = struct.unpack(">IHHQQI", head)
        if magic != REQUEST_MAGIC:
            raise Gone
        payload = receive(self.client, length) if kind == WRITE else b""
        verdict = self.proxy.judge(kind, offset, length)
        if verdict == SWALLOW:
            return
        if verdict is not PASS:
            self._answer_error(handle, verdict)
            return
        if kind == READ:
            self.reads[handle] = length
        self.server.sendall(head + payload)

    def _answer_error(self, handle, error):
        if self.structured:
            payload = struct.pack(">IH", error, 0)
            reply = struct.pack(
                ">IHHQI", STRUCTURED_REPLY_MAGIC, 1, CHUNK_ERROR, handle, len(payload)
            )
            reply += payload
        else:
            reply = struct.pack(">IIQ", SIMPLE_REPLY_MAGIC, error, handle)
        with self.to_client:
            self.client.sendall(reply)

    def _pump_replies(self):
        self.client.sendall(receive(self.server, 18))  # the greeting
        while True:
            message = self._receive_reply()
            with self.to_client:
                self.client.sendall(message)

    def _receive_reply(self):
        head = receive(self.server, 4)
        (magic,) = struct.unpack(">I", head)
        if magic == OPTION_REPLY_MAGIC >> 32:
            head += receive(self.server, 16)
            (length,) = struct.unpack(">16xI", head)
            return head + receive(self.server, length)
        if magic == STRUCTURED_REPLY_MAGIC:
            head += receive(self.server, 16)
            (length,) = struct.unpack(">16xI", head)
            return head + receive(self.server, length)
        if magic == SIMPLE_REPLY_MAGIC:
            head += receive(self.server, 12)
            error, handle = struct.unpack(">4xIQ", head)
            length = self.reads.pop(handle, 0)
            with_data = error == 0 and not self.structured
            return head + (receive(self.server, length) if with_data else b"")
        raise Gone


class NbdProxy:
    """judge(kind, offset, length), may be replaced at any time: PASS, SWALLOW (the request is never
    answered), or an NBD error number to answer with."""

    name = "proxy"

    def __init__(self, workdir, name, server):
        self.name = name
        self.server_socket = server.socket
        self.socket = workdir / f"{name}.sock"
        self.uri = f"nbd+unix:///?socket={self.socket}"
        self.judge = lambda kind, offset, length: PASS
        self._listener = None
        self._sessions = []

    def start(self):
        assert socket_answers(self.server_socket)
        self.socket.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket))
        self._listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with contextlib.suppress(OSError):
                    self._sessions.append(_Session(self, client))

    def cut(self):
        """Ends all its connections, without a word."""
        for session in self._sessions:
            session.cut()
        self._sessions.clear()

    def end(self):
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.cut()


def fail_reads_once_committed(daemon, volume):
    """A judge that lets every check of a change pass and fails the first read after its commit: the
    one that verifies the new path. Asks the daemon, which serves its API while the read waits."""

    def judge(kind, _offset, _length):
        if kind != READ:
            return PASS
        _, answer = daemon.http("GET", f"/v1/changes?volume={volume}&limit=1")
        changes = answer["changes"]
        return EIO if changes and changes[0]["state"] == "committed" else PASS

    return judge
