"""The EICAR test file in every encoding and document that is opened, three inside each other."""

import base64
import gzip
from collections.abc import Callable
from functools import partial
from urllib.parse import quote

import pytest

from mailward.scan.budget import Budget
from mailward.scan.part import Part, Role
from mailward.scan.unpack import parts
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR, Attachment, forwarded, message, zipped
from tests.scan.containers import test_disk, test_ntfs, test_virtual_disk, test_wim
from tests.scan.documents import build
from tests.scan.documents.test_pdf import ENCODERS, encrypted, pdf, stream
from tests.scan.mime.test_cms import ber, in_pieces, signed
from tests.scan.mime.test_inline import binhexed, uuencoded, yencoded

Wrap = Callable[[bytes], bytes]


def quoted_printable(data: bytes) -> bytes:
    body = b"".join(b"=%02X" % byte for byte in data)
    fields = b"Content-Type: a/b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    return b"From: a@b\r\nSubject: x\r\n" + fields + body


def uuencoded_part(data: bytes) -> bytes:
    fields = b"Content-Type: a/b\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\n"
    return b"From: a@b\r\nSubject: x\r\n" + fields + uuencoded(b"a.com", data)


def attached_to_pdf(name: bytes, data: bytes) -> bytes:
    content = stream(4, ENCODERS[name](data), b"/Filter " + name)
    return pdf(content, b"3 0 obj<</F(a)/EF<</F 4 0 R>>>>endobj")


def in_page(before: str, encoded: bytes, after: str) -> bytes:
    return b"<html><body>" + b" " * 80 + before.encode() + encoded + after.encode()


def in_ntfs(data: bytes) -> bytes:
    runs = [(test_ntfs.DATA_AT, -(-len(data) // 512))]
    file = test_ntfs.record(test_ntfs.called("a.com"), test_ntfs.outside(runs, len(data)))
    return test_ntfs.ntfs({24: file}, data)


WRAPS: dict[str, Wrap] = {
    "message": lambda d: message(Attachment("a.com", d)),
    "forwarded message": lambda d: forwarded(message(Attachment("a.com", d))),
    "quoted-printable": quoted_printable,
    "uuencoded part": uuencoded_part,
    "uuencode in text": lambda d: b"Hello\r\n\r\n" + uuencoded(b"a.com", d),
    "yEnc": lambda d: yencoded(b"a.com", d),
    "BinHex": lambda d: binhexed(b"a.com", d),
    "winmail.dat": lambda d: build.tnef(("a.com", d)),
    "S/MIME": lambda d: signed(ber, in_pieces(message(Attachment("a.com", d)))),
    "zip": lambda d: zipped(Attachment("a.com", d)),
    "gzip": gzip.compress,
    "WIM": lambda d: test_wim.wim({"a.com": d}, test_wim.lzx, test_wim.LZX),
    "QCOW2": lambda d: test_virtual_disk.qcow2(in_ntfs(d), "deflate"),
    "DMG": lambda d: test_disk.dmg(in_ntfs(d), 0x80000007),
    "stream": lambda d: build.compound_file({"WordDocument": b"x" * 100, "Object": d}),
    "packaged file": lambda d: build.compound_file({"\1Ole10Native": build.ole_native("a", d)}),
    "Outlook message": lambda d: build.compound_file(
        {"__attach_version1.0_#00000000/__substg1.0_37010102": d}
    ),
    "RTF": lambda d: (
        b"{\\rtf1{\\object{\\*\\objdata " + build.ole1_object(b"Package", build.package("a", d))
        .hex().encode() + b"}}}"
    ),
    **{f"PDF {name.decode()}": partial(attached_to_pdf, name) for name in ENCODERS},
    "encrypted PDF": partial(encrypted, b""),
    "data:": lambda d: in_page('<a href="data:a/b;base64,', base64.b64encode(d), '">'),
    "data: in percent": lambda d: in_page('<a href="data:a/b,', quote(d, safe="").encode(), '">'),
    "atob": lambda d: in_page("<script>atob('", base64.b64encode(d), "')</script>"),
    "SVG": lambda d: (
        b"<svg><script>" + b" " * 80 + b"atob(`" + base64.b64encode(d) + b"`)</script></svg>"
    ),
    "numbers": lambda d: in_page(
        "<script>new Uint8Array([", b",".join(b"%d" % byte for byte in d), "])</script>"
    ),
}  # fmt: skip


def reaches(data: bytes) -> bool:
    """Whether it was taken out of everything: a part that is hardly longer."""
    budget = Budget(ScanSettings())
    found = parts(message(Attachment("a", data)), role=Role.MESSAGE, name="", budget=budget)
    return any(
        isinstance(part, Part) and EICAR in part.data and len(part.data) < len(EICAR) + 16
        for part in found
    )


@pytest.mark.parametrize("name", WRAPS)
def test_three_of_a_kind(name: str) -> None:
    wrap = WRAPS[name]
    assert reaches(wrap(wrap(wrap(EICAR))))


@pytest.mark.parametrize("number", range(len(WRAPS)))
def test_three_of_different_kinds(number: int) -> None:
    kinds = list(WRAPS.values())
    outer, middle, inner = (kinds[(number + step) % len(kinds)] for step in (0, 7, 17))
    assert reaches(outer(middle(inner(EICAR))))
