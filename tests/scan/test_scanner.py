import base64
import json
from pathlib import Path

import pytest

from mailward.definitions.model import ShardKind
from mailward.rules import Content, Disguise
from mailward.scan.engine import Hit, ScanTimeoutError, Source
from mailward.scan.part import Part, Role
from mailward.scan.prepared import LoadedSet, prepare
from mailward.scan.scanner import Scanner
from mailward.scan.verdict import Reason, Verdict, VerdictKind
from mailward.settings.scan import ScanSettings
from mailward.testing import (
    EICAR,
    SLOW,
    Attachment,
    FakeDetector,
    FakeEngine,
    Sample,
    encrypted_zip,
    inert_executable,
    message,
    samples,
    zipped,
)


class OtherEngine(FakeEngine):
    name = "other"


class LateDetector(FakeDetector):
    def scan(self, part: Part, timeout_s: float) -> list[Hit]:
        raise ScanTimeoutError


class LateEngine(OtherEngine):
    def load(self, prepared: Path) -> FakeDetector:
        return LateDetector([])


def scanner(tmp_path: Path, *patterns: bytes, **limits: float) -> Scanner:
    engines = (OtherEngine(), FakeEngine())
    (tmp_path / "shard").write_bytes(b"\n".join(patterns))
    prepare([Source("s", ShardKind.HASHES, tmp_path / "shard")], engines, tmp_path / "prepared")
    loaded = LoadedSet.load("20261123.001", tmp_path / "prepared", engines)
    return Scanner(loaded, ScanSettings.model_validate(limits))


def test_a_risk_names_signature_engine_part_and_set(tmp_path: Path) -> None:
    verdict = scanner(tmp_path, EICAR).scan(
        message(Attachment("a.zip", zipped(Attachment("b", EICAR))))
    )
    assert [(r.name, r.engine, r.part, r.set) for r in verdict.risks] == [
        (EICAR.decode(), engine, "message/2:a.zip/b", "20261123.001")
        for engine in ("other", "fake")
    ]
    assert (verdict.kind, verdict.parts, verdict.set) == (VerdictKind.INFECTED, 4, "20261123.001")
    assert verdict.ms > 0


SAMPLES = [sample for sample in samples() if "program" not in sample.name]
"""Those that can be told without rules."""


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_the_samples_are_what_they_say(tmp_path: Path, sample: Sample) -> None:
    assert scanner(tmp_path, EICAR).scan(sample.message).kind is sample.expected


def test_a_part_that_takes_too_long_is_unscannable_and_the_others_are_scanned(
    tmp_path: Path,
) -> None:
    data = message(Attachment("slow", SLOW), Attachment("b.exe", EICAR))
    verdict = scanner(tmp_path, EICAR).scan(data)
    assert [(u.part, u.reason) for u in verdict.unopened] == [("message/2:slow", Reason.TIME)]
    assert {r.part for r in verdict.risks} == {"message/3:b.exe"}


def test_a_time_out_of_one_engine_loses_nothing_of_another(tmp_path: Path) -> None:
    scanner(tmp_path, b"body")
    loaded = LoadedSet.load("20261123.001", tmp_path / "prepared", (LateEngine(), FakeEngine()))
    verdict = Scanner(loaded, ScanSettings()).scan(b"body", role=Role.FILE)
    assert [risk.engine for risk in verdict.risks] == ["fake"]
    assert [u.reason for u in verdict.unopened] == [Reason.TIME]


def test_an_encrypted_part_beside_a_risk_is_both(tmp_path: Path) -> None:
    locked = Attachment("l.zip", encrypted_zip(Attachment("x", b"secret")))
    verdict = scanner(tmp_path, EICAR).scan(message(locked, Attachment("b", EICAR)))
    assert verdict.kinds == (VerdictKind.INFECTED, VerdictKind.UNSCANNABLE)


def test_a_message_over_the_limit_is_not_begun_with(tmp_path: Path) -> None:
    verdict = scanner(tmp_path, EICAR, max_message_bytes=100).scan(EICAR + bytes(100))
    assert (verdict.parts, verdict.kind) == (0, VerdictKind.UNSCANNABLE)
    assert "scan.max_message_bytes" in verdict.unopened[0].detail


def test_thousands_of_risks_are_cut_off(tmp_path: Path) -> None:
    many = zipped(*(Attachment(f"{number}", EICAR) for number in range(3000)))
    verdict = scanner(tmp_path, EICAR).scan(message(Attachment("a.zip", many)))
    assert len(verdict.risks) == 1000
    assert verdict.parts < 1000


def test_a_part_that_took_too_long_is_unscannable_whatever_was_found_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S11: what was found may be switched off, and then nothing would be said of the rest."""

    def late(self: FakeDetector, part: Part, timeout_s: float) -> list[Hit]:
        raise ScanTimeoutError("late", [Hit("Found.Before")])

    scanning = scanner(tmp_path, EICAR)
    monkeypatch.setattr(FakeDetector, "scan", late)

    verdict = scanning.scan(b"anything", role=Role.FILE)

    assert {risk.name for risk in verdict.risks} == {"Found.Before"}
    assert [unopened.reason for unopened in verdict.unopened] == [Reason.TIME]


def test_what_files_are_is_told_whether_they_have_a_name_or_not(tmp_path: Path) -> None:
    nameless = (
        b"MIME-Version: 1.0\r\nContent-Type: text/plain\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(inert_executable())
    )

    (file,) = scanner(tmp_path).scan(nameless).files

    assert (file.part, file.name) == ("message/1", "")
    assert file.content == (Content.EXECUTABLE,)


def test_a_program_behind_a_thousand_files_is_told_all_the_same(tmp_path: Path) -> None:
    texts = [Attachment(f"{n}.txt", b"text") for n in range(1_100)]
    mail = message(Attachment("a.zip", zipped(*texts, Attachment("b.pdf", inert_executable()))))

    files = scanner(tmp_path).scan(mail).files

    assert len(files) == 1001
    assert (files[-1].name, files[-1].disguise) == ("b.pdf", (Disguise.EXTENSION,))


def test_a_verdict_is_the_same_after_its_way_from_the_worker(tmp_path: Path) -> None:
    verdict = scanner(tmp_path, EICAR).scan(message(Attachment("a.pdf.exe", inert_executable())))

    assert Verdict.from_plain(json.loads(json.dumps(verdict.to_plain()))) == verdict
