"""``excluded.txt``: what checks add and people edit, and how it gets into sets."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailward.definitions.model import Manifest, ShardKind
from mailward.errors import UsageError
from mailward.publish import exclusions, objects
from mailward.publish.build import build, rebuild
from mailward.publish.home import Home

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def _shard(home: Home, manifest: Manifest) -> bytes | None:
    found = [shard for shard in manifest.shards if shard.kind is ShardKind.EXCLUDED]
    return objects.get(home, found[0]) if found else None


def test_what_is_added_is_read_back_with_the_reason_beside_it(home: Home) -> None:
    assert exclusions.add(home, ["yara:a:B", "hashes:ff"], "hit minutes.txt", NOW) == (
        "hashes:ff",
        "yara:a:B",
    )
    assert exclusions.read(home) == ("hashes:ff", "yara:a:B")
    assert "# 2026-11-23: hit minutes.txt\nhashes:ff\n" in home.excluded.read_text()


def test_what_is_there_is_not_added_again(home: Home) -> None:
    exclusions.add(home, ["yara:a:B"], "one", NOW)
    before = home.excluded.read_bytes()
    assert exclusions.add(home, ["yara:a:B"], "two", NOW) == ()
    assert home.excluded.read_bytes() == before


def test_what_people_wrote_stays(home: Home) -> None:
    home.excluded.write_text("# my own remark\n\n  yara:x:Y  \n")
    exclusions.add(home, ["yara:a:B"], "two\nlines", NOW)
    text = home.excluded.read_text()
    assert text.startswith("# my own remark\n\n  yara:x:Y")
    assert "# 2026-11-23: two lines\n" in text
    assert exclusions.read(home) == ("yara:a:B", "yara:x:Y")


@pytest.mark.parametrize("line", [b"no colon", b"YARA:a:b", b"yara:\x07", b"\xff", b"\0"])
def test_a_line_that_is_none_is_named(home: Home, line: bytes) -> None:
    home.excluded.write_bytes(b"# remark\n" + line + b"\n")
    with pytest.raises(UsageError, match=r"excluded\.txt"):
        exclusions.read(home)


def test_a_build_carries_the_exclusions_and_the_next_one_too(home: Home, feed: Any) -> None:
    assert _shard(home, build(home, [feed]).manifest) is None
    exclusions.add(home, ["yara:a:B", "hashes:ff"], "test", NOW)
    first = build(home, [feed])
    assert first.new
    assert _shard(home, first.manifest) == b"hashes:ff\nyara:a:B\n"
    feed.lines.append(f"{'f' * 64}:*:More")
    assert _shard(home, build(home, [feed]).manifest) == b"hashes:ff\nyara:a:B\n"
    home.excluded.unlink()
    assert _shard(home, build(home, [feed]).manifest) is None


def test_exclusions_are_no_signatures(home: Home, feed: Any) -> None:
    before = build(home, [feed]).manifest.signatures
    exclusions.add(home, ["yara:a:B"], "test", NOW)
    assert build(home, [feed]).manifest.signatures == before


def test_a_rebuilt_set_has_the_same_content_otherwise(home: Home, feed: Any) -> None:
    exclusions.add(home, ["yara:a:B"], "test", NOW)
    old = build(home, [feed]).manifest
    exclusions.add(home, ["yara:c:D"], "test", NOW)
    new = rebuild(home, old)
    assert new.version > old.version
    assert [s for s in new.shards if s.kind is not ShardKind.EXCLUDED] == [
        s for s in old.shards if s.kind is not ShardKind.EXCLUDED
    ]
    assert _shard(home, new) == b"yara:a:B\nyara:c:D\n"
    assert not build(home, [feed]).new


def test_a_damaged_list_stops_the_build(home: Home, feed: Any, tmp_path: Path) -> None:
    home.excluded.write_text("nonsense\n")
    with pytest.raises(UsageError, match="line 1"):
        build(home, [feed])
