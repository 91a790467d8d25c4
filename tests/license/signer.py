"""A publisher's license key, and licenses with whatever terms a test wants."""

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from mailward.license import Held, LicenseKey, Licensing, SigningKey, Terms, issue, verify

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def new_key(keyid: str = "ab" * 32) -> SigningKey:
    private = Ed25519PrivateKey.generate()
    return SigningKey(
        keyid,
        private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()),
        private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw),
    )


KEY = new_key()


def licensing(*keys: SigningKey, revoked: dict[str, str] | None = None) -> Licensing:
    named = tuple(LicenseKey(keyid=k.keyid, public=k.public.hex()) for k in keys or (KEY,))
    return Licensing(
        publisher="Example Ltd", product="definitions", keys=named, revoked=revoked or {}
    )


def claims(**changed: Any) -> dict[str, Any]:
    return {
        "iss": "Example Ltd",
        "sub": "Example Hospital",
        "jti": "L-1",
        "product": "definitions",
        "channels": ["certified", "rapid"],
        "servers": 3,
        "iat": int((NOW - timedelta(days=30)).timestamp()),
        "nbf": int((NOW - timedelta(days=30)).timestamp()),
        "exp": int((NOW + timedelta(days=335)).timestamp()),
        "warn_days": 60,
        "grace_days": 14,
    } | changed


def terms(
    since: float = -30,
    until: float = 335,
    id: str = "L-1",  # noqa: A002
    **changed: Any,
) -> Terms:
    """``since`` and ``until``: days from NOW."""
    return Terms.model_validate(
        claims(
            jti=id,
            nbf=int((NOW + timedelta(days=since)).timestamp()),
            exp=int((NOW + timedelta(days=until)).timestamp()),
            **{k: tuple(v) if isinstance(v, list) else v for k, v in changed.items()},
        )
        | {"channels": tuple(changed.get("channels", ("certified", "rapid")))}
    )


def held(since: float = -30, until: float = 335, id: str = "L-1", **changed: Any) -> Held:  # noqa: A002
    return Held(verify(issue(terms(since, until, id, **changed), KEY), licensing()))
