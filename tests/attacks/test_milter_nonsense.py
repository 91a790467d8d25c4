"""What a mail server, or whoever reached the milter port, may send: nothing of it does harm."""

import asyncio
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailward.doors.milter import MilterDoor
from mailward.doors.milter_wire import (
    MAX_PACKET,
    NO_REPLY,
    TRANSITIONS,
    Command,
    Decoder,
    Event,
    ProtocolError,
    State,
)
from mailward.doors.testing import FakeScanner
from mailward.protect.quarantine import Quarantine
from mailward.settings.doors import MilterSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings
from tests.doors.milter_client import Server, packet, strings

OPTNEG = packet(b"O", struct.pack(">III", 6, 0x1FF, 0x1FFFFF))
CONNECT = packet(b"C", strings(b"h") + b"4\0\x19" + strings(b"192.0.2.1"))
MAIL = packet(b"M", strings(b"<a@example.org>"))
RCPT = packet(b"R", strings(b"<b@example.org>"))
BEGUN = OPTNEG + CONNECT + MAIL + RCPT


def decoded(data: bytes) -> list[Event]:
    return list(Decoder().receive(data))


NONSENSE = {
    "smtp_instead": b"EHLO client.example\r\n",
    "http_instead": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "empty_packet": bytes(4),
    "huge_packet": struct.pack(">I", 0xFFFFFFFF) + b"O",
    "packet_just_too_large": struct.pack(">I", MAX_PACKET + 1) + b"O",
    "unknown_command": packet(b"?"),
    "negotiation_cut_off": packet(b"O", b"\0\0\0\x06"),
    "negotiation_of_version_1": packet(b"O", struct.pack(">III", 1, 0x1FF, 0)),
    "mail_before_negotiation": MAIL,
    "mail_before_connect": OPTNEG + MAIL,
    "connect_twice": OPTNEG + CONNECT + CONNECT,
    "negotiation_in_a_message": BEGUN + OPTNEG,
    "mail_in_a_message": BEGUN + MAIL,
    "rcpt_before_mail": OPTNEG + CONNECT + RCPT,
    "rcpt_after_header": BEGUN + packet(b"L", strings(b"a", b"b")) + RCPT,
    "header_after_end_of_header": BEGUN + packet(b"N") + packet(b"L", strings(b"a", b"b")),
    "header_before_mail": OPTNEG + CONNECT + packet(b"L", strings(b"a", b"b")),
    "end_before_mail": OPTNEG + CONNECT + packet(b"E"),
    "end_twice": BEGUN + packet(b"E") + packet(b"E"),
    "connect_without_family": OPTNEG + packet(b"C", strings(b"h")),
    "connect_of_another_family": OPTNEG + packet(b"C", strings(b"h") + b"X\0\0" + strings(b"a")),
    "connect_cut_off": OPTNEG + packet(b"C", strings(b"h") + b"4\0"),
    "connect_without_end": OPTNEG + packet(b"C", strings(b"h") + b"4\0\x19192.0.2.1"),
    "mail_without_path": OPTNEG + CONNECT + packet(b"M"),
    "mail_without_end": OPTNEG + CONNECT + packet(b"M", b"<a@example.org>"),
    "rcpt_without_path": OPTNEG + CONNECT + MAIL + packet(b"R"),
    "header_without_value": BEGUN + packet(b"L", strings(b"Subject")),
    "header_of_three": BEGUN + packet(b"L", strings(b"Subject", b"a", b"b")),
    "macro_without_value": OPTNEG + packet(b"D", b"C" + strings(b"i")),
    "many_macros": OPTNEG + packet(b"D", b"C" + strings(*[b"x"] * 1000)),
    "anything_after_quit": OPTNEG + packet(b"Q") + CONNECT,
}


@pytest.mark.parametrize("data", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_called_so(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decoded(data)


@given(st.binary(max_size=300), st.sampled_from([b"", OPTNEG, OPTNEG + CONNECT, BEGUN]))
def test_any_bytes_are_events_or_nonsense(data: bytes, before: bytes) -> None:
    try:
        events = decoded(before + data)
    except ProtocolError:
        return
    assert all(isinstance(event.command, Command) for event in events)


_PACKETS = st.lists(
    st.tuples(
        st.sampled_from([c.value for c in Command]),
        st.one_of(
            st.binary(max_size=40), st.lists(st.binary(max_size=5)).map(lambda t: strings(*t))
        ),
    ).map(lambda pair: packet(*pair)),
    max_size=12,
)


@given(_PACKETS, st.sampled_from([OPTNEG, OPTNEG + CONNECT, BEGUN]), st.data())
def test_where_packets_are_cut_makes_no_difference(
    packets: list[bytes], before: bytes, data: st.DataObject
) -> None:
    stream = before + b"".join(packets)

    def heard(pieces: list[bytes]) -> tuple[list[Event], str, State]:
        decoder, events, error = Decoder(), [], ""
        try:
            for piece in pieces:
                for event in decoder.receive(piece):
                    events.append(event)  # noqa: PERF402 (what came before the error counts)
        except ProtocolError as e:
            error = str(e)
        return events, error, decoder.state

    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert heard(pieces) == heard([stream])


def test_the_table_knows_every_state_and_command() -> None:
    assert set(TRANSITIONS) == set(State)
    used = {command for allowed in TRANSITIONS.values() for command in allowed}
    assert used == set(Command)
    unanswered = {"SMFIC_MACRO", "SMFIC_ABORT", "SMFIC_QUIT", "SMFIC_QUIT_NC"}
    assert {c.name for c in set(Command) - set(NO_REPLY)} == unanswered


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(packets=_PACKETS, before=st.sampled_from([b"", OPTNEG, OPTNEG + CONNECT, BEGUN]))
def test_nonsense_over_a_socket_ends_one_connection_and_harms_no_other(
    packets: list[bytes], before: bytes, tmp_path: Path
) -> None:
    async def attack() -> None:
        quarantine = Quarantine(tmp_path / "quarantine", QuarantineSettings())
        door = MilterDoor(
            MilterSettings(listen=("127.0.0.1:0",)), PolicySettings(), FakeScanner(), quarantine
        )
        await door.start()
        try:
            async with await Server.connect(door.ports[0]) as good:
                await good.negotiate()
                good.client()
                async with await Server.connect(door.ports[0]) as bad:
                    bad.writer.write(before + b"".join(packets))
                    bad.writer.write_eof()
                    await asyncio.wait_for(bad.reader.read(), 10)
                told = await good.message(b"Subject: hello\n\nVIRUS")
                assert told.answer.startswith(b"y550 ")
        finally:
            await door.stop(1.0)

    asyncio.run(attack())


async def test_a_server_that_does_not_read_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailward.doors.milter_session._SEND_S", 0.2)
    path = str(tmp_path / "milter.sock")
    quarantine = Quarantine(tmp_path / "quarantine", QuarantineSettings())
    door = MilterDoor(MilterSettings(listen=(path,)), PolicySettings(), FakeScanner(), quarantine)
    await door.start()
    async with await Server.connect(path) as server:
        server.reader._transport.pause_reading()  # type: ignore[attr-defined]

        async def flood() -> None:
            while True:
                server.writer.write(OPTNEG * 5000)
                await asyncio.wait_for(server.writer.drain(), 20)

        with pytest.raises(ConnectionError):
            await flood()
    await door.stop(1.0)
