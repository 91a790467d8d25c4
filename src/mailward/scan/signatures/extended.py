"""Lines of .ndb files: ``name:target:offset:pattern[:least level[:most level]]``.

https://docs.clamav.net/manual/Signatures/ExtendedSignatures.html. An offset ``$n`` makes a
signature a member of macro group ``n``.
"""

import re

from mailward.scan.signatures import offsets, pattern
from mailward.scan.signatures.errors import MalformedError, UnsupportedError
from mailward.scan.signatures.expression import Leaf
from mailward.scan.signatures.signature import (
    LEVEL,
    TARGETS,
    Body,
    Signature,
    problem_with_name,
)

GROUPS_MAX = 32
_GROUP = re.compile(r"\$([0-9]{1,3})")
_LEVEL = re.compile("[0-9]{1,9}")


def read(line: str) -> Signature:
    """The signature in a line. Raises MalformedError, UnsupportedError."""
    fields = line.split(":")
    if not 4 <= len(fields) <= 6:
        raise MalformedError("not name:target:offset:pattern")
    name, target, offset, hexadecimal, *levels = fields
    wrong = problem_with_name(name)
    if wrong:
        raise MalformedError(wrong)
    number = read_target(target)
    require_level(*levels)
    group = _GROUP.fullmatch(offset)
    if group is not None and int(group[1]) >= GROUPS_MAX:
        raise MalformedError(f"a macro group of {GROUPS_MAX} or more")
    try:
        place = offsets.ANYWHERE if group else offsets.parse(offset)
        body = Body((pattern.parse(hexadecimal),), place)
    except ValueError as e:
        raise MalformedError(str(e)) from e
    return Signature(
        name, number, Leaf(0), (body,), group=int(group[1]) if group is not None else None
    )


def read_target(text: str) -> int:
    """A target number. Raises MalformedError."""
    if not text.isascii() or not text.isdigit() or len(text) > 3 or int(text) not in TARGETS:
        raise MalformedError(f"there is no target {text[:20]!r}")
    return int(text)


def require_level(least: str = "", most: str = "") -> None:
    """Raises UnsupportedError if a signature is not for ``LEVEL``, MalformedError if no number."""
    if any(level and not _LEVEL.fullmatch(level) for level in (least, most)):
        raise MalformedError("a functionality level that is no number")
    if (least and int(least) > LEVEL) or (most and int(most) < LEVEL):
        raise UnsupportedError("made for other functionality levels of ClamAV")


def read_old(line: str) -> Signature:
    """The signature in a line ``name=pattern`` of a .db file. Raises as ``read``."""
    name, equals, hexadecimal = line.partition("=")
    if not equals or ":" in name:
        raise MalformedError("not name=pattern")
    return read(f"{name}:0:*:{hexadecimal}")
