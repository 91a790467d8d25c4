"""Held messages on disk, each durable before the sender hears 250 (S12).

::

    <folder>/
      20261123T101112-1f0c9a3e/      one held message, renamed into place whole
        message.eml                  the bytes that would have been delivered
        entry.json                   envelope, verdict, decision; SHA-256 of the message
      usage                          bytes held, a tally under the lock; counted anew at each start
      lock                           flock for the tally: any number of processes may share a folder

A message leaves only after the next hop has accepted it, or when it is deleted by name.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from mailward import durable
from mailward.config import QuarantineSettings
from mailward.errors import BusyError, FormatError, TemporaryError, UsageError
from mailward.protect.held import Envelope, Held, decode, encode
from mailward.protect.policy import Decision
from mailward.scan.verdict import Verdict

_ID = re.compile(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{8}")
_MESSAGE = "message.eml"
_ENTRY = "entry.json"
_RESERVED = "reserved"
"""A file of holes, as large as the entry will be: other processes count it while it is written."""
_MAX_ENTRY_BYTES = 16 * 1024 * 1024
"""Thousands of recipients and risks fit; anything larger was not written by us."""
_ABANDONED_S = 3600.0
"""A half-written entry this old has lost its writer: no message takes an hour to write."""


@dataclass(frozen=True, slots=True)
class Damaged:
    """An entry that cannot be read; it can still be deleted."""

    id: str
    problem: str


Send = Callable[[Envelope, bytes], Awaitable[Mapping[str, str]]]
"""Offers a message to the next hop and returns the recipients that it refused, with its answers.

Raises TemporaryError when the next hop has not taken the message for anybody.
"""


class Quarantine:
    """The folder of held messages. Every method may be called from several processes at once."""

    def __init__(self, folder: Path, settings: QuarantineSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._counted = False

    def hold(
        self, message: bytes, envelope: Envelope, verdict: Verdict, decision: Decision
    ) -> Held:
        """Keep a message. When this returns it is on disk, whatever happens next (S12).

        Raises TemporaryError, with nothing kept, when the quarantine is full or the disk fails.
        """
        at = datetime.now(UTC)
        held = Held(
            id=f"{at:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
            at=at,
            envelope=envelope,
            size_bytes=len(message),
            sha256=hashlib.sha256(message).hexdigest(),
            verdict=verdict,
            decision=decision,
        )
        entry = encode(held)
        size = len(message) + len(entry)
        temporary = durable.temporary_beside(self._folder / held.id)
        try:
            self._reserve(temporary, size)
            try:
                self._write(held.id, temporary, message, entry)
            except BaseException:
                for left in (temporary, self._folder / held.id):
                    shutil.rmtree(left, ignore_errors=True)
                self._tally(-size)
                raise
        except OSError as e:
            raise TemporaryError(
                f"quarantine {self._folder}: cannot write: {e.strerror or e}. Nothing was held; "
                "the sender is asked to try again"
            ) from e
        return held

    def list(self) -> list[Held | Damaged]:
        """Everything that is held, the newest first; what cannot be read hides nothing else."""
        entries: list[Held | Damaged] = []
        for id_ in sorted(self._ids(), reverse=True):
            try:
                entries.append(self.get(id_))
            except FormatError as e:
                entries.append(Damaged(id_, str(e)))
            except UsageError:
                continue  # released or deleted while we were reading
        entries.sort(key=lambda e: f"{e.at:%Y%m%dT%H%M%S%f}" if isinstance(e, Held) else e.id)
        return entries[::-1]

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
            content = path.read_bytes()
        except OSError as e:
            self._entry(id_)
            raise FormatError(f"quarantine entry {id_}: {_MESSAGE}: {e.strerror}") from e
        if hashlib.sha256(content).hexdigest() != held.sha256:
            raise FormatError(
                f"quarantine entry {id_}: {_MESSAGE} is not the message that was held; "
                f"look at {path} before deleting it"
            )
        return content

    def delete(self, id_: str) -> None:
        """Remove an entry, damaged or not, for good. Raises UsageError if there is none."""
        folder = self._entry(id_)
        size = _entry_bytes(folder)
        doomed = durable.temporary_beside(folder)
        try:
            durable.publish(folder, doomed)
        except FileNotFoundError as e:
            raise _absent(id_) from e
        shutil.rmtree(doomed)
        self._tally(-size)

    async def release(self, id_: str, send: Send, to: Sequence[str] = ()) -> Mapping[str, str]:
        """Hand a message to the next hop, then, and only then, remove it (S12).

        ``to`` sends it to others than those it was for. Returns the recipients that the next hop
        refused, with its answers: then the entry stays, for those recipients if some of the
        original ones were accepted. A crash between acceptance and removal leaves the entry, so it
        may be delivered again, never lost.

        Raises UsageError, FormatError as ``message``; BusyError while another release is under way;
        TemporaryError when the next hop took nothing.
        """
        with self._alone_with(id_):
            held = self.get(id_)
            message = self.message(id_)
            recipients = tuple(to) or held.envelope.recipients
            refused = await send(replace(held.envelope, recipients=recipients), message)
            if not refused:
                self.delete(id_)
            elif not to and len(refused) < len(recipients):
                left = tuple(r for r in recipients if r in refused)
                rest = replace(held, envelope=replace(held.envelope, recipients=left))
                durable.write_atomic(self._entry(id_) / _ENTRY, encode(rest), mode=0o600)
            return refused

    def _ids(self) -> Iterator[str]:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return iter(())
        return (name for name in names if _ID.fullmatch(name))

    def _entry(self, id_: str) -> Path:
        if not _ID.fullmatch(id_) or not (self._folder / id_).is_dir():
            raise _absent(id_)
        return self._folder / id_

    def _write(self, id_: str, temporary: Path, message: bytes, entry: bytes) -> None:
        durable.write_atomic(temporary / _MESSAGE, message, mode=0o600)
        durable.write_atomic(temporary / _ENTRY, entry, mode=0o600)
        durable.publish(temporary, self._folder / id_)  # S12
        (self._folder / id_ / _RESERVED).unlink(missing_ok=True)

    def _reserve(self, temporary: Path, size: int) -> None:
        if not self._folder.is_dir():
            durable.make_folder(self._folder.parent)
            self._folder.mkdir(mode=0o700, exist_ok=True)
            durable.fsync_folder(self._folder.parent)  # S12: the way to an entry lasts as well
        with self._lock():
            if not self._counted:
                self._sweep()
                self._set_usage(self._counted_anew())
                self._counted = True
            used = self._usage()
            if used + size > self._settings.max_bytes:
                raise TemporaryError(
                    f"quarantine {self._folder} is full: {used} bytes of "
                    f"{self._settings.max_bytes} (quarantine.max_bytes). "
                    "Release or delete messages, or raise the limit"
                )
            temporary.mkdir(mode=0o700)
            (temporary / _RESERVED).touch(mode=0o600)
            os.truncate(temporary / _RESERVED, size)
            self._set_usage(used + size)

    def _tally(self, change: int) -> None:
        with self._lock():
            self._set_usage(max(0, self._usage() + change))

    def _usage(self) -> int:
        try:
            return int((self._folder / "usage").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return self._counted_anew()

    def _counted_anew(self) -> int:
        return sum(_entry_bytes(p) for p in self._folder.iterdir() if p.is_dir())

    def _set_usage(self, count: int) -> None:
        path = self._folder / "usage"
        path.write_text(str(count), encoding="ascii")
        path.chmod(0o600)

    def _sweep(self) -> None:
        for path in self._folder.iterdir():
            if durable.is_temporary(path) and time.time() - path.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

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


def _entry_bytes(folder: Path) -> int:
    """What an entry counts, finished or not; 0 when it vanishes meanwhile."""
    total = 0
    for name in (_RESERVED, _MESSAGE, _ENTRY):
        with contextlib.suppress(FileNotFoundError):
            total += (folder / name).stat().st_size
        if name == _RESERVED and total:
            break
    return total
