"""What anybody may send to the clamd door: nothing of it does harm to others."""

import asyncio
import contextlib
import socket
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mailward.doors.clamd import ClamdDoor
from mailward.doors.clamd_wire import COMMANDS, MAX_COMMAND, Command, next_command
from mailward.doors.testing import FakeScanner
from mailward.settings.doors import ClamdSettings
from mailward.settings.scan import ScanSettings
from tests.doors.clamd_dialogs import chunks

_VERBS = st.sampled_from([verb.encode() for verb in COMMANDS])
_SAID = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda form, verb, path, end: form + verb + path + end,
        st.sampled_from([b"", b"n", b"z"]),
        _VERBS,
        st.sampled_from([b"", b" ", b" /nowhere", b" \xff\x00\n", b"\t/nowhere"]),
        st.sampled_from([b"", b"\n", b"\0", b"\r\n"]),
    ),
    st.just(b"zINSTREAM\0" + chunks(b"VIRUS")),
    st.just(b"zINSTREAM\0\xff\xff\xff\xff"),
)
_STREAMS = st.lists(_SAID, max_size=6).map(b"".join)


def _commands(pieces: list[bytes]) -> list[Command]:
    buffer, found = bytearray(), []
    for piece in pieces:
        buffer += piece
        while (command := next_command(buffer, eof=False)) is not None:
            found.append(command)
            if not command.verb and len(buffer) >= MAX_COMMAND:
                return found
    while (command := next_command(buffer, eof=True)) is not None:
        found.append(command)
    return found


@given(_STREAMS, st.data())
@example(b"PING", None)
def test_where_commands_are_cut_makes_no_difference(
    stream: bytes, data: st.DataObject | None
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5))) if data else []
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole = _commands([stream])
    assert _commands(pieces) == whole
    assert all(command.verb in COMMANDS or not command.verb for command in whole)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(stream=_STREAMS)
def test_nonsense_over_a_socket_ends_one_connection_and_harms_no_other(
    stream: bytes, tmp_path: Path
) -> None:
    async def attack() -> None:
        path = str(tmp_path / "clamd.sock")
        door = ClamdDoor(ClamdSettings(listen=(path,)), ScanSettings(), FakeScanner())
        await door.start()
        try:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(stream)
            writer.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):  # closed with something unread
                await asyncio.wait_for(reader.read(), 20)
            writer.close()
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"zPING\0")
            assert await asyncio.wait_for(reader.read(), 20) == b"PONG\0"
            writer.close()
        finally:
            await door.stop(1.0)

    asyncio.run(attack())
