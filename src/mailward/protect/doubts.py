"""The list of doubted risks on disk: the service adds to it, the administrator judges.

``<state>/doubts.json``: ``doubts``, a list of them, and ``confirmed``, name to when somebody said
that it is right.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from mailward import durable
from mailward.errors import FormatError, UsageError
from mailward.protect.outbreak import Doubt

_CONFIRMED_FOR = timedelta(days=30)
"""After that a name that hits much of the mail is doubted anew."""


@dataclass(frozen=True, slots=True)
class Page:
    """What the list says."""

    doubts: Mapping[str, Doubt] = field(default_factory=dict)
    confirmed: Mapping[str, datetime] = field(default_factory=dict)

    def doubted(self, now: datetime) -> frozenset[str]:
        """Names whose detections are held."""
        return frozenset(
            name
            for name, doubt in self.doubts.items()
            if name not in self.confirmed and not doubt.over(now)
        )


class DoubtBook:
    """The file. Reading needs nothing, writing takes a lock; both may block for a moment."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def stamp(self) -> int:
        """Changes whenever the file does."""
        try:
            return self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def read(self) -> Page:
        """Raises FormatError, OSError."""
        try:
            plain = json.loads(self._path.read_bytes())
            doubts = [
                Doubt(
                    name=str(d["name"]),
                    set=str(d["set"]),
                    since=datetime.fromisoformat(d["since"]),
                    hits=int(d["hits"]),
                    of=int(d["of"]),
                )
                for d in plain["doubts"]
            ]
            confirmed = {
                str(name): datetime.fromisoformat(at) for name, at in plain["confirmed"].items()
            }
        except FileNotFoundError:
            return Page()
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise FormatError(f"{self._path} is damaged: {e!r}; delete it to begin anew") from e
        return Page({doubt.name: doubt for doubt in doubts}, confirmed)

    def doubt(self, doubt: Doubt) -> None:
        """Add one; what is over is forgotten. Raises FormatError, OSError."""
        with self._changing() as page:
            kept = {n: d for n, d in page.doubts.items() if not d.over(doubt.since)}
            confirmed = {
                n: at for n, at in page.confirmed.items() if doubt.since - at < _CONFIRMED_FOR
            }
            self._write(Page({**kept, doubt.name: doubt}, confirmed))

    def withdraw(self, name: str) -> None:
        """It is doubted no more: an older set finds it as well. Raises FormatError, OSError."""
        with self._changing() as page:
            self._write(Page({n: d for n, d in page.doubts.items() if n != name}, page.confirmed))

    def confirm(self, name: str, now: datetime) -> None:
        """It is right: the policy's action is taken again. Raises UsageError if not doubted."""
        with self._changing() as page:
            if name not in page.doubts:
                raise UsageError(f"{name} is not doubted; see `mailward definitions doubts`")
            self._write(Page(page.doubts, {**page.confirmed, name: now}))

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Page]:
        durable.make_folder(self._path.parent)
        with durable.alone(self._path.with_suffix(".lock")):
            yield self.read()

    def _write(self, page: Page) -> None:
        plain = {
            "doubts": [asdict(d) | {"since": d.since.isoformat()} for d in page.doubts.values()],
            "confirmed": {name: at.isoformat() for name, at in page.confirmed.items()},
        }
        durable.write_atomic(self._path, json.dumps(plain, indent=1).encode("ascii"), mode=0o600)
