"""The list of failures is exactly what the tests hold."""

import re
from pathlib import Path

_PROJECT = Path(__file__).resolve().parent.parent
_ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def _tests(pattern: str) -> set[str]:
    return {
        name
        for path in (_PROJECT / "tests").glob(pattern)
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }


def test_every_failure_names_tests_that_exist_and_every_test_of_one_is_listed() -> None:
    text = (_PROJECT / "docs/failures.md").read_text(encoding="utf-8")
    rows = [row for row in _ROW.findall(text) if not row[0].startswith(("fault", "--"))]
    listed: set[str] = set()
    assert len(rows) > 30
    for fault, _, failed, by in rows:
        names = set(re.findall(r"`(test_\w+)`", by))
        assert names, fault
        assert failed == "0", fault
        listed |= names
    assert listed <= _tests("**/test_*.py")
    assert listed >= _tests("attacks/test_update_*.py"), "a fault that no line tells of"
