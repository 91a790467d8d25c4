"""Held messages on disk."""

import asyncio
import json
import os
import stat
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailward.errors import BusyError, FormatError, TemporaryError, UsageError
from mailward.protect.held import Envelope, Held, decode
from mailward.protect.mail import Mail
from mailward.protect.policy import decide
from mailward.protect.quarantine import Damaged, Quarantine
from mailward.scan.verdict import Reason, Risk, Unopened, Verdict
from mailward.settings.protect import PolicySettings, QuarantineSettings

MESSAGE = b"Subject: hello\r\n\r\n\x00\xff body\r\n"
ENVELOPE = Envelope("a@example.org", ("b@example.net", "c@example.net"))
VERDICT = Verdict(
    risks=(Risk("Test.Odd", "fake", "message/1:ü.zip", "20261123.007", suspicious=True),),
    unopened=(Unopened("message/2", Reason.ENCRYPTED),),
    parts=3,
    set="20261123.007",
)
DECISION = decide(VERDICT, PolicySettings(), Mail("", (), "", b""))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "quarantine"


@pytest.fixture
def quarantine(folder: Path) -> Quarantine:
    return Quarantine(folder, QuarantineSettings())


def hold(quarantine: Quarantine, message: bytes = MESSAGE, envelope: Envelope = ENVELOPE) -> Held:
    return quarantine.hold(message, envelope, VERDICT, DECISION)


async def taken_by_all(envelope: Envelope, message: bytes) -> Mapping[str, str]:
    return {}


def test_what_is_held_comes_back_as_it_was(quarantine: Quarantine) -> None:
    held = hold(quarantine)

    assert quarantine.get(held.id) == held
    assert quarantine.message(held.id) == MESSAGE
    assert held.envelope == ENVELOPE
    assert held.verdict == VERDICT


def test_the_null_sender_and_addresses_outside_of_ascii_come_back(quarantine: Quarantine) -> None:
    envelope = Envelope("", ("用户@example.net",), smtputf8=True)

    assert quarantine.get(hold(quarantine, envelope=envelope).id).envelope == envelope


def test_the_list_shows_the_newest_first(quarantine: Quarantine) -> None:
    held = [hold(quarantine) for _ in range(5)]

    assert quarantine.list() == held[::-1]


def test_there_is_nothing_before_anything_was_held(quarantine: Quarantine) -> None:
    assert quarantine.list() == []


def test_nobody_else_on_the_computer_can_read_it(quarantine: Quarantine, folder: Path) -> None:
    hold(quarantine)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_deleted_message_is_gone(quarantine: Quarantine, folder: Path) -> None:
    first, second = hold(quarantine), hold(quarantine)

    quarantine.delete(first.id)

    assert quarantine.list() == [second]
    assert [path.name for path in folder.iterdir() if path.is_dir()] == [second.id]
    with pytest.raises(UsageError, match=first.id):
        quarantine.delete(first.id)


@pytest.mark.parametrize(
    "id_", ["", ".", "..", "../x", "20261123T101112-1f0c9a3e", "20261123T101112-1f0c9a3e/", "usage"]
)
def test_a_name_that_is_not_there_is_wrong_use_and_touches_nothing(
    quarantine: Quarantine, folder: Path, id_: str
) -> None:
    hold(quarantine)
    before = sorted(folder.rglob("*"))

    for action in (quarantine.get, quarantine.message, quarantine.delete):
        with pytest.raises(UsageError):
            action(id_)

    assert sorted(folder.rglob("*")) == before


# --- room ---------------------------------------------------------------------------------------


def test_a_full_quarantine_holds_nothing_more_and_says_so(folder: Path) -> None:
    quarantine = Quarantine(folder, QuarantineSettings(max_bytes=5000))
    held = hold(quarantine, b"x" * 3000)

    with pytest.raises(TemporaryError, match=r"full.*quarantine\.max_bytes"):
        hold(quarantine, b"x" * 3000)

    assert quarantine.list() == [held]


def test_deleting_makes_room(folder: Path) -> None:
    quarantine = Quarantine(folder, QuarantineSettings(max_bytes=5000))
    for _ in range(5):
        quarantine.delete(hold(quarantine, b"x" * 3000).id)

    assert hold(quarantine, b"x" * 3000)


def test_room_made_by_another_process_is_seen(folder: Path) -> None:
    limits = QuarantineSettings(max_bytes=5000)
    mine, theirs = Quarantine(folder, limits), Quarantine(folder, limits)
    held = hold(mine, b"x" * 3000)
    with pytest.raises(TemporaryError):
        hold(theirs, b"x" * 3000)

    theirs.delete(held.id)

    assert hold(mine, b"x" * 3000)


def test_the_limit_holds_when_many_hold_at_once(folder: Path) -> None:
    limits = QuarantineSettings(max_bytes=20_000)
    quarantines = [Quarantine(folder, limits) for _ in range(4)]
    hold(quarantines[0], b"")

    def attempt(number: int) -> bool:
        try:
            hold(quarantines[number % 4], b"x" * 1000)
        except TemporaryError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        accepted = sum(threads.map(attempt, range(40)))

    files = [p for p in folder.rglob("*") if p.is_file() and p.parent != folder]
    assert sum(p.stat().st_size for p in files) <= 20_000
    assert len(quarantines[0].list()) == accepted + 1
    assert accepted > 5


def test_a_tally_that_was_lost_or_damaged_is_counted_anew(folder: Path) -> None:
    limits = QuarantineSettings(max_bytes=5000)
    hold(Quarantine(folder, limits), b"x" * 3000)
    (folder / "usage").write_text("")

    with pytest.raises(TemporaryError):
        hold(Quarantine(folder, limits), b"x" * 3000)


# --- a disk that fails --------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "mkdir"])
def test_nothing_is_held_and_nothing_left_behind_when_the_disk_fails(
    quarantine: Quarantine, folder: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    held = hold(quarantine)
    before = sorted(folder.rglob("*"))
    usage = (folder / "usage").read_text()

    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fails)
        with pytest.raises(TemporaryError, match="No space left"):
            hold(quarantine)

    assert sorted(folder.rglob("*")) == before
    assert (folder / "usage").read_text() == usage
    assert quarantine.list() == [held]


def test_everything_is_on_disk_before_hold_returns(
    quarantine: Quarantine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S12: the files, their folder, and the folder that names them, in this order."""
    hold(quarantine)
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def name(fd: int) -> str:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        if path == folder:
            return "quarantine"
        return "entry" if path.is_dir() else "file"

    def noted_fsync(fd: int) -> None:
        steps.append(name(fd))
        fsync(fd)

    def noted_replace(old: Path, new: Path) -> None:
        steps.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)

    hold(quarantine)

    assert steps == ["file", "rename", "entry"] * 2 + ["rename", "quarantine"]


def test_what_a_killed_writer_left_is_no_entry_and_is_swept_up(folder: Path) -> None:
    hold(Quarantine(folder, QuarantineSettings()))
    left = folder / ".tmp-0123456789abcdef"
    left.mkdir()
    (left / "message.eml").write_bytes(b"half")
    os.utime(left, (0, 0))

    quarantine = Quarantine(folder, QuarantineSettings())
    assert len(quarantine.list()) == 1
    hold(quarantine)

    assert not left.exists()


# --- damage -------------------------------------------------------------------------------------


def test_a_damaged_entry_hides_no_other_and_can_be_deleted(
    quarantine: Quarantine, folder: Path
) -> None:
    good, bad = hold(quarantine), hold(quarantine)
    (folder / bad.id / "entry.json").write_bytes(b"{")

    listed = quarantine.list()

    assert good in listed
    assert [entry.id for entry in listed if isinstance(entry, Damaged)] == [bad.id]
    quarantine.delete(bad.id)
    assert quarantine.list() == [good]


def test_a_message_that_changed_on_disk_is_not_given_out(
    quarantine: Quarantine, folder: Path
) -> None:
    held = hold(quarantine)
    (folder / held.id / "message.eml").write_bytes(MESSAGE[:-1])

    with pytest.raises(FormatError, match=held.id):
        quarantine.message(held.id)


def test_an_entry_without_its_message_is_named(quarantine: Quarantine, folder: Path) -> None:
    held = hold(quarantine)
    (folder / held.id / "message.eml").unlink()

    with pytest.raises(FormatError, match="No such file"):
        quarantine.message(held.id)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_hostile_descriptions_are_refused_and_nothing_else(content: bytes) -> None:
    with pytest.raises(FormatError):
        decode("20261123T101112-1f0c9a3e", content)


def test_every_field_is_checked(quarantine: Quarantine, folder: Path) -> None:
    held = hold(quarantine)
    path = folder / held.id / "entry.json"
    plain = json.loads(path.read_bytes())

    for key in set(plain) - {"subject", "message_id"}:  # entries of older releases have none
        with pytest.raises(FormatError):
            decode(held.id, json.dumps({k: v for k, v in plain.items() if k != key}).encode())
        if key != "sha256":  # any text will do; the message is compared with it
            for value in ("null", "[]", "{}", '"x"'):
                wrong = {k: json.loads(value) if k == key else v for k, v in plain.items()}
                with pytest.raises(FormatError):
                    decode(held.id, json.dumps(wrong).encode())


# --- release ------------------------------------------------------------------------------------


async def test_a_message_is_deleted_only_after_it_was_taken(quarantine: Quarantine) -> None:
    held = hold(quarantine)
    offered: list[tuple[Envelope, bytes]] = []

    async def send(envelope: Envelope, message: bytes) -> Mapping[str, str]:
        assert quarantine.get(held.id) == held
        offered.append((envelope, message))
        return {}

    assert await quarantine.release(held.id, send) == {}
    assert offered == [(ENVELOPE, MESSAGE)]
    assert quarantine.list() == []


async def test_a_message_that_was_not_taken_stays(quarantine: Quarantine) -> None:
    held = hold(quarantine)

    async def send(envelope: Envelope, message: bytes) -> Mapping[str, str]:
        raise TemporaryError("next hop down")

    with pytest.raises(TemporaryError):
        await quarantine.release(held.id, send)
    assert quarantine.list() == [held]


async def test_a_message_stays_for_those_who_were_refused(quarantine: Quarantine) -> None:
    held = hold(quarantine)

    async def send(envelope: Envelope, message: bytes) -> Mapping[str, str]:
        return {"c@example.net": "452 4.2.2 Mailbox full"}

    assert list(await quarantine.release(held.id, send)) == ["c@example.net"]
    assert quarantine.get(held.id).envelope.recipients == ("c@example.net",)
    assert quarantine.message(held.id) == MESSAGE


async def test_a_message_refused_for_all_stays_for_all(quarantine: Quarantine) -> None:
    held = hold(quarantine)

    async def send(envelope: Envelope, message: bytes) -> Mapping[str, str]:
        return dict.fromkeys(envelope.recipients, "550 5.7.1 no")

    await quarantine.release(held.id, send)
    assert quarantine.list() == [held]


async def test_a_message_can_be_sent_to_others(quarantine: Quarantine) -> None:
    held = hold(quarantine)
    offered: list[Envelope] = []

    async def send(envelope: Envelope, message: bytes) -> Mapping[str, str]:
        offered.append(envelope)
        return {"x@example.net": "550 no"} if len(offered) == 1 else {}

    await quarantine.release(held.id, send, ["x@example.net", "y@example.net"])
    assert quarantine.list() == [held]  # its own recipients are still owed it
    await quarantine.release(held.id, send, ["y@example.net"])
    assert offered[1] == Envelope("a@example.org", ("y@example.net",))
    assert quarantine.list() == []


async def test_two_releases_at_once_send_it_once(quarantine: Quarantine, folder: Path) -> None:
    held = hold(quarantine)
    under_way, go_on = asyncio.Event(), asyncio.Event()

    async def send(envelope: Envelope, message: bytes) -> Mapping[str, str]:
        under_way.set()
        await go_on.wait()
        return {}

    first = asyncio.create_task(quarantine.release(held.id, send))
    await under_way.wait()
    with pytest.raises(BusyError):
        await Quarantine(folder, QuarantineSettings()).release(held.id, taken_by_all)
    go_on.set()
    await first
    with pytest.raises(UsageError):
        await quarantine.release(held.id, taken_by_all)


def test_listing_while_others_hold_and_delete_never_fails(
    quarantine: Quarantine, folder: Path
) -> None:
    stop = threading.Event()

    def churn() -> None:
        other = Quarantine(folder, QuarantineSettings())
        while not stop.is_set():
            other.delete(hold(other).id)

    hold(quarantine)
    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(200):
            assert not [e for e in quarantine.list() if isinstance(e, Damaged)]
    finally:
        stop.set()
        thread.join()
