"""Encrypted documents of Office 97 to 2003: what opens them, what is told of what stays shut."""

import hashlib
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from mailward.scan.part import Part
from mailward.scan.verdict import OwnPassword, Reason, Unopened
from mailward.testing import EICAR, Attachment, message
from tests.scan.documents import locked
from tests.scan.documents.conftest import Everything

Scan = Callable[..., Everything]
NOISE = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(300))
SLIDE = struct.pack("<HHL", 0xF, 1000, len(NOISE)) + NOISE
HOLDS = struct.pack("<HHL", 0xF, 1001, len(EICAR)) + EICAR

DOCUMENTS: dict[str, Callable[[str], bytes]] = {
    "xls": lambda password: locked.workbook(password, NOISE + EICAR),
    "xls by XOR": lambda password: locked.workbook(password, NOISE + EICAR, hidden=True),
    "doc": lambda password: locked.word(password, NOISE + EICAR),
    "ppt": lambda password: locked.presentation(password, {1: SLIDE, 2: HOLDS, 3: SLIDE}),
    "ppt in another order": lambda password: locked.presentation(password, {3: SLIDE, 1: HOLDS}),
}


def holds_eicar(found: Everything) -> bool:
    return any(isinstance(f, Part) and EICAR in f.data for f in found)


def shut(found: Everything) -> list[Unopened]:
    return [f for f in found if isinstance(f, Unopened)]


@pytest.fixture(autouse=True)
def no_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a worker, which the kernel keeps from writing."""

    def refused(*_: object, **__: object) -> NoReturn:
        raise PermissionError

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_password_in_the_text_opens_it(scan: Scan, document: Callable[[str], bytes]) -> None:
    data = message(Attachment("a.bin", document("Xq7!z")), text="The password is Xq7!z\n")
    found = scan(data, "a.eml")
    assert holds_eicar(found)
    assert any(isinstance(f, OwnPassword) for f in found)
    assert not shut(found)


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_what_excel_opens_without_asking_is_opened(
    scan: Scan, document: Callable[[str], bytes]
) -> None:
    found = scan(document("VelvetSweatshop"))
    assert holds_eicar(found)
    assert not any(isinstance(f, OwnPassword) for f in found)


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_without_its_password_it_stays_shut(scan: Scan, document: Callable[[str], bytes]) -> None:
    found = scan(document("Xq7!z"))
    assert not holds_eicar(found)
    assert [one.reason for one in shut(found)] == [Reason.ENCRYPTED]


def test_pictures_of_an_encrypted_presentation_are_told(scan: Scan) -> None:
    data = locked.presentation("VelvetSweatshop", {1: HOLDS}, Pictures=NOISE)
    found = scan(data)
    assert holds_eicar(found)
    [one] = shut(found)
    assert (one.reason, one.part) == (Reason.ENCRYPTED, "a/Pictures")


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_torn_or_altered_one_is_never_silently_clean(
    scan: Scan, document: Callable[[str], bytes]
) -> None:
    whole = document("VelvetSweatshop")
    for at in range(512, len(whole), len(whole) // 12):
        assert shut(scan(whole[:at])) or holds_eicar(scan(whole[:at]))
        scan(whole[:at] + b"\xff\xff\xff\x7f" + whole[at + 4 :])


def test_objects_that_all_lie_in_one_place_cost_no_more_than_one(scan: Scan) -> None:
    data = locked.presentation("VelvetSweatshop", dict.fromkeys(range(1, 900), b"") | {900: HOLDS})
    assert scan(data)


@pytest.mark.shared
def test_a_real_workbook_is_opened(scan: Scan, shared: Path) -> None:
    real = shared / "containers/msoffcrypto/tests/inputs/rc4cryptoapi_password.xls"
    data = message(Attachment("a.xls", real.read_bytes()), text="Password: Password1234_\n")
    assert not shut(scan(data, "a.eml"))
