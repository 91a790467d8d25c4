"""The network fails, or the server does: every way ends with the old set scanning and words that
say what is wrong."""

import contextlib
import random
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailward.errors import ConfigError, FetchError
from mailward.fetch.bounds import CHUNK_BYTES
from tests.attacks.faults import Asked, Computer, Hostile, World
from tests.contract import fetch_servers

pytestmark = pytest.mark.usefixtures("quick_and_direct")

_LOGIN_PAGE = b"<!DOCTYPE html><html><body>Welcome to the hotel. Please log in.</body></html>"


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("", "a web page instead of the file"),  # a captive portal answers everything
        ("/metadata/timestamp.json", "a web page instead of the file"),
        ("/targets/", "a web page instead of the file"),
        ("/objects/", "not a whole zstd frame"),
    ],
)
def test_a_web_page_with_200_instead_of_the_file(
    computer: Computer, hostile: Hostile, what: str, words: str
) -> None:
    def spoil(asked: Asked) -> bool:
        if asked.is_("patches"):  # so that objects are asked for
            return asked.answer(404)
        return asked.path.startswith(what) and asked.answer(200, _LOGIN_PAGE)

    hostile.spoil = spoil
    computer.withstands(words)


@pytest.mark.parametrize("name", ["", "elsewhere.example"])
def test_tls_that_cannot_be_trusted(
    computer: Computer, faults_world: World, tmp_path: Path, name: str
) -> None:
    """An authority that nobody knows, and a certificate for another name."""
    pem = fetch_servers.certificate(tmp_path, *([name] if name else []))
    with fetch_servers.web(faults_world.public, tls=fetch_servers.server_tls(pem)) as port:
        computer.address = f"https://127.0.0.1:{port}"
        if name:
            computer.withstands("not valid for", ca_file=pem)
        else:
            computer.withstands(r"no trust in .*update\.ca_file")


def test_a_closed_port(computer: Computer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for scheme in ("http", "https", "ftp", "ftps"):
        computer.address = f"{scheme}://127.0.0.1:{port}"
        computer.withstands("refused")


@contextlib.contextmanager
def _black_hole() -> Iterator[int]:
    """A port that packets go to and nothing comes from: its queue is full, nobody accepts."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            knock = waiting.enter_context(socket.socket())
            knock.setblocking(False)
            knock.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_black_hole(computer: Computer) -> None:
    with _black_hole() as port:
        for scheme in ("http", "https", "ftp"):
            computer.address = f"{scheme}://127.0.0.1:{port}"
            computer.withstands("timed out", timeout_s=0.2)


def test_a_server_that_takes_connections_and_never_answers(computer: Computer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for scheme in ("http", "https", "ftp", "ftps"):
            computer.address = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
            computer.withstands("timed out", timeout_s=0.2)


def test_dns_gone(computer: Computer) -> None:
    for scheme in ("http", "ftp"):
        computer.address = f"{scheme}://repository.invalid"
        computer.withstands("resolve|[Nn]ame or service|[Nn]ame resolution")


def test_a_proxy_that_asks_for_a_password(computer: Computer, hostile: Hostile) -> None:
    hostile.spoil = lambda asked: asked.answer(407, Proxy_Authenticate="Basic")
    computer.address = "http://repository.example"
    computer.withstands(r"proxy asks for .*update\.proxy_login", proxy=hostile.address)


def test_a_download_that_stalls(computer: Computer, hostile: Hostile) -> None:
    def stall(asked: Asked) -> bool:
        if not asked.is_("objects", "patches"):
            return False
        asked.send_response(200)
        asked.send_header("Content-Length", str(asked.file.stat().st_size))
        asked.end_headers()
        asked.wfile.write(asked.file.read_bytes()[:100])
        return hostile.gone.wait(20)

    hostile.spoil = stall
    computer.withstands("timed out", timeout_s=0.2)


@pytest.mark.parametrize("where", ["timestamp", "objects"])
def test_a_download_that_drips(computer: Computer, hostile: Hostile, where: str) -> None:
    """Each byte comes before the read timeout, all of them never: the deadline ends it."""

    def drip(asked: Asked) -> bool:
        if where not in asked.path and "patches" not in asked.path:
            return False
        asked.send_response(200)
        asked.send_header("Content-Length", str(asked.file.stat().st_size))
        asked.end_headers()
        for byte in asked.file.read_bytes():
            asked.wfile.write(bytes([byte]))
            if hostile.gone.wait(0.05):
                break
        return True

    hostile.spoil = drip
    computer.withstands(r"not done after 0\.5 s .*total_timeout_s", total_timeout_s=0.5)


_PLACES = 50


def test_a_download_cut_at_each_of_50_places_goes_on_from_there(
    faults_world: World, tmp_path: Path
) -> None:
    """The line is down from that byte on; the next update asks for the rest and for no more."""
    total = _served_in_all(faults_world, tmp_path)
    files = [*faults_world.public.glob("objects/**/*"), *faults_world.public.glob("patches/**/*")]
    whole = {path.stat().st_size for path in files if path.is_file()}
    places_that_went_on = 0
    turns = threading.Lock()
    for place in range(_PLACES):
        folder = tmp_path / str(place)
        computer = Computer(faults_world, folder)
        left = total * place // _PLACES
        asked_from: dict[str, int] = {}

        def cut(asked: Asked, asked_from: dict[str, int] = asked_from) -> bool:
            nonlocal left
            with turns:  # several are asked for at once
                if left <= 0:
                    return True  # hangs up without an answer
                if asked.is_("objects", "patches"):
                    asked_from[asked.path] = asked.start
                left -= asked.serve(left)
            return True

        with Hostile(faults_world.public) as hostile:
            computer.address, hostile.spoil = hostile.address, cut
            computer.withstands(
                "cut off|closed connection|hung up|[Rr]emote end closed|IncompleteRead"
            )
            came = [path.stat().st_size for path in folder.rglob("partial/*")]
            left = 1 << 60
            asked_from.clear()
            _download(computer)
        went_on = sorted(filter(None, asked_from.values()))
        assert went_on == sorted(size for size in came if size and size not in whole)
        places_that_went_on += bool(went_on)
        if place in (0, _PLACES // 2, _PLACES - 1):
            computer.recovers()
        shutil.rmtree(folder)
    assert places_that_went_on > _PLACES // 2


def _served_in_all(world: World, folder: Path) -> int:
    computer = Computer(world, folder / "all")
    sent: list[int] = []

    def count(asked: Asked) -> bool:
        sent.append(asked.serve())  # several are asked for at once
        return True

    with Hostile(world.public) as hostile:
        computer.address, hostile.spoil = hostile.address, count
        _download(computer)
    return sum(sent)


def _download(computer: Computer) -> None:
    """All but the trial, which takes a second: for want of known-good mail it is not begun."""
    with pytest.raises(ConfigError, match=r"update\.known_good"):
        computer.refresh(known_good="/nowhere")
    assert computer.store.verify(computer.world.new) == []


def test_an_endless_download(computer: Computer, hostile: Hostile) -> None:
    def endless(asked: Asked) -> bool:
        asked.send_response(200)
        asked.end_headers()
        with contextlib.suppress(OSError):
            while not hostile.gone.is_set():
                asked.wfile.write(b" " * CHUNK_BYTES)
        return True

    for part, words in (("timestamp", "longer than|bytes"), ("objects", "longer than")):
        hostile.spoil = lambda asked, part=part: (  # type: ignore[misc]  # bound now
            asked.answer(404) if asked.is_("patches") else part in asked.path and endless(asked)
        )
        computer.withstands(words)


@pytest.mark.parametrize(
    ("length", "words"),
    [
        ("1", "missing|ends after|zstd"),  # ends early, with an unsuspicious connection
        ("99999999", "announced"),
        ("99999999999999999999999999", "announced"),
        ("-5", "."),
        ("many", "."),
    ],
)
def test_a_server_that_lies_about_the_length(
    computer: Computer, hostile: Hostile, length: str, words: str
) -> None:
    def lie(asked: Asked) -> bool:
        if not asked.is_("objects", "patches"):
            return False
        return asked.answer(200, b"x" + asked.file.read_bytes(), Content_Length=length)

    hostile.spoil = lie
    computer.withstands(words)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize(
    ("there", "words"),
    [
        ("", "redirected more than"),
        ("file:///etc/passwd", "redirected to 'file:///etc/passwd', which is not allowed"),
    ],
)
def test_redirects_for_ever_or_to_a_file(
    computer: Computer, hostile: Hostile, status: int, there: str, words: str
) -> None:
    hostile.spoil = lambda asked: asked.answer(status, Location=there or asked.path)
    computer.withstands(words)


@pytest.mark.parametrize("what", ["/", "/metadata/timestamp", "/targets/", "/objects/"])
def test_a_server_that_has_moved(computer: Computer, hostile: Hostile, what: str) -> None:
    hostile.spoil = lambda asked: (
        (asked.path.startswith(what) or asked.is_("patches")) and asked.answer(404)
    )
    computer.withstands("the server answered 404")


def test_an_ftp_server_that_has_moved(computer: Computer, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with fetch_servers.ftp(empty) as port:
        computer.address = f"ftp://127.0.0.1:{port}"
        computer.withstands("the server says 550")


def test_an_ftp_server_that_refuses_the_login(computer: Computer, tmp_path: Path) -> None:
    with fetch_servers.ftp(tmp_path, login=("somebody", "else")) as port:
        computer.address = f"ftp://127.0.0.1:{port}"
        computer.withstands(r"refuses the login \(update\.ftp_login")


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (500, {}, "answered 500, and again"),
        (429, {"Retry_After": "3600"}, "try again in 3600 s"),
        (503, {"Retry_After": "Thu, 01 Jan 2099 00:00:00 GMT"}, "try again in"),
        (401, {}, "answered 401"),
    ],
)
def test_a_server_in_trouble(
    computer: Computer, hostile: Hostile, status: int, headers: dict[str, Any], words: str
) -> None:
    hostile.spoil = lambda asked: asked.answer(status, **headers)
    computer.withstands(words)
    assert len(hostile.asked) <= 3


def test_a_line_that_fails_at_random_is_used_as_far_as_it_goes(
    computer: Computer, hostile: Hostile
) -> None:
    """Every third answer is cut in its middle; some update succeeds all the same."""
    chance = random.Random(20261124)

    def sometimes(asked: Asked) -> bool:
        if chance.random() > 1 / 3 or not asked.file.is_file():
            return False
        asked.serve(asked.file.stat().st_size // 2)
        return True

    hostile.spoil = sometimes
    for _ in range(20):
        with contextlib.suppress(FetchError):
            _download(computer)
            break
    else:
        pytest.fail("it never got everything")
    computer.recovers()
