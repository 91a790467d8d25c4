"""Signatures that are switched off: which hits are dropped, and what is left alone."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mailward.definitions.model import ShardKind
from mailward.errors import FormatError
from mailward.scan import excluded
from mailward.scan.engine import Hit, Source
from mailward.scan.engines import all_engines
from mailward.scan.part import Part, Role
from mailward.scan.prepared import LoadedSet, prepare, read_preparation

CONTENT = b"a harmless document"
SHA256 = hashlib.sha256(CONTENT).hexdigest()

Load = Callable[..., LoadedSet]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load_(*entries: str, yara: dict[str, str] | None = None, hashes: str = "") -> LoadedSet:
        lines = [json.dumps({"namespace": n, "source": s}) for n, s in sorted((yara or {}).items())]
        contents = {
            ShardKind.YARA: "".join(f"{line}\n" for line in lines),
            ShardKind.HASHES: hashes,
            ShardKind.EXCLUDED: "".join(f"{entry}\n" for entry in sorted(entries)),
        }
        sources = []
        for kind, content in contents.items():
            path = tmp_path / kind.value
            path.write_text(content)
            sources.append(Source(f"{kind.value}/test", kind, path))
        prepare(sources, all_engines(), tmp_path / "prepared")
        return LoadedSet.load("test", tmp_path / "prepared", all_engines())

    return load_


def found(loaded: LoadedSet, content: bytes = CONTENT) -> list[str]:
    part = Part("file", content, Role.FILE)
    names = sorted(risk.name for risk in loaded.scan(part, 20.0))
    loaded.close()
    return names


def test_a_hash_is_excluded_by_its_digest_and_others_of_its_name_stay(load: Load) -> None:
    bad = hashlib.sha256(b"bad").hexdigest()
    hashes = f"{SHA256}:*:Feed.Name\n{bad}:*:Feed.Name\n"
    loaded = load(f"hashes:{SHA256}", hashes=hashes)
    assert [r.name for r in loaded.scan(Part("f", CONTENT, Role.FILE), 20.0)] == []
    assert found(loaded, b"bad") == ["Feed.Name"]


def test_hashes_are_excluded_by_name_all_of_them(load: Load) -> None:
    hashes = f"{SHA256}:*:Feed.Name\n{hashlib.md5(CONTENT).hexdigest()}:*:Other.Name\n"
    assert found(load("hashes:Feed.Name", hashes=hashes)) == ["Other.Name"]


def test_a_rule_is_excluded_in_its_namespace_only(load: Load) -> None:
    rules = dict.fromkeys(("a", "b"), 'rule Broad { strings: $a = "harmless" condition: $a }')
    assert found(load("yara:a:Broad", yara=rules)) == ["Broad"]


def test_a_rule_excluded_in_every_namespace_finds_nothing(load: Load) -> None:
    rules = dict.fromkeys(("a", "b"), 'rule Broad { strings: $a = "harmless" condition: $a }')
    assert found(load("yara:a:Broad", "yara:b:Broad", yara=rules)) == []


def test_a_namespace_may_hold_colons(load: Load) -> None:
    loaded = load("yara:feed/a:b.yar:Broad", yara={"feed/a:b.yar": "rule Broad {condition: true}"})
    assert found(loaded) == []


def test_a_rule_that_refers_to_an_excluded_one_goes_on_working(load: Load) -> None:
    source = (
        'rule Base { strings: $a = "harmless" condition: $a }\n'
        'rule Built { strings: $a = "document" condition: Base and $a }'
    )
    assert found(load("yara:a:Base", yara={"a": source})) == ["Built"]


def test_a_risk_is_excluded_whatever_rule_reports_it(load: Load) -> None:
    source = (
        'rule one { meta: name = "Mail.Broad" condition: true }\n'
        'rule two { meta: name = "Mail.Broad" condition: true }\n'
        'rule three { meta: name = "Mail.Fine" condition: true }'
    )
    assert found(load("yara:Mail.Broad", yara={"a": source})) == ["Mail.Fine"]


def test_what_is_excluded_of_one_engine_stays_in_another(load: Load) -> None:
    rules = {"a": "rule Same { condition: true }"}
    loaded = load("hashes:Same", yara=rules, hashes=f"{SHA256}:*:Same\n")
    assert found(loaded) == ["Same"]


def test_entries_for_what_is_not_there_mean_nothing(load: Load) -> None:
    loaded = load("future:Some.Signature", "yara:gone:Gone", yara={"a": "rule A {condition: true}"})
    assert found(loaded) == ["A"]


def test_an_excluded_signature_still_shows_that_its_engine_works(load: Load) -> None:
    loaded = load("yara:a:A", yara={"a": "rule A {condition: true}"})
    assert loaded.names(Part("file", b"x", Role.FILE), 20.0) == {"A"}
    assert found(loaded) == []


def test_a_risk_names_the_signatures_that_are_left(load: Load) -> None:
    rules = dict.fromkeys(("a", "b"), "rule Broad { condition: true }")
    loaded = load("yara:a:Broad", yara=rules)
    (risk,) = loaded.scan(Part("file", b"x", Role.FILE), 20.0)
    assert risk.signatures == ("yara:b:Broad",)
    loaded.close()


def test_the_preparation_notes_what_is_switched_off(load: Load, tmp_path: Path) -> None:
    load("yara:a:A", "hashes:x", yara={"a": "rule A {condition: true}"}).close()
    noted = {e.name: read_preparation(tmp_path / "prepared", e).excluded for e in all_engines()}
    assert noted["yara"] == ("a:A",)
    assert noted["hashes"] == ("x",)


def test_a_hit_without_signatures_is_only_excluded_by_name() -> None:
    assert excluded.without(Hit("A"), {"B"}) == Hit("A")
    assert excluded.without(Hit("A"), {"A"}) is None


@pytest.mark.parametrize(
    "entry",
    ["", "A", ":A", "yara:", "Yara:A", "ya ra:A", "yara:a\n", "yara:a\x07", " yara:a", "yara:a ",
     "yara:" + "x" * 1000, "yara:\ud800"],
)  # fmt: skip
def test_what_is_no_entry_is_said_to_be_none(entry: str) -> None:
    assert excluded.problem(entry)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\xff:x\n", "line 1"),
        (b"yara:a\nno colon\n", "line 2"),
        (b"\0" * 1000, "line 1"),
        (b"yara:" + b"x" * 100_000, "line 1"),
        (b"yara:a\r\n", "line 1"),
        (b"yara:a\n" * (excluded.ENTRIES_MAX + 1), "more"),
        (b"x" * (excluded.ENTRIES_MAX * 200 + 1), "more"),
    ],
    ids=["not UTF-8", "no colon", "NULs", "gigantic", "CR", "too many", "too long"],
)
def test_a_hostile_shard_is_refused(tmp_path: Path, content: bytes, line: str) -> None:
    path = tmp_path / "shard"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=line):
        excluded.read([Source("excluded.txt", ShardKind.EXCLUDED, path)])


def test_an_empty_shard_excludes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    path.touch()
    assert excluded.read([Source("excluded.txt", ShardKind.EXCLUDED, path)]) == frozenset()
