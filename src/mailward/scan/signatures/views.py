"""The forms in which a part is matched, each with the targets whose signatures are for it."""

from collections.abc import Iterator
from typing import NamedTuple

from mailward.scan.part import Part
from mailward.scan.signatures import filetype, normalise
from mailward.scan.signatures.filetype import FileType, Target


class View(NamedTuple):
    """Bytes to match, and as what."""

    data: bytes
    targets: tuple[int, ...]


def views(part: Part, kind: FileType) -> Iterator[View]:
    """What ``normalise`` makes of it, each also for signatures of any target."""
    for view in normalise.views(part.data, kind):
        targets = (Target.ANY,) if view.target is Target.ANY else (Target.ANY, view.target)
        yield View(view.data, targets)


class Containers:
    """The types of what parts lie in, found once for all parts of one container."""

    def __init__(self) -> None:
        self._last: tuple[Part, tuple[str, ...]] | None = None

    def of(self, part: Part) -> tuple[str, ...]:
        """The nearest last."""
        parent = part.parent
        if parent is None:
            return ()
        if self._last is None or self._last[0] is not parent:
            self._last = parent, (*self._of_parent(parent), _type(parent))
        around = self._last[1]
        return (*around, part.inside) if part.inside not in ("", around[-1]) else around

    def _of_parent(self, parent: Part) -> tuple[str, ...]:
        grand = parent.parent
        if grand is None:
            return ()
        around = (*self._of_parent(grand), _type(grand))
        return (*around, parent.inside) if parent.inside not in ("", around[-1]) else around


def _type(part: Part) -> str:
    return filetype.identify(part.data, part).name
