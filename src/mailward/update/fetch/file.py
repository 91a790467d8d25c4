"""``file://``: a mounted share or a stick, for computers without a network."""

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mailward.errors import FetchError
from mailward.update.fetch.base import CHUNK_BYTES, Bearer, NotResumableError, NotThereError


class FileFetcher:
    """Reads regular files; anything else (a device, a pipe that would never end) is refused."""

    def __init__(self) -> None:
        self.bytes_received = 0
        self.requests = 0
        self._lock = threading.Lock()

    def fetch(self, url: str, max_bytes: int, start: int = 0) -> Iterator[bytes]:
        """See Fetcher.fetch."""
        path = _path_of(url)
        with self._lock:
            self.requests += 1
        end = start
        try:
            # Non-blocking, so that opening a pipe returns at once; the check below refuses it.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(fd, "rb") as file:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise FetchError(f"{url}: not a regular file")
                if start > os.fstat(fd).st_size:
                    raise NotResumableError(f"{url}: has less than the {start} bytes we have")
                file.seek(start)
                while chunk := file.read(CHUNK_BYTES):
                    end += len(chunk)
                    with self._lock:
                        self.bytes_received += len(chunk)
                    if end > max_bytes:
                        raise FetchError(f"{url}: longer than the {max_bytes} bytes allowed")
                    yield chunk
        except (FileNotFoundError, NotADirectoryError) as e:
            raise NotThereError(f"{url}: there is no such file", 404) from e
        except OSError as e:
            raise FetchError(f"{url}: {e.strerror}") from e

    def present(self, bearer: Bearer) -> None:
        """See Fetcher.present: files ask for nothing."""

    def close(self) -> None:
        """See Fetcher.close."""


def _path_of(url: str) -> Path:
    pieces = urlsplit(url)
    if pieces.netloc not in ("", "localhost"):
        raise FetchError(
            f"{url}: a file:// address names no other computer; mount the share instead"
        )
    path = unquote(pieces.path)
    if not path.startswith("/") or "\0" in path:
        raise FetchError(f"{url}: not an absolute path; write file:///folder")
    return Path(path)
