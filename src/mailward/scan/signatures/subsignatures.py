"""The special subsignatures of logical signatures: regular expressions and comparisons of bytes.

https://docs.clamav.net/manual/Signatures/LogicalSignatures.html#special-subsignature-types
"""

import re

from mailward.scan.signatures import expression, offsets
from mailward.scan.signatures.errors import MalformedError
from mailward.scan.signatures.signature import Compare, Regex

_REGEX = re.compile(
    r"(?:(?P<offset>[^:/]{1,30}):)?(?P<trigger>[0-9&|()<>=,]{1,4096})/(?P<source>.+)/(?P<flags>[a-zA-Z]*)(?:::[a-z]*)?",
    re.DOTALL,
)
_FLAGS = "gremisxAEU"

_COMPARE = re.compile(
    r"(?P<trigger>[0-9]{1,2})\((?P<way>>>|<<)(?P<distance>0x[0-9a-fA-F]{1,8}|[0-9]{1,10})"
    r"#(?P<base>[hdai]?)(?P<order>[lb]?)(?P<exact>e?)(?P<width>0x[0-9a-fA-F]{1,2}|[0-9]{1,2})"
    r"#(?P<comparisons>[<>=](?:0x[0-9a-fA-F]{1,16}|[0-9]{1,20})(?:,[<>=](?:0x[0-9a-fA-F]{1,16}|[0-9]{1,20}))?)\)"
)
_BINARY_WIDTHS = frozenset({1, 2, 4, 8})
_TRIGGER_MAX = 63


def read_regex(text: str) -> Regex:
    """``[offset:]trigger/source/flags``. Raises ValueError."""
    read = _REGEX.fullmatch(text)
    if read is None:
        raise MalformedError("not trigger/regular expression/flags")
    unknown = read["flags"].strip(_FLAGS)
    if unknown:
        raise MalformedError(f"there is no flag {unknown[:20]!r} of regular expressions")
    offset = offsets.parse(read["offset"]) if read["offset"] else offsets.ANYWHERE
    return Regex(expression.parse(read["trigger"]), read["source"], read["flags"], offset)


def read_compare(text: str) -> Compare:
    """``trigger(>>distance#options#comparisons)``. Raises MalformedError."""
    read = _COMPARE.fullmatch(text)
    if read is None:
        raise MalformedError(f"not a comparison of bytes: {text[:60]!r}")
    distance = int(read["distance"], 0) if read["distance"] != "0" else 0
    base, width = read["base"] or "a", int(read["width"], 0)
    if int(read["trigger"]) > _TRIGGER_MAX or not width:
        raise MalformedError(f"a comparison of nothing: {text[:60]!r}")
    if base == "i" and width not in _BINARY_WIDTHS:
        raise MalformedError("a binary comparison of other than 1, 2, 4 or 8 bytes")
    if base == "d" and read["order"] == "l":
        raise MalformedError("decimal digits in little-endian order")
    comparisons = tuple((c[0], int(c[1:], 0)) for c in read["comparisons"].split(","))
    return Compare(
        trigger=int(read["trigger"]),
        distance=-distance if read["way"] == "<<" else distance,
        base=base,
        little_endian=read["order"] == "l",
        exact=bool(read["exact"]) or base == "i",
        width=width,
        comparisons=comparisons,
    )
