"""Held messages on disk, each durable before the sender hears 250 (S12).

::

    <folder>/
      20261123T101112-1f0c9a3e/      one held message, renamed into place whole
        message.eml                  the bytes that would have been delivered; or, encrypted,
        message.sealed               the same (``protect.sealed``)
        entry.json                   envelope, verdict, decision; SHA-256 of the message
      usage, lock                    ``protect.room``

A message leaves after the next hop has accepted it, when it is deleted by name, or by its age
(``protect.room``).
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from mailward import durable
from mailward.errors import BusyError, ConfigError, FormatError, TemporaryError, UsageError
from mailward.protect.held import Envelope, Held, decode, encode
from mailward.protect.mail import mail_text
from mailward.protect.policy import Decision
from mailward.protect.room import ENTRY_ID, RESERVED, Room
from mailward.protect.sealed import read_key, seal, unseal
from mailward.scan.verdict import Verdict
from mailward.settings.protect import QuarantineSettings

_MESSAGE = "message.eml"
_SEALED = "message.sealed"
_ENTRY = "entry.json"
_MAX_ENTRY_BYTES = 16 * 1024 * 1024
"""Thousands of recipients and risks fit; anything larger was not written by us."""


@dataclass(frozen=True, slots=True)
class Damaged:
    """An entry that cannot be read; it can still be deleted."""

    id: str
    problem: str


Send = Callable[[Envelope, bytes], Awaitable[Mapping[str, str]]]
"""Offers a message to the next hop and returns the recipients that it refused, with its answers.

Raises TemporaryError when the next hop has not taken the message for anybody.
"""


def new_id(at: datetime) -> str:
    """A name for what is held at that time."""
    return f"{at:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


class Quarantine:
    """The folder of held messages. Every method may be called from several processes at once.

    Made with a key file that cannot be used, it raises ConfigError.
    """

    def __init__(self, folder: Path, settings: QuarantineSettings) -> None:
        self._folder = folder
        self._key = (
            read_key(settings.key_file, "quarantine.key_file")
            if settings.key_file is not None
            else None
        )
        self._room = Room(folder, settings, self._remove)

    def hold(
        self,
        message: bytes,
        envelope: Envelope,
        verdict: Verdict,
        decision: Decision,
        id_: str | None = None,
    ) -> Held:
        """Keep a message. When this returns it is on disk, whatever happens next (S12).

        ``id_``: a name that ``new_id`` gave, where it had to be known before.

        Raises TemporaryError, with nothing kept, when the quarantine is full or the disk fails.
        """
        at = datetime.now(UTC)
        held = Held(
            id=id_ or new_id(at),
            at=at,
            envelope=envelope,
            size_bytes=len(message),
            sha256=hashlib.sha256(message).hexdigest(),
            verdict=verdict,
            decision=decision,
            subject=mail_text(message, "subject"),
            message_id=mail_text(message, "message-id"),
        )
        files = (
            {_MESSAGE: message}
            if self._key is None
            else {_SEALED: seal(self._key, message, held.id)}
        )
        files[_ENTRY] = encode(held)
        size = sum(len(content) for content in files.values())
        temporary = durable.temporary_beside(self._folder / held.id)
        try:
            self._room.reserve(temporary, size)
            try:
                self._write(held.id, temporary, files)
            except BaseException:
                self._room.take_away(temporary, partial(self._give_up, temporary, held.id), size)
                raise
        except OSError as e:
            raise TemporaryError(
                f"quarantine {self._folder}: cannot write: {e.strerror or e}. Nothing was held; "
                "the sender is asked to try again"
            ) from e
        return held

    def list(self) -> list[Held | Damaged]:
        """Everything that is held, the newest first; what cannot be read hides nothing else."""
        seen = (self.look(id_) for id_ in reversed(self.ids()))
        entries = [entry for entry in seen if entry is not None]
        entries.sort(key=lambda e: f"{e.at:%Y%m%dT%H%M%S%f}" if isinstance(e, Held) else e.id)
        return entries[::-1]

    def look(self, id_: str) -> Held | Damaged | None:
        """One entry as far as it can be read; None if it has been released or deleted."""
        try:
            return self.get(id_)
        except FormatError as e:
            return Damaged(id_, str(e))
        except UsageError:
            return None

    def get(self, id_: str) -> Held:
        """One entry. Raises UsageError if there is none of that name, FormatError if damaged."""
        path = self._entry(id_) / _ENTRY
        try:
            if path.stat().st_size > _MAX_ENTRY_BYTES:
                raise FormatError(f"quarantine entry {id_}: {_ENTRY} is too large to be one")
            return decode(id_, path.read_bytes())
        except OSError as e:
            self._entry(id_)  # gone meanwhile: UsageError
            raise FormatError(f"quarantine entry {id_}: {_ENTRY}: {e.strerror}") from e

    def message(self, id_: str) -> bytes:
        """The held bytes. Raises as ``get``; FormatError too if they are not those held."""
        held = self.get(id_)
        path = self._entry(id_) / _MESSAGE
        try:
            content = self._unsealed(id_) if not path.exists() else path.read_bytes()
        except OSError as e:
            self._entry(id_)
            raise FormatError(f"quarantine entry {id_}: {_MESSAGE}: {e.strerror}") from e
        if hashlib.sha256(content).hexdigest() != held.sha256:
            raise FormatError(
                f"quarantine entry {id_}: {_MESSAGE} is not the message that was held; "
                f"look at {path} before deleting it"
            )
        return content

    def ids(self) -> Sequence[str]:
        """The names of all entries, the oldest first."""
        return self._room.ids()

    def expire(self) -> Sequence[str]:
        """Remove what was held for longer than ``keep_days``; the names of what went."""
        return self._room.expire()

    def delete(self, id_: str) -> None:
        """Remove an entry, damaged or not, for good. Raises UsageError if there is none."""
        self._room.take_away(self._entry(id_), partial(self._take_away, id_))

    async def release(
        self, id_: str, send: Send, to: Sequence[str] = (), only: str = ""
    ) -> Mapping[str, str]:
        """Hand a message to the next hop, then, and only then, remove it (S12).

        ``to`` sends it to others than those it was for; ``only`` to one of those, and it stays for
        the others. Returns the recipients that the next hop refused, with its answers: then the
        entry stays, for those recipients if some of the original ones were accepted. A crash
        between acceptance and removal leaves the entry, so it may be delivered again, never lost.

        Raises UsageError, FormatError as ``message``; BusyError while another release is under way;
        TemporaryError when the next hop took nothing.
        """
        with self._alone_with(id_):
            held = self.get(id_)
            message = self.message(id_)
            own = held.envelope.recipients
            if only and only not in own:
                raise UsageError(f"quarantine entry {id_} is not held for {only}")
            recipients = (only,) if only else tuple(to) or own
            refused = await send(replace(held.envelope, recipients=recipients), message)
            left = tuple(r for r in own if r in refused or (only and r != only))
            if not left and not refused:
                self.delete(id_)
            elif not to and len(left) < len(own):
                rest = replace(held, envelope=replace(held.envelope, recipients=left))
                path = self._entry(id_) / _ENTRY
                write = partial(durable.write_atomic, path, encode(rest), mode=0o600)
                self._room.changed(path.parent, write)
            return refused

    def _entry(self, id_: str) -> Path:
        if not ENTRY_ID.fullmatch(id_) or not (self._folder / id_).is_dir():
            raise _absent(id_)
        return self._folder / id_

    def _write(self, id_: str, temporary: Path, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            durable.write_atomic(temporary / name, content, mode=0o600)
        durable.publish(temporary, self._folder / id_)  # S12
        (self._folder / id_ / RESERVED).unlink(missing_ok=True)

    def _unsealed(self, id_: str) -> bytes:
        sealed = (self._entry(id_) / _SEALED).read_bytes()
        if self._key is None:
            raise ConfigError(
                f"quarantine entry {id_} is encrypted: quarantine.key_file names no key"
            )
        return unseal(self._key, sealed, id_)

    def _give_up(self, temporary: Path, id_: str) -> bool:
        for left in (temporary, self._folder / id_):
            shutil.rmtree(left, ignore_errors=True)
        return True

    def _take_away(self, id_: str) -> bool:
        folder = self._entry(id_)
        doomed = durable.temporary_beside(folder)
        try:
            durable.publish(folder, doomed)
        except FileNotFoundError as e:
            raise _absent(id_) from e
        shutil.rmtree(doomed)
        return True

    def _remove(self, id_: str) -> bool:
        """For its age or for room; not while somebody is releasing it."""
        try:
            with self._alone_with(id_):
                self._take_away(id_)
        except (BusyError, UsageError):
            return False
        return True

    @contextlib.contextmanager
    def _alone_with(self, id_: str) -> Iterator[None]:
        try:
            fd = os.open(self._entry(id_), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as e:
            raise _absent(id_) from e
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as e:
                raise BusyError(f"quarantine entry {id_} is being released by somebody else") from e
            yield
        finally:
            os.close(fd)


def _absent(id_: str) -> UsageError:
    return UsageError(f"no message {id_!r} in quarantine; see `mailward quarantine list`")
