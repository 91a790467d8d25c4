"""Which rules a YARA source declares, without understanding it: what a broken source lost (S3)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    rb"""
      //[^\n]*
    | /\*.*?(?:\*/|\Z)
    | "(?:\\[^\n]|[^"\\\n])*"?
    | (?:=|\(|\bmatches)\s*/(?![/*])(?:\\[^\n]|[^/\\\n])+/      # a regular expression
    | (?P<modifiers>(?:\b(?:global|private)\s+){0,2})\brule\s+(?P<name>[A-Za-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)
"""Comments and strings are tokens so that the word ``rule`` in them is not taken for a rule."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A rule as its source declares it."""

    name: str
    at: int
    """Where, in bytes from the start of the source."""
    line: int
    is_private: bool
    is_global: bool


def declared_rules(source: bytes) -> Iterator[Declared]:
    """The rules of a source in their order, the broken ones too."""
    line, counted = 1, 0
    for token in _TOKEN.finditer(source):
        if token["name"] is None:
            continue
        line += source.count(b"\n", counted, token.start("name"))
        counted = token.start("name")
        modifiers = token["modifiers"].split()
        yield Declared(
            token["name"].decode(),
            token.start(),
            line,
            is_private=b"private" in modifiers,
            is_global=b"global" in modifiers,
        )
