"""Passphrases of key files and PINs of tokens: from the environment, a file, or a person (S15).

For a secret called ``passphrase`` the places are, in this order: the environment variable
``MAILWARD_KEY_PASSPHRASE``; the file that ``MAILWARD_KEY_PASSPHRASE_FILE`` names, which nobody else
may read; a person, where somebody sits at a terminal. ``pin``, and what else securesystemslib's
signers ask for, likewise.
"""

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from mailward.errors import PublishError

Ask = Callable[[str], str]
"""Shows a prompt, gives what was typed without echo."""

_SECRET_MAX_BYTES = 4096


class Secrets:
    """Asked for once, then remembered for as long as the process runs. Never shown."""

    def __init__(self, ask: Ask | None = None, environment: Mapping[str, str] = os.environ) -> None:
        self._ask = ask
        self._environment = environment
        self._known: dict[str, str] = {}

    def get(self, name: str) -> str:
        """The secret. Raises PublishError if there is none."""
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> str:
        variable = "MAILWARD_KEY_" + name.upper().replace(" ", "_")
        secret = self._environment.get(variable, "")
        if not secret and (file := self._environment.get(f"{variable}_FILE")):
            # One line end belongs to the editor, not to the secret.
            secret = read_private(Path(file), _SECRET_MAX_BYTES).decode(errors="replace")
            secret = secret.removesuffix("\n").removesuffix("\r")
        if not secret and self._ask is not None:
            secret = self._ask(f"{name} for signing: ")
        if not secret:
            raise PublishError(
                f"a key needs its {name}: set {variable}, or {variable}_FILE to a file that only"
                " you can read"
            )
        return secret


def read_private(path: Path, max_bytes: int) -> bytes:
    """A file that nobody else may read or write (S15). Raises PublishError."""
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:  # S15
                raise PublishError(
                    f"{path}: others can read this private file: `chmod 600 {path}`, and replace"
                    " what is in it if somebody may have read it"
                )
            return file.read(max_bytes)
    except OSError as e:
        raise PublishError(f"{path}: {e.strerror}") from e
