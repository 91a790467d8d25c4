"""What is remembered of feeds, and what happens when they go bad."""

import json
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailward import durable
from mailward.errors import FetchError, FormatError, PublishError, UsageError
from mailward.publish.feeds import FeedSpec, Reading, remembered
from mailward.publish.home import Home

Hashes = Callable[[int], bytes]
Read = Callable[..., Reading]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "list.txt"


@pytest.fixture
def read(home: Home, place: Path) -> Read:
    """Reads the feed ``far`` as the next build would."""

    def reading(at: object = place, accept: Collection[str] = (), **more: Any) -> Reading:
        spec = FeedSpec("hashes", "far", str(at), **more)
        return remembered(home, [spec], accept=accept)[0].read()

    return reading


def _state(home: Home) -> dict[str, Any]:
    content = json.loads((home.folder / "feeds/far/state.json").read_bytes())
    assert isinstance(content, dict)
    return content


def test_an_accepted_feed_is_remembered(
    home: Home, place: Path, hashes: Hashes, read: Read
) -> None:
    place.write_bytes(hashes(30))
    reading = read()
    state = _state(home)
    assert state["signatures"] == 30
    assert state["place"] == str(place)
    assert state["accepted_at"].endswith("Z")
    assert [shard["name"] for shard in state["shards"]] == [reading.drafts[0].name]
    kept = list((home.folder / "feeds/far").glob("*.zst"))
    assert [path.stem for path in kept] == [state["shards"][0]["sha256"]]


def test_a_new_content_replaces_the_one_before(
    home: Home, place: Path, hashes: Hashes, read: Read
) -> None:
    for count in (30, 31):
        place.write_bytes(hashes(count))
        assert read().signatures == count
    assert _state(home)["signatures"] == 31
    assert len(list((home.folder / "feeds/far").iterdir())) == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "nothing is left of its 30 signatures"),
        (b"<!DOCTYPE html><html>502</html>", "an HTML page"),
        (b"\n\n# nothing but comments\n", "nothing is left"),
        (b"%032x\n" % 1 * 50, "shrank from 30 signatures to 1, by more than 50%"),
        (bytes(1000), "nothing is left"),
    ],
)
def test_a_feed_that_goes_bad_keeps_its_last_good_content(
    home: Home, place: Path, hashes: Hashes, read: Read, content: bytes, says: str
) -> None:
    place.write_bytes(hashes(30))
    good, before = read(), _state(home)
    place.write_bytes(content)
    for _ in range(2):
        reading = read()
        assert reading.drafts == good.drafts
        assert says in reading.kept
        assert _state(home) == before
    place.write_bytes(hashes(29))
    reading = read()
    assert (reading.signatures, reading.kept) == (29, "")


@pytest.mark.parametrize(("left", "kept"), [(16, False), (15, False), (14, True), (0, True)])
def test_half_may_go_at_once_and_no_more(
    place: Path, hashes: Hashes, read: Read, left: int, kept: bool
) -> None:
    place.write_bytes(hashes(30))
    read()
    place.write_bytes(hashes(left))
    assert bool(read().kept) is kept


@pytest.mark.parametrize(
    ("share", "left", "kept"), [(0.1, 26, True), (0.1, 27, False), (1, 1, False)]
)
def test_how_much_may_go_is_each_feeds_own(
    place: Path, hashes: Hashes, read: Read, share: float, left: int, kept: bool
) -> None:
    place.write_bytes(hashes(30))
    read(max_shrink=share)
    place.write_bytes(hashes(left))
    assert bool(read(max_shrink=share).kept) is kept


def test_a_handful_may_shrink_but_not_vanish(place: Path, hashes: Hashes, read: Read) -> None:
    for count, kept in ((9, False), (1, False), (0, True)):
        place.write_bytes(hashes(count))
        assert bool(read().kept) is kept


def test_the_publisher_can_take_it_as_it_is(
    home: Home, place: Path, hashes: Hashes, read: Read
) -> None:
    place.write_bytes(hashes(30))
    read()
    place.write_bytes(hashes(2))
    assert "repo build --accept far" in read().kept
    assert read(accept=["far"]).signatures == 2
    assert _state(home)["signatures"] == 2
    assert not read().kept


def test_a_container_that_goes_back_to_an_older_version_is_refused(
    home: Home, tmp_path: Path, container: Any
) -> None:
    path = tmp_path / "db.cud"
    results = []
    for version in (8, 7, 9):
        members = {"x.ndb": b"A:0:*:00\nV%d:0:*:00\n" % version}
        path.write_bytes(container(members, version=version))
        (feed,) = remembered(home, [FeedSpec("clamav", "db", str(path))])
        reading = feed.read()
        results.append((reading.versions, "back from version 8 to 7" in reading.kept))
    assert results == [((("db", 8),), False), ((("db", 8),), True), ((("db", 9),), False)]


def test_the_first_time_there_is_nothing_to_fall_back_to(
    home: Home, place: Path, read: Read
) -> None:
    place.write_bytes(b"<html>")
    with pytest.raises(FormatError, match="HTML"):
        read()
    assert not (home.folder / "feeds").exists()


def test_a_file_that_is_gone_keeps_its_content_and_a_slip_of_the_pen_is_an_error(
    place: Path, hashes: Hashes, read: Read
) -> None:
    place.write_bytes(hashes(30))
    read()
    place.unlink()
    assert "no such file" in read().kept
    with pytest.raises(UsageError, match="no such file"):
        read(at=f"{place}.old")


def test_a_feed_that_moves_is_still_the_same_feed(
    place: Path, hashes: Hashes, read: Read, tmp_path: Path
) -> None:
    place.write_bytes(hashes(30))
    read()
    (tmp_path / "new.txt").write_bytes(hashes(3))
    assert "shrank" in read(at=tmp_path / "new.txt").kept


# --- addresses ------------------------------------------------------------------------------------


def test_a_server_that_fails_keeps_the_last_good_content(
    web: Any, hashes: Hashes, read: Read
) -> None:
    web.give(hashes(30))
    good = read(at=web.address)
    for status in (404, 500):
        web.status = status
        reading = read(at=web.address)
        assert reading.drafts == good.drafts
        assert str(status) in reading.kept


def test_a_server_that_fails_the_first_time_is_an_error(web: Any, read: Read) -> None:
    web.status = 500
    with pytest.raises(FetchError, match="500"):
        read(at=web.address)


def test_what_did_not_change_is_not_sent_again(web: Any, hashes: Hashes, read: Read) -> None:
    web.give(hashes(30), ETag='"one"')
    good = read(at=web.address)
    again = read(at=web.address)
    assert web.asked[1]["If-None-Match"] == '"one"'
    assert (again.drafts, again.kept) == (good.drafts, "")


def test_a_refused_contents_etag_is_not_remembered(
    home: Home, web: Any, hashes: Hashes, read: Read
) -> None:
    web.give(hashes(30), ETag='"good"')
    read(at=web.address)
    web.give(b"<html>", ETag='"bad"')
    assert read(at=web.address).kept
    assert _state(home)["etag"] == '"good"'
    web.give(hashes(31), ETag='"bad"')
    assert read(at=web.address).signatures == 31


def test_other_settings_read_the_same_file_anew(web: Any, hashes: Hashes, read: Read) -> None:
    web.give(hashes(30), ETag='"one"')
    read(at=web.address)
    read(at=web.address, suffix=".hdb")
    assert "If-None-Match" not in web.asked[1]


def test_a_lost_content_is_fetched_again(home: Home, web: Any, hashes: Hashes, read: Read) -> None:
    web.give(hashes(30), ETag='"one"')
    good = read(at=web.address)
    for path in (home.folder / "feeds/far").glob("*.zst"):
        path.write_bytes(b"damaged")
    assert read(at=web.address).drafts == good.drafts


def test_a_damaged_state_is_no_state(home: Home, place: Path, hashes: Hashes, read: Read) -> None:
    place.write_bytes(hashes(30))
    read()
    for damage in (b"", b"{", b"\0" * 100, b'{"place": 1}'):
        (home.folder / "feeds/far/state.json").write_bytes(damage)
        assert read().signatures == 30
    assert _state(home)["signatures"] == 30


def test_a_damaged_last_good_content_is_no_way_out(
    home: Home, place: Path, hashes: Hashes, read: Read
) -> None:
    place.write_bytes(hashes(30))
    read()
    for path in (home.folder / "feeds/far").glob("*.zst"):
        path.write_bytes(path.read_bytes()[:-5])
    place.write_bytes(b"<html>")
    with pytest.raises(FormatError, match="HTML"):
        read()


# --- power ----------------------------------------------------------------------------------------


@pytest.fixture
def power(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, bool], None]]:
    """Lets the power go at the n-th rename, before or after it happened."""
    real, left = durable.publish, [0, False]

    def publish(temporary: Path, path: Path) -> None:
        left[0] -= 1
        if left[0] != 0 or left[1]:
            real(temporary, path)
        if left[0] == 0:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "publish", publish)

    def cut_at(step: int, after: bool) -> None:
        left[:] = [step, after]

    yield cut_at
    left[:] = [0, False]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", [1, 2])
def test_a_crash_while_remembering_leaves_the_old_state_or_the_new_one(
    home: Home, place: Path, hashes: Hashes, read: Read, power: Any, step: int, after: bool
) -> None:
    place.write_bytes(hashes(30))
    read()
    place.write_bytes(hashes(31))
    power(step, after)
    with pytest.raises(PublishError, match="No space left"):
        read()
    power(0, False)
    place.write_bytes(b"<html>")
    reading = read()
    assert reading.signatures == (31 if (step, after) == (2, True) else 30)
    place.write_bytes(hashes(31))
    assert read().signatures == 31
    assert not list((home.folder / "feeds/far").glob(".tmp-*"))


# --- names ----------------------------------------------------------------------------------------


def test_two_feeds_of_one_name_are_refused(home: Home, place: Path) -> None:
    specs = [FeedSpec("hashes", "far", str(place)), FeedSpec("yara", "far", str(place))]
    with pytest.raises(UsageError, match="two feeds are called far"):
        remembered(home, specs)


def test_accepting_a_feed_that_is_not_there_is_refused(home: Home, place: Path) -> None:
    with pytest.raises(UsageError, match="no feed called fra to accept: far"):
        remembered(home, [FeedSpec("hashes", "far", str(place))], accept=["fra"])


def test_memory_can_be_removed_by_hand(home: Home, place: Path, hashes: Hashes, read: Read) -> None:
    place.write_bytes(hashes(30))
    read()
    shutil.rmtree(home.folder / "feeds")
    place.write_bytes(hashes(2))
    assert read().signatures == 2
