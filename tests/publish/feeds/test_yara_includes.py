"""What YARA sources include."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mailward.publish.feeds import parse_spec
from mailward.publish.feeds.base import Reading
from mailward.scan.engine import Source
from mailward.scan.engines.yara_compile import compile_sources

Write = Callable[..., Reading]


@pytest.fixture
def read(tmp_path: Path) -> Write:
    """A feed of files given by name, with ``_in_`` for a slash."""

    def reading(place: str = "", **files: str) -> Reading:
        for name, text in files.items():
            path = tmp_path / "rules" / (name.replace("_in_", "/") + ".yar")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return parse_spec(f"yara:mine={tmp_path / 'rules' / place}").read()

    return reading


def _sources(reading: Reading) -> dict[str, str]:
    lines = [json.loads(line) for line in reading.drafts[0].content.splitlines()]
    return {line["namespace"].removeprefix("mine/"): line["source"] for line in lines}


def _rule(name: str, condition: str = "true") -> str:
    return f"rule {name} {{ condition: {condition} }}\n"


def test_a_rule_finds_what_its_file_includes(read: Write, tmp_path: Path) -> None:
    reading = read(
        use='include "lib/base.yar"\n' + _rule("Use", "Base"),
        lib_in_base="private " + _rule("Base"),
    )
    assert list(_sources(reading)) == ["use.yar"]
    shard = tmp_path / "shard"
    shard.write_bytes(reading.drafts[0].content)
    _, preparation = compile_sources(
        [Source(reading.drafts[0].name, reading.drafts[0].kind, shard)]
    )
    assert not preparation.refused
    assert preparation.signatures == 1


def test_paths_are_relative_to_the_file_they_stand_in(read: Write) -> None:
    reading = read(
        top='include "a/one.yar"\n' + _rule("Top"),
        a_in_one='include "../b/two.yar"\n' + _rule("One"),
        b_in_two=_rule("Two"),
    )
    (source,) = _sources(reading).values()
    assert [name for name in ("Two", "One", "Top") if f"rule {name}" in source] == [
        "Two", "One", "Top"
    ]  # fmt: skip
    assert reading.drafts[0].signatures == 3


def test_an_index_is_a_list_of_files_that_stand_for_themselves(read: Write) -> None:
    files = {
        "index": '/* all */ include "./a.yar"\ninclude "sub/b.yar"\n',
        "a": _rule("Same"),
        "sub_in_b": _rule("Same"),
    }
    for place in ("", "index.yar"):
        assert set(_sources(read(place, **files))) == {"a.yar", "sub/b.yar"}


def test_a_lone_file_includes_from_its_folder(read: Write) -> None:
    reading = read("use.yar", use='include "base.yar"\n' + _rule("Use", "Base"), base=_rule("Base"))
    assert _sources(reading)["use.yar"].count("rule ") == 2


@pytest.mark.parametrize(
    "path", ["../secret.yar", "/etc/passwd", "link.yar", "missing.yar", "", ".", "x" * 5000, "loop"]
)
def test_nothing_but_files_of_the_feeds_folder_is_included(
    read: Write, tmp_path: Path, path: str
) -> None:
    read(use=_rule("Use"))
    (tmp_path / "secret.yar").write_text(_rule("Secret"))
    (tmp_path / "rules/link.yar").symlink_to(tmp_path / "secret.yar")
    (tmp_path / "rules/loop").symlink_to("loop")
    reading = read(use=f'include "{path}"\n' + _rule("Use"))
    (source,) = _sources(reading).values()
    assert source.split() == _rule("Use").split()
    assert any(
        "use.yar, line 1" in piece.where and "not a readable file" in piece.reason
        for piece in reading.left_out
    )


def test_an_absolute_path_into_the_folder_is_the_same_file(read: Write, tmp_path: Path) -> None:
    inside = tmp_path / "rules/base.yar"
    reading = read(use=f'include "{inside}"\n' + _rule("Use", "Base"), base=_rule("Base"))
    assert reading.drafts[0].signatures == 2


def test_includes_in_a_circle_end(read: Write) -> None:
    reading = read(
        a='include "b.yar"\n' + _rule("A"),
        b='include "a.yar"\n' + _rule("B"),
        self='include "self.yar"\n' + _rule("Self"),
    )
    assert set(_sources(reading)) == {"a.yar", "self.yar"}
    assert reading.drafts[0].signatures == 3


def test_indexes_in_a_circle_end(read: Write) -> None:
    reading = read(
        one='include "two.yar"\n', two='include "one.yar"\ninclude "rule.yar"\n', rule=_rule("R")
    )
    assert set(_sources(reading)) == {"rule.yar"}


def test_what_is_included_twice_is_there_once(read: Write) -> None:
    # Each file doubles the one before it: 2^30 rules, if they were put in as often as they stand.
    files = {f"f{n}": f'include "f{n + 1}.yar"\n' * 2 + _rule(f"R{n}") for n in range(15)}
    reading = read(**files, f15=_rule("R15"))
    assert reading.drafts[0].signatures == 16


def test_too_deep_is_left_out(read: Write) -> None:
    files = {f"f{n:02}": f'include "f{n + 1:02}.yar"\n' + _rule(f"R{n}") for n in range(30)}
    reading = read(**files, f30=_rule("R30"))
    assert any("files deep" in piece.reason for piece in reading.left_out)


def test_too_much_together_is_left_out(read: Write) -> None:
    big = "/*" + "x" * (9 << 20) + "*/\n"
    reading = read(
        use='include "a.yar"\ninclude "b.yar"\n' + _rule("Use"),
        a=big + _rule("A"),
        b=big + _rule("B"),
    )
    assert any("bytes together" in piece.reason for piece in reading.left_out)
    assert "rule Use" in _sources(reading)["use.yar"]


@pytest.mark.parametrize(
    "text",
    [
        '// include "base.yar"\n',
        '/* include "base.yar" */\n',
        'rule S { strings: $a = "include \\"base.yar\\"" condition: $a }\n',
        'rule R { strings: $a = /include "base.yar"/ condition: $a }\n',
    ],
)
def test_the_word_elsewhere_is_no_include(read: Write, text: str) -> None:
    reading = read(use=text + _rule("Use"), base=_rule("Base"))
    assert set(_sources(reading)) == {"use.yar", "base.yar"}
    assert _sources(reading)["use.yar"].startswith(text)


def test_a_bad_included_file_costs_itself(read: Write, tmp_path: Path) -> None:
    read(use=_rule("Use"))
    (tmp_path / "rules/nul.yar").write_bytes(b"rule N { condition: \0true }")
    (tmp_path / "rules/page.yar").write_bytes(b"<html>")
    reading = read(use='include "nul.yar"\ninclude "page.yar"\n' + _rule("Use"))
    assert reading.drafts[0].signatures == 1
    assert sum("use.yar" in piece.where for piece in reading.left_out) == 2
