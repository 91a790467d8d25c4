"""Shards at rest, shared between sets: ``objects/ab/<sha256>``, each whole or absent."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mailward import durable
from mailward.definitions.disk import disk_errors
from mailward.errors import TrustError, UsageError

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Objects:
    """The folder ``objects`` of a store. Adding and dropping need the store's lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Where the content of that hash is, or would be."""
        if not _SHA256.fullmatch(sha256):
            raise UsageError(f"{sha256[:80]!r} is not a SHA-256 in lower-case hex")
        return self.folder / sha256[:2] / sha256

    def all(self) -> Iterator[Path]:
        """Every object; what is there by another name is not ours and left out."""
        for path in self.folder.glob("[0-9a-f][0-9a-f]/*"):
            if _SHA256.fullmatch(path.name) and path.parent.name == path.name[:2]:
                yield path

    def problem(self, sha256: str, size_bytes: int, *, hashing: bool) -> str | None:
        """What is wrong with an object's size, and with ``hashing`` its content; None if nothing.

        Raises OSError.
        """
        path = self.path(sha256)
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size != size_bytes:
                    return f"has {size} bytes instead of {size_bytes}: {path}"
                if hashing and hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    return f"has other content than its name says: {path}"
        except FileNotFoundError:
            return f"is missing: {path}"
        return None

    def add(self, sha256: str, size_bytes: int, chunks: Iterable[bytes], scratch: Path) -> Path:
        """Take content in, checked while it streams (S1). It replaces what had its name, if any.

        Raises TrustError, StoreError when the disk fails, and whatever ``chunks`` raises; then
        nothing is left behind.
        """
        path = self.path(sha256)
        unfinished = durable.temporary_beside(scratch / sha256)
        try:
            _write(unfinished, _checked(chunks, sha256, size_bytes))
            with disk_errors(f"keep shard {sha256}", self.folder):
                durable.make_folder(path.parent)
                durable.publish(unfinished, path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        return path


def _checked(chunks: Iterable[bytes], sha256: str, size_bytes: int) -> Iterator[bytes]:
    """Hands ``chunks`` on as long as they can still become the content that was promised."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        size += len(chunk)
        if size > size_bytes:
            raise TrustError(f"shard {sha256} goes on after the {size_bytes} bytes it should have")
        digest.update(chunk)
        yield chunk
    if size != size_bytes:
        raise TrustError(f"shard {sha256} ends after {size} of {size_bytes} bytes")
    if digest.hexdigest() != sha256:
        raise TrustError(f"shard {sha256} has other content: its SHA-256 is {digest.hexdigest()}")


def _write(path: Path, chunks: Iterator[bytes]) -> None:
    doing = f"write {path.name}"
    with disk_errors(doing, path.parent):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        for chunk in chunks:
            with disk_errors(doing, path.parent):
                durable.write_all(fd, chunk)
        with disk_errors(doing, path.parent):
            os.fsync(fd)
    finally:
        os.close(fd)
