"""The collections that other parsers are tested with say what is in each message; so must we.

White space is left out of the comparison: the collections came with line ends changed.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailward.scan.budget import Budget
from mailward.scan.part import Part, Role
from mailward.scan.unpack import parts
from mailward.settings.scan import ScanSettings

pytestmark = pytest.mark.shared


def within(data: bytes, role: Role = Role.MESSAGE) -> list[Part]:
    """What is in it, without itself."""
    found = parts(data, role=role, name="", budget=Budget(ScanSettings()))
    return [part for part in found if isinstance(part, Part)][1:]


def tight(data: bytes) -> bytes:
    return b"".join(data.split())


def is_among(wanted: bytes, found: list[Part]) -> bool:
    return any(tight(wanted) in tight(part.data) for part in found)


def test_what_mime4j_decodes_is_found(shared: Path) -> None:
    tried = 0
    for message in (shared / "mail/mime4j").rglob("*.msg"):
        decoded = [
            path
            for path in message.parent.glob(f"{message.stem}_decoded_*")
            if re.fullmatch(r"_decoded_[\d_]+\.(txt|bin)", path.name.removeprefix(message.stem))
        ]
        found = within(message.read_bytes()) if decoded else []
        for path in decoded:
            tried += 1
            assert is_among(path.read_bytes(), found), path
    assert tried > 20


def stalwarts(message: dict[str, Any]) -> Iterator[str | bytes]:
    """Bodies of a message, as its file of expectations has them."""
    for part in message["parts"]:
        for kind, body in part["body"].items():
            if kind in ("Text", "Html"):
                yield body
            elif kind in ("Binary", "InlineBinary"):
                yield bytes(body)
            elif kind == "Message" and isinstance(body, dict):
                yield from stalwarts(body)


def in_all_charsets(text: str, message: bytes) -> Iterator[bytes]:
    for name in {b"utf-8", *re.findall(rb'charset="?([\w-]+)', message, re.IGNORECASE)}:
        try:
            yield text.encode(name.decode(), "strict")
        except (LookupError, UnicodeEncodeError):
            continue


def test_what_stalwart_decodes_is_found(shared: Path) -> None:
    tried = 0
    for expected in (shared / "mail/stalwart").rglob("*.json"):
        message = expected.parent / f"{expected.name.split('.')[0]}.eml"
        if not message.exists():
            continue
        data = message.read_bytes()
        found = within(data)
        for body in stalwarts(json.loads(expected.read_text())):
            tried += 1
            wanted = [body] if isinstance(body, bytes) else in_all_charsets(body, data)
            assert any(is_among(one, found) for one in wanted), (expected, body)
    assert tried > 40


def test_what_mimekit_takes_out_of_tnef_is_found(shared: Path) -> None:
    tried = 0
    for packed in (shared / "mail/mimekit").rglob("*.tnef"):
        found = within(packed.read_bytes(), Role.ATTACHMENT)
        names = packed.with_suffix(".list")
        for name in names.read_text().split("\n") if names.exists() else ():
            if name and not name.startswith("body."):  # which has no name in there
                assert name in {part.name for part in found}
        for path in packed.with_suffix("").glob("*"):
            tried += 1
            assert is_among(path.read_bytes(), found), path
    assert tried > 5
