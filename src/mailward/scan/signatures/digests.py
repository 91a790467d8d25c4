"""Lines of .hdb, .hsb, .mdb, .msb, .fp and .sfp files, in the tables of the engine ``hashes``.

https://docs.clamav.net/manual/Signatures/HashSignatures.html::

    .hdb .hsb .fp .sfp   digest:size:name[:least level[:most level]]
    .mdb .msb            size:digest:name[:least level[:most level]]   of a section of a PE file

A size is a number or ``*``. What a digest is of is kept in the upper bits of its size in the table,
so that one table has them all.
"""

from enum import Enum

from mailward.scan.signatures.errors import MalformedError
from mailward.scan.signatures.extended import require_level
from mailward.scan.signatures.signature import problem_with_name

_DIGITS = frozenset({32, 40, 64})
"""Of an MD5, SHA-1 and SHA-256."""

SIZE_MAX = (1 << 32) - 1
"""As in ClamAV."""


class Of(Enum):
    """What a digest is of; the value tells them apart in a table."""

    FILE = 0
    SECTION = 1 << 33
    FALSE_POSITIVE = 1 << 34

    def key(self, size: int | None) -> int:
        """The size in the table; None: any."""
        return self.value + size if size is not None else self.value + (1 << 35)


KINDS = {
    ".hdb": Of.FILE,
    ".hsb": Of.FILE,
    ".hdu": Of.FILE,
    ".hsu": Of.FILE,
    ".mdb": Of.SECTION,
    ".msb": Of.SECTION,
    ".mdu": Of.SECTION,
    ".msu": Of.SECTION,
    ".fp": Of.FALSE_POSITIVE,
    ".sfp": Of.FALSE_POSITIVE,
}


def read(line: str, of: Of) -> tuple[str, int, str]:
    """Digest, size as in the table, and name. Raises MalformedError, UnsupportedError."""
    fields = line.split(":")
    if not 3 <= len(fields) <= 5:
        order = "size:digest:name" if of is Of.SECTION else "digest:size:name"
        raise MalformedError(f"not {order}")
    first, second, name, *levels = fields
    size, digest = (first, second) if of is Of.SECTION else (second, first)
    if len(digest) not in _DIGITS or digest.strip("0123456789abcdefABCDEF"):
        raise MalformedError("not the digest of an MD5, SHA-1 or SHA-256")
    wrong = problem_with_name(name)
    if wrong:
        raise MalformedError(wrong)
    require_level(*levels)
    if size != "*" and (not size.isascii() or not size.isdigit() or len(size) > 10):
        raise MalformedError("a size that is neither a number nor *")
    number = None if size == "*" else int(size)
    if number is not None and number > SIZE_MAX:
        raise MalformedError(f"a size of more than {SIZE_MAX}")
    return digest.lower(), of.key(number), name
