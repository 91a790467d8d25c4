import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailward.definitions.model import (
    CURRENT_MAX_BYTES,
    ENGINE_LEVEL,
    MANIFEST_MAX_BYTES,
    Channel,
    Current,
    Manifest,
    Trial,
    Version,
    require_readable,
)
from mailward.definitions.testing import sample_set, sample_trial
from mailward.errors import FormatError

PARTS = st.integers(0, 10**64 - 1)
NAMES = st.text("abcXYZ019._+@-", min_size=1, max_size=20).filter(lambda n: n not in (".", ".."))


def plain(**changes: Any) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(sample_set("20261123.007").manifest.to_json())
    return manifest | changes


def raw(**changes: Any) -> bytes:
    return json.dumps(plain(**changes)).encode()


def shard(**changes: Any) -> dict[str, Any]:
    first: dict[str, Any] = plain()["shards"][0]
    return first | changes


# Versions


@given(PARTS, PARTS, PARTS, PARTS)
def test_versions_compare_as_two_integers(a: int, b: int, c: int, d: int) -> None:
    one, other = Version(a, b), Version(c, d)
    assert (one < other) == ((a, b) < (c, d))
    assert (one >= other) == ((a, b) >= (c, d))
    assert (one == other) == ((a, b) == (c, d))
    assert one != other or hash(one) == hash(other)


@given(PARTS, PARTS)
def test_every_version_has_one_text_that_reads_back(date: int, number: int) -> None:
    version = Version(date, number)
    assert Version.parse(str(version)) == version


@given(st.text("0123456789.", max_size=40) | st.text(max_size=20))
def test_a_text_is_refused_or_is_the_one_spelling(text: str) -> None:
    try:
        version = Version.parse(text)
    except FormatError:
        return
    assert str(version) == text


def test_text_order_would_be_wrong() -> None:
    texts = ["20251231.999", "20260101.999", "20260101.1000", "100000000.000", "9" * 30 + ".000"]
    assert sorted(texts) != texts
    assert sorted(map(Version.parse, texts)) == [Version.parse(text) for text in texts]


@pytest.mark.parametrize(
    "text",
    ["20240229.001", "20250229.001", "99991231.999", "00000000.000", "9" * 64 + "." + "9" * 64],
)
def test_any_number_is_a_date_because_versions_are_not_a_calendar(text: str) -> None:
    assert str(Version.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "20261123",
        "20261123.",
        ".007",
        "20261123.7",
        "20261123.07",
        "20261123.0007",
        "020261123.007",
        "20261123.007 ",
        " 20261123.007",
        "20261123.007\n",
        "20261123,007",
        "20261123.007.001",
        "-0261123.007",
        "+20261123.007",
        "20261123.-07",
        "2026_1123.007",
        "2026112e3.007",
        "20261123.0x7",
        "".join(chr(0x660 + int(c)) if c.isdigit() else c for c in "20261123.007"),
        "".join(chr(0xFF10 + int(c)) for c in "20261123") + ".007",
        "20261123\0.007",
        "../../../etc/passwd",
        "9" * 65 + ".001",
        "20261123." + "9" * 65,
        "9" * 100_000 + ".001",
    ],
)
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(FormatError):
        Version.parse(text)


@pytest.mark.parametrize(("date", "number"), [(-1, 0), (0, -1), (10**64, 0), (0, 10**64)])
def test_versions_without_a_text_cannot_be_made(date: int, number: int) -> None:
    with pytest.raises(FormatError):
        Version(date, number)


def test_a_version_is_a_frozen_value_that_only_compares_with_its_like() -> None:
    version = Version(20261123, 7)
    with pytest.raises(AttributeError):
        version.date = 1  # type: ignore[misc]  # that is the point
    with pytest.raises(TypeError):
        sorted([version, "20261123.008"])  # type: ignore[type-var]  # that is the point
    text: object = "20261123.007"
    assert version != text
    assert repr(version) == "Version('20261123.007')"


# Manifests


@pytest.mark.parametrize("channel", Channel)
def test_a_manifest_reads_back_as_it_was_written(channel: Channel) -> None:
    manifest = sample_set("20261123.007", channel=channel).manifest
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert Manifest.from_json(manifest.to_json()).to_json() == manifest.to_json()


def test_a_manifest_counts_its_signatures_and_bytes() -> None:
    manifest = sample_set("20261123.007", {"a": b"1\n2\n", "b": b"3\n"}).manifest
    assert (manifest.signatures, manifest.size_bytes) == (3, 6)


def test_every_truncation_of_a_manifest_is_refused() -> None:
    whole = sample_set("20261123.007").manifest.to_json().rstrip()
    for length in range(len(whole)):
        with pytest.raises(FormatError):
            Manifest.from_json(whole[:length])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_refused(content: bytes) -> None:
    for kind in (Manifest, Trial, Current):
        with pytest.raises(FormatError):
            kind.from_json(content)


@given(st.data())
def test_a_flipped_bit_gives_a_manifest_or_a_format_error(data: st.DataObject) -> None:
    content = bytearray(sample_set("20261123.007").manifest.to_json())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        manifest = Manifest.from_json(bytes(content))
    except FormatError:
        return
    assert Manifest.from_json(manifest.to_json()) == manifest


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.sampled_from(sorted(plain())), JSON)
def test_wrong_types_are_refused_with_a_format_error(key: str, value: object) -> None:
    try:
        manifest = Manifest.from_json(raw(**{key: value}))
    except FormatError:
        return
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize("missing", ["version", "channel", "built_at", "engine_level", "shards"])
def test_a_missing_field_is_named(missing: str) -> None:
    content = plain()
    del content[missing]
    with pytest.raises(FormatError, match=missing):
        Manifest.from_json(json.dumps(content).encode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("engine_level", True),
        ("engine_level", "1"),
        ("engine_level", 1.0),
        ("engine_level", 0),
        ("version", 20261123.007),
        ("version", ["20261123.007"]),
        ("channel", "stable"),
        ("shards", {}),
        ("shards", None),
        ("built_at", 1767225600),
        ("built_at", "2026-11-23T00:00:00"),
        ("built_at", "9999-12-31T23:59:59-23:00"),
        ("built_at", "0001-01-01T00:00:00+14:00"),
        ("built_at", "2026-02-29T00:00:00Z"),
    ],
)
def test_a_value_is_not_bent_into_shape(field: str, value: object) -> None:
    with pytest.raises(FormatError, match=field):
        Manifest.from_json(raw(**{field: value}))


@given(st.datetimes(datetime(1970, 1, 2), datetime(9998, 12, 30), timezones=st.timezones()))  # noqa: DTZ001 (bounds of naive times, the zone is drawn)
def test_times_are_kept_in_utc_and_every_zone_can_show_them(moment: datetime) -> None:
    manifest = Manifest.from_json(raw(built_at=moment.isoformat(timespec="seconds")[:25]))
    assert manifest.built_at.tzinfo is UTC
    assert manifest.built_at.astimezone().isoformat()


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "/", "/etc/passwd", "a/../b", "../a", "a/..", "a//b", "a/", "./a"),
        *("a\\b", "a b", "a\0b", "a\nb", "a\n", "ä", "a:b", "~", "*", "x" * 201),
    ],
)
def test_a_shard_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    with pytest.raises(FormatError, match=r"shards\.0\.name"):
        Manifest.from_json(raw(shards=[shard(name=name)]))


@given(st.lists(NAMES, min_size=1, max_size=5).map("/".join))
def test_an_honest_shard_name_is_taken(name: str) -> None:
    assert Manifest.from_json(raw(shards=[shard(name=name)])).shards[0].name == name


def test_two_shards_with_one_name_are_refused() -> None:
    twice = [shard(), shard(sha256="0" * 64)]
    with pytest.raises(FormatError, match="same name"):
        Manifest.from_json(raw(shards=twice))


@pytest.mark.parametrize(
    "sha256", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n", "../" + "a" * 61, None]
)
def test_a_hash_has_one_spelling(sha256: object) -> None:
    with pytest.raises(FormatError, match="sha256"):
        Manifest.from_json(raw(shards=[shard(sha256=sha256)]))


@pytest.mark.parametrize("field", ["size_bytes", "object_bytes", "signatures"])
@pytest.mark.parametrize("value", [-1, (1 << 40) + 1, 10**30, 1.5, "1", True, None])
def test_counts_and_sizes_are_bounded_integers(field: str, value: object) -> None:
    with pytest.raises(FormatError, match=field):
        Manifest.from_json(raw(shards=[shard(**{field: value})]))


def test_what_a_newer_publisher_adds_is_ignored() -> None:
    content = plain(mood="good", shards=[shard(colour={"deep": [1, 2]})])
    manifest = Manifest.from_json(json.dumps(content).encode())
    assert b"mood" not in manifest.to_json()
    assert b"colour" not in manifest.to_json()


def test_what_a_newer_publisher_makes_necessary_is_refused_and_says_so() -> None:
    newer = ENGINE_LEVEL + 1
    with pytest.raises(FormatError, match="update Mailward"):
        Manifest.from_json(raw(engine_level=newer, shards=[shard(kind="neural")]))
    with pytest.raises(FormatError, match="update Mailward"):
        Manifest.from_json(raw(engine_level=10**30))
    with pytest.raises(FormatError, match="update Mailward"):
        require_readable(newer, "set 20261123.007")
    require_readable(ENGINE_LEVEL, "set 20261123.007")
    with pytest.raises(FormatError, match="kind"):
        Manifest.from_json(raw(shards=[shard(kind="neural")]))


@pytest.mark.parametrize("opener", [b"[", b'{"a":', b'{"shards":[{"name":['])
def test_deep_nesting_is_refused(opener: bytes) -> None:
    with pytest.raises(FormatError):
        Manifest.from_json(b'{"x":' + opener * 200_000)


def test_deep_nesting_in_an_unknown_field_is_refused() -> None:
    content = raw()[:-1] + b', "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(FormatError):
        Manifest.from_json(content)


def test_sizes_are_bounded_before_anything_is_read() -> None:
    for kind, bound in ((Manifest, MANIFEST_MAX_BYTES), (Current, CURRENT_MAX_BYTES)):
        with pytest.raises(FormatError, match="more than"):
            kind.from_json(b" " * (bound + 1))


def test_too_many_shards_are_refused() -> None:
    many = [shard(name=f"s{number}") for number in range(10_001)]
    with pytest.raises(FormatError, match="shards"):
        Manifest.from_json(raw(shards=many))


def test_nul_and_other_controls_in_texts_survive_as_they_are() -> None:
    report = {
        "level": "basic",
        "checked_at": "2026-11-23T00:00:00Z",
        "gates": [{"name": "a\0b\x1b[2J", "passed": False}],
    }
    manifest = Manifest.from_json(raw(report=report))
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_a_text_that_is_not_unicode_is_refused() -> None:
    for content in (raw()[:-1] + b', "x": "\\ud800"}', raw()[:-1] + b', "x": "\xff"}', b"\xff\xfe"):
        with pytest.raises(FormatError):
            Manifest.from_json(content)


def test_a_report_without_gates_passed_nothing() -> None:
    report = {"level": "basic", "checked_at": "2026-11-23T00:00:00Z", "gates": []}
    manifest = Manifest.from_json(raw(report=report))
    assert manifest.report is not None
    assert not manifest.report.passed


# The others


def test_a_trial_reads_back_as_it_was_written() -> None:
    trial = sample_trial(Version(20261123, 7), "hung")
    assert Trial.from_json(trial.to_json()) == trial


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_trial_has_no_numbers_that_json_does_not_know(value: str) -> None:
    content = sample_trial(Version(20261123, 7)).to_json()
    assert b'"duration_ms": 0.0' in content
    with pytest.raises(FormatError, match="duration_ms"):
        Trial.from_json(content.replace(b'"duration_ms": 0.0', b'"duration_ms": ' + value.encode()))


def test_current_reads_back_as_it_was_written() -> None:
    current = Current(
        channel=Channel.RAPID,
        version=Version(20261123, 7),
        published_at=datetime(2026, 11, 23, tzinfo=UTC),
        engine_level=1,
        withdrawn={"20261123.006": "false alarms"},
    )
    assert Current.from_json(current.to_json()) == current
