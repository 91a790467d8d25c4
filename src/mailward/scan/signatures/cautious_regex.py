"""Regular expressions out of definitions, for an engine that some could keep busy for ever."""

import re

from mailward.errors import FormatError

PATTERN_MAX = 2000
"""Characters: the longest in use have some hundreds."""
_NESTED = re.compile(r"\([^()]*[*+}][^()]*\)[*+{]")


def compile_cautiously(text: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """``text`` as a regular expression whose time does not explode with its subject, which the
    caller keeps short all the same. Raises FormatError."""
    if len(text) > PATTERN_MAX:
        raise FormatError(f"a pattern has at most {PATTERN_MAX} characters")
    if _NESTED.search(text):
        raise FormatError("a repeated group within which something repeats can take for ever")
    try:
        return re.compile(text, re.IGNORECASE if ignore_case else 0)
    except (re.error, OverflowError, RecursionError) as error:
        raise FormatError(f"not a regular expression: {error}") from None
