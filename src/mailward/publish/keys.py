"""Private keys: one Ed25519 key a role, each in a file of its own that nobody else may read (S15).

Which keys are there decides what can be signed: whoever publishes to rapid needs ``rapid``,
``snapshot`` and ``timestamp``; ``root`` and ``targets`` belong offline.
"""

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.exceptions import KeyMismatchError
from securesystemslib.signer import CryptoSigner, Key, SSlibKey

from mailward import durable
from mailward.errors import PublishError

ROLES = ("root", "targets", "snapshot", "timestamp", "certified", "rapid")


def path_of(folder: Path, role: str) -> Path:
    """The file of a role's private key (PEM, PKCS #8)."""
    return folder / f"{role}.pem"


def make(folder: Path, role: str) -> CryptoSigner:
    """A role's key, made if there is none yet."""
    path = path_of(folder, role)
    if path.exists():
        return _load(path, None)
    durable.make_folder(folder)
    folder.chmod(0o700)
    signer = CryptoSigner.generate_ed25519()
    durable.write_atomic(path, signer.private_bytes, 0o600)
    return signer


def load(folder: Path, role: str, public: Key) -> CryptoSigner:
    """The private key that belongs to ``public``.

    Raises PublishError if it is not there, not that one, or not safe from others.
    """
    path = path_of(folder, role)
    if not path.exists():
        raise PublishError(
            f"the private key of {role} is not here: {path}: bring it back, or publish where it is"
        )
    return _load(path, public)


def _load(path: Path, public: Key | None) -> CryptoSigner:
    if public is not None and not isinstance(public, SSlibKey):
        raise PublishError(f"{path}: a key of type {public.keytype} cannot be used from a file")
    pem = _read_secret(path)
    try:
        return CryptoSigner(load_pem_private_key(pem, None), public)
    except KeyMismatchError as e:
        raise PublishError(
            f"{path}: not the key that the repository's root names for this role"
        ) from e
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise PublishError(f"{path}: not an Ed25519 private key in PEM (PKCS #8)") from e


def _read_secret(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_IMODE(status.st_mode) & 0o077:  # S15
                raise PublishError(
                    f"{path}: others can read this private key: `chmod 600 {path}`, and make a new"
                    " one if somebody may have"
                )
            return file.read(64 * 1024)
    except OSError as e:
        raise PublishError(f"{path}: {e.strerror}") from e
