"""Parts through engines: one message or file to one verdict."""

import time
from collections.abc import Callable

from mailward.scan.budget import Budget
from mailward.scan.engine import ScanTimeoutError
from mailward.scan.part import Part, Role
from mailward.scan.prepared import LoadedSet
from mailward.scan.unpack import parts
from mailward.scan.verdict import Ambiguity, File, OwnPassword, Reason, Risk, Unopened, Verdict
from mailward.settings.scan import ScanSettings

_RISKS_MAX = 1000
_UNOPENED_MAX = 1000
_FILES_MAX = 1000
_OWN_PASSWORDS_MAX = 100
_AMBIGUITIES_MAX = 100
"""Of one message; more of them change nothing, and a verdict stays small."""

_FILE_ROLES = (Role.ATTACHMENT, Role.MEMBER)


class Scanner:
    """Scans with one loaded set. Not safe for threads."""

    def __init__(self, loaded: LoadedSet, settings: ScanSettings) -> None:
        self._loaded = loaded
        self._settings = settings

    def scan(
        self,
        data: bytes,
        *,
        role: Role = Role.MESSAGE,
        name: str = "",
        watch: Callable[[Part], object] | None = None,
    ) -> Verdict:
        """Everything that is found in ``data``, and everything that could not be looked into.

        ``watch`` is called with each part before engines see it.
        """
        began = time.perf_counter()
        if len(data) > self._settings.max_message_bytes:
            return Verdict(unopened=(too_large(len(data), self._settings),))
        risks: list[Risk] = []
        unopened: list[Unopened] = []
        ambiguities: list[Ambiguity] = []
        own_passwords: list[OwnPassword] = []
        files: list[File] = []
        scanned = 0
        budget = Budget(self._settings)
        for part in parts(data, role=role, name=name, budget=budget):
            if isinstance(part, Unopened):
                unopened.append(part)
            elif isinstance(part, Ambiguity):
                ambiguities.append(part)
            elif isinstance(part, OwnPassword):
                own_passwords.append(part)
            else:
                scanned += 1
                if watch is not None:
                    watch(part)
                if part.role in _FILE_ROLES and part.name and len(files) < _FILES_MAX:
                    files.append(File(part.path, part.name, part.content_type, len(part.data)))
                self._scan_part(part, budget, risks, unopened)
            if len(risks) >= _RISKS_MAX:
                break
        return Verdict(
            risks=tuple(risks[:_RISKS_MAX]),
            unopened=tuple(unopened[:_UNOPENED_MAX]),
            parts=scanned,
            files=tuple(files),
            set=self._loaded.version,
            ms=(time.perf_counter() - began) * 1000,
            ambiguities=tuple(ambiguities[:_AMBIGUITIES_MAX]),
            own_passwords=tuple(own_passwords[:_OWN_PASSWORDS_MAX]),
        )

    def _scan_part(
        self, part: Part, budget: Budget, risks: list[Risk], unopened: list[Unopened]
    ) -> None:
        timeout_s = min(self._settings.part_timeout_s, max(budget.time_left_s, 0.001))
        try:
            risks += self._loaded.scan(part, timeout_s)
        except ScanTimeoutError:
            why = f"an engine needed more than {timeout_s:g} s for it (scan.part_timeout_s)"
            unopened.append(Unopened(part.path, Reason.TIME, why))


def too_large(size: int, settings: ScanSettings) -> Unopened:
    """Why something of ``size`` bytes is not even begun with."""
    return Unopened(
        "message",
        Reason.LIMIT,
        f"{size} bytes, more than {settings.max_message_bytes} (scan.max_message_bytes)",
    )
