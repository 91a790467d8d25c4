"""Runs the dialogs beside this file: SMTP sessions as text. ``README.md`` explains the notation."""

import asyncio
import json
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from mailward.doors.smtp import Gateway
from mailward.doors.testing import FakeScanner
from mailward.protect.quarantine import Quarantine
from mailward.settings.doors import SmtpSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings

FOLDER = Path(__file__).parent
DIALOGS = sorted(FOLDER.glob("*.txt"))
PATIENCE_S = 10.0
HOP_OFFERS = ("hop.example", "SIZE 52428800", "8BITMIME", "SMTPUTF8")

_MESSAGE = re.compile(r"(?P<who>[chg][0-9]?) (?P<how>->|=>|<-) ?(?P<text>.*)")
_EVENT = re.compile(
    r"(?P<who>[chg][0-9]?) (?P<what>starts|greeted|answers|connected|closed|leaves|ends)"
)
_SETTING = re.compile(r"set (?P<section>smtp|policy|quarantine)\.(?P<key>\w+) = (?P<value>.+)")
_REPEATED = re.compile(r"\{(.)\*([0-9]+)\}")
_ROUTE = re.compile(r"route (?P<domain>\S+)")
_LMTP = "next hops speak LMTP"
_HELD = re.compile(r"held (?P<count>[0-9]+)")


class Peer:
    """One end that the dialog speaks for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self) -> str:
        line = await asyncio.wait_for(self.reader.readuntil(b"\r\n"), PATIENCE_S)
        return line[:-2].decode("utf-8", "backslashreplace").replace("\0", "\\0")

    async def end(self) -> str:
        """Everything up to the end of the connection."""
        try:
            rest = await asyncio.wait_for(self.reader.read(), PATIENCE_S)
        except ConnectionError:
            return ""
        return rest.decode("utf-8", "backslashreplace")


class Dialog:
    """Plays one file against a gateway of its own."""

    def __init__(self, lines: list[str], folder: Path) -> None:
        self.lines = [(n, line) for n, line in enumerate(lines, 1) if line and line[0] != "#"]
        self.peers: dict[str, Peer] = {}
        self.calls: dict[str, asyncio.Queue[Peer]] = {"h": asyncio.Queue(), "g": asyncio.Queue()}
        self.lmtp = any(line == _LMTP for _, line in self.lines)
        self.sections: dict[str, dict[str, Any]] = {"smtp": {}, "policy": {}, "quarantine": {}}
        self.expected_held = 0
        self.folder = folder

    async def play(self) -> None:
        hop_is_down = any(line == "hop is down" for _, line in self.lines)
        self._apply_settings()
        async with AsyncExitStack() as stack:
            hop = await self._open_hop(stack, "h")
            other = await self._open_hop(stack, "g")
            if hop_is_down:
                hop.close()
                await hop.wait_closed()
            self._apply_route(other)
            await self._open_gateway(stack)
            for number, line in self.lines:
                try:
                    await self._step(line)
                except Exception as e:
                    raise AssertionError(f"line {number}: {line}: {e!r}") from e
            await self._nothing_is_left()

    def _apply_settings(self) -> None:
        for _, line in self.lines:
            if setting := _SETTING.fullmatch(line):
                value = setting["value"]
                value = json.loads(value) if value.startswith("[") else value
                self.sections[setting["section"]][setting["key"]] = value

    def _apply_route(self, other: asyncio.Server) -> None:
        domains = [found["domain"] for _, line in self.lines if (found := _ROUTE.fullmatch(line))]
        if domains:
            route = {"domains": domains, "next_hops": [self._address(other)]}
            self.sections["smtp"]["routes"] = [route]

    def _address(self, hop: asyncio.Server) -> str:
        return f"{'lmtp:' if self.lmtp else ''}127.0.0.1:{hop.sockets[0].getsockname()[1]}"

    async def _open_hop(self, stack: AsyncExitStack, who: str) -> asyncio.Server:
        async def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.calls[who].put(Peer(reader, writer))

        hop = await asyncio.start_server(called, "127.0.0.1", 0, limit=2**22)
        self.sections["smtp"].setdefault("next_hop", self._address(hop))
        stack.callback(hop.close)
        return hop

    async def _open_gateway(self, stack: AsyncExitStack) -> None:
        smtp = {
            "hostname": "mx.example",
            "listen": "127.0.0.1:0",
            **self.sections["smtp"],
        }
        limits = QuarantineSettings.model_validate(self.sections["quarantine"])
        self.quarantine = Quarantine(self.folder / "quarantine", limits)
        self.gateway = Gateway(
            SmtpSettings.model_validate(smtp),
            PolicySettings.model_validate(self.sections["policy"]),
            FakeScanner(),
            self.quarantine,
        )
        await self.gateway.start()
        stack.push_async_callback(self.gateway.stop, 1.0)
        stack.callback(self._all_leave)

    def _all_leave(self) -> None:
        for peer in self.peers.values():
            peer.writer.close()

    async def _step(self, line: str) -> None:
        if message := _MESSAGE.fullmatch(line):
            await self._message(message["who"], message["how"], message["text"])
        elif event := _EVENT.fullmatch(line):
            await self._event(event["who"], event["what"])
        elif held := _HELD.fullmatch(line):
            self.expected_held = int(held["count"])
        elif not (
            _SETTING.fullmatch(line) or _ROUTE.fullmatch(line) or line in ("hop is down", _LMTP)
        ):
            raise ValueError("cannot be read; see README.md")

    async def _message(self, who: str, how: str, text: str) -> None:
        peer = await self._peer(who)
        text = _REPEATED.sub(lambda match: match[1] * int(match[2]), text)
        if how == "<-":
            heard = await peer.hear()
            pattern = ".*".join(re.escape(piece) for piece in text.split("*"))
            assert re.fullmatch(pattern, heard), f"heard {heard!r}"
        else:
            end = b"\r\n" if how == "->" else b""
            await peer.say(_unescaped(text) + end)

    async def _event(self, who: str, what: str) -> None:
        if what == "starts":
            await self._introduce(await self._peer(who))
        elif what == "greeted":
            await self._greet(await self._peer(who))
        elif what in ("answers", "connected"):
            self.peers[who] = await asyncio.wait_for(self.calls[who[0]].get(), PATIENCE_S)
            if what == "answers":
                await self._answer(self.peers[who])
        elif what == "closed":
            assert (rest := await self.peers[who].end()) == "", f"heard {rest!r}"
        elif what == "ends":
            self.peers[who].writer.write_eof()
        else:
            self.peers[who].writer.close()

    async def _peer(self, who: str) -> Peer:
        if who not in self.peers:
            if who[0] in self.calls:
                raise ValueError(f"{who} has not connected yet")
            reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
            self.peers[who] = Peer(reader, writer)
        return self.peers[who]

    async def _introduce(self, client: Peer) -> None:
        await self._greet(client, answering="h")

    async def _greet(self, client: Peer, answering: str = "") -> None:
        assert (await client.hear()) == "220 mx.example ESMTP Mailward"
        await client.say(b"EHLO client.example\r\n")
        if answering:
            await self._event(answering, "answers")
        while (await client.hear())[3] == "-":
            pass

    async def _answer(self, hop: Peer) -> None:
        await hop.say(b"220 hop.example ESMTP\r\n")
        assert (await hop.hear()) == ("LHLO mx.example" if self.lmtp else "EHLO mx.example")
        lines = [f"250-{offer}\r\n" for offer in HOP_OFFERS]
        await hop.say("".join([*lines[:-1], lines[-1].replace("-", " ", 1)]).encode())

    async def _nothing_is_left(self) -> None:
        """What the dialog did not mention did not happen, least of all a delivery."""
        for who, peer in self.peers.items():
            if who.startswith("c"):
                peer.writer.close()
        for who, peer in self.peers.items():
            if who[0] in self.calls and not peer.writer.is_closing():
                assert (rest := await peer.end()) in ("", "QUIT\r\n"), f"{who} also heard {rest!r}"
        for who, calls in self.calls.items():
            assert calls.empty(), f"the gateway called {who} once more"
        assert len(self.quarantine.list()) == self.expected_held


def _unescaped(text: str) -> bytes:
    r"""``\r``, ``\n``, ``\0`` and ``\xNN`` are bytes; everything else is itself, in UTF-8."""
    names = {b"r": b"\r", b"n": b"\n", b"0": b"\0"}

    def byte(match: re.Match[bytes]) -> bytes:
        return names.get(match[1]) or bytes([int(match[1][1:], 16)])

    return re.sub(rb"\\(r|n|0|x[0-9a-f]{2})", byte, text.encode())


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_dialog(path: Path, tmp_path: Path) -> None:
    asyncio.run(Dialog(path.read_text(encoding="utf-8").splitlines(), tmp_path).play())


async def test_a_wrong_dialog_fails(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="line 3"):
        await Dialog(["c starts", "c -> NOOP", "c <- 550 no"], tmp_path).play()


async def test_what_a_dialog_does_not_mention_fails_it(tmp_path: Path) -> None:
    lines = ["c starts", "c -> MAIL FROM:<a@example.org>", "h -> 250 ok", "c <- 250 2.0.0 ok"]
    with pytest.raises(AssertionError, match="also heard 'MAIL"):
        await Dialog(lines, tmp_path).play()
