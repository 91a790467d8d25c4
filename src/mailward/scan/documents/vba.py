"""VBA projects (MS-OVBA): the source of each module, and whether the compiled code says more.

Office runs the compiled code where it fits the release that made it, and the source elsewhere. Who
removes or replaces the source leaves a macro that works and shows nothing ("VBA stomping").
"""

import re
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.contents import Ambiguous, Contents, Piece, Shut
from mailward.scan.documents import vba_pcode, vba_text
from mailward.scan.documents.compound_file import CompoundFile, Stream
from mailward.scan.part import Role
from mailward.scan.verdict import Doubt, Reason

_CHUNK_BYTES = 4096
_SIGNATURE = 0x01
_SOURCE = re.compile(rb"\x01..\x00Attribut[^e]", re.DOTALL)
"""The beginning of a compressed source: a container, a chunk, eight letters, a flag."""
_COMPILED_MIN_BYTES = 600
"""What is compiled for a module without a line of code is about as long."""

_TELLING = re.compile(
    rb"(?<![a-z0-9_])(auto_?(?:open|close|exec|exit|new)|document_(?:open|close|new)|"
    rb"workbook_(?:open|activate|beforeclose)|shell|shellexecute[aw]?|createobject|getobject|"
    rb"urldownloadtofile[aw]?|createthread|virtualalloc(?:ex)?|wscript)(?![a-z0-9_])",
    re.IGNORECASE,
)
"""Names that code needs to do harm, as they stand in compiled code."""


_SOURCE_BEGINNING, _SOURCE_TYPE = b"Attribut", "CL_TYPE_MSOLE2"
"""The source of a macro: ClamAV matches it as part of the document that it came out of."""
_PROJECT_TYPE = "CL_TYPE_BINARY_DATA"
"""A project as one text: only signatures for any target are for it."""


@dataclass(frozen=True, slots=True)
class _Module:
    name: str
    compiled: bytes
    source: bytes | None


def read(file: CompoundFile, streams: list[Stream], budget: Budget) -> Contents:
    """The modules of every project in ``file``. Raises Spent."""
    for directory in streams:
        if directory.name.lower() == "dir":
            inside = [stream for stream in streams if stream.storage == directory.storage]
            yield from _project(file, directory, inside, budget)


def _project(
    file: CompoundFile, directory: Stream, inside: list[Stream], budget: Budget
) -> Contents:
    listed = decompress(file.read(directory, budget.room()), budget) or b""
    told = vba_text.directory(listed)
    modules: list[_Module] = []
    compiled_names, listed_names = set[bytes](), list[bytes]()
    for stream in inside:
        name = stream.name
        if name.lower() in ("dir", "__srp_0", "__srp_1", "__srp_2", "__srp_3"):
            continue
        data = file.read(stream, budget.room())
        if name.lower() == "_vba_project":
            compiled_names |= _names(data)
            listed_names += vba_pcode.names(data)
            continue
        module = _module(name, data, told.offsets.get(name.lower()), budget)
        if module is not None:
            modules.append(module)
    says_more = False
    for module in modules:
        budget.check_time()
        more = vba_pcode.says_more(module.compiled, module.source or b"")
        if more and module.source:
            why = f"compiled code of module {module.name[:40]} has a text that its source has not"
            yield Ambiguous(Doubt.MACRO, why)
        says_more |= more
        if module.source:
            type_ = _SOURCE_TYPE if module.source.startswith(_SOURCE_BEGINNING) else ""
            name = f"{module.name}.vba"
            yield Piece(module.source, Role.MEMBER, name, label="macro", type=type_)
        elif len(module.compiled) > _COMPILED_MIN_BYTES:
            why = f"module {module.name[:40]} is compiled and has no source"
            yield Ambiguous(Doubt.MACRO, why)
            yield Shut(Reason.UNSUPPORTED, f"compiled macro code: {why}")
    sources = {module.name.lower(): module.source for module in modules if module.source}
    if sources and told.modules:
        whole = vba_text.text(told, sources)
        # Only signatures for any target are for it.
        type_ = "CL_TYPE_BINARY_DATA"
        yield Piece(whole, Role.MEMBER, "project.vba", label="macros", is_sealed=True, type=type_)
    said = b"\n".join(module.source or b"" for module in modules).lower()
    missing = sorted(name for name in compiled_names if name not in said)
    if modules and (missing or says_more):
        yield Piece(_compiled(listed_names, modules), Role.MEMBER, "project.txt", label="p-code")
    if missing and modules:
        named = b", ".join(missing[:5]).decode("ascii", "replace")
        yield Ambiguous(Doubt.MACRO, f"compiled macro code names what the source does not: {named}")


def _compiled(names: list[bytes], modules: list[_Module]) -> bytes:
    """What the compiled code says, as text."""
    said = [b"' names of the project", *names]
    for module in modules:
        said.append(b"' module " + module.name.encode("utf-8", "replace"))
        said += map(vba_pcode.told, vba_pcode.lines(module.compiled))
    return b"\n".join(said)


def _names(data: bytes) -> set[bytes]:
    return {found[1].lower() for found in _TELLING.finditer(data)}


def _module(name: str, data: bytes, offset: int | None, budget: Budget) -> _Module | None:
    """None if the stream holds no module."""
    found = _SOURCE.search(data)
    if offset is None and found is None:
        return None
    for at in (offset, found.start() if found is not None else None):
        if at is not None and at < len(data):
            source = decompress(data[at:], budget)
            if source:
                return _Module(name, data[:at], source)
    return _Module(name, data[: offset or 0], None)


def decompress(data: bytes, budget: Budget) -> bytes | None:
    """MS-OVBA 2.4.1; None if it is not compressed so. What is in front of damage is kept."""
    if not data or data[0] != _SIGNATURE:
        return None
    out = bytearray()
    at, room = 1, budget.room()
    while at + 2 <= len(data) and len(out) < room:
        budget.check_time()
        header = data[at] | data[at + 1] << 8
        if header >> 12 & 7 != 3:
            break
        end = min(len(data), at + (header & 0xFFF) + 3)
        at += 2
        if not header >> 15:
            out += data[at : at + _CHUNK_BYTES]
            at += _CHUNK_BYTES
            continue
        _chunk(data, at, end, out)
        at = end
    return bytes(out[:room])


def _chunk(data: bytes, at: int, end: int, out: bytearray) -> None:
    start = len(out)
    while at < end:
        flags = data[at]
        at += 1
        if not flags:
            out += data[at : min(at + 8, end)]
            at += 8
            continue
        for bit in range(8):
            if at >= end:
                return
            if not flags >> bit & 1:
                out.append(data[at])
                at += 1
                continue
            if at + 2 > end:
                return
            token = data[at] | data[at + 1] << 8
            at += 2
            done = len(out) - start
            offset_bits = max(4, (done - 1).bit_length()) if done > 1 else 4
            offset = (token >> 16 - offset_bits) + 1
            length = (token & (0xFFFF >> offset_bits)) + 3
            if offset > done:
                return
            for _ in range(length):
                out.append(out[-offset])
