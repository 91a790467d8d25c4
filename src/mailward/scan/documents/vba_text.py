"""A VBA project as one text: what signatures for macros are written against since ClamAV 0.104.

What is in it, and how, is what clamscan 1.4.6 leaves behind with ``--leave-temps``: a line for each
record of the project's directory (MS-OVBA 2.3.4.2), then the modules, each under its own lines,
in lower case outside of quotes, with white space folded and continued lines joined, in UTF-8.
"""

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

_BEGINNING = b"REM VBA project extracted from Microsoft Office document\n"

_RULE = b"REM ##################################################\n"
_RECORD = struct.Struct("<HL")
_CODE_PAGE, _VERSION, _STREAM_NAME = 0x03, 0x09, 0x1A
_MODULE_NAME, _OFFSET, _END_OF_MODULE = 0x19, 0x31, 0x2B
_VERSION_EXTRA_BYTES = 2
"""The record of the version is longer than it says."""
_SYSTEMS = ("Windows 16 bit", "Windows 32 bit", "Macintosh", "Windows 64 bit")

_QUOTED = re.compile(r"(\"[^\"]*\"?)")
_SPACES = re.compile(r"[ \t]+(?:[ \t]|_?\r?\n)*")
_NO_LINE_END = re.compile(r"[ \t]|_\r?\n")
_LOWER = {letter: letter + 32 for letter in range(ord("A"), ord("Z") + 1)}


@dataclass(frozen=True, slots=True)
class Directory:
    """What the stream ``dir`` of a project says."""

    encoding: str
    project: tuple[str, ...]
    """Lines about the project."""
    modules: tuple[tuple[str, tuple[str, ...]], ...]
    """Of each the name of its stream, in lower case, and lines about it."""
    offsets: Mapping[str, int]
    """Where the source begins in a stream, by its name in lower case."""


def text(directory: Directory, sources: Mapping[str, bytes]) -> bytes:
    """The text of a project; ``sources`` by stream, in lower case."""
    parts = [_BEGINNING, b"\n", _lines(directory.project)]
    left = dict(sources)  # each once, however often it is named
    for stream, lines in directory.modules:
        parts += [b"\n\n", _lines(lines), _RULE]
        parts.append(normalised(left.pop(stream, b""), directory.encoding))
    return b"".join(parts)


def normalised(source: bytes, encoding: str = "cp1252") -> bytes:
    """The source of a module as it is in the text."""
    pieces = _QUOTED.split(source.decode(encoding, "replace"))
    pieces[0::2] = [_SPACES.sub(_folded, piece).translate(_LOWER) for piece in pieces[0::2]]
    pieces[1::2] = [piece.replace("\t", " ") for piece in pieces[1::2]]
    return "".join(pieces).encode("utf-8", "replace")


def _folded(spaces: re.Match[str]) -> str:
    return " " + _NO_LINE_END.sub("", spaces.group())


def directory(listed: bytes) -> Directory:
    """Read the decompressed stream ``dir``, as far as it goes."""
    encoding = "cp1252"
    project: list[str] = []
    modules: list[tuple[str, tuple[str, ...]]] = []
    offsets: dict[str, int] = {}
    stream, lines = "", project
    for kind, value in _records(listed):
        if kind == _CODE_PAGE and len(value) == 2:
            encoding = _known(f"cp{int.from_bytes(value, 'little')}")
        if kind == _MODULE_NAME:
            lines = []
        if kind == _STREAM_NAME:
            stream = value.decode(encoding, "replace").lower()
        if kind == _OFFSET and len(value) == 4:
            offsets[stream] = int.from_bytes(value, "little")
        if kind in _LABELS:
            label, shown = _LABELS[kind]
            lines.append(f"REM {label}: {shown(value, encoding)}")
        if kind == _END_OF_MODULE and lines is not project:
            modules.append((stream, tuple(lines)))
            lines = project
    return Directory(encoding, tuple(project), tuple(modules), offsets)


def _records(listed: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _RECORD.size <= len(listed):
        kind, size = _RECORD.unpack_from(listed, at)
        at += _RECORD.size
        size += _VERSION_EXTRA_BYTES if kind == _VERSION else 0
        yield kind, listed[at : at + size]
        at += size


def _known(encoding: str) -> str:
    try:
        b"".decode(encoding)
    except LookupError:
        return "cp1252"
    return encoding


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def _text(value: bytes, encoding: str) -> str:
    return value.decode(encoding, "replace")


def _wide(value: bytes, _encoding: str) -> str:
    return value.decode("utf-16-le", "replace")


def _number(digits: int) -> Callable[[bytes, str], str]:
    return lambda value, _encoding: f"0x{int.from_bytes(value[:4], 'little'):0{digits}x}"


def _system(value: bytes, _encoding: str) -> str:
    number = int.from_bytes(value[:4], "little")
    return _SYSTEMS[number] if number < len(_SYSTEMS) else f"Unknown (0x{number:08x})"


def _version(value: bytes, _encoding: str) -> str:
    whole = int.from_bytes(value[:4], "little")
    return f"{whole}.{int.from_bytes(value[4:6], 'little')}"


def _count(value: bytes, _encoding: str) -> str:
    return str(int.from_bytes(value[:2], "little"))


def _says(what: str) -> Callable[[bytes, str], str]:
    return lambda _value, _encoding: what


_LABELS: Mapping[int, tuple[str, Callable[[bytes, str], str]]] = {
    0x01: ("PROJECTSYSKIND", _system),
    0x02: ("PROJECTLCID", _number(8)),
    0x14: ("PROJECTLCIDINVOKE", _number(8)),
    0x03: ("PROJECTCODEPAGE", _number(4)),
    0x04: ("PROJECTNAME", _text),
    0x05: ("PROJECTDOCSTRING", _text),
    0x40: ("PROJECTDOCSTRINGUNICODE", _wide),
    0x06: ("PROJECTHELPFILEPATH", _text),
    0x3D: ("PROJECTHELPFILEPATH2", _text),
    0x07: ("PROJECTHELPCONTEXT", _number(4)),
    0x08: ("PROJECTLIBFLAGS", _number(4)),
    0x09: ("PROJECTVERSION", _version),
    0x0F: ("PROJECTMODULES", _count),
    0x13: ("PROJECTCOOKIE", _number(4)),
    0x19: ("MODULENAME", _text),
    0x47: ("MODULENAMEUNICODE", _wide),
    0x1A: ("MODULESTREAMNAME", _text),
    0x32: ("MODULESTREAMNAMEUNICODE", _wide),
    0x1C: ("MODULEDOCSTRING", _text),
    0x48: ("MODULEDOCSTRINGUNICODE", _wide),
    0x31: ("MODULEOFFSET", _number(8)),
    0x1E: ("MODULEHELPCONTEXT", _number(8)),
    0x2C: ("MODULECOOKIE", _number(4)),
    0x21: ("MODULETYPE", _says("Procedural")),
    0x22: ("MODULETYPE", _says("Class")),
    0x25: ("MODULEREADONLY", _says("")),
    0x28: ("MODULEPRIVATE", _says("")),
}
"""What clamscan calls each record, and how it shows what it says."""
