"""Signatures in words."""

from mailward.scan.signatures import extended, logical
from mailward.scan.signatures.wording import describe


def test_a_body_signature_in_words() -> None:
    line = "Bad:1:EP+3,5:(W)6162??6?{3}{2-4}63(64|65){5-}66!(67)*220a:10"
    assert list(describe(extended.read(line))) == [
        "in Windows programs (PE)",
        "where 0:",
        "  0: {no letter or digit before it}"
        ' "ab" {any byte} {byte 6?} {3 bytes} {2 to 4 bytes} "c" {"d" or "e"} {5 bytes or more}'
        ' "f" {anything but "g"} {any bytes} "\\x22\\x0a", at the entry point +3, or up to 5 bytes'
        " after",
    ]


def test_a_logical_signature_in_words() -> None:
    line = (
        "Bad;Engine:81-255,FileSize:10-2000,Container:CL_TYPE_ZIP,Target:3;(0|1)>2,2&2&3=0;"
        "6162::i;EOF-9:6364;0&1/abc.*d/si;0(>>4#ib2#>5)"
    )
    assert list(describe(logical.read(line))) == [
        "in HTML, normalised",
        "of 10 to 2,000 bytes",
        "that lie in a container of type CL_TYPE_ZIP",
        "where (0 or 1) more than 2 times from at least 2 of them and (2 and not 3):",
        '  0: "ab" in any case',
        '  1: "cd", 9 bytes before the end',
        "  2: if 0 and 1: the expression /abc.*d/ (. is any byte, in any case)",
        "  3: the binary number of 2 bytes, +4 from where 0 is, > 5",
    ]
