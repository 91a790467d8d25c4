"""Mail and documents made to keep a parser busy: what they cost grows with their size, no faster.

Each is read in two sizes, a factor of four apart. Nothing is timed by the clock: lines of Python
that are run are counted.
"""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from mailward.scan.budget import Budget
from mailward.scan.part import Role
from mailward.scan.unpack import parts
from mailward.settings.scan import ScanSettings

HOSTILE: dict[str, Callable[[int], bytes]] = {
    "quotes in a Content-Type": lambda n: b"Content-Type: a; b=\"" + b"; " * n + b"\r\n\r\nx",
    "comments in a Content-Type": lambda n: b"Content-Type: " + b"(" * n + b"\r\n\r\nx",
    "delimiters": lambda n: b"Content-Type: multipart/mixed; boundary=-\r\n\r\n" + b"---\r\n" * n,
    "encoded words": lambda n: b"Content-Type: a/b; name=" + b"=?a?b?" * n + b"\r\n\r\nx",
    "begin lines": lambda n: b"begin 644 a\n" * n,
    "fields in fields": lambda n: b"{\\rtf1" + b"{\\fldinst a" * n,
    "objects in objects": lambda n: b"{\\rtf1" + b"{\\objdata 41" * n,
    "PDF texts without an end": lambda n: b"%PDF-1.7" + b"/JS(" * n,
    "PDF streams without an end": lambda n: b"%PDF-1.7" + b"1 0 obj<<>>stream\n" * n,
    "PDF files": lambda n: b"%PDF-1.7" + b"/EF<</F 1 0 R" * n,
    "data addresses": lambda n: b"<a>" + b"data:," * n,
    "scripts": lambda n: b"<html>" + b" " * 99 + b"<script>" * n,
    "pieces of text": lambda n: b"<html>" + b" " * 99 + b"<script>atob(" + b"'a' + " * n,
    "quotes": lambda n: b"<html>" + b" " * 99 + b"<script>atob(unescape(" + b"'%41" * n,
}  # fmt: skip


def lines_run(data: bytes) -> int:
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    budget = Budget(ScanSettings())
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for _ in parts(data, role=Role.MESSAGE, name="", budget=budget):
            pass
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("name", HOSTILE)
def test_the_cost_grows_with_the_size_and_no_faster(name: str) -> None:
    make = HOSTILE[name]
    small, large = lines_run(make(200)), lines_run(make(800))
    assert large < 8 * small + 2000
