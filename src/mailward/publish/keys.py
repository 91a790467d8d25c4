"""Private keys, each in a file of its own that nobody else may read, or in a token (S15).

::

    keys/<role>-<first 16 digits of the key's id>.pem     PKCS #8, perhaps with a passphrase
    keys/<role>-<first 16 digits of the key's id>.uri     where else it is: hsm:2?label=signing

Which keys are there decides what can be signed: whoever publishes to rapid needs the keys of
``rapid``, ``snapshot`` and ``timestamp``; those of ``root`` and ``targets`` belong offline. The
names let a key be found, and left closed, without its passphrase.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.exceptions import KeyMismatchError, UnsupportedLibraryError
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from mailward import durable
from mailward.errors import PublishError, UsageError
from mailward.publish.passphrases import Secrets, read_private

ROLES = ("root", "targets", "snapshot", "timestamp", "certified", "rapid")

_KEY_FILE_MAX_BYTES = 64 * 1024
_ENCRYPTED_MARK = b"BEGIN ENCRYPTED PRIVATE KEY"


@dataclass(frozen=True, slots=True)
class Trusted:
    """The keys that may sign a role, and how many of them must."""

    role: str
    threshold: int
    keys: tuple[Key, ...]


class Keyring:
    """The private keys of a publisher: in its folder, and in others that are there for a while
    (``elsewhere``: the sticks of the root's key holders, say)."""

    def __init__(
        self, folder: Path, secrets: Secrets | None = None, elsewhere: Sequence[Path] = ()
    ) -> None:
        self._folder = folder
        self._secrets = secrets or Secrets()
        self._folders = (folder, *elsewhere)

    def find(self, role: str, key: Key) -> Path | None:
        """The file of a key, or None if it is not here."""
        for folder in self._folders:
            for suffix in (".pem", ".uri"):
                path = folder / f"{role}-{key.keyid[:16]}{suffix}"
                if path.is_file():
                    return path
        return None

    def can_sign(self, trusted: Trusted) -> bool:
        """Whether enough of a role's keys are here."""
        here = [key for key in trusted.keys if self.find(trusted.role, key)]
        return len(here) >= trusted.threshold

    def signers(self, trusted: Trusted) -> list[Signer]:
        """All of a role's keys that are here. Raises PublishError if they are not enough, if one
        is damaged, not safe from others, or cannot be opened."""
        found = {key.keyid: self.find(trusted.role, key) for key in trusted.keys}
        missing = [keyid[:16] for keyid, path in found.items() if path is None]
        if len(trusted.keys) - len(missing) < trusted.threshold:
            raise PublishError(
                f"the private key of {trusted.role} is not here: {trusted.threshold} of"
                f" {len(trusted.keys)} must sign, missing in {self._folder}: {', '.join(missing)}:"
                " bring it back, or publish where it is"
            )
        return [
            self._open(path, key) for key in trusted.keys if (path := found[key.keyid]) is not None
        ]

    def make(self, role: str, *, encrypted: bool) -> CryptoSigner:
        """A new key, Ed25519, written before it is used. Raises PublishError without a passphrase
        for an encrypted one."""
        encryption: KeySerializationEncryption = NoEncryption()
        if encrypted:
            encryption = BestAvailableEncryption(self._secrets.get("passphrase").encode())
        private = Ed25519PrivateKey.generate()
        signer = CryptoSigner(private)
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        self._write(f"{role}-{signer.public_key.keyid[:16]}.pem", pem)
        return signer

    def private(self, role: str, key: Key) -> Ed25519PrivateKey:
        """A key that signs what is no metadata. Raises PublishError as ``signers`` does."""
        path = self.find(role, key)
        if path is None or path.suffix != ".pem":
            raise PublishError(
                f"the private key {key.keyid[:16]} of {role} is not in {self._folder}: bring it"
                " back, or issue where it is"
            )
        private = self._load(path, read_private(path, _KEY_FILE_MAX_BYTES))
        if not isinstance(private, Ed25519PrivateKey):
            raise PublishError(f"{path}: not an Ed25519 key, which {role} needs")
        return private

    def refer(self, role: str, uri: str, public: Key) -> Signer:
        """A key that sits in a token or a cloud service, from now on found by ``uri``."""
        signer = self._from_uri(uri, public)
        self._write(f"{role}-{public.keyid[:16]}.uri", f"{uri}\n".encode())
        return signer

    def remove(self, role: str, key: Key) -> None:
        """Forget a key that nothing trusts any more. One in a token stays in the token."""
        path = self.find(role, key)
        if path is not None:
            path.unlink()
            durable.fsync_folder(path.parent)

    def is_encrypted(self, role: str, key: Key) -> bool:
        """Whether a key is in a file with a passphrase. Raises PublishError as ``signers`` does."""
        path = self.find(role, key)
        if path is None or path.suffix != ".pem":
            return False
        return _ENCRYPTED_MARK in read_private(path, _KEY_FILE_MAX_BYTES)

    def _write(self, name: str, content: bytes) -> None:
        durable.make_folder(self._folder)
        self._folder.chmod(0o700)
        durable.write_atomic(self._folder / name, content, 0o600)

    def _open(self, path: Path, public: Key) -> Signer:
        content = read_private(path, _KEY_FILE_MAX_BYTES)
        if path.suffix == ".uri":
            return self._from_uri(content.decode(errors="replace").strip(), public)
        if not isinstance(public, SSlibKey):
            raise PublishError(f"{path}: a key of type {public.keytype} cannot be used from a file")
        try:
            return CryptoSigner(self._load(path, content), public)
        except KeyMismatchError as e:
            raise PublishError(
                f"{path}: not the key that the repository's metadata names: bring that one back"
            ) from e
        except (ValueError, TypeError, UnsupportedAlgorithm) as e:
            raise PublishError(f"{path}: not a key that signs metadata") from e

    def _load(self, path: Path, content: bytes) -> PrivateKeyTypes:
        passphrase = None
        if _ENCRYPTED_MARK in content:
            passphrase = self._secrets.get("passphrase").encode()
        try:
            return load_pem_private_key(content, passphrase)
        except (ValueError, TypeError, UnsupportedAlgorithm) as e:
            what = "not a private key in PEM (PKCS #8)"
            if passphrase is not None:
                what += ", or the passphrase is not the right one"
            raise PublishError(f"{path}: {what}") from e

    def _from_uri(self, uri: str, public: Key) -> Signer:
        try:
            return Signer.from_priv_key_uri(uri, public, self._secrets.get)
        except (ValueError, UnsupportedLibraryError, OSError, KeyMismatchError) as e:
            raise PublishError(f"key {uri}: {e}") from e


def read_public(path: Path) -> Key:
    """The public half of a key in a token, as its tools export it (PEM). Raises UsageError."""
    try:
        return SSlibKey.from_crypto(load_pem_public_key(path.read_bytes()))
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}") from e
    except (ValueError, UnsupportedAlgorithm) as e:
        raise UsageError(f"{path}: not a public key in PEM that signs metadata: {e}") from e
