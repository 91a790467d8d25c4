"""A publisher with a clock that tests turn, feeds that they write, and python-tuf's own client."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import structlog
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from mailward import durable
from mailward.definitions.model import (
    Channel,
    Current,
    Gate,
    Level,
    Manifest,
    QualityReport,
    ShardKind,
    Version,
)
from mailward.publish import candidates
from mailward.publish.build import build
from mailward.publish.feeds import Draft, Reading
from mailward.publish.home import Home
from mailward.publish.repository import Publisher


class Clock:
    """The time, until somebody changes it."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass
class LineFeed:
    """A feed of hash lines that tests change."""

    lines: list[str]
    name: str = "lines"

    def read(self) -> Reading:
        lines = sorted(self.lines)
        content = "".join(f"{line}\n" for line in lines).encode()
        return Reading((Draft(f"hashes/{self.name}.txt", ShardKind.HASHES, content, len(lines)),))


class PowerCuts:
    """Lets the power go at the n-th rename, before or after it happened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._real = durable.publish
        self._left = 0
        self._after = False
        monkeypatch.setattr(durable, "publish", self._publish)

    def cut_at(self, step: int, after: bool = False) -> None:
        """0: never."""
        self._left, self._after = step, after

    def _publish(self, temporary: Path, path: Path) -> None:
        self._left -= 1
        if self._left != 0 or self._after:
            self._real(temporary, path)
        if self._left == 0:
            raise OSError("the power went")


class _FileFetcher(FetcherInterface):
    def _fetch(self, url: str) -> Iterator[bytes]:
        path = Path(unquote(urlsplit(url).path))
        if not path.is_file():
            raise DownloadHTTPError(f"no {path}", 404)
        yield path.read_bytes()


class Client:
    """What an agent on some computer sees, with its memory of what it trusted before."""

    def __init__(self, home: Home, memory: Path) -> None:
        memory.mkdir(parents=True, exist_ok=True)
        self._downloads = memory / "downloads"
        self._downloads.mkdir(exist_ok=True)
        base = home.public.as_uri()
        self._updater = Updater(
            str(memory),
            f"{base}/metadata/",
            str(self._downloads),
            f"{base}/targets/",
            _FileFetcher(),
            bootstrap=(home.metadata / "1.root.json").read_bytes(),
        )
        self._updater.refresh()

    def read(self, path: str) -> bytes:
        info = self._updater.get_targetinfo(path)
        assert info is not None, f"nothing signed names {path}"
        return Path(self._updater.download_target(info)).read_bytes()

    def names(self, path: str) -> bool:
        return self._updater.get_targetinfo(path) is not None

    def current(self, channel: Channel) -> Current:
        return Current.from_json(self.read(f"{channel}/current.json"))

    def manifest(self, channel: Channel) -> Manifest:
        return Manifest.from_json(self.read(f"{channel}/{self.current(channel).version}.json"))


@pytest.fixture(autouse=True)
def _default_logging() -> Iterator[None]:
    """Commands configure logging for their process; a test's is not theirs."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def publisher(tmp_path: Path, clock: Clock) -> Publisher:
    made = Publisher(tmp_path / "repo", now=clock)
    made.init()
    return made


@pytest.fixture
def home(publisher: Publisher) -> Home:
    return publisher.home


@pytest.fixture
def power(monkeypatch: pytest.MonkeyPatch) -> PowerCuts:
    return PowerCuts(monkeypatch)


@pytest.fixture
def feed() -> LineFeed:
    return LineFeed([f"{n:032x}:*:Test.{n}" for n in range(200)])


@pytest.fixture
def client(home: Home, tmp_path: Path) -> Callable[[], Client]:
    """A client with a fresh memory at each call."""
    count = iter(range(1_000_000))
    return lambda: Client(home, tmp_path / f"client-{next(count)}")


@pytest.fixture
def mark(home: Home, clock: Clock) -> Callable[..., None]:
    """Gives a set the report that a check would have written."""

    def write(version: Version, level: Level = Level.BASIC, passed: bool = True) -> None:
        gate = Gate(name="known-good", passed=passed, culprits=() if passed else ("Bad.Rule",))
        report = QualityReport(level=level, checked_at=clock(), gates=(gate,))
        candidates.save_report(home, version, report)

    return write


@pytest.fixture
def built(
    home: Home, feed: LineFeed, clock: Clock, mark: Callable[..., None]
) -> Callable[[], Version]:
    """Builds another set, with one more line than before, that passed both levels."""
    count = iter(range(1_000_000))

    def make() -> Version:
        feed.lines.append(f"{next(count):064x}:*:More")
        version = build(home, [feed], clock()).version
        mark(version)
        mark(version, Level.STRINGENT)
        return version

    return make
