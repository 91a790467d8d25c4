from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailward.testing import EICAR
from tests.scan.documents.build import compound_file, ole1_object, ole_native, package

Files = Callable[..., dict[str, bytes]]

PACKAGED = ole1_object(b"Package", package("a.com", EICAR))


def rtf(digits: str) -> bytes:
    return b"{\\rtf1\\ansi{\\object\\objemb{\\*\\objdata " + digits.encode() + b"}}text}"


def test_a_packaged_file(files: Files) -> None:
    assert files(rtf(PACKAGED.hex()))["a/object:a.com"] == EICAR


@pytest.mark.parametrize(
    "hide",
    [
        lambda d: "\r\n".join(d[i : i + 7] for i in range(0, len(d), 7)),
        lambda d: "\\par ".join(d[i : i + 9] for i in range(0, len(d), 9)),
        lambda d: "{\\*\\foo 1234}".join((d[:11], d[11:])),
        lambda d: "{" + d[:20] + "{" + d[20:] + "}}",
        lambda d: "xyz".join((d[:30], d[30:])),
        lambda d: "\\'41".join((d[:10], d[10:])),
        lambda d: d[:10] + "\\'" + d[10:],
        lambda d: d.upper(),
        lambda d: "".join(f"{{\\z99}}{c}" for c in d),
    ],
    ids=["lines", "control words", "group", "in groups", "letters", "escapes", "escaped digits",
         "upper case", "a group between all digits"],
)  # fmt: skip
def test_digits_that_are_hidden(files: Files, hide: Callable[[str], str]) -> None:
    assert EICAR in files(rtf(hide(PACKAGED.hex()))).values()


def test_bytes_in_between(files: Files) -> None:
    raw = PACKAGED
    data = b"{\\rt{\\object\\objemb{\\*\\objdata " + raw[:40].hex().encode()
    data += b"\\bin%d " % len(raw[40:]) + raw[40:] + b"}}}"
    assert files(data)["a/object:a.com"] == EICAR


def test_a_document_in_an_object(files: Files) -> None:
    inner = compound_file({"\1Ole10Native": ole_native("a.com", EICAR)})
    assert EICAR in files(rtf(ole1_object(b"Word.Document.8", inner).hex())).values()
    assert EICAR in files(rtf("0102" + inner.hex())).values()


def test_instructions_of_fields_are_text(files: Files) -> None:
    data = b'{\\rtf1{\\field{\\*\\fldinst {\\b D}{DE}{AU\\\'54O} cmd "/c calc"}{\\fldrslt x}}}'
    assert files(data)["a/fields"] == b'DDEAUTO cmd "/c calc"'


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tokens=st.lists(
        st.sampled_from(
            [b"{", b"}", b"\\objdata ", b"\\bin9 ", b"\\'4", b"41", b"\\", b"\\fldinst", b"\\*",
             b"d0cf11e0a1b11ae1", b"\\bin999999999 ", b"\\par"]
        ),
        max_size=40,
    )
)  # fmt: skip
def test_any_arrangement_is_survived(files: Files, tokens: list[bytes]) -> None:
    files(b"{\\rtf1" + b"".join(tokens))
