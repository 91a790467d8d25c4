"""Held messages encrypted at rest: AES-256-GCM under a key of the administrator's.

::

    MWQ1 | nonce (12 bytes) | ciphertext and tag (NIST SP 800-38D)

The entry's name is authenticated with it, so that messages cannot be exchanged for one another.
"""

import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mailward.errors import ConfigError, FormatError

KEY_BYTES = 32
_MAGIC = b"MWQ1"
_NONCE_BYTES = 12


def read_key(path: Path, setting: str) -> bytes:
    """The key in a file that ``setting`` names. Raises ConfigError, also when others can read it.

    S15.
    """
    try:
        mode = path.stat().st_mode
        with path.open("rb") as file:
            key = file.read(KEY_BYTES + 1)
    except OSError as e:
        raise ConfigError(f"{setting} {path}: {e.strerror}") from e
    if mode & 0o077:
        raise ConfigError(f"{setting} {path}: others can read it; chmod 600 {path}")
    if len(key) != KEY_BYTES:
        raise ConfigError(
            f"{setting} {path}: holds no key of {KEY_BYTES} bytes; make one with "
            f"head -c {KEY_BYTES} /dev/urandom > {path}"
        )
    return key


def seal(key: bytes, content: bytes, name: str) -> bytes:
    """Encrypt a message that is held as ``name``."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return _MAGIC + nonce + AESGCM(key).encrypt(nonce, content, name.encode())


def unseal(key: bytes, sealed: bytes, name: str) -> bytes:
    """The inverse of ``seal``. Raises FormatError: another key, or not what was sealed."""
    if not sealed.startswith(_MAGIC):
        raise FormatError(f"quarantine entry {name}: it is no encrypted message")
    nonce, rest = sealed[len(_MAGIC) :][:_NONCE_BYTES], sealed[len(_MAGIC) + _NONCE_BYTES :]
    try:
        return AESGCM(key).decrypt(nonce, rest, name.encode())
    except (InvalidTag, ValueError) as e:
        raise FormatError(
            f"quarantine entry {name}: it was encrypted with another key than the one in "
            "quarantine.key_file, or was changed since"
        ) from e
