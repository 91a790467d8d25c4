"""``licensing.json``: what a publisher signs about its licenses, in the repository's metadata.

It is a target of the ``targets`` role itself: who holds the key of a channel cannot change who may
sign licenses. A key that is no longer named here signs nothing any more; an id in ``revoked`` is
not honoured, whatever its license says.
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from mailward.definitions.model import Text, Value, read_value

LICENSING_PATH = "licensing.json"
"""Its signed name."""

LICENSING_MAX_BYTES = 4 * 1024 * 1024
"""Some ten thousand revoked licenses with reasons."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")]
LicenseId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
KeyId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
PublicKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""The 32 bytes of an Ed25519 public key (RFC 8032) in hex."""


class LicenseKey(Value):
    """A key that may sign licenses."""

    keyid: KeyId
    """As licenses name it."""
    public: PublicKey


class Licensing(Value):
    """Who issues licenses for a repository, and which of them count."""

    publisher: Name
    product: Name
    keys: Annotated[tuple[LicenseKey, ...], Field(max_length=20)]
    """The newest last: it signs."""
    revoked: dict[LicenseId, Text] = Field(default_factory=dict)
    """License id to the publisher's reason."""

    def key(self, keyid: str) -> LicenseKey | None:
        """The key of that id; None if it is not named (any more)."""
        return next((key for key in self.keys if key.keyid == keyid), None)

    @classmethod
    def from_json(cls, raw: bytes) -> "Licensing":
        """Read it. Raises FormatError; needs no trust in ``raw``."""
        return read_value(cls, raw, LICENSING_MAX_BYTES, LICENSING_PATH)
