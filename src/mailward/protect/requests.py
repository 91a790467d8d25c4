"""Who asked for which held message: recipients add to it, the administrator looks.

``<state>/requests.json``: a list of entry, recipient, and when. A request is over when the entry is
released or deleted, or is no longer held for that recipient.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from mailward import durable
from mailward.errors import FormatError, TemporaryError
from mailward.protect.held import Held
from mailward.protect.quarantine import Quarantine

_REQUESTS_MAX = 10_000
"""That wait at once: somebody has to read them."""


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """One of them."""

    id: str
    """In the quarantine."""
    recipient: str
    at: datetime


class RequestBook:
    """The file. Reading needs nothing, writing takes a lock; both may block for a moment."""

    def __init__(self, path: Path, quarantine: Quarantine) -> None:
        self._path = path
        self._quarantine = quarantine

    def open(self) -> Sequence[ReleaseRequest]:
        """Those that are not over, the oldest first. Raises FormatError, OSError."""
        return [request for request in self._read() if self._is_open(request)]

    def add(self, request: ReleaseRequest) -> bool:
        """Note one; False if it was there.

        Raises TemporaryError if there are too many, FormatError, OSError.
        """
        durable.make_folder(self._path.parent)
        with durable.alone(self._path.with_suffix(".lock")):
            known = self.open()
            if any((k.id, k.recipient) == (request.id, request.recipient) for k in known):
                return False
            if len(known) >= _REQUESTS_MAX:
                raise TemporaryError(
                    f"{_REQUESTS_MAX} requests for held messages wait: release or delete these"
                )
            plain = [asdict(r) | {"at": r.at.isoformat()} for r in (*known, request)]
            durable.write_atomic(self._path, json.dumps(plain, indent=1).encode(), mode=0o600)
        return True

    def _is_open(self, request: ReleaseRequest) -> bool:
        entry = self._quarantine.look(request.id)
        return isinstance(entry, Held) and request.recipient in entry.envelope.recipients

    def _read(self) -> Sequence[ReleaseRequest]:
        try:
            plain = json.loads(self._path.read_bytes())
            return [
                ReleaseRequest(str(r["id"]), str(r["recipient"]), datetime.fromisoformat(r["at"]))
                for r in plain
            ]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise FormatError(f"{self._path} is damaged: {e!r}; delete it to begin anew") from e
