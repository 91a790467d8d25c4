"""The publisher's documents: their commands run, their fields are the model's."""

import re
import shlex
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from mailward.cli.repo import app
from mailward.definitions import model
from mailward.definitions.ignored import Ignored
from mailward.definitions.pointer import Pointer
from mailward.definitions.products import Product, ProductState
from mailward.license import LicenseKey, Licensing
from mailward.publish.feeds.clamav import ClamavFeed
from mailward.publish.history import KEPT_SETS
from mailward.publish.metadata import VALID_FOR

_DOCS = Path(__file__).resolve().parents[2] / "docs"
_FORMATS = (_DOCS / "formats.md").read_text(encoding="utf-8")
_PUBLISHING = (_DOCS / "publishing.md").read_text(encoding="utf-8")

_VALUES: list[type[BaseModel]] = [
    model.Current,
    model.Rollout,
    model.Manifest,
    model.Shard,
    model.Patch,
    model.QualityReport,
    model.Gate,
    model.Trial,
    model.EngineTrial,
    model.RefusedSignature,
    Pointer,
    Licensing,
    LicenseKey,
    Ignored,
    Product,
    ProductState,
]


def _table(name: str) -> list[str]:
    found = re.search(rf"^\| `{name}` \|.*\n\|[-|]+\n((?:\|.*\n)+)", _FORMATS, re.MULTILINE)
    assert found, f"docs/formats.md has no table for {name}"
    return re.findall(r"^\| `([a-z0-9_]+)` \|", found[1], re.MULTILINE)


@pytest.mark.parametrize("value", _VALUES, ids=lambda value: value.__name__)
def test_every_field_is_specified_and_no_other(value: type[BaseModel]) -> None:
    assert sorted(_table(value.__name__)) == sorted(value.model_fields)


def test_numbers_in_the_formats_are_the_real_ones() -> None:
    for role, span in VALID_FOR.items():
        said = f"{span.days} days" if span.days > 1 else "24 hours"
        assert re.search(rf"^\| {role} \|.*\| {said} \|$", _FORMATS, re.MULTILINE), role
    assert f"{KEPT_SETS[model.Channel.RAPID]} in rapid" in _FORMATS
    assert model.MANIFEST_MAX_BYTES == 16 << 20
    assert model.CURRENT_MAX_BYTES == 1 << 20
    for kind in model.ShardKind:
        assert f"\n### {kind}\n" in _FORMATS


def test_the_walk_through_publishing_works_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lists").mkdir()
    Path("lists/bad.txt").write_text("44d88612fea8a8f36de82e1278abb02f:68:Test.EICAR\n")
    Path("clean").mkdir()
    Path("clean/minutes.txt").write_text("Nothing was decided.\n")
    version = ""
    walked = []
    for command in re.findall(r"^mailward repo (.*)$", _PUBLISHING, re.MULTILINE):
        words = shlex.split(command)
        if words[0] in ("serve", "watch"):
            continue  # test_server.py, test_watch.py
        result = CliRunner().invoke(app, [version if w == "20261123.001" else w for w in words])
        assert result.exit_code == 0, (command, result.output, result.exception)
        walked.append(words[0])
        if words[0] == "build":
            version = re.findall(r"^([0-9]{8}\.[0-9]{3}): ", result.output, re.MULTILINE)[0]
    assert walked == [
        "init", "build", "check", "publish", "check", "promote", "refresh", "status",
        "keys", "keys", "withdraw",
    ]  # fmt: skip


def test_the_table_of_feeds_names_suffixes_that_are_read(tmp_path: Path) -> None:
    row = next(line for line in _PUBLISHING.splitlines() if line.startswith("| `clamav` |"))
    suffixes = re.findall(r"\.[a-z0-9]+", row.rsplit("|", 2)[1])
    assert len(suffixes) > 10
    for suffix in suffixes:
        (tmp_path / f"x{suffix}").write_text("line\n")
    assert len(ClamavFeed("x", tmp_path).read().drafts) == len(suffixes)
