"""What a running clamd is asked and told over its socket (its manual page, "COMMANDS").

Everything it answers is bounded and only looked at; it decides nothing but what we say of it.
"""

import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from mailward.errors import TemporaryError

_ANSWER_MAX_BYTES = 64 * 1024
_TIMEOUT_S = 10.0

_FOUND = re.compile(rb": ([^\x00]{1,400}) FOUND\x00?$")


class Clamd:
    """A clamd at ``address``: the path of its socket, or ``HOST:PORT``."""

    def __init__(self, address: str, timeout_s: float = _TIMEOUT_S) -> None:
        self._address = address
        self._timeout_s = timeout_s

    def version(self) -> str:
        """Its release and databases, in its words. Raises TemporaryError; so the next ones."""
        return self._ask(b"zVERSION\0").decode(errors="replace")

    def reload(self) -> None:
        """Have it load its databases anew; it answers at once and goes on with the old ones."""
        answer = self._ask(b"zRELOAD\0")
        if answer != b"RELOADING":
            raise TemporaryError(f"clamd at {self._address}: answered {answer[:80]!r} to RELOAD")

    def scan(self, content: bytes) -> str | None:
        """The name of what it finds; None if it finds nothing."""
        request = b"zINSTREAM\0" + struct.pack("!I", len(content)) + content + bytes(4)
        answer = self._ask(request)
        found = _FOUND.search(answer)
        if found is not None:
            return found[1].decode(errors="replace")
        if answer.endswith(b": OK"):
            return None
        raise TemporaryError(f"clamd at {self._address}: {answer[:200].decode(errors='replace')}")

    def _ask(self, request: bytes) -> bytes:
        try:
            with self._connected() as connection:
                connection.sendall(request)
                answer = b""
                while chunk := connection.recv(4096):
                    answer += chunk
                    if answer.endswith(b"\0") or len(answer) > _ANSWER_MAX_BYTES:
                        break
        except (OSError, ValueError) as e:
            raise TemporaryError(f"clamd at {self._address}: {e}") from e
        return answer.rstrip(b"\0\n")

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        if self._address.startswith("/"):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(self._timeout_s)
            with connection:
                connection.connect(self._address)
                yield connection
        else:
            host, _, port = self._address.rpartition(":")
            place = (host.strip("[]"), int(port))
            with socket.create_connection(place, self._timeout_s) as connection:
                yield connection
