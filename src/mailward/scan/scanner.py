"""Parts through engines: one message or file to one verdict."""

import time
from collections.abc import Callable

from mailward.rules import Content, Disguise
from mailward.scan.budget import Budget
from mailward.scan.engine import ScanTimeoutError
from mailward.scan.kinds import disguises, is_notable, kinds
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
        files = _Files()
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
                files.note(part)
                self._scan_part(part, budget, risks, unopened)
            if len(risks) >= _RISKS_MAX:
                break
        return Verdict(
            risks=tuple(risks[:_RISKS_MAX]),
            unopened=tuple(unopened[:_UNOPENED_MAX]),
            parts=scanned,
            files=files.all(),
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
        except ScanTimeoutError as e:
            why = f"{e} (scan.part_timeout_s: {timeout_s:g} s)"
            unopened.append(Unopened(part.path, Reason.TIME, why))


class _Files:
    """What rules may ask for: attachments and what is in them, at any depth."""

    def __init__(self) -> None:
        self._files: list[File] = []
        self._seen: set[Content | Disguise] = set()

    def note(self, part: Part) -> None:
        """One more part. Beyond the limit those are kept that are of a kind not seen before."""
        if not part.depth or part.role is Role.FILE:
            return
        content = kinds(part)
        if not is_notable(content) and (not part.name or part.role is Role.BODY):
            return
        disguise = disguises(part, content)
        if len(self._files) >= _FILES_MAX and self._seen.issuperset((*content, *disguise)):
            return
        self._seen.update(content, disguise)
        size = len(part.data)
        self._files.append(File(part.path, part.name, part.content_type, size, content, disguise))

    def all(self) -> tuple[File, ...]:
        """In their order."""
        return tuple(self._files)


def too_large(size: int, settings: ScanSettings) -> Unopened:
    """Why something of ``size`` bytes is not even begun with."""
    return Unopened(
        "message",
        Reason.LIMIT,
        f"{size} bytes, more than {settings.max_message_bytes} (scan.max_message_bytes)",
    )
