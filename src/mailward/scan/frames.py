"""Between the pool and a worker process: frames of a JSON header and raw bytes, over a socket.

::

    header size (4 bytes, big-endian) | body size (8) | header (JSON) | body
"""

import asyncio
import json
import socket
import struct
from typing import Any

_SIZES = struct.Struct(">IQ")
_RECEIVE_BYTES = 1024 * 1024
_TOGETHER_BYTES = 64 * 1024
"""A frame up to that size is copied together: waking the other side up twice costs more."""

Header = dict[str, Any]


def send(connection: socket.socket, header: Header) -> None:
    """Send a frame without a body. Blocks. Raises OSError."""
    raw = json.dumps(header).encode()
    connection.sendall(_SIZES.pack(len(raw), 0) + raw)


def receive(connection: socket.socket) -> tuple[Header, bytes] | None:
    """The next frame; None at the end. Blocks. Raises OSError.

    The other side sends one at a time: it waits for the answer.
    """
    front = connection.recv(_TOGETHER_BYTES)
    while front and len(front) < _SIZES.size:
        more = connection.recv(_TOGETHER_BYTES)
        front = front + more if more else b""
    if not front:
        return None
    header_bytes, body_bytes = _SIZES.unpack_from(front)
    size = _SIZES.size + header_bytes + body_bytes
    frame = front if len(front) == size else _rest(connection, front, size)
    if frame is None:
        return None
    start = size - body_bytes
    return json.loads(frame[_SIZES.size : start]), bytes(memoryview(frame)[start:])


async def exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    header: Header,
    body: bytes | bytearray,
) -> Header:
    """Send a frame, get the answer. Raises OSError, EOFError when the other side is gone."""
    raw = json.dumps(header).encode()
    front = _SIZES.pack(len(raw), len(body)) + raw
    if len(body) <= _TOGETHER_BYTES:
        writer.write(front + body)
    else:
        writer.write(front)
        writer.write(body)
    await writer.drain()
    header_bytes, _ = _SIZES.unpack(await reader.readexactly(_SIZES.size))
    answer: Header = json.loads(await reader.readexactly(header_bytes))
    return answer


def _rest(connection: socket.socket, front: bytes, size: int) -> bytearray | None:
    """All of a frame of ``size`` bytes that begins with ``front``; None if it ends before."""
    frame = bytearray(size)
    frame[: len(front)] = front
    view, done = memoryview(frame), len(front)
    while done < size:
        count = connection.recv_into(view[done:], min(size - done, _RECEIVE_BYTES))
        if not count:
            return None
        done += count
    return frame
