"""What signatures are made of, and what looks at parts for them."""

import time
from collections.abc import Callable

from mailward.scan.engine import Hit, ScanTimeoutError
from mailward.scan.engines.hash_lines import read_block
from mailward.scan.engines.yara_text import declared_rules
from mailward.scan.part import Part, Role
from mailward.scan.signatures import (
    digests,
    executable,
    expression,
    filetype,
    javascript,
    normalise,
    offsets,
    pattern,
    regex_literals,
    surroundings,
    wording,
)
from mailward.scan.signatures.anchors import anchors
from mailward.scan.signatures.errors import MalformedError, UnsupportedError
from mailward.scan.signatures.evaluation import Evaluator, compile_regex
from mailward.scan.signatures.phishing import Phishing
from mailward.scan.signatures.reading import BODIES, Line, Tally, body
from mailward.scan.signatures.signature import Regex
from mailward.scan.signatures.subject import Subject
from mailward.scan.signatures.surroundings import Surroundings

Parser = Callable[[bytes], object]

_SECONDS = 2.0
_DIGEST_FILES = tuple(digests.Of)
_PART = Part("message", b"", Role.MESSAGE)


def _body_signature(suffix: str) -> Parser:
    """A line, and what it is looked for in."""

    def parse(data: bytes) -> None:
        line, _, content = data.partition(b"\n")
        signature = body(Line(line.decode("latin-1"), "fuzz", 1, suffix), Tally())
        if signature is None:
            return
        try:
            for subsignature in signature.subsignatures:
                if isinstance(subsignature, Regex):
                    compile_regex(subsignature)
        except UnsupportedError:
            return
        list(wording.describe(signature))
        anchors([signature])
        evaluator = Evaluator(signature, Hit("Fuzz"))
        try:
            evaluator.matches(Subject(content, time.monotonic() + _SECONDS))
        except ScanTimeoutError:
            return

    return parse


def _line_pieces(data: bytes) -> None:
    text = data.decode("latin-1")
    for read, refused in (
        (pattern.parse, pattern.PatternError),
        (offsets.parse, offsets.OffsetError),
        (expression.parse, ValueError),
    ):
        try:
            read(text)
        except refused:
            continue
    list(regex_literals.literals(text, ""))


def _digest_line(data: bytes) -> None:
    text = data.decode("latin-1")
    for of in _DIGEST_FILES:
        try:
            digests.read(text, of)
        except (MalformedError, UnsupportedError):
            continue


def _hash_lines(data: bytes) -> None:
    read_block(data, 1)


def _surroundings(suffix: str, part: Callable[[bytes], Part]) -> Parser:
    def parse(data: bytes) -> None:
        line, _, content = data.partition(b"\n")
        text = line.decode("latin-1")
        try:
            surroundings.check(suffix, text)
        except (MalformedError, UnsupportedError):
            return
        kept = Surroundings(surroundings.written(suffix, text))
        looked_at = part(content)
        kind = kept.types.identify(content, looked_at)
        list(kept.hits(looked_at, kind, ("CL_TYPE_ZIP",), time.monotonic() + 10))

    return parse


def _page(content: bytes) -> Part:
    return Part("message/1", b"<html>" + content, Role.BODY, "a.html", parent=_PART)


def _member(content: bytes) -> Part:
    return Part("a/b", content, Role.MEMBER, content[:100].decode("latin-1"), parent=_PART)


def _links(data: bytes) -> None:
    phishing = Phishing()
    phishing.add("H:example.com")
    phishing.check(data)


def _normalised(data: bytes) -> None:
    normalise.views(data, filetype.identify(data))
    normalise.views(data, filetype.FileType("CL_TYPE_HTML", filetype.Target.HTML, html_inside=True))
    normalise.text(data)


def _executable(magic: bytes) -> Parser:
    def parse(data: bytes) -> None:
        program = magic + data[len(magic) :]
        layout = executable.parse(program)
        if layout is not None:
            executable.section_hashes(program, layout, "md5")

    return parse


def _yara(data: bytes) -> None:
    list(declared_rules(data))


def _file_types(data: bytes) -> None:
    filetype.identify(data, _member(data))


PARSERS: dict[str, Parser] = {
    **{f"signature{suffix}": _body_signature(suffix) for suffix in BODIES},
    "signature.pdb": _surroundings(".pdb", _page),
    "signature.wdb": _surroundings(".wdb", _page),
    "signature.gdb": _surroundings(".gdb", _page),
    "signature.cdb": _surroundings(".cdb", _member),
    "signature.ftm": _surroundings(".ftm", _member),
    "signature-pieces": _line_pieces,
    "digest-line": _digest_line,
    "hash-lines": _hash_lines,
    "yara-text": _yara,
    "links": _links,
    "html": _normalised,
    "javascript": javascript.normalise,
    "file-types": _file_types,
    "pe": _executable(b"MZ"),
    "elf": _executable(b"\x7fELF"),
    "mach-o": _executable(b"\xcf\xfa\xed\xfe"),
}
"""Exceptions other than those that callers expect are bugs."""
