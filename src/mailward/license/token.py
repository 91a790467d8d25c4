"""A license as a file: a JSON Web Token (RFC 7519) signed with Ed25519 (RFC 8032, RFC 9864).

One algorithm, one key type, named in the header and nowhere else to choose: a token that names
another (``none``, ``HS256``, …) is refused before its signature is looked at. What is wrong with a
token is said without quoting it: whoever reads a log could use it (S15).
"""

import json
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from pydantic import Field, ValidationError

from mailward.definitions.model import Channel, Value
from mailward.errors import FormatError, LicenseError
from mailward.license.published import LicenseId, Licensing, Name

TOKEN_MAX_BYTES = 2000
"""An FTP server reads command lines of 2,048 bytes at most (pyftpdlib), and names are short."""

ALGORITHM = "Ed25519"
TYPE = "mwlic+jwt"

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_YEAR_9999 = 253_370_764_800
"""1 January 9999 in seconds since 1970: what is before it every zone can show."""

_Moment = Annotated[int, Field(ge=0, lt=_YEAR_9999)]
_Days = Annotated[int, Field(ge=0, le=365)]


class Terms(Value):
    """The claims of a license, by their names in the token; unknown ones are ignored."""

    iss: Name
    """The publisher."""
    sub: Name
    """Who it is for."""
    jti: LicenseId
    product: Name
    channels: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)]
    servers: Annotated[int, Field(ge=1, le=1 << 31)]
    iat: _Moment
    """Issued; this and the next two in seconds since 1970, UTC."""
    nbf: _Moment
    """Valid from."""
    exp: _Moment
    """Valid until."""
    warn_days: _Days = 60
    """Before ``exp``: from when on it is spoken of."""
    grace_days: _Days = 14
    """After ``exp``: as long as updates still come."""


@dataclass(frozen=True, slots=True)
class License:
    """A license whose signature has been verified. Dates and revocation are ``judge``'s work."""

    terms: Terms
    token: str = field(repr=False)  # S15

    @property
    def id(self) -> str:
        """What the publisher calls it."""
        return self.terms.jti

    @property
    def issued_at(self) -> datetime:
        """When the publisher signed it."""
        return _moment(self.terms.iat)

    @property
    def valid_from(self) -> datetime:
        """The first moment that it covers."""
        return _moment(self.terms.nbf)

    @property
    def valid_until(self) -> datetime:
        """The first moment that it does not cover any more; grace comes on top."""
        return _moment(self.terms.exp)

    def covers(self, channel: Channel) -> bool:
        """Whether it is for this channel."""
        return channel.value in self.terms.channels


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The private half of a key that ``Licensing`` names."""

    keyid: str
    private: bytes = field(repr=False)  # S15
    """32 bytes (RFC 8032)."""
    public: bytes


def issue(terms: Terms, key: SigningKey) -> str:
    """Sign a license. Raises FormatError if it would be too long or ends before it begins."""
    _require_sensible(terms)
    header = {"alg": ALGORITHM, "typ": TYPE, "kid": key.keyid}
    payload = terms.model_dump_json().encode()
    private = OKPKey.import_key(
        {"kty": "OKP", "crv": "Ed25519", "x": _base64(key.public), "d": _base64(key.private)}
    )
    token = jws.serialize_compact(header, payload, private, [ALGORITHM])
    if len(token) > TOKEN_MAX_BYTES:
        raise FormatError(
            f"license {terms.jti} would have {len(token)} bytes, at most {TOKEN_MAX_BYTES} are "
            "possible: use shorter names"
        )
    return token


def clean(raw: bytes) -> str:
    """A license file's content as one line: mail programs wrap, editors add line ends.

    Raises FormatError, which does not quote it (S15).
    """
    if len(raw) > 2 * TOKEN_MAX_BYTES:
        raise FormatError(f"not a license: more than {TOKEN_MAX_BYTES} bytes")
    try:
        text = "".join(raw.decode("ascii").split())
    except UnicodeDecodeError:
        raise FormatError("not a license: it holds bytes that are no text of a license") from None
    if not text:
        raise FormatError("not a license: it is empty")
    if len(text) > TOKEN_MAX_BYTES:
        raise FormatError(f"not a license: more than {TOKEN_MAX_BYTES} bytes")
    if not _COMPACT.fullmatch(text):
        raise FormatError(
            "not a license: expected three pieces with dots between them; was it cut off?"
        )
    return text


def verify(token: str, licensing: Licensing) -> License:
    """Believe a license: signed by a key that the publisher names, for this product.

    Raises FormatError if it is none, LicenseError if it is somebody else's. Neither quotes it.
    """
    if len(token) > TOKEN_MAX_BYTES or not _COMPACT.fullmatch(token):
        raise FormatError("not a license: expected three pieces with dots between them")
    try:
        signed = jws.extract_compact(token.encode())
        header = signed.headers()
    except (JoseError, ValueError, TypeError, RecursionError):
        raise FormatError("not a license: its header cannot be read") from None
    algorithm = header.get("alg")
    if algorithm != ALGORITHM:
        raise FormatError(
            f"not a license: signed with {_shown(algorithm)}, licenses are signed with {ALGORITHM}"
        )
    public = licensing.key(str(header.get("kid")))
    if public is None:
        raise LicenseError(
            f"signed with a key that {licensing.publisher} does not name (any more): was it issued "
            "by another publisher? Ask for a new one"
        )
    key = OKPKey.import_key(
        {"kty": "OKP", "crv": "Ed25519", "x": _base64(bytes.fromhex(public.public))}
    )
    try:
        good = jws.validate_compact(signed, key, [ALGORITHM])
    except (JoseError, ValueError, TypeError):
        good = False
    if not good:
        raise LicenseError("its signature is wrong: it was changed or cut off. Ask for a new copy")
    terms = _read_terms(signed.payload)
    if (terms.iss, terms.product) != (licensing.publisher, licensing.product):
        raise LicenseError(
            f"issued by {terms.iss} for {terms.product}; this repository's are issued by "
            f"{licensing.publisher} for {licensing.product}"
        )
    return License(terms, token)


def _read_terms(payload: bytes) -> Terms:
    try:
        json.loads(payload, object_pairs_hook=_without_duplicates)
        terms = Terms.model_validate_json(payload)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(piece) for piece in first["loc"]) or "claims"
        raise FormatError(f"not a license: {where}: {first['msg']}") from None
    except (ValueError, RecursionError):
        raise FormatError("not a license: its claims are not one JSON object") from None
    _require_sensible(terms)
    return terms


def _require_sensible(terms: Terms) -> None:
    if terms.nbf >= terms.exp:
        raise FormatError(f"license {terms.jti}: it ends before it begins")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise FormatError("not a license: a claim is there twice")
    return dict(pairs)


def _shown(value: object) -> str:
    """A header's word in a message: short, printable."""
    return repr(str(value)[:20])


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
