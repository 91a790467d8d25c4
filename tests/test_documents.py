"""Documents that lag behind the code fail here."""

import json
import re
from pathlib import Path
from typing import Any

from mailward.config import Config

_DOCS = Path(__file__).resolve().parent.parent / "docs"


def _flat(plain: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in plain.items():
        flat |= (
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return flat


def test_every_key_of_the_configuration_is_documented_and_no_other() -> None:
    text = (_DOCS / "operations.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([a-z_.]+)` \|", text, re.MULTILINE))
    assert documented == set(_flat(Config().model_dump(mode="json")))


def test_documented_defaults_are_the_real_ones() -> None:
    text = (_DOCS / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_.]+)` \| `([^`]+)` \|", text, re.MULTILINE)
    defaults = _flat(Config().model_dump(mode="json"))
    assert len(rows) > 20
    assert {key: json.loads(default) for key, default in rows} == {
        key: defaults[key] for key, _ in rows
    }


def test_links_between_documents_lead_somewhere() -> None:
    for page in [_DOCS.parent / "README.md", *_DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
