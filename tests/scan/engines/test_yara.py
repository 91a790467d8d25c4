"""YARA rules: what is left out and why, what rules can ask and say, and how long they may run."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mailward.definitions.model import ShardKind
from mailward.errors import FormatError
from mailward.scan.engine import Hit, Preparation, ScanTimeoutError, Source
from mailward.scan.engines import yara_compile
from mailward.scan.engines.yara import YaraDetector, YaraEngine
from mailward.scan.part import Part, Role

Compile = Callable[..., tuple[YaraDetector, Preparation]]


@pytest.fixture
def compiled(tmp_path: Path) -> Compile:
    def compile_(*sources: str) -> tuple[YaraDetector, Preparation]:
        lines = [
            json.dumps({"namespace": f"file-{n}.yar", "source": s}) for n, s in enumerate(sources)
        ]
        path = tmp_path / "shard"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        into = tmp_path / "prepared"
        into.mkdir()
        preparation = YaraEngine().prepare([Source("the-shard", ShardKind.YARA, path)], into)
        return YaraEngine().load(into), preparation

    return compile_


def found(detector: YaraDetector, data: bytes = b"") -> list[str]:
    hits = detector.scan(Part("file", data, Role.FILE), 20.0)
    return sorted(hit.name for hit in hits)


def refused(preparation: Preparation) -> list[tuple[str, int | None]]:
    return [(refusal.signature, refusal.line) for refusal in preparation.refused]


# --- what is left out (S3) ---


def test_the_rules_around_a_bad_one_stay(compiled: Compile) -> None:
    detector, preparation = compiled(
        "rule a { condition: true }\nrule b {\n condition:\n  $x }\nrule c { condition: true }",
        "rule d { condition: true }",
    )
    assert found(detector) == ["a", "c", "d"]
    assert refused(preparation) == [("b", 4)]
    assert preparation.signatures == 3
    assert preparation.refused[0].shard == "the-shard"
    assert "unknown pattern `$x`" in preparation.refused[0].reason
    assert "file-0.yar" in preparation.refused[0].reason


def test_rules_that_build_on_a_bad_one_are_named_too(compiled: Compile) -> None:
    detector, preparation = compiled(
        "rule a { condition: unknown }\nrule b { condition: a }\nrule c { condition: true }"
    )
    assert found(detector) == ["c"]
    assert refused(preparation) == [("a", 1), ("b", 2)]


def test_rules_that_a_syntax_error_swallows_are_named(compiled: Compile) -> None:
    detector, preparation = compiled(
        "rule a { condition: true }\n"
        'rule b { strings: $a = "unclosed condition: $a }\n'
        "rule c { condition: true }\n"
        "rule d { condition: true }\n"
    )
    active = found(detector)
    lost = sorted(name for name, _ in refused(preparation))
    assert "a" in active
    assert "b" in lost
    assert sorted(active + lost) == ["a", "b", "c", "d"]
    assert preparation.signatures == len(active)


def test_a_rule_without_a_name_is_counted(compiled: Compile) -> None:
    detector, preparation = compiled(
        "rule a { condition: true }\nrule 1 { condition: true }\nrule c { condition: true }"
    )
    assert "a" in found(detector)
    assert ("file-0.yar", 2) in refused(preparation)


def test_the_second_of_two_rules_of_one_name_is_named(compiled: Compile) -> None:
    detector, preparation = compiled(
        'rule a { condition: true }\nrule a { meta: name = "second" condition: true }'
    )
    assert found(detector) == ["a"]
    assert refused(preparation) == [("a", 2)]


def test_rules_of_one_name_in_different_files_are_fine(compiled: Compile) -> None:
    detector, preparation = compiled(*["rule a { condition: true }"] * 3)
    assert found(detector) == ["a"]
    assert preparation == Preparation(3)


@pytest.mark.parametrize("module", ["magic", "androguard", "nothing"])
def test_rules_that_need_a_missing_module_are_named(compiled: Compile, module: str) -> None:
    detector, preparation = compiled(
        f'import "{module}"\nrule a {{ condition: {module}.x == 1 }}\nrule b {{ condition: true }}'
    )
    assert found(detector) == ["b"]
    assert refused(preparation) == [("a", 2)]


def test_importing_a_missing_module_for_nothing_is_no_loss(compiled: Compile) -> None:
    detector, preparation = compiled('import "magic"\nrule b { condition: true }')
    assert found(detector) == ["b"]
    assert preparation == Preparation(1)


def test_nothing_is_included(compiled: Compile, tmp_path: Path) -> None:
    other = tmp_path / "other.yar"
    other.write_text("rule included { condition: true }")
    detector, preparation = compiled(f'include "{other}"\nrule b {{ condition: true }}')
    assert found(detector) == ["b"]
    assert refused(preparation) == [(f'include "{other}"', 1)]


def test_without_its_global_rule_a_file_is_left_out(compiled: Compile) -> None:
    detector, preparation = compiled(
        "global private rule only_small { condition: filesize < 5 and unknown }\n"
        "rule a { condition: true }\nrule b { condition: unknown }",
        "rule c { condition: true }",
    )
    assert found(detector) == ["c"]
    assert preparation.signatures == 1
    assert sorted(refused(preparation)) == [("a", 2), ("b", 3), ("only_small", 1)]


def test_errors_are_placed_in_bytes_not_characters(compiled: Compile) -> None:
    _, preparation = compiled(
        '\ufeff// ääääääääääääääääääääääää\nrule a { meta: x = "äöü" condition: true }\n'
        "rule b { condition: $x }\nrule c { condition: true }"
    )
    assert refused(preparation) == [("b", 3)]


def test_deep_nesting_does_not_crash(compiled: Compile) -> None:
    deep = "(" * 100_000 + "true" + ")" * 100_000
    detector, preparation = compiled(
        f"rule a {{ condition: {deep} }}", "rule b { condition: " + "not " * 100_000 + "true }",
        "rule c { condition: true }",
    )  # fmt: skip
    assert found(detector) == ["c"]
    assert [name for name, _ in refused(preparation)] == ["a", "b"]


def test_refusals_are_bounded(compiled: Compile) -> None:
    many = "\n".join(f"rule r{n} {{ condition: $x }}" for n in range(1500))
    _, preparation = compiled(many, "rule good { condition: true }")
    assert preparation.signatures == 1
    assert (len(preparation.refused), preparation.refused_count) == (1000, 1500)


def test_too_much_is_refused(compiled: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yara_compile, "SOURCE_MAX_BYTES", 50)
    with pytest.raises(FormatError, match="line 2: a source of 126 bytes"):
        compiled("rule a { condition: true }", "rule a { condition: true }" + " " * 100)


def test_too_much_together_is_refused(compiled: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yara_compile, "SOURCES_MAX_BYTES", 50)
    with pytest.raises(FormatError, match="more than 50 bytes of sources"):
        compiled("rule a { condition: true }", "rule b { condition: true }")


def test_too_many_rules_are_refused(compiled: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yara_compile, "RULES_MAX", 1)
    with pytest.raises(FormatError, match="more than 1 YARA rules"):
        compiled("rule a { condition: true }", "rule b { condition: true }")


# --- what rules can ask ---


def test_private_rules_are_neither_reported_nor_counted(compiled: Compile) -> None:
    detector, preparation = compiled(
        "private rule p { condition: true } rule a { condition: p }",
        "// private matters are none of its business\nrule b { condition: true }",
    )
    assert found(detector) == ["a", "b"]
    assert preparation == Preparation(2)


def test_a_global_rule_binds_its_own_file_only(compiled: Compile) -> None:
    detector, _ = compiled(
        "global private rule small { condition: filesize < 5 } rule a { condition: true }",
        "rule b { condition: true }",
    )
    assert found(detector, b"1234") == ["a", "b"]
    assert found(detector, b"12345") == ["b"]


_PART = Part(
    "message/2:a.zip/Invoice.PDF.exe",
    b"data",
    Role.MEMBER,
    "C:\\x\\Invoice.PDF.exe",
    "application/pdf",
    2,
)


@pytest.mark.parametrize(
    ("condition", "unknown"),
    [
        (r'filename == "C:\\x\\Invoice.PDF.exe"', ""),
        ('filepath == "message/2:a.zip/Invoice.PDF.exe"', ""),
        ('extension == ".exe"', 'extension == ""'),
        ('mailward_role == "member"', 'mailward_role == "body"'),
        ('mailward_name icontains "invoice"', 'mailward_name == ""'),
        ('mailward_extension == "exe"', 'mailward_extension == ""'),
        ('mailward_type == "application/pdf"', 'mailward_type == ""'),
        ("mailward_depth == 2", "mailward_depth == 0"),
        ('filetype == "" and owner == "" and md5 == ""', 'filetype == ""'),
    ],
)
def test_conditions_can_ask_about_the_part(compiled: Compile, condition: str, unknown: str) -> None:
    detector, preparation = compiled(
        f"rule known {{ condition: {condition} }}",
        f"rule unknown {{ condition: {unknown or 'false'} }}",
    )
    assert preparation.refused == ()
    assert "known" in {hit.name for hit in detector.scan(_PART, 20.0)}
    anonymous = Part("x", b"", Role.BODY)
    assert [h.name for h in detector.scan(anonymous, 20.0) if h.name == "unknown"] == (
        ["unknown"] if unknown else []
    )


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("a", ""),
        ("a.EXE", "exe"),
        (".profile", ""),
        ("a.tar.gz", "gz"),
        ("a.b/c", ""),
        (r"a.b\c", ""),
    ],
)
def test_the_extension_is_the_last_one(compiled: Compile, name: str, extension: str) -> None:
    detector, _ = compiled(f'rule a {{ condition: mailward_extension == "{extension}" }}')
    assert detector.scan(replace(_PART, name=name), 20.0)


# --- what rules say ---


def hit(compiled: Compile, meta: str) -> Hit:
    detector, preparation = compiled(f"rule a {{ meta: {meta} condition: true }}")
    assert preparation.refused == ()
    (only,) = detector.scan(_PART, 20.0)
    return only


def test_a_rule_without_meta_is_its_name(compiled: Compile) -> None:
    assert hit(compiled, "author = 1") == Hit("a")


def test_meta_says_name_verdict_severity_and_description(compiled: Compile) -> None:
    meta = 'name = "Mailward.X" verdict = "suspicious" severity = "High" description = "Why."'
    assert hit(compiled, meta) == Hit("Mailward.X", True, "high", "Why.")


def test_what_goes_into_headers_and_logs_is_printable_and_bounded(compiled: Compile) -> None:
    long = "x" * 1000
    one = hit(compiled, rf'name = "it\r\nX-Evil: b\x00" description = "{long}" severity = "{long}"')
    assert one.name == "it  X-Evil: b"
    assert one.description == "x" * 300
    assert one.severity == ""


def test_meta_of_other_types_is_passed_over(compiled: Compile) -> None:
    meta = r'name = 1 verdict = true severity = 3 description = 1.5 score = "90"'
    assert hit(compiled, meta) == Hit("a")


@pytest.mark.parametrize(
    ("score", "severity"),
    [(0, "low"), (39, "low"), (40, "medium"), (60, "high"), (80, "critical"), (-1, "")],
)
def test_a_score_is_a_severity(compiled: Compile, score: int, severity: str) -> None:
    assert hit(compiled, f"score = {score}").severity == severity


def test_a_severity_goes_before_a_score(compiled: Compile) -> None:
    assert hit(compiled, 'score = 90 severity = "low"').severity == "low"


# --- time ---


@pytest.mark.parametrize(
    "rule",
    [
        "rule r { condition: for all i in (0..100000000000): (uint8(i % 9) >= 0) }",
        "rule r { strings: $a = /a.*a.*a.*a.*b/s condition: $a }",
        'import "math" rule r { condition: for all i in (0..9999): (math.mean(i, 9000000) > 0.0) }',
    ],
    ids=["loop", "regular expression", "module"],
)
def test_a_rule_that_takes_too_long_is_stopped(compiled: Compile, rule: str) -> None:  # S11
    detector, preparation = compiled(rule, 'rule good { strings: $a = "xyz" condition: $a }')
    assert preparation.refused == ()
    part = Part("file", b"a" * 10_000_000, Role.FILE)
    with pytest.raises(ScanTimeoutError):
        detector.scan(part, 0.1)
    assert found(detector, b"xyz") in (["good"], ["good", "r"])


def test_a_closed_detector_says_so(compiled: Compile) -> None:
    detector, _ = compiled("rule a { condition: true }")
    detector.close()
    with pytest.raises(ValueError, match="closed"):
        found(detector)


@pytest.mark.shared
def test_public_rules_compile(shared: Path, compiled: Compile) -> None:
    folder = shared / "definitions/yara/signature-base"
    sources = [p.read_text(errors="replace") for p in sorted(folder.rglob("*.yar"))[::8]]
    _, preparation = compiled(*sources)
    assert preparation.refused == ()
    assert preparation.signatures > 100
