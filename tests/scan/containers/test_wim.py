"""Windows images: stored, XPRESS and LZX by the simplest of packers, all else by wimlib."""

import base64
import math
import random
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.testing import EICAR

Unpack = Callable[..., list[Found]]
Members = Callable[..., list[tuple[str, bytes]]]
Packer = Callable[[bytes], bytes]

CHUNK = 1 << 15
STORED, XPRESS, LZX = 0, 1 << 17, 1 << 18
IN_METADATA, PACKED, SOLID = 2, 4, 16


class Words:
    """Bits in words of 16, the highest first, the lower byte in front."""

    def __init__(self) -> None:
        self.bits = ""

    def add(self, value: int, count: int) -> None:
        self.bits += f"{value:0{count}b}" if count else ""

    def done(self) -> bytes:
        bits = self.bits + "0" * (-len(self.bits) % 16)
        words = [int(bits[at : at + 16], 2) for at in range(0, len(bits), 16)]
        return struct.pack(f"<{len(words)}H", *words)


def tokens(plain: bytes) -> list[int | tuple[int, int]]:
    """Literals, and what repeats the eight bytes before it as offset and length."""
    found: list[int | tuple[int, int]] = []
    at = 0
    while at < len(plain):
        if at >= 8 and plain[at : at + 8] == plain[at - 8 : at]:
            found.append((8, 8))
            at += 8
        else:
            found.append(plain[at])
            at += 1
    return found


def xpress(plain: bytes) -> bytes:
    """Every symbol has nine bits, so it is its own code."""
    words = Words()
    for token in tokens(plain):
        if isinstance(token, int):
            words.add(token, 9)
        else:
            words.add(256 + (3 << 4) + token[1] - 3, 9)  # offset 8: power 3, nothing added
            words.add(0, 3)
    return b"\x99" * 256 + words.done() + bytes(4)


def lzx(plain: bytes) -> bytes:
    """One block; every symbol of the main tree has nine bits, of that of lengths none."""
    words = Words()
    words.add(1, 3)
    words.add(0, 1)
    words.add(len(plain), 16)
    for count in (256, 240):
        for symbol in range(20):
            words.add(1 if symbol in (7, 8) else 0, 4)
        for _ in range(count):
            words.add(1, 1)  # symbol 8: length 0 - 8, which is 9 by 17
    for symbol in range(20):
        words.add(1 if symbol in (17, 18) else 0, 4)
    for run in (51, 51, 51, 51, 45):
        words.add(1, 1)
        words.add(run - 20, 5)
    for token in tokens(plain):
        if isinstance(token, int):
            words.add(token, 9)
        else:
            words.add(256 + 6 * 8 + token[1] - 2, 9)  # slot 6: offsets 6 to 9
            words.add(2, 2)
    return words.done()


def lzx_stored(plain: bytes) -> bytes:
    words = Words()
    words.add(3, 3)
    words.add(0, 1)
    words.add(len(plain), 16)
    return words.done() + struct.pack("<LLL", 1, 1, 1) + plain + bytes(len(plain) % 2)


def packed(plain: bytes, pack: Packer, size: int = CHUNK) -> bytes:
    """In chunks, behind the table of where they end."""
    chunks = []
    for at in range(0, len(plain), size):
        chunk = plain[at : at + size]
        small = pack(chunk)
        chunks.append(small if len(small) < len(chunk) else chunk)
    ends = [sum(map(len, chunks[: number + 1])) for number in range(len(chunks) - 1)]
    return struct.pack(f"<{len(ends)}L", *ends) + b"".join(chunks)


def dentry(
    name: str, content: bytes, below: int = 0, streams: Sequence[tuple[str, bytes]] = ()
) -> bytes:
    raw = name.encode("utf-16-le")
    fixed = struct.pack("<LlQ", 0x10 if below else 0x20, -1, below) + bytes(40) + key(content)
    body = fixed + bytes(12) + struct.pack("<HHH", len(streams), 0, len(raw)) + raw + bytes(2)
    out = struct.pack("<Q", 8 + len(body)) + body
    out += bytes(-len(out) % 8)
    for stream, inside in streams:
        raw = stream.encode("utf-16-le")
        extra = (
            struct.pack("<QQ", 38 + len(raw), 0) + key(inside) + struct.pack("<H", len(raw)) + raw
        )
        out += extra + bytes(-len(extra) % 8)
    return out


def key(content: bytes) -> bytes:
    """What stands for a content; images have its SHA-1."""
    return (
        (len(content).to_bytes(4, "big") + content[:16]).ljust(20, b"\1") if content else bytes(20)
    )


def wim(
    files: dict[str, bytes],
    pack: Packer | None = None,
    packing: int = STORED,
    *,
    flags: int = 0,
    part: int = 1,
) -> bytes:
    """An image with a folder "in" that has the files."""
    root = dentry("", b"", 8 + 104 + 8)
    folder = dentry("in", b"", 8 + 104 + 8 + 112 + 8)
    inside = b"".join(dentry(name, content) for name, content in files.items())
    metadata = struct.pack("<LL", 8, 0) + root + bytes(8) + folder + bytes(8) + inside + bytes(8)
    body, table = b"", b""
    contents = [(metadata, bytes(19) + b"\1", IN_METADATA)]
    contents += [(content, key(content), flags) for content in files.values()]
    for content, name, own in contents:
        raw = packed(content, pack) if pack is not None else content
        bits = own | (PACKED if pack is not None else 0)
        entry = struct.pack("<QQQHL", bits << 56 | len(raw), 208 + len(body), len(content), part, 1)
        table += entry + name
        body += raw
    head = struct.pack("<8sLLLL16sHHL", b"MSWIM", 208, 0xD00, packing, CHUNK, b"", 1, 1, 1)
    head += struct.pack("<QQQ", len(table), 208 + len(body), len(table))
    return head.ljust(208, b"\0") + body + table


TEXT = b"tomorrow and " * 3000 + b"\xe8\x10\0\0\0" * 3 + b"abcdefgh" * 4000
FILES = {"eicar.com": EICAR, "text": TEXT}
PACKERS: dict[str, tuple[Packer | None, int]] = {
    "stored": (None, STORED),
    "XPRESS": (xpress, XPRESS),
    "LZX": (lzx, LZX),
    "LZX, stored": (lzx_stored, LZX),
}


RAMP = b"".join(struct.pack("<L", number * 7919) for number in range(1500))
CALLS = b"".join(b"\xe8" + struct.pack("<l", 0x4000 - at) + b"\x90" * 3 for at in range(0, 3200, 8))
BY_WIMLIB = {"eicar.com": EICAR, "text": EICAR + RAMP + CALLS}
LZMS_IMAGE = zlib.decompress(
    base64.b85decode(
        b"c-r#~4)^qBU|_fa#0-243{4CiKn4>-*XvB4vq3J-"
        b"J6365@lO1j$;beL3=Gp4z<}u<6NCZfGyH<^nM#;Z_;d#mrv8cnst%3;(IzngQ4yvl8Ub;d=FZNV=CvxWp3aUzy1^li"
        b"elCtdF1n6>A)aBLL7~CAA+Et8x^A96u8Jxi+8$bl3~$QRvv)M#kJ_Xe#oqYEE_-RyW2L8avzjgjF8J{wjU_3JPcK97"
        b"*7cVfjZadPoP<m=-pRlA*PM29%ZjoYmkOU%Jg5db#pp;5TTvN9?8UV0@--"
        b"zM9v%z~3JhPu4tJ=#_UthFxTZ~zKZ*a+y6e&X6;}>-"
        b"Xbay@llZvg#=7$dgapoKNff3&f=E~=>nAAX<Qs$ZoI0{u$}Q&R&+o2cfp&V2P8|X3T61J-"
        b"XSiM7qE+=bH1c;GPCjF`HEF-$>swuWkFRmo{wBFOZ|#lZGgjM^{u{o&)V256n&j0@!CQY;rN6lsvU53On1lE-"
        b"x%XMmKIR={2$>Kz!NaL*#-yI870bF-"
        b"L@isjWYU^RE3~4y151^QxE9UIn#d*PrKR+8b(*uYxn^8|hKXrJR6vYLbbzCSYJj4@X~gXc28){p&qTtvg<i1w7xnhC"
        b">jY1R1Ymf`#fEOU+RMj~cqRB<eeHDPn>&*`S0Chxk`|h*pnU7y;mih>Gq)e?aFjkU`zezGy8xR3+XS`%HU&c_)}!1v"
        b"lkRcPm{ZMtZf(ti&7xuFYOeB|N;pJsV+>->`5x~7;(CaK`Tgzu2W3OK8q)tp3*73Pc9DUj2a+h*f}p9ffDuAN((-"
        b"x!DNp(uUl<8Smi^-"
        b"0{_n@?R{KXT&~$VGO2haN9mZ2zb6&`67dPE|uEz9z#x|#qjt+JZGg(BSW}B!W>u^aCN^;J2j4&<KDYsTDdcXefsjC0"
        b"~Y#72BJQ;i$>=<mov?GH%gDWs~cry3_ZFFUbV6bISVlV_^kP1Jbyf0AHj-dj`(?{al09AW31Ti=>_%nn8#Y2E%hF~?"
        b"A;x-I!KrtVnK4eiNuxe~FHbBxJh#i44P7IMimMcRrP~4Ki7zoY4`mn38VekNo1p(dQ1NM<OimU-xCq5N6Kz9TI*^WR"
        b"FPoNEcU>fFQ4<OqeNCtpS2mzZ|0mOzt(_9$LfqGql{(;zmuF?i*pFc3{QS}-"
        b"FO*RCw41j)fV=w{hMOOzB!{;g=pm;D)#1|+73VTq9IuC#kKspU@`hXNy>LaC0+^N9=2u<*&1$}s0=VAZ=r)qu-"
    )
)
SOLID_IMAGE = zlib.decompress(
    base64.b85decode(
        b"c-r#~4)^qBU|_fa#0-"
        b"243{4CiKn4@TLM6L&R;C{jSN?|0d!n%D1tS9pGBBKA00X8aOb`Z?&+rSvXUbtl;nN*dsKA*lAg9;>9c{?)rc6D1NAv"
        b"xtO`1{cjbH4tmo`0CdOA0&>0;o5A0N_KlEV1(GW2d;f2q;<Bt^+d$Ry*P{A+*BX*aj5D4TJmaOx?Lai5NJdsi^TUQF"
        b"9AUsK}Y;laS5!0;vPaEH2U&km!HYuW_)llU*KyB^(NapiD_w($KliH}QetUG@|NZ@>yL}BV9h=g^reu7d?zA;G8sUw"
        b"@E++uG2{O&3iXs7q+)Df_*HAkj)hTG*WT2+5TBY(%?<TF-VllB|FzSXt&_!?*JZ<3qy*4`*SW3@f$zv1gkU3-"
        b"tMNnYI)y!B^Q`kQ+pJC`$tIfyTld!O~}W8OiAkO^TEJe;~_OzMeRv8-!F)Us7eCasyYLMxg(uvEE-YtgK%iCj`%T1q"
        b"chr#U;DYsLj=n3zUH1;m&{2RJ&Y1}OTQM%=DowD{=S9l^#DcDG~SyEmu3z+r2%YgNK(X<3FtE0*8+|4T1@Q}J=3@Mh"
        b"61W-4lqZd2Z|s3hEDJI;HH;hv5-gJpw3gJFY7gAqfgpoT`=39-"
        b"*{2cF!CF35YzJa_GeqBbdq=xvNa%sJn0Fq@@1nBU*de^54*t0Dbww7{*tX%`tdS|IVsrT|S-"
        b"1&k0Hk|Hx7T|H}hH|@9Xbj3Wg{Kw1w8eYr_fT$3-"
        b"fRr*A;X1GZ6G*xdKo^JTa7htLa?W;)FfG(6w^l29zy9y3Di??X0TUH$I*g~b=Dd*CE^fN_T#f1bjBQRI9UcDvvtbBl"
        b"@MQ31uw$?R(~b=846eX*<jLU2-~wbtFxWCE0n@7zScM-@-WMop$4~*}=_B!NfT}$if*70`{24-"
        b"l;vqmWL$Df5aT^9VpqLL(AF`+sST!~o8zAWq#Ew82Cx%EM%atJ*C~nDM41{K2eb`mlFn9pPf`D%D0sF`sMb-eU6Q2q"
        b"jpgV$qY)7DoC(s5zFb(su2axR!Bm=-Egn&(~0AfR+X)X-"
        b"rK)o(N|3K_OS7`&Z&mS1}sCtcoCL02wBak+S`V3tiNDQB=e1PJ?KoMV{3@GeDA?i$bA2<QA0Z;~)4@hyPK2plWof<6"
        b"QA%-h0=)==G7Xtuku4l6"
    )
)
"""What wimlib-imagex 1.13 makes of ``BY_WIMLIB`` with ``--compress=LZMS`` and ``--solid``."""
IMAGES = {"LZMS": LZMS_IMAGE, "solid": SOLID_IMAGE}


@pytest.mark.parametrize(("pack", "packing"), PACKERS.values(), ids=PACKERS)
def test_files_have_their_names(members: Members, pack: Packer | None, packing: int) -> None:
    plain = TEXT.replace(b"\xe8", b"\xe9")  # calls are translated, which these packers leave out
    found = members(wim({"eicar.com": EICAR, "text": plain}, pack, packing))
    assert found == [("in/eicar.com", EICAR), ("in/text", plain)]


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_lzms_has_differences_and_calls(unpack: Unpack, image: bytes) -> None:
    found = unpack(image)
    assert {one.name: one.data for one in found if isinstance(one, Piece)} == BY_WIMLIB
    assert len(found) == len(BY_WIMLIB)


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_of_lzms_what_is_over_a_limit_is_cut_and_said(unpack: Unpack, image: bytes) -> None:
    found = unpack(image, max_part_bytes=5000)
    assert [one.reason for one in found if isinstance(one, Shut)] == [Reason.LIMIT]
    text = next(one.data for one in found if isinstance(one, Piece) and one.name == "text")
    assert len(text) >= 4900
    assert text == BY_WIMLIB["text"][: len(text)]


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_any_damage_to_lzms_is_survived(unpack: Unpack, image: bytes) -> None:
    numbers = random.Random(0)
    for _ in range(200):
        damaged = bytearray(image)
        for _ in range(3):
            damaged[numbers.randrange(len(damaged))] = numbers.randrange(256)
        unpack(bytes(damaged))
    for keep in range(210, 850, 60):  # behind it are words for people
        assert any(isinstance(one, Shut) for one in unpack(image[:keep])), keep


def test_what_holds_solid_contents_and_what_is_in_it_must_both_be_there(unpack: Unpack) -> None:
    for files, size in (({"a": EICAR}, 1), ({"a": EICAR}, 1 << 32)):
        whole = bytearray(wim(files, flags=SOLID))
        entry = len(whole) - 50
        whole[entry + 16 : entry + 24] = size.to_bytes(8, "little")
        assert [type(one) for one in unpack(bytes(whole))] == [Shut]


def test_a_content_that_no_image_names_is_read(members: Members) -> None:
    whole = bytearray(wim(FILES))
    at = whole.index("eicar.com".encode("utf-16-le")) - 38
    whole[at : at + 20] = b"\7" * 20
    assert ("", EICAR) in members(bytes(whole))


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (wim(FILES, bytes, 1 << 20), "not known"),
        (wim(FILES, part=2), "another file"),
    ],
    ids=["unknown", "split"],
)
def test_what_cannot_be_opened_is_said_once(unpack: Unpack, image: bytes, why: str) -> None:
    shuts = [found for found in unpack(image) if isinstance(found, Shut)]
    assert [shut.reason for shut in shuts] == [Reason.UNSUPPORTED]
    assert why in shuts[0].detail


@pytest.mark.parametrize(("pack", "packing"), PACKERS.values(), ids=PACKERS)
def test_a_truncated_image_is_unscannable(
    unpack: Unpack, pack: Packer | None, packing: int
) -> None:
    whole = wim(FILES, pack, packing)
    for keep in (8, 60, 210, len(whole) - 100, len(whole) - 3):
        assert any(isinstance(found, Shut) for found in unpack(whole[:keep])), keep


def test_nothing_but_a_beginning_is_unscannable(unpack: Unpack) -> None:
    for data in (
        b"MSWIM\0\0\0",
        b"MSWIM\0\0\0".ljust(1 << 20, b"\0"),
        b"MSWIM\0\0\0".ljust(1 << 20, b"\xff"),
    ):
        assert [type(found) for found in unpack(data)][:1] == [Shut]


def test_a_bomb_is_stopped(unpack: Unpack) -> None:
    bomb = wim({"zeros": bytes(1 << 20)}, lzx, LZX)
    found = unpack(bomb, max_part_bytes=1 << 18)
    assert any(isinstance(one, Shut) and one.reason is Reason.LIMIT for one in found)
    assert max(len(one.data) for one in found if isinstance(one, Piece)) <= 1 << 18


def test_folders_that_are_in_each_other_end(unpack: Unpack) -> None:
    whole = wim(FILES).replace(struct.pack("<Q", 240), struct.pack("<Q", 120))
    assert {one.data for one in unpack(whole) if isinstance(one, Piece)} == {EICAR, TEXT}


@pytest.mark.parametrize(("pack", "packing"), PACKERS.values(), ids=PACKERS)
def test_any_damage_is_survived(unpack: Unpack, pack: Packer | None, packing: int) -> None:
    whole = wim({"eicar.com": EICAR, "text": TEXT[:3000]}, pack, packing)
    numbers = random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[numbers.randrange(len(damaged))] = numbers.randrange(256)
        unpack(bytes(damaged))


@pytest.mark.real
@pytest.mark.parametrize(
    "options",
    [
        ["--compress=none"], ["--compress=XPRESS"], ["--compress=LZX"],
        ["--compress=XPRESS", "--chunk-size=4K"], ["--compress=LZX", "--chunk-size=2M"],
        ["--compress=LZMS"], ["--solid"],
        ["--solid", "--solid-compress=LZX", "--solid-chunk-size=64K"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_images_of_wimlib(unpack: Unpack, tmp_path: Path, options: list[str]) -> None:
    if shutil.which("wimlib-imagex") is None:
        pytest.skip("needs wimlib-imagex (Debian: wimtools), which is not installed")
    numbers = random.Random(0)
    program = Path("/usr/bin/env").read_bytes()
    files = {
        "env.exe": program,
        "sub/words": b" ".join(b"%d" % numbers.randrange(3000) for _ in range(40_000)),
        "sub/deep/random": numbers.randbytes(70_000),
        "sound": b"".join(struct.pack("<h", int(9e3 * math.sin(n / 40))) for n in range(30_000)),
    }
    for name, content in files.items():
        place = tmp_path / "tree" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    command = ["wimlib-imagex", "capture", "tree", "image.wim", "name", *options]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    found = unpack((tmp_path / "image.wim").read_bytes())
    assert {one.name: one.data for one in found if isinstance(one, Piece)} == files
    assert not any(isinstance(one, Shut) for one in found)
