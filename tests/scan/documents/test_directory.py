"""Files in calendars and contacts, which clients save with a click."""

import base64
from collections.abc import Callable

import pytest

from mailward.testing import EICAR

Files = Callable[..., dict[str, bytes]]

LETTERS = base64.b64encode(EICAR)
FOLDED = b"\r\n ".join(LETTERS[i : i + 30] for i in range(0, len(LETTERS), 30))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (
            b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nATTACH;FMTTYPE=x/y;ENCODING=BASE64;VALUE=BINARY;"
            b"X-FILENAME=a.com:" + FOLDED + b"\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
            "a/attach 1:a.com",
        ),
        (
            b"BEGIN:VCARD\nVERSION:2.1\nN:x\nPHOTO;JPEG;ENCODING=BASE64:\n "
            + FOLDED.replace(b"\r", b"")
            + b"\n\nEND:VCARD\n",
            "a/photo 1",
        ),
        (b"begin:vcard\nKEY;ENCODING=b;TYPE=x:" + LETTERS + b"\nEND:VCARD\n", "a/key 1"),
        (b"BEGIN:VCARD\nPHOTO:data:image/png;base64\\," + LETTERS, ""),
        (b"BEGIN:VCARD\nPHOTO:data:image/png;base64," + LETTERS + b"\nEND:VCARD", "a/data"),
    ],
    ids=["calendar", "vCard 2.1", "vCard 3", "no address", "vCard 4"],
)
def test_files_in_properties(files: Files, text: bytes, path: str) -> None:
    found = files(text)
    assert found.get(path) == EICAR if path else len(found) == 1


def test_what_is_cut_or_holds_nothing_is_survived(files: Files) -> None:
    text = b"BEGIN:VCARD\nPHOTO;ENCODING=b:" + LETTERS
    for end in range(len(text)):
        files(text[:end])
    assert len(files(b"BEGIN:VCARD\nN:x\nNOTE;ENCODING=QUOTED-PRINTABLE:=41\nEND:VCARD\n")) == 1
