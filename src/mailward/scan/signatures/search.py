"""Regular expressions for what is seldom there, found several times faster than by ``re``.

By machine code of PCRE2, which takes longer than ``re`` for each match that it gives.
"""

import re
from collections.abc import Iterator
from typing import Protocol

import pcre2


class Found(Protocol):
    """A match of either."""

    def start(self) -> int:
        """Where it begins."""
        ...

    def end(self) -> int:
        """Where it ends."""
        ...

    def __getitem__(self, group: int) -> bytes: ...


class Search:
    """An expression that means the same for both, in which nothing but classes repeats: then no
    limit on steps is reached."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self._fast = pcre2.compile(source, jit=True)
        self._sure = re.compile(source)

    def search(self, data: bytes, start: int = 0) -> Found | None:
        """The first from ``start`` on."""
        try:
            return self._fast.search(data, start)  # type: ignore[no-any-return]
        except pcre2.LibraryError:  # a limit all the same
            return self._sure.search(data, start)

    def all(self, data: bytes) -> Iterator[Found]:
        """Every one, without overlaps."""
        at = 0
        while (found := self.search(data, at)) is not None:
            yield found
            at = found.end()
