"""Which set is in use, as one small value: every change of it is a decision made here, without I/O.

The versions in ``before`` are the way back: each is older than the one in front of it, and none of
them is refused. So a roll-back always goes down, and what it leaves is never taken again (S7).
"""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from mailward.definitions.history import Event
from mailward.definitions.model import Channel, Moment, Value, Version, read_value
from mailward.errors import FormatError, StoreError, UsageError

POINTER_MAX_BYTES = 4 * 1024 * 1024
"""Four times what the bounds below allow; a larger file is damage."""

REFUSED_MAX = 1000
"""Refused sets that are remembered, the newest; older ones are long behind the active set."""

BEFORE_MAX = 50
"""The way back that is remembered; the sets at its far end are pruned long before."""

_REASON_MAX = 500


def _check_versions(refused: dict[str, str]) -> dict[str, str]:
    for text in refused:
        Version.parse(text)
    return refused


class Pointer(Value):
    """The set in use, the way back from it, and the sets that are never to be taken (again)."""

    version: Version | None = None
    """None while only refusals are known."""
    channel: Channel | None = None
    activated_at: Moment | None = None
    before: Annotated[tuple[Version, ...], Field(max_length=BEFORE_MAX)] = ()
    """The sets in use before it, the newest first."""
    refused: Annotated[dict[str, str], AfterValidator(_check_versions)] = Field(
        default_factory=dict
    )
    """Version to reason, in the order of refusal (S7)."""

    @model_validator(mode="after")
    def _is_all_or_nothing(self) -> Self:
        if len({self.version is None, self.channel is None, self.activated_at is None}) != 1:
            raise ValueError("version, channel and activated_at come together")
        return self

    @classmethod
    def from_json(cls, raw: bytes) -> "Pointer":
        """Read the pointer. Raises FormatError."""
        return read_value(cls, raw, POINTER_MAX_BYTES, "pointer")

    def to_json(self) -> bytes:
        """The JSON form; keys stay in their order, which is the order of refusal."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=1).encode()

    def refusal(self, version: Version) -> str | None:
        """Why ``version`` is not to be taken; None if it may be."""
        return self.refused.get(str(version))

    def activating(
        self, version: Version, channel: Channel, at: datetime, *, by_administrator: bool
    ) -> "Pointer":
        """``version`` in use. Raises StoreError for what only an administrator may do (S7)."""
        refusal = self.refusal(version)
        if refusal is not None and not by_administrator:
            raise StoreError(
                f"set {version} is refused on this computer: {refusal}. To use it nevertheless: "
                f"mailward definitions activate {version}"
            )
        if version == self.version:
            return self._with(accept=version, channel=channel)
        if self.version is None or version > self.version:
            before = () if self.version is None else (self.version, *self.before)
            return self._with(
                accept=version, version=version, channel=channel, activated_at=at, before=before
            )
        if not by_administrator:
            raise StoreError(
                f"set {version} is older than the active {self.version}: versions do not go back "
                f"by themselves. To go back: mailward definitions rollback {version}"
            )
        return self.going_back(version, channel, at, "left for an older set")

    def going_back(self, to: Version, channel: Channel, at: datetime, reason: str) -> "Pointer":
        """An older set in use. What was active and newer is refused from now on (S7)."""
        if self.version is None:
            raise StoreError("no set is active, so there is nothing to go back from")
        if to >= self.version:
            raise UsageError(
                f"set {to} is not older than the active {self.version}: a roll-back goes to an "
                f"older one. To go forward: mailward definitions activate {to}"
            )
        left = [self.version, *(version for version in self.before if version > to)]
        pointer = self._with(
            accept=to,
            version=to,
            channel=channel,
            activated_at=at,
            before=tuple(version for version in self.before if version < to),
        )
        for version in reversed(left):
            pointer = pointer.refusing(version, reason)
        return pointer

    def refusing(self, version: Version, reason: str) -> "Pointer":
        """``version`` never to be taken (again); if it is in use, it stays so (S5)."""
        refused = {v: why for v, why in self.refused.items() if v != str(version)}
        refused[str(version)] = reason[:_REASON_MAX]
        newest = dict(list(refused.items())[-REFUSED_MAX:])
        return self._with(refused=newest)

    def _with(self, *, accept: Version | None = None, **changes: Any) -> "Pointer":
        refused = changes.get("refused", self.refused)
        refused = {v: why for v, why in refused.items() if v != str(accept)}
        before = [v for v in changes.get("before", self.before) if str(v) not in refused]
        changes |= {"refused": refused, "before": tuple(before[:BEFORE_MAX])}
        return self.model_copy(update=changes)


class _Step(Pointer):
    """A change of the pointer as history keeps it: of the refusals only what is new."""

    forgotten: tuple[str, ...] = ()
    """Versions that are no longer refused."""


def trace(old: Pointer, new: Pointer) -> dict[str, Any]:
    """What history keeps of a change, for ``recovered``."""
    added = {v: why for v, why in new.refused.items() if v not in old.refused}
    step = new.model_dump(mode="json") | {"refused": added}
    return step | {"forgotten": [v for v in old.refused if v not in new.refused]}


def recovered(events: Iterable[Event]) -> Pointer | None:
    """The pointer as history tells it, should its file be damaged; None if it tells nothing."""
    last, refused = None, dict[str, str]()
    for event in events:
        step = _step(event)
        if step is not None:
            refused = {v: why for v, why in refused.items() if v not in step.forgotten}
            refused |= step.refused
            last = step
    if last is None:
        return None
    plain = last.model_dump(exclude={"forgotten", "refused"})
    return Pointer(**plain, refused=dict(list(refused.items())[-REFUSED_MAX:]))


def _step(event: Event) -> _Step | None:
    if "pointer" not in event.details:
        return None
    raw = json.dumps(event.details["pointer"]).encode()
    try:
        return read_value(_Step, raw, POINTER_MAX_BYTES, "history")
    except FormatError:
        return None
