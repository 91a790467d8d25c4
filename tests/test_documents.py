"""Documents that lag behind the code fail here."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from mailward.config import Config
from mailward.rules import Action, Audience, Content, Disguise, When
from mailward.settings.protect import PolicySettings
from mailward.update.alarms import Alarm

_DOCS = Path(__file__).resolve().parent.parent / "docs"


def _flat(plain: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in plain.items():
        flat |= (
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return flat


def test_every_key_of_the_configuration_is_documented_and_no_other() -> None:
    text = (_DOCS / "operations.md").read_text(encoding="utf-8")
    keys = text.split("## Exit codes", 1)[0]
    documented = set(re.findall(r"^\| `([a-z_.]+)` \|", keys, re.MULTILINE))
    assert documented == set(_flat(Config().model_dump(mode="json")))


def test_documented_defaults_are_the_real_ones() -> None:
    text = (_DOCS / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_.]+)` \| `([^`]+)` \|", text, re.MULTILINE)
    defaults = _flat(Config().model_dump(mode="json"))
    assert len(rows) > 20
    assert {key: json.loads(default) for key, default in rows} == {
        key: defaults[key] for key, _ in rows
    }


def test_every_condition_and_action_of_a_rule_is_documented_and_no_other() -> None:
    text = (_DOCS / "policy.md").read_text(encoding="utf-8")
    conditions, actions = text.split("## Conditions")[1].split("## Actions")
    actions, notify = actions.split("| `notify` | tells |")
    conditions, content = conditions.split("| content | is |")
    content, disguise = content.split("| disguise | is |")
    assert set(re.findall(r"^\| `(\w+)` \|", conditions, re.MULTILINE)) == set(When.model_fields)
    for kinds, table in ((Content, content), (Disguise, disguise)):
        assert set(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)) == {
            k.value for k in kinds
        }
    assert set(re.findall(r"^\| `([\w-]+)` \|", actions, re.MULTILINE)) == {a.value for a in Action}
    assert set(re.findall(r"^\| `(\w+)` \|", notify, re.MULTILINE)) == {a.value for a in Audience}


def test_the_rules_in_the_documents_are_valid() -> None:
    text = (_DOCS / "policy.md").read_text(encoding="utf-8")
    written = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert [
        len(PolicySettings.model_validate(tomllib.loads(each)["policy"]).rules) for each in written
    ] == [3, 1, 1]


def test_links_between_documents_lead_somewhere() -> None:
    for page in [_DOCS.parent / "README.md", *_DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


_PROJECT = _DOCS.parent


def _rules() -> dict[str, str]:
    text = (_DOCS / "security.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| (S\d+) \|.*\| ([^|]+) \|$", text, re.MULTILINE))


def test_every_safety_rule_is_held_by_tests_that_exist() -> None:
    names = {
        name
        for path in (_PROJECT / "tests").rglob("*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
    }
    rules = _rules()
    assert list(rules) == [f"S{number}" for number in range(1, 16)]
    for rule, held_by in rules.items():
        tests = re.findall(r"`(test_\w+)`", held_by)
        assert tests or held_by == "not built yet", rule
        assert set(tests) <= names, rule


def test_every_safety_rule_that_is_built_is_tagged_in_the_code() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (_PROJECT / "src").rglob("*.py"))
    for rule, held_by in _rules().items():
        assert re.search(rf"\b{rule}\b", code) or held_by == "not built yet", rule


def _first_column(section: str) -> set[str]:
    """What the table of a section of operations.md names, in its first column."""
    text = (_DOCS / "operations.md").read_text(encoding="utf-8")
    body = text.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"^\| `([^`]+)`", body, re.MULTILINE))


def _code() -> str:
    paths = (_PROJECT / "src/mailward").rglob("*.py")
    return "".join(p.read_text(encoding="utf-8") for p in paths if "publish" not in p.parts)


def test_every_event_of_the_history_is_documented_and_no_other() -> None:
    calls = re.findall(r'(?:note|_point)\(\s*"([a-z-]+)"(?: if [\w.]+ else "([a-z-]+)")?', _code())
    assert _first_column("History") == {event for call in calls for event in call if event}


def test_every_alert_is_documented_and_no_other() -> None:
    assert _first_column("Alerts") == {alarm.value for alarm in Alarm}


def test_every_metric_is_documented_and_no_other() -> None:
    families = re.findall(r'(Counter|Gauge)MetricFamily\(\s*"(mailward_\w+)"', _code())
    assert _first_column("Health and metrics") == {
        f"{name}_total" if kind == "Counter" else name for kind, name in families
    }
