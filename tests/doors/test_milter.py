"""The milter door with a scanner that says what the message asks for."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mailward.doors import milter_session
from mailward.doors.milter import MilterDoor
from mailward.doors.testing import FakeScanner
from mailward.protect.held import Held
from mailward.protect.quarantine import Quarantine
from mailward.settings.doors import MilterSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings
from tests.doors.milter_client import Server, Told, strings

Open = Callable[..., Awaitable[MilterDoor]]

CLEAN = b"From: a@example.org\nSubject: Hello\n\nhello\n"


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(tmp_path / "quarantine", QuarantineSettings())


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "milter.sock")


@pytest.fixture
def scanner() -> FakeScanner:
    return FakeScanner()


@pytest.fixture
async def open_door(path: str, quarantine: Quarantine, scanner: FakeScanner) -> AsyncIterator[Open]:
    doors: list[MilterDoor] = []

    async def open_(
        policy: dict[str, object] | None = None,
        into: Quarantine = quarantine,
        **settings: object,
    ) -> MilterDoor:
        door = MilterDoor(
            MilterSettings.model_validate({"listen": [path, "127.0.0.1:0"]} | settings),
            PolicySettings.model_validate(policy or {}),
            scanner,
            into,
        )
        await door.start()
        doors.append(door)
        return door

    yield open_
    for door in doors:
        await door.stop(1.0)


async def told_of(path: str, content: bytes, *recipients: bytes) -> Told:
    async with await Server.connect(path) as server:
        await server.negotiate()
        server.client()
        return await server.message(content, *recipients)


def inserted(told: Told) -> dict[str, str]:
    """Fields put on top, in the order in which they end up."""
    fields = {}
    for packet in reversed(told.asked):
        if packet[:1] == b"i":
            assert packet[1:5] == bytes(4)
            name, value, _ = packet[5:].split(b"\0")
            fields[name.decode()] = value.decode()
    return fields


async def test_it_asks_for_as_little_as_possible(open_door: Open, path: str) -> None:
    await open_door()
    async with await Server.connect(path) as server:
        version, actions, steps = await server.negotiate()
    assert version == 6
    assert actions == 0x01 | 0x10  # add and change header fields
    assert steps & 0x03 == 0  # the client's address and HELO name are wanted
    assert steps & (0x40 | 0x100 | 0x200) == 0x40 | 0x100 | 0x200
    assert steps & 0xFF080 == 0xFF080  # nothing but the end of the message is answered


async def test_recipients_are_asked_for_when_rules_may_touch_them(
    open_door: Open, path: str
) -> None:
    await open_door({"rules": [{"name": "all", "action": "discard"}]})
    async with await Server.connect(path) as server:
        _, actions, _ = await server.negotiate()
    assert actions == 0x01 | 0x02 | 0x04 | 0x08 | 0x10


async def test_a_clean_message_gets_its_verdict_on_top(open_door: Open, path: str) -> None:
    await open_door()
    told = await told_of(path, CLEAN)
    assert told.answer == b"c"
    assert inserted(told) == {"X-Mailward-Verdict": " clean", "X-Mailward-Set": " 20261123.007"}
    assert list(inserted(told)) == ["X-Mailward-Verdict", "X-Mailward-Set"]


async def test_the_message_is_scanned_as_it_will_be_delivered(
    open_door: Open, path: str, scanner: FakeScanner
) -> None:
    await open_door()
    await told_of(path, b"From:  a@example.org\nX-Mailward-Verdict: clean\nEmpty:\n\nhello\n")
    assert scanner.scanned == [b"From:  a@example.org\r\nEmpty:\r\n\r\nhello\r\n"]


async def test_folded_fields_are_put_together_with_crlf(
    open_door: Open, path: str, scanner: FakeScanner
) -> None:
    await open_door()
    async with await Server.connect(path) as server:
        await server.negotiate(steps=0xFFFFF)  # without leading blanks
        server.client()
        server.send(b"M", strings(b"<>"))
        server.send(b"R", strings(b"<you@example.org>"))
        server.send(b"L", strings(b"Subject", b"one\n\ttwo\r\n three"))
        server.send(b"N")
        server.send(b"B", b"he")
        server.send(b"E", b"llo\r\n")
        assert (await server.told()).answer == b"c"
    assert scanner.scanned == [b"Subject: one\r\n\ttwo\r\n three\r\n\r\nhello\r\n"]


async def test_forged_fields_of_ours_are_removed_the_last_ones_first(
    open_door: Open, path: str
) -> None:
    await open_door()
    forged = b"X-Mailward-Verdict: clean\nFrom: a@example.org\nx-mailward-verdict: clean\n\nVIRUS"
    told = await told_of(path, forged.replace(b"VIRUS", b"hello"))
    removed = [p for p in told.asked if p[:1] == b"m"]
    assert removed == [
        b"m" + struct.pack(">I", 2) + strings(b"x-mailward-verdict", b""),
        b"m" + struct.pack(">I", 1) + strings(b"X-Mailward-Verdict", b""),
    ]


async def test_malware_is_refused_with_its_name(open_door: Open, path: str) -> None:
    await open_door()
    told = await told_of(path, CLEAN + b"VIRUS 100%")
    assert told == Told(b"y550 5.7.1 Message refused: it contains malware (Fake.Virus)\0")


async def test_when_the_server_hears_discard_the_quarantine_has_the_message(
    open_door: Open, path: str, quarantine: Quarantine
) -> None:
    await open_door()
    told = await told_of(path, CLEAN + b"ODD", b"<a@example.org>", b"<b@example.org>")
    assert told == Told(b"d")
    (held,) = quarantine.list()
    assert isinstance(held, Held)
    assert held.envelope.sender == "sender@example.org"
    assert held.envelope.recipients == ("a@example.org", "b@example.org")
    assert quarantine.message(held.id).endswith(b"\r\n\r\nhello\r\nODD")


async def test_what_is_unscannable_is_tagged(open_door: Open, path: str) -> None:
    await open_door()
    told = await told_of(path, CLEAN + b"LOCKED")
    assert told.answer == b"c"
    assert inserted(told)["X-Mailward-Tag"] == " unscannable"
    assert inserted(told)["X-Mailward-Unscannable"] == " encrypted"


@pytest.mark.parametrize(
    ("content", "subject"),
    [
        (CLEAN, b"m\0\0\0\x01" + strings(b"Subject", b" [look out] Hello")),
        (b"From: a@example.org\n\nhello\n", b"h" + strings(b"Subject", b" [look out]")),
    ],
)
async def test_a_subject_is_marked(
    content: bytes, subject: bytes, open_door: Open, path: str
) -> None:
    await open_door({"rules": [{"name": "mark", "action": "tag", "subject": "[look out]"}]})
    told = await told_of(path, content)
    assert subject in told.asked
    assert told.answer == b"c"


async def test_a_scanner_that_is_down_makes_the_sender_try_again(
    open_door: Open, path: str
) -> None:
    await open_door()
    told = await told_of(path, CLEAN + b"DOWN")
    assert told.answer.startswith(b"y451 4.3.0 ")


async def test_a_defect_makes_the_sender_try_again_and_tells_nothing(
    open_door: Open, path: str
) -> None:
    await open_door()
    told = await told_of(path, CLEAN + b"CRASH")
    assert told.answer.startswith(b"y451 4.3.0 ")
    assert b"secret" not in told.answer


async def test_a_quarantine_that_is_full_makes_the_sender_try_again(
    open_door: Open, path: str, tmp_path: Path
) -> None:
    full = Quarantine(tmp_path / "full", QuarantineSettings(max_bytes=1))
    await open_door(into=full)
    told = await told_of(path, CLEAN + b"ODD")
    assert told.answer.startswith(b"y451 4.3.1 ")
    assert full.list() == []


async def test_a_message_over_the_limit_is_refused_and_not_kept(
    open_door: Open, path: str, scanner: FakeScanner
) -> None:
    await open_door(max_message_bytes=1000)
    told = await told_of(path, CLEAN + b"x" * 1000)
    assert told.answer.startswith(b"y552 5.3.4 ")
    assert (await told_of(path, CLEAN)).answer == b"c"
    assert len(scanner.scanned) == 1


def rules_for_some(action: str, **more: object) -> dict[str, object]:
    rule = {"name": "some", "action": action, "when": {"recipient": ["b@*"]}, **more}
    return {"rules": [rule]}


async def test_recipients_for_whom_it_is_held_are_taken_out_of_the_envelope(
    open_door: Open, path: str, quarantine: Quarantine
) -> None:
    for action in ("quarantine", "reject"):
        door = await open_door(rules_for_some(action), listen=[path])
        told = await told_of(path, CLEAN, b"<a@example.org>", b"<b@example.org>")
        assert told.answer == b"c"
        assert b"-" + strings(b"<b@example.org>") in told.asked
        assert not any(b"<a@example.org>" in packet for packet in told.asked)
        (held,) = quarantine.list()
        assert isinstance(held, Held)
        assert held.envelope.recipients == ("b@example.org",)
        quarantine.delete(held.id)
        await door.stop()


async def test_what_cannot_be_held_for_all_is_held_for_nobody(
    open_door: Open, path: str, tmp_path: Path
) -> None:
    room = 2500  # for one of the two
    little = Quarantine(tmp_path / "little", QuarantineSettings(max_bytes=room))
    rules = [
        {"name": "one", "action": "quarantine", "when": {"recipient": ["a@*"]}},
        {"name": "two", "action": "quarantine", "when": {"recipient": ["b@*"]}},
    ]
    await open_door({"rules": rules}, into=little)
    told = await told_of(path, CLEAN + b"x" * 1000, b"<a@example.org>", b"<b@example.org>")
    assert told.answer.startswith(b"y451 4.3.1 ")
    assert little.list() == []


async def test_a_redirected_message_goes_there_and_to_the_others(
    open_door: Open, path: str
) -> None:
    await open_door(rules_for_some("redirect", to=["desk@example.org"]))
    told = await told_of(path, CLEAN, b"<a@example.org>", b"<B@example.org>")
    changes = [packet for packet in told.asked if packet[:1] in b"+-"]
    assert changes == [
        b"-" + strings(b"<B@example.org>"),
        b"+" + strings(b"<desk@example.org>"),
    ]


async def test_a_message_that_all_are_refused_is_refused(
    open_door: Open, path: str, quarantine: Quarantine
) -> None:
    await open_door(rules_for_some("reject"))
    told = await told_of(path, CLEAN + b"VIRUS", b"<a@example.org>", b"<b@example.org>")
    assert told.answer.startswith(b"y550 5.7.1 ")
    assert quarantine.list() == []


async def test_a_discarded_message_leaves_no_trace(
    open_door: Open, path: str, quarantine: Quarantine
) -> None:
    await open_door({"rules": [{"name": "gone", "action": "discard"}]})
    assert await told_of(path, CLEAN) == Told(b"d")
    assert quarantine.list() == []


async def test_rules_see_the_client_of_the_mail_server(open_door: Open, path: str) -> None:
    rule = {"name": "there", "action": "reject", "when": {"client": ["2001:db8::/32"]}}
    await open_door({"rules": [rule]})
    async with await Server.connect(path) as server:
        await server.negotiate()
        server.client(b"IPv6:2001:db8::5")
        assert (await server.message(CLEAN)).answer.startswith(b"y550 ")


async def test_many_messages_in_one_connection_and_none_is_mixed_up(
    open_door: Open, path: str, scanner: FakeScanner
) -> None:
    await open_door()
    async with await Server.connect(path) as server:
        await server.negotiate()
        server.client()
        assert (await server.message(CLEAN + b"VIRUS")).answer[:4] == b"y550"
        server.send(b"M", strings(b"<a@example.org>"))
        server.send(b"R", strings(b"<b@example.org>"))
        server.send(b"L", strings(b"Subject", b" VIRUS"))
        server.send(b"A")
        assert (await server.message(CLEAN)).answer == b"c"
        server.send(b"K")  # another client, the same connection
        server.client(b"192.0.2.2")
        assert (await server.message(CLEAN)).answer == b"c"
        server.send(b"Q")
        assert await server.closed()
    assert [b"VIRUS" in content for content in scanner.scanned] == [True, False, False]


async def test_a_server_that_wants_an_answer_to_every_step_gets_it(
    open_door: Open, path: str
) -> None:
    await open_door()
    async with await Server.connect(path) as server:
        assert await server.negotiate(version=2, actions=0x3F, steps=0x7F) == (2, 0x11, 0x40)
        steps = [
            (b"C", strings(b"client.example") + b"4\0\x19" + strings(b"192.0.2.1")),
            (b"H", strings(b"client.example")),
            (b"M", strings(b"<a@example.org>")),
            (b"R", strings(b"<b@example.org>")),
            (b"L", strings(b"Subject", b"hello")),
            (b"B", b"hello\r\n"),
        ]
        for command, content in steps:
            server.send(command, content)
            assert await server.hear() == b"c", command
        server.send(b"E")
        assert (await server.told()).answer == b"c"


async def test_a_server_that_allows_too_little_is_let_go_at_once(
    open_door: Open, path: str
) -> None:
    await open_door()
    async with await Server.connect(path) as server:
        server.send(b"O", struct.pack(">III", 6, 0x20, 0x1FFFFF))
        assert await server.closed()


async def test_a_long_scan_shows_signs_of_life(
    open_door: Open, path: str, monkeypatch: pytest.MonkeyPatch, scanner: FakeScanner
) -> None:
    monkeypatch.setattr(milter_session, "_PROGRESS_S", 0.01)
    go_on = asyncio.Event()
    scan = scanner.scan

    async def slow(*args: object, **more: object) -> object:
        await go_on.wait()
        return await scan(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(scanner, "scan", slow)
    await open_door()
    async with await Server.connect(path) as server:
        await server.negotiate()
        server.client()
        server.say(CLEAN)
        assert [await server.hear(), await server.hear()] == [b"p", b"p"]
        go_on.set()
        assert (await server.told()).answer == b"c"


async def test_a_silent_server_is_let_go(open_door: Open, path: str) -> None:
    await open_door(timeout_s=0.1)
    async with await Server.connect(path) as server:
        await server.negotiate()
        assert await server.closed()


async def test_more_connections_than_allowed_are_closed_at_once(open_door: Open, path: str) -> None:
    await open_door(max_connections=1)
    async with await Server.connect(path) as first:
        await first.negotiate()
        async with await Server.connect(path) as second:
            assert await second.closed()
        first.client()
        assert (await first.message(CLEAN)).answer == b"c"


async def test_it_listens_on_tcp_as_well(open_door: Open) -> None:
    port = (await open_door()).ports[1]
    async with await Server.connect(port) as server:
        await server.negotiate()
        server.client()
        assert (await server.message(CLEAN)).answer == b"c"


async def test_stopping_finishes_the_message_under_way_and_closes_what_waits(
    open_door: Open, path: str
) -> None:
    door = await open_door()
    async with await Server.connect(path) as busy, await Server.connect(path) as idle:
        await idle.negotiate()
        await busy.negotiate()
        busy.client()
        busy.send(b"M", strings(b"<a@example.org>"))
        busy.send(b"R", strings(b"<b@example.org>"))
        while not any(s.busy for s in door._serving.values()):  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0)
        stopping = asyncio.create_task(door.stop())
        assert await idle.closed()
        busy.send(b"B", b"VIRUS")
        busy.send(b"E")
        assert (await busy.told()).answer.startswith(b"y550 ")
        assert await busy.closed()
        await stopping
