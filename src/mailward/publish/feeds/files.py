"""A feed's place on disk: one file, or a folder of them, read within limits."""

import codecs
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mailward.errors import FormatError
from mailward.publish.feeds.base import (
    FILE_MAX_BYTES,
    FILES_MAX,
    LINE_MAX_BYTES,
    Omissions,
    require_there,
)

_HTML_STARTS = (b"<!doctype html", b"<html", b"<head>", b"<?xml")
_ARCHIVE_STARTS = (
    b"PK\x03\x04",
    b"\x1f\x8b\x08",
    b"7z\xbc\xaf\x27\x1c",
    b"\xfd7zXZ",
    b"BZh",
    b"Rar!",
)
"""zip, gzip, 7z, xz, bzip2, rar: a list inside one would be taken for an empty list."""


def files_below(place: Path, suffixes: frozenset[str], omissions: Omissions) -> list[Path]:
    """The feed's files, sorted: ``place`` itself whatever its suffix, or those below it that fit.

    Raises UsageError if it is not there, FormatError if there are too many.
    """
    if not require_there(place).is_dir():
        return [place]
    found, inside = [], place.resolve()
    for folder, subfolders, names in os.walk(place):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in names:
            path = Path(folder, name)
            if path.suffix.lower() not in suffixes:
                omissions.add(str(path), f"not a file of this feed ({path.suffix or 'no suffix'})")
            elif not path.is_file():
                omissions.add(str(path), "not a regular file")
            elif not path.resolve().is_relative_to(inside):
                # Somebody else's repository must not make us publish files of this computer.
                omissions.add(str(path), "a symbolic link that leads out of the feed's folder")
            else:
                found.append(path)
        if len(found) > FILES_MAX:
            raise FormatError(f"feed {place}: more than {FILES_MAX} files")
    return sorted(found)


def readable(
    place: Path, paths: Iterable[Path], omissions: Omissions, max_bytes: int = FILE_MAX_BYTES
) -> Iterator[tuple[Path, bytes]]:
    """Each file and its content. One bad file of a folder is left out; a lone one is an error."""
    for path in paths:
        try:
            yield path, read_file(path, max_bytes)
        except (FormatError, OSError) as e:
            leave_out(place, path, e, omissions)


def leave_out(place: Path, path: Path, error: Exception, omissions: Omissions) -> None:
    """One bad file of a folder costs itself; a lone one is the error, raised again."""
    if path == place:
        raise error
    reason = error.strerror if isinstance(error, OSError) else None
    omissions.add(str(path), reason or str(error))


def relative(place: Path, path: Path) -> str:
    """How ``path`` is called within the feed, with forward slashes."""
    return path.name if path == place else path.relative_to(place).as_posix()


def lines_of(content: bytes, where: str, omissions: Omissions) -> Iterator[bytes]:
    """Lines without their ends; overlong ones are left out."""
    overlong = 0
    for line in content.split(b"\n"):
        if len(line) > LINE_MAX_BYTES:
            overlong += 1
        else:
            yield line.rstrip(b"\r")
    if overlong:
        omissions.add(where, f"{overlong} lines longer than {LINE_MAX_BYTES} bytes", overlong)


def read_file(path: Path, max_bytes: int = FILE_MAX_BYTES) -> bytes:
    """A file's content as UTF-8 where it is text. Raises FormatError, OSError."""
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise FormatError(f"{path}: more than the {max_bytes} bytes allowed")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        content = content.decode("utf-16", "replace").encode()  # as Windows tools write lists
    content = content.removeprefix(codecs.BOM_UTF8)
    if content[:1024].lstrip().lower().startswith(_HTML_STARTS):
        raise FormatError(f"{path}: an HTML page, not a feed: the download probably failed")
    if content.startswith(_ARCHIVE_STARTS):
        raise FormatError(f"{path}: an archive: unpack it, and name the file or folder")
    return content
