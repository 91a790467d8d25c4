"""Links by which recipients ask for held messages, over a real listener."""

import asyncio
import http.client
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailward.console.asking import Asking
from mailward.console.health import Health
from mailward.console.listener import Listener
from mailward.errors import ConfigError, TemporaryError
from mailward.protect.events import Event
from mailward.protect.held import Envelope, Held
from mailward.protect.links import Links, link_key
from mailward.protect.policy import Decision
from mailward.protect.quarantine import Quarantine
from mailward.protect.requests import ReleaseRequest, RequestBook
from mailward.rules import Action
from mailward.scan.verdict import Reason, Risk, Unopened, Verdict
from mailward.settings.notify import OnRequest
from mailward.settings.protect import QuarantineSettings
from mailward.settings.service import ConsoleSettings

LOCKED = Verdict(unopened=(Unopened("message/2", Reason.ENCRYPTED),))
INFECTED = Verdict(risks=(Risk("Test.Virus", "f", "message", "1"),))
KEY = bytes(range(32))


class Site:
    """A quarantine, and a listener that lets people ask."""

    def __init__(self, folder: Path) -> None:
        self.quarantine = Quarantine(folder / "quarantine", QuarantineSettings())
        self.links = Links(KEY, "https://mail.example.org/", 7)
        self.book = RequestBook(folder / "requests.json", self.quarantine)
        self.events: list[Event] = []
        self.released: list[tuple[str, str]] = []
        self.answer: str | Exception = ""
        self.port = 0

    def hold(self, verdict: Verdict = LOCKED, subject: str = "Figures") -> Held:
        decision = Decision(Action.QUARANTINE, verdict.kind, "it is encrypted")
        message = f"Subject: {subject}\r\n\r\nx\r\n".encode()
        envelope = Envelope("a@example.org", ("b@example.net", "c@example.net"))
        return self.quarantine.hold(message, envelope, verdict, decision)

    async def release(self, id_: str, recipient: str) -> Mapping[str, str]:
        self.released.append((id_, recipient))
        if isinstance(self.answer, Exception):
            raise self.answer
        return {recipient: self.answer} if self.answer else {}

    def routes(self, on_request: OnRequest) -> Asking:
        return Asking(
            self.links, self.quarantine, self.book, self.release, on_request, self.events.append
        )

    def path(self, held: Held, to: str = "b@example.net") -> str:
        return self.links.make(held.id, to).removeprefix("https://mail.example.org")

    async def ask(self, method: str, path: str) -> tuple[int, str, Mapping[str, str]]:
        def request() -> tuple[int, str, Mapping[str, str]]:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), dict(answer.getheaders())

        return await asyncio.to_thread(request)


@pytest.fixture
def on_request() -> OnRequest:
    return OnRequest.RECORD


@pytest.fixture
async def site(tmp_path: Path, on_request: OnRequest) -> AsyncIterator[Site]:
    site = Site(tmp_path)
    listener = Listener(
        ConsoleSettings(listen="127.0.0.1:0"),
        lambda: Health(True, {}),
        lambda: b"",
        site.routes(on_request).routes,
    )
    await listener.start()
    site.port = listener.port
    yield site
    await listener.stop()


async def test_a_link_that_is_followed_shows_the_message_and_changes_nothing(site: Site) -> None:
    held = site.hold(subject="<script>alert(1)</script> & more")

    status, page, fields = await site.ask("GET", site.path(held))
    await site.ask("HEAD", site.path(held))

    assert status == 200
    assert "a@example.org" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    assert "<script" not in page
    assert '<form method="post">' in page
    assert fields["content-security-policy"].startswith("default-src 'none'")
    assert fields["referrer-policy"] == "no-referrer"
    assert (site.book.open(), site.events, site.released) == ([], [], [])


async def test_the_button_notes_the_request_once(site: Site) -> None:
    held = site.hold()

    for _ in range(3):
        status, page, _ = await site.ask("POST", site.path(held))
        assert (status, "The administrator decides" in page) == (200, True)

    (request,) = site.book.open()
    assert (request.id, request.recipient) == (held.id, "b@example.net")
    assert [(e.event, e.trace_id) for e in site.events] == [("requested", held.id)]
    assert site.released == []


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path[:-1] + ("A" if path[-1] != "A" else "B"),
        lambda path: path.replace(".", ".0", 1),
        lambda path: path.rpartition(".")[0],
        lambda path: path + "x",
        lambda path: "/q/../healthz",
        lambda path: "/q/" + "%00" * 5,
        lambda path: "/q/" + "a" * 5000,
    ],
)
async def test_a_link_that_was_changed_is_nothing(site: Site, change: Callable[[str], str]) -> None:
    path = change(site.path(site.hold()))

    for method in ("GET", "POST"):
        status, page, _ = await site.ask(method, path)
        assert status == 404
        assert "Figures" not in page
    assert site.book.open() == []


async def test_a_link_is_for_one_message_and_one_recipient(site: Site) -> None:
    first, second = site.hold(), site.hold()
    token, other = site.path(first).split("."), site.path(second, "c@example.net").split(".")

    mixed = [
        ".".join((other[0], *token[1:])),
        ".".join((*token[:2], other[2], token[3])),
        site.path(first, "stranger@example.net"),
    ]

    for path in mixed:
        assert (await site.ask("POST", path))[0] == 404


async def test_a_link_of_what_is_gone_is_over(site: Site) -> None:
    held = site.hold()
    path = site.path(held)
    await site.ask("POST", path)

    site.quarantine.delete(held.id)

    assert (await site.ask("GET", path))[0] == 404
    assert site.book.open() == []


async def test_a_flood_of_requests_is_slowed_down(site: Site) -> None:
    path = site.path(site.hold())

    statuses = [(await site.ask("POST", path))[0] for _ in range(62)]

    assert statuses[0] == 200
    assert statuses[-1] == 429
    assert (await site.ask("GET", path))[0] == 200


@pytest.mark.parametrize("on_request", [OnRequest.RELEASE])
async def test_asking_may_release_to_the_one_who_asks(site: Site) -> None:
    held = site.hold()

    _, page, _ = await site.ask("POST", site.path(held, "c@example.net"))

    assert "on its way" in page
    assert site.released == [(held.id, "c@example.net")]
    assert [e.event for e in site.events] == ["requested", "released"]


@pytest.mark.parametrize("on_request", [OnRequest.RELEASE])
async def test_malware_is_never_released_by_asking(site: Site) -> None:
    held = site.hold(INFECTED)

    _, page, _ = await site.ask("POST", site.path(held))

    assert "The administrator decides" in page
    assert site.released == []
    assert len(site.book.open()) == 1


@pytest.mark.parametrize("on_request", [OnRequest.RELEASE])
@pytest.mark.parametrize("answer", ["550 no", TemporaryError("down")])
async def test_what_cannot_be_released_now_stays_a_request(
    site: Site, answer: str | Exception
) -> None:
    site.answer = answer

    _, page, _ = await site.ask("POST", site.path(site.hold()))

    assert "The administrator decides" in page
    assert len(site.book.open()) == 1


def test_a_link_ends_when_it_is_said_to() -> None:
    now = [1_000_000.0]
    links = Links(KEY, "https://m.example", 1, clock=lambda: now[0])
    token = links.make("20261123T101112-1f0c9a3e", "b@example.net").rpartition("/")[2]

    assert links.read(token) is not None
    now[0] += 86_401
    assert links.read(token) is None
    assert Links(bytes(32), "https://m.example", 1, clock=lambda: 0.0).read(token) is None


def test_the_address_is_in_no_link() -> None:
    link = Links(KEY, "https://m.example", 1).make("20261123T101112-1f0c9a3e", "b@example.net")

    assert "example.net" not in link


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state/links.key"

    key = link_key(path)

    assert link_key(path) == key
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["links.key"]
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="others can read it"):
        link_key(path)


def test_a_request_for_one_recipient_ends_when_it_is_granted(tmp_path: Path) -> None:
    site = Site(tmp_path)
    held = site.hold()
    for to in ("b@example.net", "c@example.net"):
        assert site.book.add(ReleaseRequest(held.id, to, datetime.now(UTC)))

    async def send(envelope: Envelope, message: bytes) -> Mapping[str, str]:
        return {}

    asyncio.run(site.quarantine.release(held.id, send, only="b@example.net"))

    assert [request.recipient for request in site.book.open()] == ["c@example.net"]
    assert site.quarantine.get(held.id).envelope.recipients == ("c@example.net",)
    asyncio.run(site.quarantine.release(held.id, send, only="c@example.net"))
    assert (site.book.open(), site.quarantine.ids()) == ([], [])
