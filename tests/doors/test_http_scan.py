"""`POST /v1/scan` in the console's listener, with a scanner that says what the content asks for."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mailward.console.health import Health
from mailward.console.listener import Listener
from mailward.doors import http_scan
from mailward.doors.http_scan import HttpScan
from mailward.doors.testing import FakeScanner
from mailward.errors import ConfigError
from mailward.protect.events import Event
from mailward.settings.doors import HttpSettings
from mailward.settings.service import ConsoleSettings

TOKEN = "a-token-of-sufficient-length"


@dataclass
class Answer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"another-token-of-sufficient-length\n{TOKEN}\n")
    path.chmod(0o600)
    return path


@asynccontextmanager
async def opened(tokens: Path, *events: Event, **settings: object) -> AsyncIterator[Listener]:
    scan = HttpScan(
        HttpSettings.model_validate({"tokens": tokens, "max_bytes": 1000} | settings), FakeScanner()
    )
    listener = Listener(
        ConsoleSettings(listen="127.0.0.1:0"), lambda: Health(True, {}), lambda: b"", scan.routes
    )
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


async def post(
    listener: Listener,
    body: bytes,
    token: str = TOKEN,
    *,
    kind: str = "message/rfc822",
    target: str = "/v1/scan",
    chunked: bool = False,
) -> Answer:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    head = (
        f"POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{length}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: {kind}\r\n\r\n"
    )
    sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    writer.write(head.encode() + sent)
    heard = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    top, _, rest = heard.partition(b"\r\n\r\n")
    lines = top.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return Answer(int(lines[0].split()[1]), headers, json.loads(rest) if rest else None)


async def test_a_message_gets_its_verdict(tokens: Path) -> None:
    async with opened(tokens) as listener:
        for chunked in (False, True):
            answer = await post(listener, b"Subject: x\r\n\r\nVIRUS LOCKED", chunked=chunked)
            assert answer.status == 200
            assert answer.body["verdict"] == "infected"
            assert answer.body["risks"][0]["name"] == "Fake.Virus"
            assert answer.body["unopened"][0]["reason"] == "encrypted"
        clean = await post(listener, b"hello", kind="application/zip", target="/v1/scan?name=a.zip")
        assert (clean.status, clean.body["verdict"]) == (200, "clean")


async def test_without_a_known_token_nothing_is_scanned(tokens: Path) -> None:
    async with opened(tokens) as listener:
        for wrong in ("", "guess", TOKEN[:-1], TOKEN + "x"):
            answer = await post(listener, b"VIRUS", wrong)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == "bearer"
        assert (await post(listener, b"hello", "another-token-of-sufficient-length")).status == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_what_is_too_large_is_refused(tokens: Path, chunked: bool) -> None:
    async with opened(tokens) as listener:
        assert (await post(listener, b"x" * 1000, chunked=chunked)).status == 200
        assert (await post(listener, b"x" * 1001, chunked=chunked)).status == 413


async def test_a_scanner_that_is_down_is_said_to_be(tokens: Path) -> None:
    async with opened(tokens) as listener:
        answer = await post(listener, b"DOWN")
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")


async def test_too_many_at_once_come_again_and_a_slow_body_keeps_no_place(
    tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_scan, "_BODY_WITHIN_S", 0.5)
    async with opened(tokens, max_concurrent=1) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(
            b"POST /v1/scan HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"
            b"Authorization: Bearer " + TOKEN.encode() + b"\r\n\r\nhalf"
        )
        statuses: list[int] = []
        while not statuses or statuses[-1] != 503:
            statuses.append((await post(listener, b"hello")).status)
        assert b" 408 " in await asyncio.wait_for(reader.readline(), 20)
        writer.close()
        assert (await post(listener, b"hello")).status == 200


async def test_only_post_is_understood(tokens: Path) -> None:
    async with opened(tokens) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"GET /v1/scan HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b" 405 " in await asyncio.wait_for(reader.readline(), 20)
        writer.close()


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (f"{TOKEN}\n", 0o644, "others can read"),
        ("", 0o600, "one token a line"),
        ("short\n", 0o600, "16 characters"),
        (None, 0o600, "No such file"),
    ],
)
def test_tokens_that_cannot_be_used_are_named(
    content: str | None, mode: int, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "tokens"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    with pytest.raises(ConfigError, match=why):
        HttpScan(HttpSettings(tokens=path), FakeScanner())


def test_it_is_not_opened_without_tokens() -> None:
    with pytest.raises(ConfigError, match=r"http\.tokens"):
        HttpScan(HttpSettings(enabled=True), FakeScanner())
