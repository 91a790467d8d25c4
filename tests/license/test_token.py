"""One license file: what is read, and everything that is refused without being quoted."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import OKPKey

from mailward.definitions.model import Channel
from mailward.errors import FormatError, LicenseError, MailwardError
from mailward.license import TOKEN_MAX_BYTES, Terms, clean, issue, verify
from tests.license.signer import KEY, claims, licensing, new_key, terms

_GOOD = issue(terms(), KEY)


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _signed(payload: bytes, **header: Any) -> str:
    """Signed with the right key, whatever it says."""
    private = OKPKey.import_key(
        {"kty": "OKP", "crv": "Ed25519", "x": _b64(KEY.public), "d": _b64(KEY.private)}
    )
    head = {"alg": "Ed25519", "kid": KEY.keyid} | header
    return jws.serialize_compact(head, payload, private, ["Ed25519"])


def _with(**changed: Any) -> str:
    return _signed(json.dumps(claims(**changed)).encode())


def test_a_license_says_what_was_issued() -> None:
    read = verify(_GOOD, licensing())
    assert read.terms == terms()
    assert (read.id, read.terms.sub, read.terms.servers) == ("L-1", "Example Hospital", 3)
    assert read.covers(Channel.RAPID)
    assert read.token == _GOOD


def test_mail_programs_may_wrap_it_and_editors_add_line_ends() -> None:
    wrapped = "\r\n".join(_GOOD[i : i + 60] for i in range(0, len(_GOOD), 60)) + "\r\n"
    assert clean(wrapped.encode()) == _GOOD


def test_fields_of_the_future_are_ignored() -> None:
    assert verify(_with(seats=7, nested={"a": [1]}), licensing()).id == "L-1"
    assert verify(_with(channels=["lightning", "rapid"]), licensing()).covers(Channel.RAPID)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b" \n", b"hello", b"a.b", b"a.b.c.d", b"..", _GOOD.rpartition(".")[0].encode(),
        b"\x00" * 100, b"\xff\xfe" + _GOOD.encode(), bytes(range(256)),
        b"a" * (2 * TOKEN_MAX_BYTES + 1), b"a" * TOKEN_MAX_BYTES + b".b.c",
        b"-----BEGIN PRIVATE KEY-----",
    ],
)  # fmt: skip
def test_what_is_no_license_is_refused(raw: bytes) -> None:
    with pytest.raises(FormatError, match="not a license"):
        verify(clean(raw), licensing())


def test_signed_with_another_key_under_the_right_keys_name() -> None:
    with pytest.raises(LicenseError, match="signature is wrong"):
        verify(issue(terms(), new_key()), licensing())


def test_a_key_that_is_not_named_any_more() -> None:
    other = new_key("cd" * 32)
    with pytest.raises(LicenseError, match="does not name"):
        verify(issue(terms(), other), licensing())
    assert verify(issue(terms(), other), licensing(KEY, other)).id == "L-1"


def test_algorithm_none() -> None:
    head, payload, _ = _GOOD.split(".")
    head = _b64(json.dumps({"alg": "none", "kid": KEY.keyid}).encode())
    for signature in ("", "AA", _GOOD.rpartition(".")[2]):
        with pytest.raises(FormatError):
            verify(f"{head}.{payload}.{signature}", licensing())


@pytest.mark.parametrize("secret", [KEY.public, KEY.public.hex().encode()])
def test_hs256_with_the_public_key_as_the_secret(secret: bytes) -> None:
    head = _b64(json.dumps({"alg": "HS256", "kid": KEY.keyid}).encode())
    message = f"{head}.{_b64(json.dumps(claims()).encode())}"
    mac = _b64(hmac.digest(secret, message.encode(), hashlib.sha256))
    with pytest.raises(FormatError, match="HS256"):
        verify(f"{message}.{mac}", licensing())


def test_a_key_that_comes_with_the_token_is_not_used() -> None:
    thief = new_key()
    private = OKPKey.import_key(
        {"kty": "OKP", "crv": "Ed25519", "x": _b64(thief.public), "d": _b64(thief.private)}
    )
    own = {"kty": "OKP", "crv": "Ed25519", "x": _b64(thief.public)}
    head = {"alg": "Ed25519", "kid": KEY.keyid, "jwk": own}
    token = jws.serialize_compact(head, json.dumps(claims()).encode(), private, ["Ed25519"])
    with pytest.raises(LicenseError, match="signature is wrong"):
        verify(token, licensing())


def test_a_claim_that_is_there_twice() -> None:
    once = json.dumps(claims())
    twice = once[:-1] + ', "exp": 99999999999}'
    nested = once[:-1] + ', "more": {"a": 1, "a": 2}}'
    for payload in (twice, nested):
        with pytest.raises(FormatError, match="twice"):
            verify(_signed(payload.encode()), licensing())


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": "2027-11-24"}, {"exp": "1795500000"}, {"exp": 1795500000.5}, {"exp": True},
        {"exp": None}, {"nbf": -1}, {"exp": 253_402_300_800}, {"exp": 10**30}, {"nbf": "now"},
        {"exp": claims()["nbf"]}, {"exp": claims()["nbf"] - 1},
        {"servers": -1}, {"servers": 0}, {"servers": 2.0}, {"servers": "3"}, {"servers": 1 << 40},
        {"warn_days": -1}, {"grace_days": -3}, {"grace_days": 10_000},
        {"channels": []}, {"channels": "rapid"}, {"channels": [1]}, {"channels": ["r"] * 100},
        {"sub": ""}, {"sub": 7}, {"sub": "x" * 200}, {"sub": "line\nbreak"}, {"iss": None},
        {"jti": ""}, {"jti": "../../etc/passwd"}, {"jti": "a b"}, {"product": ["definitions"]},
    ],
    ids=str,
)  # fmt: skip
def test_terms_that_make_no_sense(changed: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=r"not a license|ends before it begins"):
        verify(_with(**changed), licensing())


@pytest.mark.parametrize("missing", sorted(set(claims()) - {"warn_days", "grace_days"}))
def test_terms_that_are_missing(missing: str) -> None:
    plain = {key: value for key, value in claims().items() if key != missing}
    with pytest.raises(FormatError, match=missing):
        verify(_signed(json.dumps(plain).encode()), licensing())


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"7", b"null", b"{", b"\xff", b'{"a":' * 200, b"[" * 1200, b"NaN"]
)
def test_a_payload_that_is_no_object(payload: bytes) -> None:
    with pytest.raises(FormatError):
        verify(_signed(payload), licensing())


def test_of_another_publisher_or_for_another_product() -> None:
    for changed in ({"iss": "Somebody"}, {"product": "toaster"}):
        with pytest.raises(LicenseError, match="issued by"):
            verify(_with(**changed), licensing())


def test_a_license_that_would_not_fit_is_not_issued() -> None:
    with pytest.raises(FormatError, match="shorter names"):
        issue(terms(channels=["c" * 100] * 16), KEY)
    with pytest.raises(FormatError, match="ends before"):
        issue(terms(since=1, until=0), KEY)


@given(st.integers(0, len(_GOOD) - 1), st.sampled_from("AZaz09-_.="))
def test_no_changed_character_passes_for_other_terms(place: int, character: str) -> None:
    changed = _GOOD[:place] + character + _GOOD[place + 1 :]
    try:
        read: Terms | None = verify(changed, licensing()).terms
    except MailwardError:
        read = None
    assert read in (None, terms())  # the last characters of base64 have spare bits


@given(st.text(max_size=300))
def test_any_text_is_refused_in_our_words(text: str) -> None:
    with pytest.raises(MailwardError):
        verify(text, licensing())


def test_no_message_and_no_representation_quotes_it() -> None:
    head, payload, signature = _GOOD.split(".")
    spoiled = [
        f"{head}.{payload}.{signature[:-4]}", f"{head}.{payload}", f"{_GOOD}.x", _GOOD * 9,
        issue(terms(), new_key("cd" * 32)), _with(exp="soon"), _with(iss="Somebody"),
    ]  # fmt: skip
    for text in spoiled:
        with pytest.raises(MailwardError) as caught:
            verify(clean(text.encode()), licensing())
        said = str(caught.value) + repr(caught.value)
        assert payload[:30] not in said
        assert signature[:20] not in said
    assert signature[:20] not in repr(verify(_GOOD, licensing()))
    assert KEY.private.hex() not in repr(KEY)
    assert repr(KEY.private) not in repr(KEY)
