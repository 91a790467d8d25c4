import base64
import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pikepdf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailward.scan.budget import Budget
from mailward.scan.documents import pdf_filters
from mailward.scan.documents.pdf_crypt import Key, find_key
from mailward.scan.part import Part
from mailward.scan.verdict import OwnPassword, Reason, Unopened
from mailward.settings.base import MIB
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR, Attachment, message, zipped

Files = Callable[..., dict[str, bytes]]
Scan = Callable[..., list[object]]

PROGRAM = b"MZ" + EICAR


def stream(number: int, data: bytes, entries: bytes = b"") -> bytes:
    head = b"%d 0 obj\n<</Length %d%b>>\nstream\n" % (number, len(data), entries)
    return head + data + b"\nendstream\nendobj\n"


def pdf(*objects: bytes) -> bytes:
    return b"%PDF-1.7\n" + b"".join(objects) + b"trailer<</Root 1 0 R>>\n%%EOF\n"


def lzw_literal(data: bytes) -> bytes:
    """Codes of 9 bits only: a clear code before the table grows."""
    codes: list[int] = []
    for at in range(0, len(data), 200):
        codes += [256, *data[at : at + 200]]
    bits = "".join(f"{code:09b}" for code in (*codes, 257))
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def run_length(data: bytes) -> bytes:
    parts = [data[i : i + 128] for i in range(0, len(data), 128)]
    return b"".join(bytes((len(part) - 1,)) + part for part in parts) + b"\x80"


ENCODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"/FlateDecode": zlib.compress,
    b"/Fl": zlib.compress,
    b"/LZWDecode": lzw_literal,
    b"/ASCII85Decode": lambda d: base64.a85encode(d) + b"~>",
    b"/ASCIIHexDecode": lambda d: d.hex().encode() + b">",
    b"/RunLengthDecode": run_length,
    b"[/ASCIIHexDecode /FlateDecode]": lambda d: zlib.compress(d).hex().encode() + b">",
    b"[ /A85 /LZW /RL ]": lambda d: base64.a85encode(lzw_literal(run_length(d))) + b"~>",
    b"/Fl#61teDecode": zlib.compress,
}


@pytest.mark.parametrize("name", ENCODERS)
def test_streams_are_decoded(files: Files, name: bytes) -> None:
    data = pdf(stream(4, ENCODERS[name](PROGRAM), b"/Filter " + name))
    assert files(data)["a/object 4"] == PROGRAM


def test_lzw_with_a_table() -> None:
    """The example of ISO 32000-1, 7.4.4.2."""
    packed = bytes.fromhex("800B6050220C0C8501")
    plain = bytes((45, 45, 45, 45, 45, 65, 45, 45, 45, 66))
    assert pdf_filters.lzw(packed, Budget(ScanSettings())) == (plain, None)


def test_files_are_given_with_their_names(files: Files) -> None:
    data = pdf(
        b"3 0 obj<</Type/Filespec/F(a.com)/UF<FEFF0061002E0063006F006D>/EF<</F 4 0 R>>>>endobj\n",
        stream(4, zlib.compress(EICAR), b"/Type/EmbeddedFile/Filter/FlateDecode"),
    )
    assert files(data)["a/object 4:a.com"] == EICAR


def test_a_file_that_another_object_names_is_taken_for_one(files: Files) -> None:
    data = pdf(
        b"3 0 obj<</F(a.com)/EF 5 0 R>>endobj\n5 0 obj<</F 4 0 R>>endobj\n",
        stream(4, zlib.compress(EICAR), b"/Subtype/Image/Filter/FlateDecode"),
    )
    assert files(data)["a/object 4"] == EICAR


def test_an_archive_in_a_stream_is_opened(files: Files) -> None:
    inner = zipped(Attachment("a.com", EICAR))
    assert EICAR in files(pdf(stream(4, zlib.compress(inner), b"/Filter/FlateDecode"))).values()


@pytest.mark.parametrize(
    "script",
    [b"(app.alert\\(1\\))", b"(app.\\141lert\\\n\\(1\\))", b"<6170702E616C657274283129>",
     b"(\xfe\xff" + "app.alert(1)".encode("utf-16-be") + b")"],
)  # fmt: skip
def test_scripts_become_text(files: Files, script: bytes) -> None:
    data = pdf(b"5 0 obj<</S/JavaScript/J#53 " + script + b">>endobj\n")
    assert files(data)["a/texts"] == b"app.alert(1)"


def test_objects_in_object_streams_are_seen(files: Files) -> None:
    inner = b"7 0 <</S/JavaScript/JS(app.alert\\(1\\))>> <</F(b.com)/EF<</F 9 0 R>>>>"
    data = pdf(
        stream(9, zlib.compress(EICAR), b"/Filter/FlateDecode/Subtype/Image"),
        stream(8, zlib.compress(inner), b"/Type/ObjStm/N 1/First 4/Filter/FlateDecode"),
    )
    found = files(data)
    assert b"app.alert(1)" in found["a/texts"]
    assert found["a/object 9:b.com"] == EICAR


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.replace(b"/Length", b"/Lenght"),
        lambda d: d.replace(b"endstream", b"endstrea"),
        lambda d: d.replace(b"endstream", b"").replace(b"endobj", b""),
        lambda d: b"junk" * 200 + d,
        lambda d: d.replace(b"/Length ", b"/Length 1"),
        lambda d: d.replace(b"\n", b"\r\n", 4),
        lambda d: d.replace(b"/Filter /", b"/Filter 99 0 R/"),
        lambda d: d[: d.find(b"trailer")],
    ],
    ids=["no length", "no endstream", "no ends", "junk in front", "wrong length", "line ends",
         "filter elsewhere", "no trailer"],
)  # fmt: skip
def test_broken_structure_hides_nothing(files: Files, damage: Callable[[bytes], bytes]) -> None:
    data = damage(pdf(stream(4, zlib.compress(PROGRAM), b"/Filter /FlateDecode")))
    assert any(EICAR in content for path, content in files(data).items() if path != "a")


def test_a_torn_stream_is_read_as_far_as_it_goes(files: Files) -> None:
    packed = zlib.compress(EICAR * 50 + bytes(range(256)) * 40, 0)
    data = pdf(stream(4, packed[:2000], b"/Filter/FlateDecode"))
    assert any(EICAR in content for path, content in files(data).items() if path != "a")


def test_small_streams_go_together(files: Files) -> None:
    objects = [stream(n, zlib.compress(b"BT (%d) ET" % n), b"/Filter/Fl") for n in range(5, 500)]
    found = files(pdf(*objects))
    assert len(found) == 2
    assert b"BT (499) ET" in found["a/streams"]


def test_pictures_are_no_bombs(scan: Scan) -> None:
    white = zlib.compress(bytes(30 * MIB), 9)
    data = pdf(stream(4, white, b"/Subtype/Image/Filter/FlateDecode"))
    assert not [found for found in scan(data) if isinstance(found, Unopened)]


def test_other_streams_may_be(scan: Scan) -> None:
    data = pdf(stream(4, zlib.compress(bytes(30 * MIB), 9), b"/Filter/FlateDecode"))
    [shut] = [found for found in scan(data) if isinstance(found, Unopened)]
    assert shut.reason is Reason.LIMIT


def test_an_unknown_filter_is_unscannable(scan: Scan) -> None:
    found = scan(pdf(stream(4, b"x" * 99, b"/Filter/Oink")))
    assert any(isinstance(f, Unopened) and f.reason is Reason.UNSUPPORTED for f in found)


def rc4(key: bytes, data: bytes) -> bytes:
    box, j = list(range(256)), 0
    for i in range(256):
        j = (j + box[i] + key[i % len(key)]) % 256
        box[i], box[j] = box[j], box[i]
    out, i, j = bytearray(), 0, 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + box[i]) % 256
        box[i], box[j] = box[j], box[i]
        out.append(byte ^ box[(box[i] + box[j]) % 256])
    return bytes(out)


PAD = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")


def encrypted(password: bytes, data: bytes) -> bytes:
    """RC4 with 128 bits (revision 3), one stream."""
    owner, file_id = bytes(range(32)), b"0123456789abcdef"
    padded = (password + PAD)[:32]
    digest = hashlib.md5(padded + owner + struct.pack("<l", -4) + file_id).digest()
    for _ in range(50):
        digest = hashlib.md5(digest).digest()
    check = hashlib.md5(PAD + file_id).digest()
    for turn in range(20):
        check = rc4(bytes(byte ^ turn for byte in digest), check)
    key = hashlib.md5(digest + struct.pack("<L", 4)[:3] + b"\0\0").digest()
    dictionary = b"<</Filter/Standard/V 2/R 3/Length 128/P -4/O<%b>/U<%b>>>" % (
        owner.hex().encode(), (check + bytes(16)).hex().encode(),
    )  # fmt: skip
    return pdf(
        stream(4, rc4(key, zlib.compress(data)), b"/Filter/FlateDecode/Type/EmbeddedFile"),
        b"9 0 obj" + dictionary + b"endobj\n",
        b"trailer<</Encrypt 9 0 R/ID[<%b><00>]>>" % file_id.hex().encode(),
    )


def test_what_is_encrypted_with_no_password_is_opened(files: Files) -> None:
    assert files(encrypted(b"", PROGRAM))["a/object 4"] == PROGRAM


def test_what_is_encrypted_with_another_is_told(scan: Scan) -> None:
    [shut] = [f for f in scan(encrypted(b"Xq7!z", PROGRAM)) if isinstance(f, Unopened)]
    assert (shut.reason, shut.format) == (Reason.ENCRYPTED, "PDF")


LOCKS = {"RC4 40": (2, False), "RC4 128": (3, False), "RC4 crypt filter": (4, False),
         "AES 128": (4, True), "AES 256 R5": (5, True), "AES 256 R6": (6, True)}  # fmt: skip
WESTERN, CHINESE = ("Xq7!z", "P\u00e4ssw\u00f6rt", "its owner's"), ("\u5bc6\u7801123",)


@pytest.mark.parametrize(("lock", "named"), [
    (lock, named) for lock in LOCKS
    for named in (WESTERN + CHINESE if "256" in lock else WESTERN)  # others lack the letters
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:Encryption R=5:UserWarning")
def test_a_password_in_the_text_opens_the_document(scan: Scan, lock: str, named: str) -> None:
    revision, aes = LOCKS[lock]
    made, out = pikepdf.new(), io.BytesIO()
    made.attachments["a.com"] = PROGRAM
    user = "another" if "owner" in named else named
    made.save(out, encryption=pikepdf.Encryption(
        user=user, owner="its owner's", R=revision, aes=aes, metadata=aes  # type: ignore[arg-type]
    ))  # fmt: skip
    text = f"Password: {named}\n"
    found = scan(message(Attachment("a.pdf", out.getvalue()), text=text), "a.eml")
    assert any(isinstance(f, Part) and f.data == PROGRAM for f in found)
    assert any(isinstance(f, OwnPassword) for f in found)
    assert not [f for f in found if isinstance(f, Unopened)]
    other = message(Attachment("a.pdf", out.getvalue()), text="Password: none\n")
    found = scan(other, "a.eml")
    assert [f.reason for f in found if isinstance(f, Unopened)] == [Reason.ENCRYPTED]


def test_a_short_key_for_a_cipher_that_has_none_is_survived() -> None:
    key = Key(b"abcde", aes=True, revision=3)
    assert len(key.decrypt(bytes(48), 1, 0)) <= 32


def test_usual_passwords_are_tried(files: Files) -> None:
    assert files(encrypted(b"infected", PROGRAM))["a/object 4"] == PROGRAM


@pytest.mark.shared
def test_real_encrypted_documents_open_without_a_password(shared: Path) -> None:
    """RC4 with 40 and 128 bits, AES with 128 and 256."""
    names = ("V4-clearmeta.pdf", "enc-XI-R6,V5,O=master.pdf", "testPDF_protected.pdf",
             "testPDF_no_extract_yes_accessibility_owner_empty.pdf", "bug1815476.pdf")  # fmt: skip
    for name in names:
        [path] = list((shared / "clean").rglob(name))[:1]
        assert find_key(path.read_bytes(), Budget(ScanSettings())) is not None, name


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tokens=st.lists(
        st.sampled_from(
            [b"stream\n", b"endstream", b"1 0 obj", b"<<", b">>", b"/Filter", b"/FlateDecode",
             b"/LZWDecode", b"/A85", b"/RL", b"/JS(", b"/JS<41", b"\\", b")", b"/Encrypt 1 0 R",
             b"/Standard/R 6/U(x)/O(y)", b"/R 3", b"/Length 9", b"/EF<</F 1 0 R", b"/ObjStm",
             b"/Predictor 12/Columns 4", b"\x80\x0b\x60", b"z!", b"#4", b"x\x9c"]
        ),
        max_size=30,
    )
)  # fmt: skip
def test_any_arrangement_is_survived(scan: Scan, tokens: list[bytes]) -> None:
    assert isinstance(scan(b"%PDF-1.7" + b" ".join(tokens))[0], Part)


@given(st.binary(), st.sampled_from(sorted(pdf_filters.BY_NAME)))
def test_any_bytes_can_be_filtered(data: bytes, name: bytes) -> None:
    budget = Budget(ScanSettings())
    pdf_filters.BY_NAME[name](data, budget)
    pdf_filters.unpredict(data, 5, 1, budget)
