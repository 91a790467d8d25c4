"""The forms in which a part is matched, each with the targets whose signatures are for it."""

from collections.abc import Iterator
from dataclasses import dataclass

from mailward.scan.part import Part
from mailward.scan.signatures import filetype, normalise
from mailward.scan.signatures.filetype import FileType, Target


@dataclass(frozen=True, slots=True)
class View:
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
            name = filetype.identify(parent.data, parent).name
            self._last = parent, (*self._of_parent(parent), name)
        return self._last[1]

    def _of_parent(self, parent: Part) -> tuple[str, ...]:
        grand = parent.parent
        if grand is None:
            return ()
        return (*self._of_parent(grand), filetype.identify(grand.data, grand).name)
