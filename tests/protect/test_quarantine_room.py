"""What makes room in the quarantine, what does not, and messages encrypted at rest."""

import os
import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailward import durable
from mailward.errors import ConfigError, FormatError, TemporaryError
from mailward.protect.held import Envelope, Held
from mailward.protect.mail import Mail
from mailward.protect.policy import decide
from mailward.protect.quarantine import Quarantine
from mailward.scan.verdict import Verdict
from mailward.settings.protect import PolicySettings, QuarantineSettings

MESSAGE = b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@x>\r\n\r\nSECRET WORDS\r\n"


def quarantine(folder: Path, **settings: Any) -> Quarantine:
    return Quarantine(folder / "q", QuarantineSettings(**settings))


def hold(quarantine: Quarantine, size: int = 1000) -> Held:
    verdict = Verdict()
    decision = decide(verdict, PolicySettings(), Mail("", (), "", b""))
    message = MESSAGE + b"x" * (size - len(MESSAGE))
    return quarantine.hold(message, Envelope("", ("b@example.net",)), verdict, decision)


def age(folder: Path, held: Held, days: float) -> str:
    """As if it had been held that long ago."""
    at = datetime.now(UTC) - timedelta(days=days)
    name = f"{at:%Y%m%dT%H%M%S}{held.id[15:]}"
    os.rename(folder / "q" / held.id, folder / "q" / name)
    return name


def test_the_oldest_make_room(tmp_path: Path) -> None:
    full = quarantine(tmp_path, max_bytes=5000)
    names = [age(tmp_path, hold(full), days) for days in (3, 9, 2)]

    newest = hold(full, 2000)

    assert names[1] not in full.ids()
    assert full.ids()[-1] == newest.id
    assert names[2] in full.ids()


def test_a_flood_does_not_push_out_what_was_held_today(tmp_path: Path) -> None:
    full = quarantine(tmp_path, max_bytes=5000, keep_at_least_h=24)
    kept = [hold(full).id for _ in range(3)]

    for _ in range(5):
        with pytest.raises(TemporaryError, match="keep_at_least_h"):
            hold(full, 3000)

    assert sorted(full.ids()) == sorted(kept)


def test_the_number_of_messages_is_a_limit_too(tmp_path: Path) -> None:
    full = quarantine(tmp_path, max_messages=2)
    hold(full)
    hold(full)

    with pytest.raises(TemporaryError, match="max_messages"):
        hold(full)
    full.delete(full.ids()[0])
    assert hold(full)


def test_what_is_too_large_for_an_empty_quarantine_pushes_nothing_out(tmp_path: Path) -> None:
    full = quarantine(tmp_path, max_bytes=5000)
    old = age(tmp_path, hold(full), 9)

    with pytest.raises(TemporaryError):
        hold(full, 50_000)

    assert list(full.ids()) == [old]


def test_messages_go_after_their_days_and_no_sooner(tmp_path: Path) -> None:
    aged = quarantine(tmp_path, keep_days=7)
    old, young = age(tmp_path, hold(aged), 8), age(tmp_path, hold(aged), 6)

    assert list(aged.expire()) == [old]
    assert list(aged.ids()) == [young]
    assert (tmp_path / "q/usage").read_text().split()[1] == "1"


async def test_a_message_is_not_expired_while_it_is_being_released(tmp_path: Path) -> None:
    aged = quarantine(tmp_path, keep_days=7)
    old = age(tmp_path, hold(aged), 8)

    async def send(envelope: Envelope, message: bytes) -> dict[str, str]:
        assert list(aged.expire()) == []
        return {}

    assert await aged.release(old, send) == {}
    assert list(aged.ids()) == []


def test_subject_and_message_id_are_kept_to_be_shown(tmp_path: Path) -> None:
    held = hold(quarantine(tmp_path))

    assert (held.subject, held.message_id) == ("grüße", "<1@x>")
    assert quarantine(tmp_path).get(held.id) == held


# --- encrypted ----------------------------------------------------------------------------------


def key_file(tmp_path: Path, name: str = "key", content: bytes = b"k" * 32) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_with_a_key_no_word_of_a_message_is_on_disk(tmp_path: Path) -> None:
    sealed = quarantine(tmp_path, key_file=key_file(tmp_path))
    held = hold(sealed)

    content = b"".join(p.read_bytes() for p in (tmp_path / "q").rglob("*") if p.is_file())
    assert b"SECRET" not in content
    assert sealed.message(held.id).startswith(MESSAGE)


def test_messages_from_before_there_was_a_key_can_be_read(tmp_path: Path) -> None:
    held = hold(quarantine(tmp_path))

    assert quarantine(tmp_path, key_file=key_file(tmp_path)).message(held.id).startswith(MESSAGE)


def test_without_the_key_or_with_another_nothing_is_given_out(tmp_path: Path) -> None:
    held = hold(quarantine(tmp_path, key_file=key_file(tmp_path)))
    other = key_file(tmp_path, "other", b"o" * 32)

    with pytest.raises(ConfigError, match="key_file"):
        quarantine(tmp_path).message(held.id)
    with pytest.raises(FormatError, match="another key"):
        quarantine(tmp_path, key_file=other).message(held.id)


@pytest.mark.parametrize("position", [0, 4, 20, -1])
def test_a_changed_or_exchanged_message_is_noticed(tmp_path: Path, position: int) -> None:
    sealed = quarantine(tmp_path, key_file=key_file(tmp_path))
    one, two = hold(sealed), hold(sealed)
    path = tmp_path / "q" / one.id / "message.sealed"
    theirs = (tmp_path / "q" / two.id / "message.sealed").read_bytes()

    for content in (changed(path.read_bytes(), position), b"", b"MWQ1", theirs):
        path.write_bytes(content)
        with pytest.raises(FormatError, match=one.id):
            sealed.message(one.id)


def changed(content: bytes, position: int) -> bytes:
    array = bytearray(content)
    array[position] ^= 1
    return bytes(array)


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [(b"k" * 31, 0o600, "no key"), (b"k" * 33, 0o600, "no key"), (b"", 0o600, "no key"),
     (b"k" * 32, 0o644, "chmod 600")],
)  # fmt: skip
def test_a_key_file_that_cannot_be_used_is_refused_at_the_start(
    tmp_path: Path, content: bytes, mode: int, why: str
) -> None:
    path = key_file(tmp_path, content=content)
    path.chmod(mode)

    with pytest.raises(ConfigError, match=why):
        quarantine(tmp_path, key_file=path)
    with pytest.raises(ConfigError, match="No such file"):
        quarantine(tmp_path, key_file=tmp_path / "absent")


def used(folder: Path) -> tuple[list[int], list[int]]:
    """What the tally says, and what is there: bytes and messages."""
    entries = [path for path in (folder / "q").iterdir() if path.is_dir()]
    size = sum(file.stat().st_size for entry in entries for file in entry.iterdir())
    told = [int(number) for number in (folder / "q/usage").read_text().split()]
    return told, [size, len(entries)]


def test_a_delete_while_another_process_counts_is_subtracted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one's first message comes when the entry is away and the tally not yet written."""
    ours, others = quarantine(tmp_path), quarantine(tmp_path)
    entries = [hold(ours) for _ in range(3)]
    holding: list[threading.Thread] = []
    remove = shutil.rmtree

    def meanwhile(path: Path, *arguments: Any, **options: Any) -> None:
        remove(path, *arguments, **options)
        if not holding:
            holding.append(threading.Thread(target=hold, args=(others,)))
            holding[0].start()
            holding[0].join(0.3)  # as far as it gets before the delete is over

    monkeypatch.setattr(shutil, "rmtree", meanwhile)
    ours.delete(entries[0].id)
    holding[0].join()

    told, there = used(tmp_path)
    assert told == there
    assert there[1] == 3


async def test_the_tally_follows_an_entry_that_is_released_to_some(tmp_path: Path) -> None:
    box = quarantine(tmp_path)
    verdict = Verdict()
    decision = decide(verdict, PolicySettings(), Mail("", (), "", b""))
    recipients = tuple(f"somebody-{number}@example.net" for number in range(50))
    entry = box.hold(MESSAGE, Envelope("", recipients), verdict, decision)

    async def send(envelope: Envelope, message: bytes) -> dict[str, str]:
        return {}

    await box.release(entry.id, send, only=recipients[0])

    told, there = used(tmp_path)
    assert told == there
    await box.release(entry.id, send)
    assert used(tmp_path) == ([0, 0], [0, 0])


def test_what_could_not_be_written_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = quarantine(tmp_path)
    hold(box)

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(durable, "publish", fails)
        with pytest.raises(TemporaryError):
            hold(box)

    told, there = used(tmp_path)
    assert told == there
    assert there[1] == 1
