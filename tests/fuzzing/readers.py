"""Readers of mail, containers and documents, each fed with bytes as they come."""

import re
import struct
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial

from mailward.protect import strip
from mailward.scan import containers, encodings, marks, message
from mailward.scan.budget import Budget, Spent
from mailward.scan.containers import (
    ace,
    alzip,
    apple_archive,
    apple_lzfse,
    arj,
    autoit,
    autoit_text,
    bare_bzip2,
    chm,
    dcl,
    disk,
    dmg,
    dmg_encrypted,
    embedded,
    inflate,
    inno,
    installshield_3,
    installshield_cabinet,
    iso,
    libarchive,
    lz_expand,
    lzop,
    lzw,
    nsis,
    onenote,
    rar,
    rar4_blocks,
    rar_files,
    recognised,
    sevenzip,
    shortcut,
    sis,
    stream,
    tar,
    udf,
    universal,
    vhd,
    vhdx_log,
    wim,
    wim_chunks,
    zip_legacy,
    zisofs,
    zoo,
)
from mailward.scan.containers import zip as zip_archive
from mailward.scan.containers.bits import DamagedError
from mailward.scan.containers.crc32c import crc32c
from mailward.scan.containers.sevenzip_filters import FILTERS
from mailward.scan.contents import Contents
from mailward.scan.documents import (
    compound_file,
    directory,
    encoded_script,
    excel4,
    excel_binary,
    flash,
    hangul,
    mapi,
    office,
    office_xml,
    ole,
    pdf,
    pdf_crypt,
    pdf_filters,
    pdf_syntax,
    rtf,
    tnef,
    vba,
    vba_pcode,
    web,
    wide_text,
)
from mailward.scan.mime import applefile, binhex, cms, fields, heads, inline, uu, yenc
from mailward.scan.part import Role
from mailward.scan.passwords import Passwords, Said, plain_text
from mailward.scan.programs import read as read_program
from mailward.scan.unpack import parts
from mailward.settings.scan import ScanSettings
from tests.scan.programs import stubs

Parser = Callable[[bytes], object]
Reader = Callable[[bytes, str, Budget], Contents]

SETTINGS = ScanSettings(max_part_bytes=1 << 20, max_total_bytes=1 << 22, max_parts=200)


_EMULATION_S = 0.05
"""Of what a message may have six seconds for: what takes as long shows nothing new."""


def _budget() -> Budget:
    budget = Budget(SETTINGS)
    budget.emulation_left_s = _EMULATION_S
    budget.begin(1 << 16)
    return budget


def _reader(read: Reader, begins: bytes = b"") -> Parser:
    """Fed with what begins as it must for ``read`` to be called at all."""

    def parse(data: bytes) -> None:
        try:
            for _ in read(begins + data.removeprefix(begins), "a", _budget()):
                pass
        except Spent:
            return

    return parse


_ARCHIVE = re.compile("archive(?! behind)|cabinet|disk image|HTML help|[Pp]ackage|file of COMPRESS")
"""What holds files; documents and texts may hold none."""


def _never_silent(empty_bytes: int, read: Reader, begins: bytes = b"", size: int = 0) -> Parser:
    """The same, of what nobody makes without a file, larger than ``empty_bytes``.

    Whatever was done to it, there is a piece, or a folder, or a word why there is none (S11). What
    the table of containers takes for something is read as it says.
    """

    def parse(data: bytes) -> None:
        whole = begins.ljust(size, b"\0") + data.removeprefix(begins)
        budget = _budget()
        known = containers.unpack(whole, "a", "", budget)
        said = False
        try:
            for _ in read(whole, "a", budget) if known is None else known:
                said = True
        except Spent:
            return
        is_told = said or known is None or budget.parts or len(whole) <= empty_bytes
        is_told = is_told or vhd.looks_like_vhd(whole)  # a disk that nobody has used yet
        assert is_told or not _ARCHIVE.search(containers.kind(whole)), containers.kind(whole)

    return parse


def _libarchive(kind: libarchive.Kind, begins: bytes) -> Parser:
    return _never_silent(
        kind.empty_bytes,
        lambda data, name, budget: libarchive.read(kind, data, name, budget),
        begins,
    )


def _seven_zip_header(data: bytes, name: str, budget: Budget) -> Contents:
    """With a header whose checksum is right: else none would be looked into."""
    packed, header = data[:64], data[64:]
    start = struct.pack("<QQL", len(packed), len(header), zlib.crc32(header))
    return sevenzip.read(
        b"7z\xbc\xaf\x27\x1c\0\4" + bytes(4) + start + packed + header, name, budget
    )


def _encrypted_dmg(data: bytes, name: str, budget: Budget) -> Contents:
    """With few rounds, or each of the usual passwords would take its time."""
    head = bytearray(data.ljust(300, b"\0"))
    struct.pack_into(">8sLLLLL", head, 0, b"encrcdsa", 2, 16, 5, 0x80000001, 128)
    struct.pack_into(">L", head, 28, 0x5B)
    struct.pack_into(">LLQQ", head, 72, 1, 1, 96, 300)
    struct.pack_into(">LLLL", head, 96, 0x67, 0, data[0] if data else 1, 20)
    return dmg_encrypted.read(bytes(head), name, budget)


def _damaged(unpack: Callable[..., object], data: bytes, budget: Budget) -> None:
    with suppress(DamagedError):
        unpack(data, bytearray(), 1 << 20, budget)


def _frames(data: bytes, budget: Budget) -> None:
    inflate.inflate_frames(inflate.lz4_frame, memoryview(data), budget)
    told = struct.pack("<LLL", 0x184D2A50, 4, max(0, len(data) - 12)) + data
    inflate.inflate_frames(inflate.brotli, memoryview(told), budget, each_is_told=True)


@cache
def _vhdx_front() -> bytes:
    """Regions whose checksum is right."""
    places = (
        ("8b7ca206-4790-4b9a-b8fe-575f050f886e", 0),
        ("2dc27766-f623-4200-9d64-115e9bfd4a08", 512),
    )
    table = struct.pack("<4sLLL", b"regi", 0, 2, 0)
    for name, at in places:
        table += uuid.UUID(name).bytes_le + struct.pack("<QLL", 0x40000 + at, 1 << 20, 1)
    table = table.ljust(0x10000, b"\0")
    table = table[:4] + struct.pack("<L", crc32c(table)) + table[8:]
    return b"vhdxfile".ljust(0x30000, b"\0") + table


def _vhdx(data: bytes, name: str, budget: Budget) -> Contents:
    return disk.read(_vhdx_front() + data, name, budget)


def _vhdx_log(data: bytes) -> None:
    """Entries of a sector whose number and checksum are right."""
    ring = b""
    for at in range(0, min(len(data), 1 << 15), 4000):
        head = struct.pack("<LLQL4x16s", 8192, 0, 1 + at // 4000, data[at] % 128, b"a")
        entry = (bytes(8) + head + bytes(16) + data[at : at + 4000]).ljust(8192, b"\0")
        entry = b"loge" + bytes(4) + entry[8:]
        ring += entry[:4] + struct.pack("<L", crc32c(entry)) + entry[8:]
    with suppress(vhdx_log.LogError):
        vhdx_log.played_back(ring, b"a".ljust(16, b"\0"), 0, len(ring))


def _wim(flags: int, chunk_bytes: int) -> Parser:
    """One content, packed in one way, that the bytes are."""

    def read(data: bytes, name: str, budget: Budget) -> Contents:
        table = struct.pack("<QQQHL", 4 << 56 | len(data), 258, 3 * chunk_bytes // 2, 1, 1)
        table += bytes(20)
        head = struct.pack("<8sLLLL16sHHL", b"MSWIM", 208, 0xD00, flags, chunk_bytes, b"", 1, 1, 1)
        head += struct.pack("<QQQ", len(table), 208, len(table))
        return wim.read(head.ljust(208, b"\0") + table + data, name, budget)

    return _reader(read)


def _rar(version: int) -> Parser:
    """Two files of a solid archive that the bytes are, in halves."""

    def read(data: bytes, name: str, budget: Budget) -> Contents:
        archive = rar4_blocks.MAGIC + struct.pack("<HBHH6x", 0x90CF, 0x73, 0, 13)
        half = len(data) // 2
        for packed in (data[:half], data[half:]):
            fields = struct.pack(
                "<LLBLLBBHLB", len(packed), 1 << 18, 2, 0, 0, version, 51, 1, 0, 97
            )
            head = struct.pack("<BHH", 0x74, 0x8010, 7 + len(fields)) + fields
            archive += struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head + packed
        return rar_files.read(archive, name, budget)

    return _reader(read)


def _lzo(data: bytes, budget: Budget) -> None:
    with suppress(lzop.DamagedError, IndexError):
        lzop.unpack(memoryview(data), bytearray(), 1 << 20, budget)


def _zip_ppmd(data: bytes, name: str, budget: Budget) -> Contents:
    """One member that the bytes are."""
    told = struct.pack("<HHHHHLLLHH", 63, 0, 98, 0, 0, 0, len(data), 1 << 20, 1, 0)
    return zip_archive.read(b"PK\x03\x04" + told + b"a" + data, name, budget)


def _bzip2(marks: bare_bzip2.Marks) -> Parser:
    start = marks.block.to_bytes(marks.bits // 8, "big")
    return _within(lambda data, budget: bare_bzip2.unpack(memoryview(start + data), marks, budget))


def _ace(method: int) -> Parser:
    """One file, packed in one way, that the bytes are; checksums of headers are right."""

    def header(kind: int, flags: int, fields: bytes) -> bytes:
        body = struct.pack("<BH", kind, flags) + fields
        return struct.pack("<HH", ~zlib.crc32(body) & 0xFFFF, len(body)) + body

    def read(data: bytes, name: str, budget: Budget) -> Contents:
        fields = struct.pack("<LLLLLBBHHHc", len(data), 1 << 30, 0, 0, 0, method, 3, 10, 0, 1, b"a")
        archive = header(0, 0, b"**ACE**" + bytes(16)) + header(1, 1, fields) + data
        return ace.read(archive, name, budget)

    return _reader(read)


def _program(data: bytes, _name: str, budget: Budget) -> Contents:
    return read_program(data, budget)


def _packed_code(data: bytes, _name: str, budget: Budget) -> Contents:
    """What a packed program begins with, to be run for a moment."""
    return read_program(stubs.program(data[:0x1000]), budget)


def _packed_upx(data: bytes, _name: str, budget: Budget) -> Contents:
    """Behind a header of UPX that says how it goes on: method, filter, sizes."""
    budget.emulation_left_s = 0.01
    method = (2, 5, 8, 14, 15)[data[0] % 5] if data else 2
    header = struct.pack("<4sBBBB8xIIIBBBB", b"UPX!", 13, 9, method, 9, 0x3000, len(data), 0, 0x26,
                         0, 0, 0)  # fmt: skip
    return read_program(stubs.program(header + data), budget)


_APFS_FRONT = bytes(32) + b"NXSB\0\x10\0\0"
_VDI_FRONT = bytes(64) + b"\x7f\x10\xda\xbe"

_PROGRAM = b"MZ".ljust(60, b"\0") + struct.pack("<L4sHHLLLHH", 64, b"PE", 332, 1, 0, 0, 0, 0, 258)
_PROGRAM += struct.pack("<8sLLLL16x", b"", 16, 4096, 16, 512)


def _behind(front: bytes, read: Reader, size: int = 0) -> Parser:
    return _reader(lambda data, name, budget: read(front.ljust(size, b"\0") + data, name, budget))


def _everything(role: Role) -> Parser:
    def parse(data: bytes) -> None:
        for _ in parts(data, role=role, name="a", budget=Budget(SETTINGS)):
            pass

    return parse


def _mailbox(data: bytes) -> None:
    found = message.mbox_messages(data)
    for _ in message.read_mbox(data, found):
        pass
    message.looks_like_message(data, "a")


def _header(data: bytes) -> None:
    try:
        assert heads.read(data, 0, len(data), "text/plain", _budget())
    except Spent:
        return
    value = data.decode("latin-1")
    fields.strict(value)
    assert fields.content_types(value)
    assert fields.transfer_encodings(value)
    first, _, second = value.partition("\n\n")
    fields.names(first, second)


_ENCODINGS = ("base64", "quoted-printable", "x-uuencode", "8bit")
_CHARSETS = ("utf-8", "utf-16", "utf-7", "cp037", "hz", "iso-2022-jp", "idna", "punycode", "zip")


def _transfer_encodings(data: bytes) -> None:
    for encoding in _ENCODINGS:
        encodings.decode_transfer(data, encoding)
    encodings.decode_words(data.decode("latin-1"))
    charset = _CHARSETS[len(data) % len(_CHARSETS)]
    encodings.decode(data, charset)
    encodings.to_utf8(data, charset)
    encodings.percent(data.decode("latin-1"))


def _files_in_text(data: bytes) -> None:
    inline.holds_files(data, marks.of(data))
    for _ in inline.read(data, "a", _budget()):
        pass
    for _ in uu.decode(b"begin 644 a\n" + data):
        pass
    for _ in yenc.decode(b"=ybegin line=128 size=1 name=a\n" + data):
        pass
    for _ in binhex.decode(binhex.MARK + b" 4.0)\n:" + data, 1 << 16):
        pass


def _p_code(data: bytes) -> None:
    vba_pcode.says_more(b"\xfe\xca\1\0" + data, data[-200:])
    for _ in vba_pcode.names(data):
        pass


def _passwords(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    list(Passwords(lambda: [Said(plain_text(text))]).candidates())


def _strip(data: bytes) -> None:
    for labels in (("1",), ("1", "2.1")):
        strip.without(data, labels, lambda label, _signed: f"was here: {label}\n")


def _within(read: Callable[[bytes, Budget], object]) -> Parser:
    """Of what is no reader of a whole file."""

    def parse(data: bytes) -> None:
        try:
            found = read(data, _budget())
            if isinstance(found, Iterator):
                for _ in found:
                    pass
        except Spent:
            return

    return parse


def _pdf_pieces(data: bytes, budget: Budget) -> None:
    pdf_syntax.text(data, 0)
    pdf_syntax.as_utf8(pdf_syntax.plain_names(data))
    for decode in (
        pdf_filters.flate,
        pdf_filters.lzw,
        pdf_filters.ascii_hex,
        pdf_filters.ascii85,
        pdf_filters.run_length,
    ):
        decode(data, budget)
    if len(data) > 2:
        pdf_filters.unpredict(data[2:], data[0] + 1, data[1] % 8 + 1, budget)


def _pdf_crypt(data: bytes, budget: Budget) -> None:
    try:
        key = pdf_crypt.find_key(b"%PDF-1.7\n/Encrypt 1 0 R 1 0 obj<<" + data, budget)
    except pdf_crypt.UnknownError:
        return
    if key is not None:
        key.decrypt(data, 1, 0)


def _compound_file(data: bytes) -> None:
    try:
        file = compound_file.CompoundFile(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + data[8:])
    except compound_file.DamagedError:
        return
    for each in file.streams:
        file.read(each, 1 << 16)


def _ole(data: bytes) -> None:
    for _ in (*ole.native(data), *ole.objects(data)):
        pass


def _mapi(data: bytes, budget: Budget) -> None:
    if len(data) > 4:
        tag, kind = struct.unpack_from("<HH", data)
        mapi.body(tag, kind, data[4:], budget)
    mapi.decompress_rtf(data, budget)


def _lzfse(data: bytes) -> None:
    for unpack in (apple_lzfse.unpack, apple_lzfse.unpack_lzvn):
        try:
            unpack(data, 1 << 16)
        except (ValueError, IndexError, struct.error):
            continue


def _recognised(data: bytes) -> None:
    recognised.recognise(data, "application/octet-stream")
    embedded.holds_archive(data)


PARSERS: dict[str, Parser] = {
    "everything": _everything(Role.FILE),
    "message": _everything(Role.MESSAGE),
    "mailbox": _mailbox,
    "header": _header,
    "encodings": _transfer_encodings,
    "files-in-text": _files_in_text,
    "passwords": _passwords,
    "strip": _strip,
    "apple": _reader(applefile.read, b"\0\x05\x16\x07\0\x02\0\0"),
    "apple-archive": _never_silent(0, apple_archive.read_archive, b"AA01"),
    "apple-blocks": _never_silent(16, apple_archive.read_blocks, b"pbze\0\0\0\0"),
    "apple-blocks-lz4": _never_silent(16, apple_archive.read_blocks, b"pbz4\0\0\0\0"),
    "macbinary": _behind(b"\0\4name", applefile.read_macbinary, 128),
    "cms": _reader(cms.read),
    "ace": _reader(ace.read),
    "ace-1": _ace(1),
    "ace-2": _ace(2),
    "alz": _never_silent(64, alzip.read_alz, b"ALZ\x01\0\0\0\0BLZ\x01"),
    "bzip2-alz": _bzip2(bare_bzip2.ALZIP),
    "bzip2-nsis": _bzip2(bare_bzip2.NSIS),
    "egg": _never_silent(64, alzip.read_egg, b"EGGA"),
    "7z": _never_silent(32, sevenzip.read, b"7z\xbc\xaf\x27\x1c"),
    "7z-filters": _within(
        lambda data, budget: [undo(data, data[:4], budget) for undo in FILTERS.values()]
    ),
    "7z-header": _reader(_seven_zip_header),
    "ar": _libarchive(libarchive.AR, b"!<arch>\n"),
    "arj": _never_silent(128, arj.read, b"\x60\xea"),
    "autoit": _reader(
        lambda data, _, budget: autoit.read(data, budget), autoit.MAGIC + b"AU3!EA06"
    ),
    "autoit-text": _within(autoit_text.script),
    "cab": _libarchive(libarchive.CAB, b"MSCF\0\0\0\0"),
    "chm": _never_silent(0, chm.read, b"ITSF\x03"),
    "cpio": _libarchive(libarchive.CPIO, b"07070"),
    "disk": _reader(disk.read),
    "ext": _never_silent(0, disk.read, bytes(1024)),
    "exfat": _never_silent(0, disk.read, b"\xebv\x90EXFAT   "),
    "dmg-encrypted": _reader(_encrypted_dmg),
    "dmg": _reader(lambda data, name, budget: dmg.read(data.ljust(512, b"\0"), name, budget)),
    "embedded": _reader(embedded.read, b"MZ"),
    "inno": _within(inno.read),
    "frames": _within(_frames),
    "hfs": _never_silent(0, disk.read, bytes(1024) + b"H+\0\4"),
    "installer": _behind(_PROGRAM, embedded.read, 528),
    "dcl": _within(lambda data, budget: _damaged(dcl.unpack, b"\0\6" + data, budget)),
    "installshield-3": _never_silent(
        0, installshield_3.read, bytes.fromhex("135d658c3a010200"), 300
    ),
    "installshield": _never_silent(0, installshield_cabinet.read, b"ISc("),
    "iso-raw": _reader(
        lambda data, name, budget: iso.read_raw(bytes(37_648) + b"\1CD001" + data, name, budget)
    ),
    "iso": _reader(iso.read),
    "kwaj-lzh": _never_silent(0, lz_expand.read, b"KWAJ\x88\xf0\x27\xd1\3\0\x0e\0\0\0"),
    "kwaj": _never_silent(0, lz_expand.read, b"KWAJ\x88\xf0\x27\xd1"),
    "lha": _reader(partial(libarchive.read, libarchive.LHA)),
    "lzfse": _lzfse,
    "apfs": _reader(lambda data, name, budget: disk.read(_APFS_FRONT + data, name, budget)),
    "hangul-3": _reader(hangul.read_3, b"HWP Document File V3.00 \x1a\1\2\3\4\5"),
    "hangul-xml": _reader(hangul.read_hwpml, b"<HWPML><BINDATA Compress=true>"),
    "lnk": _reader(shortcut.read),
    "lz4": _libarchive(libarchive.LZ4, b"\x04\x22\x4d\x18"),
    "lzo": _within(_lzo),
    "lzop": _never_silent(0, lzop.read, b"\x89LZO\0\r\n\x1a\n"),
    "nsis": _reader(lambda data, _, budget: nsis.read(data.ljust(28, b"\0"), 0, budget)),
    "ntfs": _reader(disk.read, b"\xebR\x90NTFS    "),
    "onenote": _reader(onenote.read),
    "packed-code": _reader(_packed_code),
    "packed-upx": _reader(_packed_upx),
    "program": _reader(_program, b"MZ"),
    "program-elf": _reader(_program, b"\x7fELF\1\1".ljust(60, b"\0") + b"UPX!"),
    "qcow": _reader(disk.read, b"QFI\xfb\0\0\0\3"),
    "rar": _never_silent(0, rar.read, b"Rar!\x1a\x07\x01\0"),
    "rar-15": _rar(15),
    "rar-20": _rar(20),
    "rar-29": _rar(29),
    "rar4": _never_silent(0, rar.read, b"Rar!\x1a\x07\0"),
    "recognised": _recognised,
    "rpm": _libarchive(libarchive.RPM, b"\xed\xab\xee\xdb"),
    "sis": _never_silent(0, sis.read, bytes.fromhex("00000000123a001019040010")),
    "sisx": _never_silent(0, sis.read, b"\x7a\x1a\x20\x10"),
    "squashfs": _never_silent(0, disk.read, b"hsqs"),
    "stream": _reader(stream.read),
    "szdd": _never_silent(0, lz_expand.read, b"SZDD\x88\xf0\x27\x33"),
    "tar": _reader(tar.read),
    "udf": _reader(udf.read),
    "universal": _behind(b"\xca\xfe\xba\xbe\0\0\0", universal.read, 8),
    "vdi": _behind(_VDI_FRONT, disk.read),
    "vhdx": _reader(_vhdx),
    "vhdx-log": _vhdx_log,
    "vmdk": _reader(disk.read, b"KDMV"),
    "wim": _never_silent(0, wim.read, b"MSWIM\0\0\0"),
    "wim-lzms": _wim(1 << 19, 1 << 17),
    "wim-solid": _within(lambda data, budget: wim_chunks.unpack_solid(data, 1 << 20, budget)),
    "wim-lzx": _wim(1 << 18, 1 << 15),
    "wim-xpress": _wim(1 << 17, 1 << 15),
    "xar": _libarchive(libarchive.XAR, b"xar!\0"),
    "Z-sco": _never_silent(0, lzw.read_sco, b"\x1f\xa0"),
    "zip-reduced": _within(
        lambda data, budget: zip_legacy.expand(memoryview(data), 1 << 16, 3, budget)
    ),
    "Z": _never_silent(0, lzw.read, b"\x1f\x9d\x90"),
    "zisofs": _never_silent(0, zisofs.read, b"\x37\xe4\x53\x96\xc9\xdb\xd6\x07"),
    "zip-ppmd": _reader(_zip_ppmd),
    "zoo": _never_silent(128, zoo.read, bytes(20) + b"\xdc\xa7\xc4\xfd\x1c\0\0\0\xdc\xa7\xc4\xfd"),
    "zip": _reader(zip_archive.read),
    "compound-file": _compound_file,
    "encoded-script": _never_silent(0, encoded_script.read, b"#@~^AAAAAA=="),
    "excel4": _within(excel4.read),
    "excel-binary": _reader(excel_binary.read, b"\x81\x01\0"),
    "flash": _never_silent(0, flash.read, b"CWS"),
    "calendar or contact": _reader(directory.read, b"BEGIN:VCARD\n"),
    "office in XML": _reader(office_xml.read),
    "ActiveMime": _reader(office_xml.read_active_mime, b"ActiveMime"),
    "text in UTF-16": _reader(wide_text.read, b"\xff\xfe"),
    "mapi": _within(_mapi),
    "office": _reader(office.read, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    "ole": _ole,
    "pdf": _reader(pdf.read, b"%PDF-"),
    "pdf-crypt": _within(_pdf_crypt),
    "pdf-pieces": _within(_pdf_pieces),
    "rtf": _reader(rtf.read, b"{\\rtf"),
    "tnef": _reader(tnef.read, b"\x78\x9f\x3e\x22"),
    "vba": _within(lambda data, budget: vba.decompress(b"\1" + data, budget)),
    "vba-p-code": _p_code,
    "web": _reader(web.read),
}
