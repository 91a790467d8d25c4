"""The rules as a collection: complete, explained, sampled, and quiet about themselves."""

import re
from pathlib import Path

import pytest
import yara_x

from mailward import starter
from mailward.scan.engines.yara_compile import GLOBALS
from tests.starter.compiled import StarterScanner
from tests.starter.samples import formats
from tests.starter.samples.everything import DETECTED, LEFT_ALONE
from tests.starter.samples.parts import attachment, file

_PROJECT = Path(__file__).resolve().parents[2]
_PAGE = "docs/starter-definitions.md"
_PUBLIC = re.compile(r"^rule (\w+)", re.MULTILINE)
_ROW = re.compile(r"^\| \[([\w.]+)\]\(#(\w+)\) \| (\w+) \| (\w+) \|$", re.MULTILINE)
_SECTION = re.compile(r"^### (Mailward\.[\w.]+)\n\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_ASPECTS = ("Finds", "Risk", "False positives", "What to do")


def _compiler(*, strict: bool) -> yara_x.Compiler:
    compiler = yara_x.Compiler(error_on_slow_pattern=strict)
    for name, value in GLOBALS.items():
        compiler.define_global(name, value)
    for namespace, source in starter.rules():
        compiler.new_namespace(namespace)
        compiler.add_source(source, origin=namespace)
    return compiler


def _anchor(name: str) -> str:
    return name.replace(".", "").lower()


@pytest.fixture(scope="module")
def metas() -> dict[str, dict[str, object]]:
    """What each public rule says about itself, by the rule's identifier."""
    public = {
        (namespace, identifier)
        for namespace, source in starter.rules()
        for identifier in _PUBLIC.findall(source)
    }
    rules = {(rule.namespace, rule.identifier): rule for rule in _compiler(strict=True).build()}
    return {
        identifier: dict(rules[namespace, identifier].metadata) for namespace, identifier in public
    }


@pytest.fixture(scope="module")
def names(metas: dict[str, dict[str, object]]) -> set[str]:
    return {str(meta["name"]) for meta in metas.values()}


@pytest.fixture(scope="module")
def page() -> str:
    return (_PROJECT / _PAGE).read_text(encoding="utf-8")


def test_the_compiler_has_no_errors_no_warnings_and_no_slow_patterns() -> None:
    assert _compiler(strict=True).warnings() == []


def test_the_engine_takes_every_rule(
    scanner: StarterScanner, metas: dict[str, dict[str, object]]
) -> None:
    assert scanner.preparation.refused == ()
    assert scanner.preparation.signatures == len(metas) > 40


def test_every_rule_says_what_people_need_to_know(metas: dict[str, dict[str, object]]) -> None:
    for identifier, meta in metas.items():
        assert set(meta) == {"name", "description", "severity", "verdict", "reference"}, identifier
        assert re.fullmatch(r"Mailward\.[A-Za-z]+\.[A-Za-z]+", str(meta["name"])), identifier
        assert meta["severity"] in {"low", "medium", "high", "critical"}, identifier
        assert meta["verdict"] in {"malware", "suspicious"}, identifier
        assert re.fullmatch(r"(A|An|The) [^\n]{20,110}\.", str(meta["description"])), identifier
        assert meta["reference"] == f"{_PAGE}#{_anchor(str(meta['name']))}", identifier


def test_names_are_unique(metas: dict[str, dict[str, object]], names: set[str]) -> None:
    assert len(names) == len(metas)


def test_every_rule_has_samples_and_near_misses(names: set[str]) -> None:
    assert {name for name, parts in DETECTED.items() if parts} == names
    assert {name for name, parts in LEFT_ALONE.items() if parts} == names


def test_the_page_lists_the_rules_as_they_are(
    metas: dict[str, dict[str, object]], page: str
) -> None:
    listed = {
        (name, anchor, severity, verdict) for name, anchor, severity, verdict in _ROW.findall(page)
    }
    assert listed == {
        (meta["name"], _anchor(str(meta["name"])), meta["severity"], meta["verdict"])
        for meta in metas.values()
    }


def test_the_page_explains_every_rule(metas: dict[str, dict[str, object]], page: str) -> None:
    sections = dict(_SECTION.findall(page))
    assert set(sections) == {meta["name"] for meta in metas.values()}
    for meta in metas.values():
        section = sections[str(meta["name"])]
        assert section.replace("\n", " ").startswith(str(meta["description"]))
        assert tuple(re.findall(r"^- \*\*([^*]+):\*\* \S", section, re.MULTILINE)) == _ASPECTS


def test_hits_carry_the_verdict_and_severity_of_their_rule(scanner: StarterScanner) -> None:
    hits = {hit.name: hit for hit in scanner.hits(DETECTED["Mailward.Pdf.ScriptOnOpening"][0])}
    assert hits["Mailward.Pdf.ScriptOnOpening"].suspicious
    assert hits["Mailward.Pdf.ScriptOnOpening"].severity == "medium"
    eicar = scanner.hits(attachment("eicar.com.txt", starter.eicar()))
    assert [(hit.name, hit.suspicious) for hit in eicar] == [("Mailward.Test.EICAR", False)]


def test_the_shipped_files_are_no_samples_themselves(scanner: StarterScanner) -> None:
    folder = _PROJECT / "src" / "mailward" / "starter"
    shipped = [path for path in folder.rglob("*") if path.suffix in {".py", ".yar"}]
    assert len(shipped) > 10
    for path in [*shipped, _PROJECT / _PAGE, *Path(__file__).parent.rglob("*.py")]:
        content = path.read_bytes()
        assert starter.eicar()[20:50] not in content, path
        assert scanner.names(file(path.name, content)) == set(), path


_HOSTILE_BYTES = 500_000


def _many(piece: bytes) -> bytes:
    return piece * (_HOSTILE_BYTES // len(piece))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pdf", b"%PDF-" + _many(b"/OpenAction 1 0 R /O 11 0 R \n1 0 obj<</JS(")),
        ("a.pdf", b"%PDF-" + _many(b"/Launch /F (a")),
        ("a.rels", _many(b'<Relationship Target="http:')),
        ("a.html", _many(b"<input <form ")),
        ("a.html", _many(b'="AAAA')),
        ("a.rtf", b"{\\rtf1" + _many(b"\\objdata 4 5 7 1 7 5 6 1 7 4")),
        ("a.iso", formats.iso({"a": b""}) + _many(b"\x01\0\0\x01\x20aaaa.")),
        ("a.one", formats.onenote(b"x") + _many(formats.onenote(b"x")[1024:1080])),
        ("a.doc", formats.compound({"_VBA_PROJECT": b""}) + _many(b"_Open() Shell WScript")),
        ("a.bin", bytes(_HOSTILE_BYTES)),
    ],
)
def test_hostile_repetition_ends_within_the_time_limit(
    scanner: StarterScanner, name: str, content: bytes
) -> None:
    scanner.hits(attachment(name, content))  # ScanTimeoutError otherwise


@pytest.mark.parametrize("name", sorted(DETECTED))
def test_truncated_samples_are_scanned_to_their_end(scanner: StarterScanner, name: str) -> None:
    part = DETECTED[name][0]
    for size in (0, 1, 17, 511, 513, len(part.data) - 1):
        scanner.hits(attachment(part.name, part.data[: max(0, size)]))
