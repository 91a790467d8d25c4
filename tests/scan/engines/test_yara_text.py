"""Finding the rules that a source declares."""

from collections import Counter
from pathlib import Path

import pytest
import yara_x

from mailward.scan.engines.yara_text import Declared, declared_rules


def names(source: str) -> list[str]:
    return [rule.name for rule in declared_rules(source.encode())]


def test_finds_rules_with_their_modifiers_and_lines() -> None:
    source = 'import "pe"\r\n\r\nrule a : tag {\n}\nprivate\n global rule b_2{}global rule c\n{}'
    assert list(declared_rules(source.encode())) == [
        Declared("a", 15, 3, is_private=False, is_global=False),
        Declared("b_2", 32, 6, is_private=True, is_global=True),
        Declared("c", 58, 6, is_private=False, is_global=True),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "// rule x {",
        "/* rule x { \n rule x */",
        "/* rule x {",
        '$a = "rule x {"',
        r'$a = "a \" rule x {"',
        '$a = "unclosed rule x {',
        r"$a = /rule x \/ rule x/i",
        r"condition: a matches /rule x/",
        "$a_rule x",
        "rulex x",
        "rule 1x",
        "rule",
        "",
    ],
)
def test_is_not_fooled(text: str) -> None:
    assert names(text) == []
    assert names(f"rule a {{}} {text}")[:1] == ["a"]


def test_quotes_and_stars_in_regular_expressions_hide_nothing() -> None:
    source = 'rule a { strings: $a = /a"b/ $b = /[\\/*]x\\/*/ condition: $a }\nrule b { }'
    assert names(source) == ["a", "b"]


_PIECES = ("private ", "global private\n", '"', '"\\', "/*", "= /", "rule ", "=  ", "(/a\\/")


def test_hostile_sources_take_no_time() -> None:
    for piece in _PIECES:
        assert len(names(piece * 100_000)) <= 50_000


@pytest.mark.shared
def test_finds_what_the_compiler_finds(shared: Path) -> None:
    checked = 0
    for path in sorted((shared / "definitions/yara").rglob("*.yar*"))[::10]:
        source = path.read_text(encoding="utf-8", errors="replace")
        compiler = yara_x.Compiler(relaxed_re_syntax=True, includes_enabled=False)
        try:
            compiler.add_source(source)
        except yara_x.CompileError:
            continue
        checked += 1
        assert Counter(names(source)) == Counter(r.identifier for r in compiler.build()), path
    assert checked > 100
