import hashlib
import io
import struct
import zlib
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msoffcrypto.format.ooxml import OOXMLFile

from mailward.scan.budget import Budget
from mailward.scan.containers import libarchive
from mailward.scan.documents import vba
from mailward.scan.part import Part
from mailward.scan.verdict import Ambiguity, Doubt, OwnPassword, Reason, Unopened
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR, Attachment, message, zipped
from tests.scan.containers import archives
from tests.scan.documents.build import compound_file, ole_native, vba_compressed, vba_project

Files = Callable[..., dict[str, bytes]]
Scan = Callable[..., list[object]]

SOURCE = b'Attribute VB_Name = "M"\r\nSub AutoOpen()\r\nShell "calc"\r\nEnd Sub\r\n'


def test_every_stream_is_found_large_and_small(files: Files) -> None:
    large = b"large " * 2000
    found = files(compound_file({"WordDocument": large, "A/B/small": EICAR, "empty": b""}))
    assert found["a/WordDocument"] == large
    assert found["a/A/B:small"] == EICAR


def test_a_packaged_file_is_given_with_its_name(files: Files) -> None:
    found = files(compound_file({"ObjectPool/_1/\1Ole10Native": ole_native("a.com", EICAR)}))
    assert found["a/object:a.com"] == EICAR


def test_bytes_in_an_object_that_is_no_package(files: Files) -> None:
    data = struct.pack("<L", len(EICAR)) + EICAR
    assert EICAR in files(compound_file({"\1Ole10Native": data})).values()


def test_the_source_of_macros_is_given(files: Files) -> None:
    found = files(compound_file(vba_project({"M": SOURCE}, compiled=b"p-code " * 100)))
    assert found["a/macro:M.vba"] == SOURCE


def test_macros_are_found_without_their_directory(files: Files) -> None:
    streams = vba_project({"M": SOURCE}, compiled=b"p-code " * 100)
    streams["Macros/VBA/dir"] = b"\x01junk"
    assert files(compound_file(streams))["a/macro:M.vba"] == SOURCE


def test_vba_stomping_source_missing(scan: Scan) -> None:
    found = scan(compound_file(vba_project({"M": b""}, compiled=b"p-code " * 200)))
    assert any(isinstance(f, Ambiguity) and f.doubt is Doubt.MACRO for f in found)
    assert any(isinstance(f, Unopened) and f.reason is Reason.UNSUPPORTED for f in found)


def test_vba_stomping_source_replaced(scan: Scan) -> None:
    harmless = b'Attribute VB_Name = "M"\r\nSub Nothing()\r\nEnd Sub\r\n'
    streams = vba_project({"M": harmless}, b"p" * 700, names=b"\x08\0AutoOpen\x05\0Shell\0")
    [told] = [f for f in scan(compound_file(streams)) if isinstance(f, Ambiguity)]
    assert told.doubt is Doubt.MACRO
    assert "autoopen, shell" in told.detail


def test_honest_macros_are_not_ambiguous(scan: Scan) -> None:
    streams = vba_project({"M": SOURCE}, b"p" * 700, names=b"\x08\0AutoOpen\x05\0Shell\0")
    assert not [f for f in scan(compound_file(streams)) if isinstance(f, Ambiguity)]


def test_copies_in_compressed_source_are_followed() -> None:
    """The third example of MS-OVBA 3.2: 73 times the letter a."""
    packed = bytes.fromhex("0103b00261450 0".replace(" ", ""))
    assert vba.decompress(packed, Budget(ScanSettings())) == b"a" * 73


def test_objects_of_powerpoint_are_decompressed(files: Files) -> None:
    inner = compound_file({"\1Ole10Native": ole_native("a.com", EICAR)})
    packed = zlib.compress(inner)
    record = b"\x10\0\x11\x10" + struct.pack("<LL", len(packed) + 4, len(inner)) + packed
    found = files(compound_file({"PowerPoint Document": b"\x0f\0\xe8\3" + bytes(4) + record}))
    assert EICAR in found.values()


def record(kind: int, value: bytes) -> bytes:
    return struct.pack("<HH", kind, len(value)) + value


def test_excel_4_macros_become_text(files: Files) -> None:
    text = b"\x17\x04\x00calc"
    formula = text + b"\x41\x6e\x00" + b"\x1e\x07\x00"
    cell = struct.pack("<HHH8sHL", 0, 1, 0, bytes(8), 0, 0) + struct.pack("<H", len(formula))
    workbook = (
        record(0x809, struct.pack("<HH", 0x600, 5))
        + record(0x85, struct.pack("<LBBBB", 0, 2, 1, 5, 0) + b"Macro")
        + record(0x18, struct.pack("<HBBHHHLB", 0x20, 0, 1, 0, 0, 0, 0, 0)[:14] + b"\0\1")
        + record(0x809, struct.pack("<HH", 0x600, 0x40))
        + record(0x06, cell + formula)
    )
    found = files(compound_file({"Workbook": workbook}))["a/macro:macros.xlm"]
    assert b"macro sheet Macro (very hidden)" in found
    assert b'R1C2="calc" EXEC 7' in found
    assert b"Auto_Open" in found


@pytest.mark.parametrize(
    "streams",
    [
        {"Workbook": record(0x809, bytes(4)) + record(0x2F, bytes(6))},
        {"WordDocument": struct.pack("<HHHHHH", 0xA5EC, 0xC1, 0, 0, 0, 0x0100) + bytes(20)},
        {"PowerPoint Document": b"x", "EncryptedSummary": b"x"},
        {"EncryptedPackage": b"x" * 5000, "EncryptionInfo": b"x"},
    ],
    ids=["xls", "doc", "ppt", "Open XML"],
)
def test_encrypted_documents_are_told(scan: Scan, streams: dict[str, bytes]) -> None:
    found = scan(compound_file(streams))
    assert any(isinstance(f, Unopened) and f.reason is Reason.ENCRYPTED for f in found)


def locked(password: str) -> bytes:
    namespace = b"http://schemas.openxmlformats.org/package/2006/content-types"
    types = Attachment("[Content_Types].xml", b'<Types xmlns="' + namespace + b'"/>')
    noise = Attachment("noise", b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(300)))
    inner = zipped(types, noise, Attachment("a.com", EICAR))
    out = io.BytesIO()
    OOXMLFile(io.BytesIO(inner)).encrypt(password, out)
    return out.getvalue()


def test_what_excel_opens_without_asking_is_opened(files: Files) -> None:
    assert EICAR in files(locked("VelvetSweatshop")).values()


def test_a_password_in_the_text_opens_the_document(scan: Scan) -> None:
    data = message(Attachment("a.docx", locked("Xq7!z")), text="The password is Xq7!z\n")
    found = scan(data, "a.eml")
    assert any(isinstance(f, Part) and f.data == EICAR for f in found)
    assert any(isinstance(f, OwnPassword) for f in found)


def test_without_its_password_a_document_stays_shut(scan: Scan) -> None:
    [shut] = [f for f in scan(locked("Xq7!z")) if isinstance(f, Unopened)]
    assert (shut.reason, shut.format) == (Reason.ENCRYPTED, "MSOLE2")


def test_a_hash_with_a_billion_rounds_is_not_begun(scan: Scan) -> None:
    data = locked("VelvetSweatshop").replace(b'spinCount="100000"', b'spinCount="999999"')
    assert any(isinstance(f, Unopened) and f.reason is Reason.ENCRYPTED for f in scan(data))


def outlook_message() -> dict[str, bytes]:
    return {
        "__nameid_version1.0/__substg1.0_10130102": b"no text",
        "__properties_version1.0": bytes(64),
        "__substg1.0_0037001F": "Figures".encode("utf-16-le"),
        "__substg1.0_1000001F": "Hello".encode("utf-16-le"),
        "__substg1.0_10130102": b"<b>Hello</b>",
        "__attach_version1.0_#00000000/__substg1.0_3707001F": "a.com".encode("utf-16-le"),
        "__attach_version1.0_#00000000/__substg1.0_37010102": EICAR,
        "__attach_version1.0_#00000001/__substg1.0_3701000D/__substg1.0_1000001E": b"inner",
        "__attach_version1.0_#00000001/__substg1.0_3701000D/__attach_version1.0_#00000000/"
        "__substg1.0_37010102": EICAR,
    }


def test_an_outlook_message_is_read_with_the_messages_in_it(files: Files) -> None:
    found = files(compound_file(outlook_message()), "a.msg")
    assert found["a.msg/__attach_version1.0_#00000000:a.com"] == EICAR
    assert list(found.values()).count(EICAR) == 2
    assert {b"Hello", b"<b>Hello</b>", b"Figures", b"inner"} <= set(found.values())


def test_streams_that_share_their_sectors_are_a_bomb(scan: Scan) -> None:
    data = bytearray(compound_file({f"s{n}": b"x" * 5000 for n in range(30)}))
    at = data.find("s0".encode("utf-16-le"))
    size = struct.pack("<Q", 100_000)
    for number in range(30):
        where = data.find(f"s{number}\0".encode("utf-16-le"))
        data[where + 116 : where + 128] = data[at + 116 : at + 120] + size
    found = scan(bytes(data))
    assert any(isinstance(f, Unopened) and "overlap" in f.detail for f in found)
    assert sum(isinstance(f, Part) for f in found) == 1


def test_a_chain_that_bites_its_tail_ends(scan: Scan) -> None:
    data = bytearray(compound_file({"s": b"x" * 5000}))
    fat = int.from_bytes(data[76:80], "little") * 512 + 512
    data[fat : fat + 4] = bytes(4)
    found = scan(bytes(data))
    assert found


@pytest.mark.parametrize("size", [0, 8, 100, 512, 700, 1500])
def test_a_torn_file_is_never_silently_clean(scan: Scan, size: int) -> None:
    data = compound_file({"s": EICAR * 100, **vba_project({"M": SOURCE})})[:size]
    found = scan(data)
    if size > 8:
        assert any(isinstance(f, Unopened) for f in found) or len(found) > 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    damage=st.lists(st.tuples(st.integers(0, 9000), st.binary(min_size=1, max_size=8)), max_size=6)
)
def test_any_damage_is_survived(scan: Scan, damage: list[tuple[int, bytes]]) -> None:
    data = bytearray(
        compound_file(
            {
                **vba_project({"M": SOURCE}, b"p" * 700, names=b"AutoOpen"),
                **outlook_message(),
                "Workbook": record(0x809, struct.pack("<HH", 0x600, 0x40)) + record(6, bytes(40)),
                "\1Ole10Native": ole_native("a.com", EICAR),
            }
        )
    )
    for at, junk in damage:
        data[at : at + len(junk)] = junk
    scan(bytes(data))


@given(st.binary())
def test_any_bytes_can_be_decompressed(data: bytes) -> None:
    budget = Budget(ScanSettings())
    vba.decompress(b"\x01" + data, budget)
    packed = vba_compressed(data)
    assert vba.decompress(packed, budget) == data


def test_streams_of_windows_installer_have_their_names(files: Files) -> None:
    letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._"
    codes = [letters.index(c) for c in "Data1.ca"]
    pairs = [chr(0x3800 + a + (b << 6)) for a, b in zip(codes[::2], codes[1::2], strict=True)]
    name = "".join(pairs) + chr(0x4800 + letters.index("b"))
    table = chr(0x4840) + chr(0x4800 + letters.index("X"))
    found = files(compound_file({name: EICAR, table: b"rows"}))
    assert found["a/Data1.cab"] == EICAR
    assert found["a/!X"] == b"rows"


def test_a_cabinet_in_a_windows_installer_package_is_opened(files: Files) -> None:
    if not libarchive.version():
        pytest.skip("needs libarchive13, which is not installed")
    package = compound_file({chr(0x4800 + 10): archives.cab("a.com", EICAR)})
    assert files(package)["a/A/a.com"] == EICAR
