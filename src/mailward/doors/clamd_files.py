"""Files that clients of the clamd protocol name or pass: read whole, within a limit.

Everything here blocks, and may block for long (network file systems): for threads of its own.
"""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

MAX_DEPTH = 15
"""Folders inside each other; clamd's MaxDirectoryRecursion default."""

_PIECE = 1024 * 1024
_NOT_A_FILE = "Not supported file type"
_REASONS = {
    errno.ENOENT: "File path check failure: No such file or directory.",
    errno.ENOTDIR: "File path check failure: Not a directory.",
    errno.ENAMETOOLONG: "File path check failure: File name too long.",
    errno.EACCES: "Access denied.",
    errno.EPERM: "Access denied.",
}


class UnreadableError(Exception):
    """It cannot be read; the text is for the client."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something to scan below a path, or why not."""

    path: bytes
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """A file, read."""

    data: bytearray
    """Empty when ``size_bytes`` is over the limit."""
    size_bytes: int


def walk(path: bytes) -> Iterator[Found]:
    """The file that ``path`` names, or those below it, sorted.

    Links are followed where the client names one, never inside a folder. Never raises.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as e:
        yield Found(path, _why(e))
        return
    if not stat.S_ISDIR(mode):
        yield Found(path, "" if stat.S_ISREG(mode) else _NOT_A_FILE)
        return
    waiting = [(path, 0)]
    while waiting:
        folder, depth = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as e:
            yield Found(folder, _why(e))
            continue
        below = []
        for entry in inside:
            if entry.is_file(follow_symlinks=False):
                yield Found(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                if depth < MAX_DEPTH:
                    below.append((entry.path, depth + 1))
                else:
                    yield Found(entry.path, "Folders are inside each other too deep.")
        waiting += below[::-1]


def is_folder(path: bytes) -> bool:
    """Whether ``walk`` goes into it."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def read_path(path: bytes, max_bytes: int) -> Content:
    """Raises UnreadableError."""
    try:
        # It may have become a pipe or a device meanwhile, whose opening waits or does something.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as e:
        raise UnreadableError(_why(e)) from e
    return read_descriptor(fd, max_bytes, _NOT_A_FILE)


def read_descriptor(fd: int, max_bytes: int, otherwise: str = "Not a regular file") -> Content:
    """From its beginning, wherever it stands, and close it. Raises UnreadableError."""
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableError(otherwise)
        if status.st_size > max_bytes:
            return Content(bytearray(), status.st_size)
        data = bytearray(status.st_size + 1)  # one more shows whether it has grown
        done = 0
        while count := _read_into(fd, data, done):
            done += count
            if done > max_bytes:
                return Content(bytearray(), done)
            if done == len(data):
                data.extend(bytes(_PIECE))
        del data[done:]
        return Content(data, done)
    except OSError as e:
        raise UnreadableError(_why(e)) from e
    finally:
        os.close(fd)


def _read_into(fd: int, data: bytearray, start: int) -> int:
    with memoryview(data) as view, view[start:] as room:
        return os.preadv(fd, [room], start)


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return _REASONS.get(error.errno) or f"{os.strerror(error.errno)}."
    return _REASONS[errno.ENOENT]
