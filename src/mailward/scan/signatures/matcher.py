"""A whole pattern, found in data: its segments one after the other, in the distances allowed.

Each segment is looked for once, and from the places found those are kept that can follow one of the
segment before: time grows with the data and the number of segments, whatever the gaps.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import islice

from mailward.scan.engine import ScanTimeoutError
from mailward.scan.signatures.offsets import EVERYWHERE, NUMBER_MAX, Window
from mailward.scan.signatures.pattern import Pattern, Skip
from mailward.scan.signatures.segments import SegmentMatcher
from mailward.scan.signatures.subject import Subject

PLACES_MAX = 1 << 20
"""Of one segment in one buffer: some 40 MB. Real files have thousands."""


class Matcher:
    """Finds a pattern."""

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern
        self.segments = tuple(
            SegmentMatcher(segment, caseless=pattern.caseless) for segment in pattern.segments
        )
        self._rarest_first = sorted(self.segments, key=lambda s: -len(s.probe))

    def places(
        self, subject: Subject, window: Window = EVERYWHERE, limit: int = PLACES_MAX
    ) -> list[int]:
        """Where its last segment begins, each place once: what logical signatures count.

        For a pattern of one segment that is where it begins. Only the first ``limit`` of them.
        """
        if len(self.segments) > 1 and not all(s.may_be_in(subject) for s in self._rarest_first):
            return []
        before, *others = self.segments
        starts = before.starts(subject, *window)
        for gap, segment in zip(self.pattern.gaps, others, strict=True):
            found = list(islice(starts, PLACES_MAX))
            if not found:
                return []
            if len(found) == PLACES_MAX and gap.most is not None:
                # S11: or the next would be missed.
                raise ScanTimeoutError("a signature begins at more places than are kept")
            ends = before.all_ends(subject, found)
            starts = _following(segment, gap, ends, subject)
            before = segment
        return list(islice(starts, min(limit, PLACES_MAX)))

    def places_among(self, subject: Subject, allowed: Sequence[int]) -> list[int]:
        """As ``places``, where each segment begins at one of ``allowed`` (few, and sorted)."""
        before, *others = self.segments
        found = [at for at in allowed if _is_at(before, subject, at)]
        for gap, segment in zip(self.pattern.gaps, others, strict=True):
            ends = before.all_ends(subject, found)
            most = NUMBER_MAX if gap.most is None else gap.most
            found = [
                at
                for at in allowed
                if _in_reach(at, gap.least, most, ends) and _is_at(segment, subject, at)
            ]
            before = segment
        return found


def _is_at(segment: SegmentMatcher, subject: Subject, at: int) -> bool:
    return next(segment.starts(subject, at, at), None) is not None


def _following(
    segment: SegmentMatcher, gap: Skip, ends: list[int], subject: Subject
) -> Iterator[int]:
    """Where ``segment`` begins so that ``gap`` is right after one of ``ends`` (sorted)."""
    most = NUMBER_MAX if gap.most is None else gap.most
    starts = segment.starts(subject, ends[0] + gap.least, ends[-1] + most)
    return (start for start in starts if _in_reach(start, gap.least, most, ends))


def _in_reach(start: int, least: int, most: int, ends: list[int]) -> bool:
    nearest = bisect_left(ends, start - most)
    return nearest < len(ends) and ends[nearest] <= start - least
