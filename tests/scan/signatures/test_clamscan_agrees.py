"""The same signatures and files, given to clamscan: it must find what Mailward finds."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.scan.signatures.examples.programs import elf, pe, with_version
from tests.scan.signatures.prepared import found, prepare

pytestmark = pytest.mark.real

NDB = r"""
Plain:0:*:6861797374616b
Nibbles:0:*:6861797?7461?b
Any:0:*:68??797374616b
Gap:0:*:6861{2-4}616b
GapLess:0:*:6861{-3}616b
GapMore:0:*:6861{3-}616b
GapFixed:0:*:6861{3}616b
Star:0:*:6861*6e656564
Near:0:*:68617973[1-4]6b
Choice:0:*:6861(79|7a)(73|7374)616b
ChoiceOrNot:0:*:6861(7973|)7374616b
NotChoice:0:*:6861!(7a|7b)7374616b
WordLeft:0:*:(W)6861797374616b
WordRight:0:*:6861797374616b(W)
Boundary:0:*:(B)6861797374616b(B)
AtStart:0:0:6861797374616b
AtTwo:0:2:6861797374616b
AtUpTo:0:0,5:6861797374616b
AtEnd:0:EOF-7:6861797374616b
NearEnd:0:EOF-12,6:6861797374616b
Late:0:*:6861797374616b:300
Page:3:*:6861797374616b
"""
LDB = r"""
Both;Target:0;0&1;6861797374616b;6e6565646c65
One;Target:0;0|1;6861797374616b;6e6565646c65
Neither;Target:0;0&(1=0);6861797374616b;6e6565646c65
Thrice;Target:0;0>2;6861797374616b
Mixed;Target:0;(0|1)>2,2;6861797374616b;6e6565646c65
Caseless;Engine:81-255,Target:0;0;6861797374616b::i
Wide;Engine:81-255,Target:0;0;6861797374616b::w
WideOrNot;Engine:81-255,Target:0;0;6861797374616b::wa
Word;Engine:81-255,Target:0;0;6861797374616b::f
WideWord;Engine:81-255,Target:0;0;6861797374616b::wfi
Pcre;Engine:81-255,Target:0;1;6861797374616b;0/ha(y|z)st\w+k\s+in/
PcreCase;Engine:81-255,Target:0;1;6861797374616b::i;0/HAYSTACK/i
PcreCount;Engine:81-255,Target:0;1>1;6861797374616b;0/haystac?k/g
PcreAt;Engine:81-255,Target:0;1;6861797374616b;2:0/haystak/
PcreFrom;Engine:81-255,Target:0;1;6861797374616b;3:0/haystak/r
Size;Engine:51-255,Target:0,FileSize:10-30;0;6861797374616b
Order;Target:0;0|1&2;6861797374616b;7171717171;7a7a7a7a7a
Numbers;Engine:96-255,Target:0;1;6861797374616b;0(>>8#d2#>41,<44)
Binary;Engine:96-255,Target:0;1;6861797374616b;0(>>7#ib1#=32)
Tag;Engine:81-255,Target:3;0;0,1:3c737667::iaw
"""
MACROS = "Member:0:$7:6e6565646c65\n"
PAGE = "<svg><html>a haystak\u0142\u4e2d in a page"
FILES = {
    "plain": b"haystak in a field",
    "inside": b"a haystak with a needle in",
    "wide": b"a h\0a\0y\0s\0t\0a\0k\0 with more",
    "wide_word": b"x\0H\0A\0Y\0S\0T\0A\0K\0y\0 with more",
    "caps": b"the HAYSTAK in capitals",
    "word": b"xhaystaky and others",
    "end": b"at the end is a haystak",
    "end_more": b"at the end is a haystak...",
    "thrice": b"haystak, haystak haystak and a needle",
    "number": b"a haystak 42 and others",
    "binary": b"a haystak 0x42 and others",
    "spread": b"ha yst ak then a need",
    "choice": b"a hazstak and a hazak and a haystsak",
    "macro": b"a haystak needle",
    "none": b"nothing of any of them in this",
    "bounds": b"a (haystak) and a -haystak- there",
    "twice": b"hayhaystakhaystakstak zzzzz qqqqq",
    "page": PAGE.encode(),
    "page_wide": PAGE.encode("utf-16-le"),
    "page_marked": PAGE.encode("utf-16"),
    "page_other_order": b"\xfe\xff" + PAGE.encode("utf-16-be"),
    "page_other_order_unmarked": PAGE.encode("utf-16-be"),
    "page_of_four_bytes": PAGE.encode("utf-32"),
    "page_of_four_bytes_unmarked": PAGE.encode("utf-32-be"),
    "page_torn": "<svg>\n".encode("utf-16-le")[:-1] + PAGE.encode("utf-16-le"),
    "page_half_wide": b"<svg>\n" + "<html>haystak".encode("utf-16-le"),
    "page_odd_half_wide": b"<svg>\n." + b"<\0h\0t\0m\0l\0>\0haystak\n",
}


def wide(text: str) -> str:
    return text.encode("utf-16-le").hex()


PROGRAMS_LDB = f"""
Key;Engine:51-255,Target:1;0;VI:{wide("CompanyName")}
KeyAndMore;Engine:51-255,Target:1;0;VI:{wide("CompanyName")}0000????45
KeyInCapitals;Engine:51-255,Target:1;0;VI:{wide("COMPANYNAME")}::i
WithinKey;Engine:51-255,Target:1;0;VI:{wide("ompanyName")}
Value;Engine:51-255,Target:1;0;VI:{wide("Evil Corp")}
GapToValue;Engine:51-255,Target:1;0;VI:{wide("CompanyName")}{{0-8}}{wide("Evil")}
GapToKey;Engine:51-255,Target:1;0;VI:{wide("CompanyName")}*{wide("FileVersion")}
GapTooShort;Engine:51-255,Target:1;0;VI:{wide("CompanyName")}{{-9}}{wide("FileVersion")}
Twice;Engine:51-255,Target:1;0>1;VI:{wide("CompanyName")}
Anywhere;Engine:51-255,Target:1;0>1;{wide("CompanyName")}
Shifted;Engine:51-255,Target:1;0;VI+2,5:{wide("CompanyName")}
NoKey;Engine:51-255,Target:1;0=0&1;VI:{wide("CompanyName")};4d5a
Elf;Engine:51-255,Target:6;0;VI:{wide("CompanyName")}
Regex;Engine:81-255,Target:1;0&1;4d5a;VI:0/F.i.l.e.V/
Handled;Engine:51-255,HandlerType:CL_TYPE_PDF,Target:0;0;68616e646c65
HandledHere;Engine:51-255,HandlerType:CL_TYPE_MSEXE,Target:1;0;VI:{wide("FileVersion")}
"""
PROGRAMS_NDB = f"KeyOfNdb:1:VI:{wide('FileVersion')}\n"
EVIL = [("CompanyName", "Evil Corp"), ("FileVersion", "1.2"), ("ProductName", "Evil Corp")]
PROGRAMS = {
    "keys": with_version(EVIL),
    "keys_and_text": with_version(EVIL, bytes.fromhex(wide("CompanyName FileVersion"))),
    "no_keys": pe((bytes.fromhex(wide("CompanyName Evil Corp")),)),
    "as_value": with_version([("Any", "CompanyName"), ("Other", "FileVersion")]),
    "twice": with_version([*EVIL, *EVIL]),
    "broken": with_version(EVIL).replace(b"F\0i\0l\0e\0I", b"F\0i\0l\0x\0I"),
    "elf": elf(bytes.fromhex(wide("CompanyName"))),
    "handled": b"to handle otherwise",
    "handled_program": pe((b"to handle otherwise",)),
}


def clamscan(folder: Path, work: Path, files: Mapping[str, bytes]) -> dict[str, set[str]]:
    (work / "files").mkdir()
    for name, data in files.items():
        (work / "files" / name).write_bytes(data)
    command = ["clamscan", "-d", str(folder), "-z", "--no-summary", "-r", str(work / "files")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode in (0, 1), result.stderr
    names: dict[str, set[str]] = {name: set() for name in files}
    for file, name in re.findall(r"/files/(\w+): (\S+?)(?:\.UNOFFICIAL)? FOUND", result.stdout):
        names[file].add(name)
    return names


@pytest.mark.skipif(shutil.which("clamscan") is None, reason="clamscan is not installed")
def test_clamscan_finds_the_same(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    ndb, ldb = NDB.lstrip() + MACROS, LDB.lstrip()
    (tmp_path / "set/a.ndb").write_text(ndb)
    (tmp_path / "set/b.ldb").write_text(ldb)
    detector, preparation = prepare(tmp_path, ndb=ndb, ldb=ldb)
    assert preparation.refused == ()
    theirs = clamscan(tmp_path / "set", tmp_path, FILES)
    assert set().union(*theirs.values()) >= {"Plain", "Both", "Pcre", "Wide", "WideWord"}
    ours = {name: found(detector, data) for name, data in FILES.items()}
    assert {name: ours[name] ^ theirs[name] for name in FILES if ours[name] != theirs[name]} == {}


@pytest.mark.skipif(shutil.which("clamscan") is None, reason="clamscan is not installed")
def test_clamscan_finds_the_same_in_version_information_and_what_is_handled_otherwise(
    tmp_path: Path,
) -> None:
    (tmp_path / "set").mkdir()
    ldb = PROGRAMS_LDB.lstrip()
    (tmp_path / "set/a.ndb").write_text(PROGRAMS_NDB)
    (tmp_path / "set/b.ldb").write_text(ldb)
    detector, preparation = prepare(tmp_path, ndb=PROGRAMS_NDB, ldb=ldb)
    assert (preparation.refused, preparation.unsupported) == ((), {})
    theirs = clamscan(tmp_path / "set", tmp_path, PROGRAMS)
    wanted = {line.split(";")[0] for line in ldb.split()} | {"KeyOfNdb"}
    never = {"WithinKey", "Value", "GapToValue", "GapTooShort", "Elf"}
    assert set().union(*theirs.values()) == wanted - never
    ours = {name: found(detector, data) for name, data in PROGRAMS.items()}
    assert {n: ours[n] ^ theirs[n] for n in PROGRAMS if ours[n] != theirs[n]} == {}


MACROS_LDB = "".join(
    f"M{least}.{most};Engine:51-255,Target:0;0&1;616161;${{{least}-{most}}}12$\n"
    for least, most in ((0, 9), (3, 3), (6, 6), (5, 7), (9, 9), (0, 255))
)
MACROS_NDB = "D1:0:$12:626262\nD2:0:$12:6363??63\nD3:0:$30:626264\n"
MACRO_FILES = {
    "once": b"GIF89abbb...aaa...bbb...aaa qq",
    "near": b"GIF89aaaabbb aaa",
    "other": b"GIF89aaaa...cc.c aaa",
    "far": b"GIF89aaaa" + b"." * 200 + b"bbbaaa",
    "before": b"GIF89abbb...aaa...aaa",
    "group": b"GIF89aaaa...bbd...aaa",
}


@pytest.mark.skipif(shutil.which("clamscan") is None, reason="clamscan is not installed")
def test_clamscan_finds_the_same_macros_where_it_finds_any(tmp_path: Path) -> None:
    """It does only if the subsignature before the macro matches once more, behind it; without, it
    finds not even the documentation's own example (``test_macros_as_documented``)."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.ndb").write_text(MACROS_NDB)
    (tmp_path / "set/b.ldb").write_text(MACROS_LDB)
    detector, preparation = prepare(tmp_path, ndb=MACROS_NDB, ldb=MACROS_LDB)
    assert preparation.refused == ()
    theirs = clamscan(tmp_path / "set", tmp_path, MACRO_FILES)
    assert set().union(*theirs.values()) == {"M0.9", "M3.3", "M6.6", "M5.7", "M0.255"}
    assert {name: found(detector, data) for name, data in MACRO_FILES.items()} == theirs
