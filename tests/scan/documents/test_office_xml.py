import base64
import zlib
from collections.abc import Callable

import pytest

from mailward.scan.verdict import Unopened
from mailward.testing import EICAR
from tests.scan.documents.conftest import Everything

Files = Callable[..., dict[str, bytes]]
Scan = Callable[..., Everything]

LETTERS = base64.encodebytes(EICAR)
FLAT = (
    b'<?xml version="1.0"?><?mso-application progid="Word.Document"?>'
    b'<pkg:package xmlns:pkg="http://schemas.microsoft.com/office/2006/xmlPackage">'
    b'<pkg:part pkg:name="/word/document.xml"><pkg:xmlData><w:p/></pkg:xmlData></pkg:part>'
    b'<pkg:part pkg:name="/word/vbaProject.bin" pkg:contentType="x/y" pkg:compression="store">'
    b"<pkg:binaryData>" + LETTERS + b"</pkg:binaryData></pkg:part></pkg:package>"
)
WORD = (
    b'<?xml version="1.0"?><w:wordDocument '
    b'xmlns:w="http://schemas.microsoft.com/office/word/2003/wordml"><w:docSuppData>'
    b'<w:binData w:name="editdata.mso">%b</w:binData></w:docSuppData></w:wordDocument>'
)
ACTIVE_MIME = (
    b"ActiveMime\0\0\1\xf0\4\0\0\0\xff\xff\xff\xff\0\0\7\xf0" + bytes(26) + zlib.compress(EICAR)
)


def test_parts_of_a_flat_package(files: Files) -> None:
    assert files(FLAT)["a/1:/word/vbaProject.bin"] == EICAR


def test_macros_in_a_document_of_word_2003(files: Files) -> None:
    found = files(WORD % base64.encodebytes(ACTIVE_MIME))
    assert found["a/1:editdata.mso"] == ACTIVE_MIME
    assert found["a/1:editdata.mso/content"] == EICAR


@pytest.mark.parametrize("cut", range(0, len(ACTIVE_MIME) - 50, 7))
def test_a_torn_active_mime_file_is_unscannable(scan: Scan, cut: int) -> None:
    torn = ACTIVE_MIME[:10] + ACTIVE_MIME[10 : 10 + cut]
    assert any(isinstance(found, Unopened) for found in scan(torn))


def test_a_bomb_in_an_active_mime_file_ends_at_the_limit(scan: Scan) -> None:
    bomb = ACTIVE_MIME[:50] + zlib.compress(bytes(1 << 24))
    found = scan(bomb, max_part_bytes=1 << 20)
    assert any(isinstance(each, Unopened) for each in found)


def test_other_xml_is_left_alone(files: Files) -> None:
    assert len(files(b'<?xml version="1.0"?><a><binData>' + LETTERS + b"</binData></a>")) == 1
