"""When a proof is good enough. S3: one bad signature condemns nothing, one in a hundred does."""

import os
from pathlib import Path

import pytest

from mailward.definitions.model import EngineTrial, RefusedSignature
from mailward.scan.proof import Proof, run_child


def _proof(
    signatures: int = 1000,
    refused: int = 0,
    missing: tuple[str, ...] = (),
    false_positives: tuple[str, ...] = (),
) -> Proof:
    bad = RefusedSignature(signature="Bad.One", shard="s", line=7, reason="unknown module")
    engine = EngineTrial(
        engine="yara",
        fingerprint="1",
        signatures=signatures,
        refused_count=refused,
        refused=(bad,) * min(refused, 3),
        prepare_ms=1,
        load_ms=1,
    )
    return Proof((engine,), 0, 1, missing, false_positives, 8, 1.0)


@pytest.mark.parametrize(
    ("signatures", "refused", "good"),
    [(9, 0, True), (1, 1, True), (990, 10, True), (989, 11, False), (0, 2, False), (9, 2, False)],
)
def test_more_than_one_percent_of_bad_signatures_condemn_a_set_a_single_one_never(
    signatures: int, refused: int, good: bool
) -> None:
    problems = _proof(signatures, refused).problems()
    assert (problems == ()) is good
    assert all("Bad.One" in problem for problem in problems)


def test_a_probe_that_is_not_found_condemns_a_set_and_is_named() -> None:
    assert _proof(missing=("EICAR in plain",)).problems() == ("probe not found: EICAR in plain",)


def test_a_hit_in_known_good_mail_condemns_a_set_and_is_named() -> None:
    problems = _proof(false_positives=("Rule in newsletter",)).problems()
    assert problems == ("false positive: Rule in newsletter",)


def test_a_trial_stands_back_for_whoever_scans_mail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "how_nice.py").write_text(
        "import json, os, sys\n"
        "from mailward.scan.proof import read_job\n"
        "read_job()\n"
        "json.dump({'nice': os.nice(0)}, sys.stdout)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run_child("how_nice", {}, 60)["nice"] == min(os.nice(0) + 10, 19)
