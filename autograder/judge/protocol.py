"""Messages between the judge and the processes it started: a JSON header and raw buffers, never pickle.

    8 bytes: length of the header | header, JSON | the buffers that the header announces, one after the other

Whoever reads trusts nothing: sizes are capped before anything is allocated, every read has a deadline, and a header
that is not exactly what :class:`Channel` writes is refused. The same file serves both ends.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

from autograder.values import Packed

MAX_HEADER_BYTES = 64 * 2**20
MAX_MESSAGE_BYTES = 512 * 2**20
# Parsing builds one object per item: without this cap a header of brackets would become gigabytes.
MAX_HEADER_ITEMS = 6_000_000
MAX_BUFFERS = 100_000
_CHUNK = 2**20
_AHEAD = 2**16
_LENGTH = struct.Struct(">Q")
_to_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode  # trees have no circles
_from_json = json.JSONDecoder().decode


class BadMessage(ValueError):
    """Bytes that no honest sender would have written, or a value too large to send."""


class Closed(EOFError):
    """The other side has gone."""


@dataclass
class Message:
    """What crosses in one piece: plain JSON in ``body``, encoded values by name in ``values``."""

    kind: str
    body: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Packed] = field(default_factory=dict)


class Channel:
    """One end of a stream socket.

    >>> a, b = socket.socketpair()
    >>> Channel(a).send(Message("reply", {"id": 1}, {"ok": Packed({"t": "bytes", "v": "x"}, [b"raw"])}))
    >>> got = Channel(b).receive()
    >>> got.kind, got.body, got.values["ok"].buffers
    ('reply', {'id': 1}, [b'raw'])
    """

    def __init__(self, sock: socket.socket, read_ahead: bool = False):
        self.socket = sock
        # A message in one go instead of length, header and buffers one by one; not where descriptors are passed, too.
        self._ahead, self._at_least = bytearray(), _AHEAD if read_ahead else 0
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(sock, select.POLLIN)
        self._writable.register(sock, select.POLLOUT)
        self.received = 0  # bytes, for whoever wants to set a limit
        # Deadlines are kept with select, so that the descriptor's own mode stays as it is: it is shared by a fork.
        sock.setblocking(True)

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()

    def send(self, message: Message, deadline: float | None = None) -> None:
        """Write a message as a whole; BadMessage, and nothing written, when it is too large or not JSON.

        ``deadline`` is a value of ``time.monotonic()``: TimeoutError when the other side does not read until then.
        """
        buffers = [buffer for packed in message.values.values() for buffer in packed.buffers]
        header = {
            "kind": message.kind,
            "body": message.body,
            "values": {name: [packed.tree, len(packed.buffers)] for name, packed in message.values.items()},
            "sizes": [len(buffer) for buffer in buffers],
        }
        try:
            text = _to_json(header).encode("ascii")
        except (ValueError, TypeError, RecursionError) as error:
            raise BadMessage(f"this value cannot cross: {error}") from None
        total = len(text) + sum(header["sizes"])
        if len(text) > MAX_HEADER_BYTES or total > MAX_MESSAGE_BYTES or len(buffers) > MAX_BUFFERS:
            raise BadMessage(f"a value of {total / 2**20:.0f} MiB is too large")
        if _items(text) > MAX_HEADER_ITEMS:
            raise BadMessage(f"a value of more than {MAX_HEADER_ITEMS:,} items is too large")
        for part in (_LENGTH.pack(len(text)) + text, *buffers):
            self._write(part, deadline)

    def receive(self, deadline: float | None = None) -> Message:
        """Read one message: Closed, TimeoutError or BadMessage when there is none to be had."""
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size, deadline))
        if length > MAX_HEADER_BYTES:
            raise BadMessage("it wrote something that is not a message")
        text = self._read(length, deadline)
        if _items(text) > MAX_HEADER_ITEMS:
            raise BadMessage("its message has too many items")
        try:
            header = _from_json(text.decode("ascii"))
            kind, body, values, sizes = (header[key] for key in ("kind", "body", "values", "sizes"))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BadMessage("it wrote something that is not a message") from None
        _require(type(kind) is str and type(body) is dict and type(values) is dict and type(sizes) is list)
        _require(len(sizes) <= MAX_BUFFERS and all(type(size) is int and size >= 0 for size in sizes))
        if length + sum(sizes) > MAX_MESSAGE_BYTES:
            raise BadMessage(f"its message of {sum(sizes) / 2**20:.0f} MiB is too large")
        counts = []
        for value in values.values():
            _require(type(value) is list and len(value) == 2 and type(value[1]) is int and value[1] >= 0)
            counts.append(value[1])
        _require(sum(counts) == len(sizes))
        buffers = iter([bytes(self._read(size, deadline)) for size in sizes])
        packed = {name: Packed(tree, [next(buffers) for _ in range(count)]) for name, (tree, count) in values.items()}
        return Message(kind, body, packed)

    def _write(self, data: bytes, deadline: float | None) -> None:
        view = memoryview(data)
        while view:
            try:
                if deadline is None:  # a child's side: behind its wall a process may write, but not send
                    view = view[os.write(self.fileno(), view[:_CHUNK]) :]
                else:  # a blocking send would wait until everything is taken
                    view = view[self.socket.send(view[:_CHUNK], socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                self._wait(self._writable, deadline)
            except (BrokenPipeError, ConnectionError):
                raise Closed("the process has ended") from None

    def _read(self, size: int, deadline: float | None) -> bytearray:
        data = self._ahead
        while len(data) < size:
            self._wait(self._readable, deadline)
            try:
                chunk = self.socket.recv(min(_CHUNK, max(size - len(data), self._at_least)))
            except ConnectionError:
                chunk = b""
            if not chunk:
                raise Closed("the process has ended")
            data += chunk
            self.received += len(chunk)
        self._ahead = data[size:]
        del data[size:]
        return data

    def _wait(self, waiting: select.poll, deadline: float | None) -> None:
        if deadline is None:
            return
        left = deadline - time.monotonic()
        if left <= 0 or not waiting.poll(left * 1000):
            raise TimeoutError("the process did not answer in time")


def _require(condition: bool) -> None:
    if not condition:
        raise BadMessage("it wrote something that is not a message")


def _items(text: bytes | bytearray) -> int:
    """An upper bound for the number of JSON items in a text, without parsing it."""
    return text.count(b",") + text.count(b"[") + text.count(b"{") + 1
