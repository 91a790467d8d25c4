"""One client of the clamd protocol: bytes and file descriptors in, bytes out.

On a plain socket instead of asyncio's streams, because file descriptors come beside the bytes
(``SCM_RIGHTS``), and because what is scanned goes from the kernel straight into its one buffer.
"""

import array
import asyncio
import contextlib
import os
import select
import socket
import struct
from collections import deque

_PIECE = 256 * 1024
"""Bytes that a buffer grows by: memory is for what a client sent, not for what it announced."""
_RECEIVE = 64 * 1024
_DESCRIPTORS_MAX = 4
"""Taken at once; one at a time is what clients send."""
_LINGER_S = 5.0
_LINGER_BYTES = 64 * 1024 * 1024
_SIZE = struct.Struct(">I")


class TooLargeError(Exception):
    """What a client streams is larger than the limit."""


class GoneError(ConnectionError):
    """The client closed in the middle of something."""


class Peer:
    """Every wait for the client is bounded by ``timeout_s``.

    Raises TimeoutError when it is silent for longer, other OSErrors when it is gone.
    """

    def __init__(self, connection: socket.socket, timeout_s: float) -> None:
        self._socket = connection
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._sending = asyncio.Lock()
        self._descriptors: deque[int] = deque()
        self.buffer = bytearray()
        """Received, and not used yet."""
        self.eof = False
        self.local = connection.family == socket.AF_UNIX
        """Whether it sits on this computer, and may pass file descriptors."""

    @property
    def gone(self) -> bool:
        """Whether it has closed both ways, so that nobody would hear an answer.

        Over TCP that shows only once something was sent to it.
        """
        ends = select.poll()
        ends.register(self._socket, 0)  # what is always told: POLLHUP, POLLERR
        return bool(ends.poll(0))

    async def more(self) -> None:
        """Wait for bytes and add them to ``buffer``; sets ``eof`` when there are no more."""
        async with asyncio.timeout(self._timeout_s):
            if self.local:
                data = await self._receive_with_descriptors()
            else:
                data = await self._loop.sock_recv(self._socket, _RECEIVE)
        self.buffer += data
        self.eof = not data
        await asyncio.sleep(0)  # more may be there already, and more behind that: others come first

    async def stream(self, max_bytes: int) -> bytearray:
        """What INSTREAM sends: chunks, each with its size in front, and one of size 0 at the end.

        Raises TooLargeError, GoneError.
        """
        content = bytearray()
        while (size := _SIZE.unpack(await self.take(_SIZE.size))[0]) > 0:
            if len(content) + size > max_bytes:
                raise TooLargeError
            await self._fill(content, size)
        return content

    async def take(self, count: int) -> bytes:
        """Exactly ``count`` bytes. Raises GoneError."""
        while len(self.buffer) < count:
            await self.more()
            if self.eof:
                raise GoneError
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    def descriptor(self) -> int | None:
        """The file descriptor that came first; its taker closes it."""
        return self._descriptors.popleft() if self._descriptors else None

    async def send(self, data: bytes) -> None:
        """One whole reply at a time. Raises GoneError, also when the client does not read."""
        async with self._sending:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._loop.sock_sendall(self._socket, data)
            except TimeoutError as e:
                raise GoneError("it does not read its replies") from e

    async def linger(self) -> None:
        """Let a client that is still sending read our last words: closing would reset them away."""
        with contextlib.suppress(OSError, TimeoutError):
            self._socket.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(_LINGER_S):
                left = _LINGER_BYTES
                while left > 0 and (data := await self._loop.sock_recv(self._socket, _PIECE)):
                    left -= len(data)

    def close(self) -> None:
        """End the connection; descriptors that nobody took go too."""
        while self._descriptors:
            os.close(self._descriptors.popleft())
        self._socket.close()

    async def _fill(self, content: bytearray, count: int) -> None:
        ready = min(count, len(self.buffer))
        content += memoryview(self.buffer)[:ready]
        del self.buffer[:ready]
        end = len(content) - ready + count
        while (start := len(content)) < end:
            content.extend(bytes(min(_PIECE, end - start)))
            got = 0
            try:
                with memoryview(content) as view, view[start:] as room:
                    async with asyncio.timeout(self._timeout_s):
                        got = await self._loop.sock_recv_into(self._socket, room)
            finally:
                del content[start + got :]
            if not got:
                raise GoneError

    async def _receive_with_descriptors(self) -> bytes:
        space = socket.CMSG_SPACE(_DESCRIPTORS_MAX * array.array("i").itemsize)
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(
                    _RECEIVE, space, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                await self._readable()
                continue
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self._keep(content)
            return data

    def _keep(self, content: bytes) -> None:
        passed = array.array("i")
        passed.frombytes(content[: len(content) - len(content) % passed.itemsize])
        for fd in passed:
            if len(self._descriptors) < _DESCRIPTORS_MAX:
                self._descriptors.append(fd)
            else:
                os.close(fd)

    async def _readable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        fd = self._socket.fileno()
        self._loop.add_reader(fd, _wake, ready)
        try:
            await ready
        finally:
            self._loop.remove_reader(fd)


def _wake(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)
