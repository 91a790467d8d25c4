"""Sets of signatures: lists that switch off, digests, counts, what is bad or unsupported."""

import gc
import hashlib
import weakref
from pathlib import Path

import pytest

from mailward.errors import FormatError
from mailward.scan.engine import ScanTimeoutError
from mailward.scan.part import Part, Role
from mailward.scan.signatures.clean_parts import CleanParts
from tests.scan.signatures.prepared import TIMEOUT_S, found, prepare


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def test_a_file_on_the_list_of_false_positives_is_clean(tmp_path: Path) -> None:
    bad, other = b"something dangerous", b"something else dangerous"
    digest = hashlib.sha256(other).hexdigest()
    lists = {"fp": f"{md5(bad)}:{len(bad)}:harmless\n", "sfp": f"{digest}:*:harmless\n"}
    detector, preparation = prepare(tmp_path, ndb="Bad:0:*:64616e6765726f7573\n", **lists)
    assert found(detector, bad) == set()
    assert found(detector, other) == set()
    assert found(detector, bad + b"!") == {"Bad"}
    assert preparation.kinds == {"fp": 1, "ndb": 1, "sfp": 1}


def test_the_set_switches_signatures_off(tmp_path: Path) -> None:
    lines = ["One:0:*:6f6e65", "Two:0:*:74776f", "Three:0:*:7468726565"]
    changed = f"Two:{md5(b'another line')}\nThree:{md5(lines[2].encode())}\n"
    detector, preparation = prepare(
        tmp_path, ndb="\n".join(lines), ign2=f"One\n{changed}", ign="main.ndb:1:Four\n"
    )
    assert found(detector, b"one two three") == {"Two"}
    assert preparation.unsupported == {"ignored by the set itself": 2}


def test_signatures_of_unwanted_programs_only_look_like_trouble(tmp_path: Path) -> None:
    detector, _ = prepare(
        tmp_path,
        ndu="Unwanted:0:*:74657374\n",
        ndb="Bad:0:*:74657374\n",
        hdu=f"{md5(b'test')}:4:Unwanted.Digest\n",
    )
    hits = detector.scan(Part("file", b"test", Role.FILE), TIMEOUT_S)
    assert {hit.name: hit.suspicious for hit in hits} == {
        "Unwanted": True,
        "Bad": False,
        "Unwanted.Digest": True,
    }


def test_lines_of_the_oldest_format(tmp_path: Path) -> None:
    detector, _ = prepare(tmp_path, db="Old.Format=6f6c64{-3}666f726d6174\nBad=\n")
    assert found(detector, b"old format") == {"Old.Format"}


def test_the_same_line_in_two_shards_is_one_signature(tmp_path: Path) -> None:
    line = "Twice:0:*:7477696365\n"
    detector, preparation = prepare(tmp_path, ndb=line, ndb_2=line)
    assert found(detector, b"twice") == {"Twice"}
    assert preparation.signatures == 1


def test_levels_of_other_releases_are_counted_not_used(tmp_path: Path) -> None:
    _, preparation = prepare(
        tmp_path,
        ndb="Now:0:*:6162:216\nLater:0:*:6163:217\nEarlier:0:*:6164:1:215\n",
        ldb="Later;Engine:217-255,Target:0;0;6162\n",
        hdb=f"{md5(b'x')}:*:Later:300\n",
    )
    assert preparation.signatures == 1
    assert preparation.unsupported == {"made for other functionality levels of ClamAV": 4}


def test_what_is_not_supported_is_counted_by_reason(tmp_path: Path) -> None:
    _, preparation = prepare(
        tmp_path,
        ldb="Icon;Engine:51-255,IconGroup1:X,Target:1;0;6162\nImage;Target:5;0;fuzzy_img#0011\n"
        "Regex;Target:0;1;6162;0/(*NO_JIT)x/\nHandled;Target:1,HandlerType:CL_TYPE_ZIP;0;6162\n",
        cbc="ClamBCaf\nsecond line\n",
        idb="Icon:GROUP:X:00\n",
        crb="a\nb\n",
        xyz="a\n",
    )
    assert preparation.signatures == 0
    assert preparation.refused == ()
    assert preparation.unsupported == {
        "it looks at an icon": 1,
        "it compares images (fuzzy_img)": 1,
        "a regular expression that sets options of PCRE": 1,
        "it has files of one target opened as another (HandlerType)": 1,
        "bytecode": 1,
        "icons (.idb)": 1,
        "certificates of programs (.crb)": 2,
        "files of the kind .xyz": 1,
    }


def test_a_shard_that_is_not_text_is_bad(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"hdb\.hdb, line 2"):
        prepare(tmp_path, hdb=b"# comment\n\0\0\0")


def test_lines_end_as_they_like(tmp_path: Path) -> None:
    detector, preparation = prepare(tmp_path, ndb="A:0:*:6161\r\n\r\n# note\nB:0:*:6262")
    assert found(detector, b"aa bb") == {"A", "B"}
    assert preparation.signatures == 2


def test_a_line_without_end_is_refused_and_the_next_one_read(tmp_path: Path) -> None:
    detector, preparation = prepare(tmp_path, ndb="A:0:*:" + "61" * 500_000 + "\nB:0:*:6262\n")
    assert found(detector, b"aa bb") == {"B"}
    assert [refused.line for refused in preparation.refused] == [1]
    assert "more than" in preparation.refused[0].reason


def test_a_catastrophic_expression_makes_a_part_unscannable(tmp_path: Path) -> None:  # S11, S13
    detector, _ = prepare(tmp_path, ldb="Slow;Target:0;1;61616161;0/(a+)+[bc](a+)+$/\n")
    with pytest.raises(ScanTimeoutError, match="Slow"):
        found(detector, b"a" * 5000)


def test_what_is_found_before_the_time_is_up_counts(tmp_path: Path) -> None:
    detector, _ = prepare(
        tmp_path,
        hdb=f"{md5(b'a' * 5000)}:5000:Known\n",
        ldb="Slow;Target:0;1;61616161;0/(a+)+[bc](a+)+$/\n",
    )
    with pytest.raises(ScanTimeoutError) as late:
        found(detector, b"a" * 5000)
    assert [hit.name for hit in late.value.found] == ["Known"]


def test_a_part_that_hits_everywhere_ends_by_the_clock(tmp_path: Path) -> None:  # S11, S13
    detector, _ = prepare(tmp_path, ndb="Gaps:0:*:6161" + "{1-9000}6161" * 30 + "{1}7a7a\n")
    slow = Part("file", b"a" * 3_000_000 + b"_zz", Role.FILE)
    with pytest.raises(ScanTimeoutError):
        detector.scan(slow, 0.05)


def test_clean_parts_are_remembered_by_all_that_signatures_see() -> None:
    clean = CleanParts(most=2)
    mail = Part("m", b"mail", Role.MESSAGE)
    key = clean.key(Part("m/1", b"data", Role.ATTACHMENT, "a.txt", parent=mail), ["CL_TYPE_MAIL"])
    clean.add(key)
    others = [
        (Part("x", b"data!", Role.ATTACHMENT, "a.txt", parent=mail), ["CL_TYPE_MAIL"]),
        (Part("x", b"data", Role.ATTACHMENT, "b.txt", parent=mail), ["CL_TYPE_MAIL"]),
        (Part("x", b"data", Role.MESSAGE, "a.txt", parent=mail), ["CL_TYPE_MAIL"]),
        (Part("x", b"data", Role.ATTACHMENT, "a.txt", parent=mail), ["CL_TYPE_ZIP"]),
    ]
    again = Part("elsewhere", b"data", Role.MEMBER, "a.txt", parent=mail)
    assert clean.key(again, ["CL_TYPE_MAIL"]) in clean
    assert not any(clean.key(part, inside) in clean for part, inside in others)
    for number in range(2):
        clean.add(bytes([number]))
    assert key not in clean


def test_a_clean_part_is_clean_again_and_a_bad_one_bad(tmp_path: Path) -> None:
    detector, _ = prepare(tmp_path, ndb="Bad:0:*:626164\n")
    assert [found(detector, data) for data in (b"good", b"bad", b"good", b"bad")] == [
        set(),
        {"Bad"},
        set(),
        {"Bad"},
    ]


def test_a_signature_for_a_container_looks_into_that_one_only(tmp_path: Path) -> None:
    detector, _ = prepare(
        tmp_path,
        ldb="In.Zip;Engine:51-255,Container:CL_TYPE_ZIP,Target:0;0;626164\n"
        "Alone;Engine:51-255,Container:CL_TYPE_ANY,Target:0;0;626164\n"
        "Deep;Engine:51-255,Intermediates:CL_TYPE_MAIL>CL_TYPE_ZIP,Target:0;0;626164\n"
        "One.More;Engine:51-255,Intermediates:CL_TYPE_ANY>CL_TYPE_ZIP,Target:0;0;626164\n"
        "Not.Zip;Engine:51-255,Intermediates:CL_TYPE_MAIL>CL_TYPE_ANY,Target:0;0;626164\n",
    )
    mail = Part("m", b"From: x\n\n", Role.MESSAGE)
    archive = Part("m/a", b"PK\x03\x04", Role.ATTACHMENT, parent=mail)
    assert found(detector, b"bad") == {"Alone"}
    assert found(detector, b"bad", parent=archive) == {"In.Zip", "Deep", "One.More"}
    assert found(detector, b"bad", parent=mail) == set()


def test_macros_as_documented(tmp_path: Path) -> None:
    detector, preparation = prepare(
        tmp_path,
        ldb="TestMacro;Engine:51-255,Target:0;0&1;616161;${6-7}12$\n",
        ndb="D1:0:$12:626262\nD2:0:$12:636363\nD3:0:$30:626264\n",
    )
    assert preparation.refused == ()
    files = {b"xxaaa...bbb": True, b"xxaaa....ccc": True, b"xxaaa.....bbb": False, b"bbb": False}
    assert {data: bool(found(detector, data)) for data in files} == files


def test_numbers_in_the_file_as_documented(tmp_path: Path) -> None:
    detector, _ = prepare(
        tmp_path,
        ldb="Hex;Engine:96-255,Target:0;1;73697a65;0(>>5#he2#=66)\n"
        "Auto;Engine:96-255,Target:0;1;73697a65;0(>>5#a4#=66)\n"
        "Before;Engine:96-255,Target:0;1;73697a65;0(<<2#ib2#>0x4000,<0x5000)\n",
    )
    assert found(detector, b"size=42") == {"Hex"}
    assert found(detector, b"size=0x42") == {"Auto"}
    assert found(detector, b"AAsize=9") == {"Before"}
    assert found(detector, b"size=4") == set()


def test_malformed_comparisons_are_refused(tmp_path: Path) -> None:
    comparisons = (
        "0(>>5)",
        "0(5#d2#=1)",
        "0(>>5#dl2#=1)",
        "0(>>5#i3#=1)",
        "0(>>5#d0#=1)",
        "1(>>5#d2#=1)",
    )
    lines = "".join(f"N{n};Target:0;1;6162;{text}\n" for n, text in enumerate(comparisons))
    _, preparation = prepare(tmp_path, ldb=lines)
    assert len(preparation.refused) == len(comparisons)


def test_what_a_signature_was_not_asked_for_before_is_read_when_it_is(tmp_path: Path) -> None:
    one, two, three = (word.hex() for word in (b"first word", b"second", b"third"))
    lines = [
        f"All;Engine:51-255,Target:0;0&1&2;{one};{two};{three}",
        f"Any;Engine:51-255,Target:0;0&(1|2);{one};{two};{three}",
        f"Many;Engine:51-255,Target:0;0&(1|2)>2;{one};{two};{three}",
        f"Number;Engine:96-255,Target:0;0&3;{one};{two};{three};2(>>6#d1#=7)",
        f"Regex;Engine:81-255,Target:0;0&3;{one};{two};{three};1&2/third.*second/",
    ]
    detector, _ = prepare(tmp_path, ldb="\n".join(lines))
    files = {
        b"first word": set[str](),
        b"first word, second": {"Any"},
        b"first word, third 7": {"Any", "Number"},
        b"first word, third, third, third": {"Any", "Many"},
        b"first word, second and third": {"All", "Any"},
        b"first word, third and second": {"All", "Any", "Regex"},
    }
    for data, names in [*files.items(), *reversed(files.items())]:
        assert found(detector, data) == names


def test_a_closed_detector_leaves_nothing_to_the_collector(tmp_path: Path) -> None:
    detector, _ = prepare(tmp_path, ldb="A;Engine:51-255,Target:0;0&1;6f6e65;74776f\n")
    assert found(detector, b"one two") == {"A"}
    known = weakref.ref(detector)
    gc.disable()
    try:
        detector.close()
        del detector
        assert known() is None
    finally:
        gc.enable()


def test_what_a_file_says_of_itself_switches_no_signatures_off(tmp_path: Path) -> None:
    """A script may begin with the line that a project of macros is given here, and run."""
    detector, _ = prepare(tmp_path, ndb="Bad:7:*:626164\n")
    mail = Part("m", b"From: x\n\n", Role.MESSAGE)
    line = b"REM VBA project extracted from Microsoft Office document\n"
    assert found(detector, line + b"bad\n", parent=mail) == {"Bad"}
    document = Part("m/o", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Role.ATTACHMENT, parent=mail)
    assert found(detector, b"Attribut = 1; bad\n", parent=document) == {"Bad"}
