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

Header = dict[str, Any]


def send(connection: socket.socket, header: Header) -> None:
    """Send a frame without a body. Blocks. Raises OSError."""
    raw = json.dumps(header).encode()
    connection.sendall(_SIZES.pack(len(raw), 0) + raw)


def receive(connection: socket.socket) -> tuple[Header, bytes] | None:
    """The next frame; None at the end. Blocks. Raises OSError."""
    sizes = _receive_exactly(connection, _SIZES.size)
    if sizes is None:
        return None
    header_bytes, body_bytes = _SIZES.unpack(sizes)
    header = _receive_exactly(connection, header_bytes)
    body = _receive_exactly(connection, body_bytes)
    return None if header is None or body is None else (json.loads(header), bytes(body))


async def exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    header: Header,
    body: bytes | bytearray,
) -> Header:
    """Send a frame, get the answer. Raises OSError, EOFError when the other side is gone."""
    raw = json.dumps(header).encode()
    writer.write(_SIZES.pack(len(raw), len(body)) + raw)
    writer.write(body)
    await writer.drain()
    header_bytes, _ = _SIZES.unpack(await reader.readexactly(_SIZES.size))
    answer: Header = json.loads(await reader.readexactly(header_bytes))
    return answer


def _receive_exactly(connection: socket.socket, size: int) -> bytearray | None:
    buffer = bytearray(size)
    view, done = memoryview(buffer), 0
    while done < size:
        count = connection.recv_into(view[done:], min(size - done, _RECEIVE_BYTES))
        if not count:
            return None
        done += count
    return buffer
