"""Files put into others, by the type that ClamAV gives the outer one."""

import bz2
import gzip
import lzma
import tarfile
import zipfile
import zlib
from base64 import b64encode, encodebytes
from collections.abc import Callable, Mapping
from io import BytesIO

from tests.scan.containers.archives import cab, cpio, lha, nsis
from tests.scan.containers.installers import autoit
from tests.scan.documents.build import compound_file, ole1_object, ole_native, package, tnef
from tests.starter.samples.formats import onenote


def wrapped(data: bytes, container: str) -> bytes:
    """``data`` in a container. Raises KeyError if none of that type is made here."""
    return WRAPPERS[container](data)


def _zip(name: str) -> Callable[[bytes], bytes]:
    def made(data: bytes) -> bytes:
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            if "/" in name:
                archive.writestr("[Content_Types].xml", "<xml/>")
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
        return buffer.getvalue()

    return made


def _mail(data: bytes) -> bytes:
    return (
        b"From: a@example.com\nTo: b@example.com\nSubject: x\nMIME-Version: 1.0\n"
        b"Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n"
        b"Content-Disposition: attachment; filename=example.bin\n\n" + encodebytes(data)
    )


def _tar(data: bytes) -> bytes:
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo("example.bin")
        member.size = len(data)
        archive.addfile(member, BytesIO(data))
    return buffer.getvalue()


def _pdf(data: bytes) -> bytes:
    packed = zlib.compress(data)
    about = b"<< /Type /EmbeddedFile /Filter /FlateDecode /Length %d >>" % len(packed)
    return (
        b"%%PDF-1.4\n1 0 obj\n%b\nstream\n%b\nendstream\nendobj\ntrailer\n<< /Size 2 >>\n%%%%EOF\n"
        % (about, packed)
    )


def _ole2(data: bytes) -> bytes:
    return compound_file({"\1Ole10Native": ole_native("example.bin", data)})


def _html(data: bytes) -> bytes:
    page = b'<html><p>%b</p><img src="data:image/gif;base64,%b"></html>'
    return page % (b"hello " * 16, b64encode(data))


def _rtf(data: bytes) -> bytes:
    digits = ole1_object(b"Package", package("example.bin", data)).hex().encode()
    return b"{\\rtf1\\ansi{\\object\\objemb{\\*\\objdata %b}}text}" % digits


def _xml(root: bytes) -> Callable[[bytes], bytes]:
    def made(data: bytes) -> bytes:
        space = b"http://schemas.microsoft.com/office/word/2003/wordml"
        inner = b"<w:binData>%b</w:binData>" % encodebytes(data)
        return b'<?xml version="1.0"?><%b xmlns:w="%b">%b</%b>' % (root, space, inner, root)

    return made


WRAPPERS: Mapping[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "CL_TYPE_ANY": bytes,
    "CL_TYPE_ZIP": _zip("example.bin"),
    "CL_TYPE_OOXML_WORD": _zip("word/example.bin"),
    "CL_TYPE_OOXML_XL": _zip("xl/example.bin"),
    "CL_TYPE_OOXML_PPT": _zip("ppt/example.bin"),
    "CL_TYPE_MAIL": _mail,
    "CL_TYPE_POSIX_TAR": _tar,
    "CL_TYPE_GZ": lambda data: gzip.compress(data, mtime=0),
    "CL_TYPE_MSCAB": lambda data: cab("example.bin", data),
    "CL_TYPE_PDF": _pdf,
    "CL_TYPE_MSOLE2": _ole2,
    "CL_TYPE_HTML": _html,
    "CL_TYPE_RTF": _rtf,
    "CL_TYPE_XML_WORD": _xml(b"w:wordDocument"),
    "CL_TYPE_XML_XL": _xml(b"Workbook"),
    "CL_TYPE_BZ": bz2.compress,
    "CL_TYPE_XZ": lzma.compress,
    "CL_TYPE_CPIO_NEWC": lambda data: cpio("example.bin", data),
    "CL_TYPE_LHA_LZH": lambda data: lha("example.bin", data),
    "CL_TYPE_TNEF": lambda data: tnef(("example.bin", data)),
    "CL_TYPE_ONENOTE": onenote,
    "CL_TYPE_AUTOIT": lambda data: autoit({"example.bin": data}),
    "CL_TYPE_NULSFT": lambda data: nsis("example.bin", data),
}
