"""A gateway under load changes to the set between two messages, and no scan fails (S5)."""

import asyncio
from collections import Counter

from mailward.definitions.model import Gate
from mailward.definitions.store import Store
from mailward.errors import MailwardError
from mailward.publish.gates import resting
from mailward.publish.gates.base import NotRun, Progress, Subject, gate
from mailward.scan import known_good
from mailward.scan.pool import ScanPool
from mailward.scan.verdict import Reason, Verdict
from mailward.settings.scan import ScanSettings

NAME = "hot-swap"

_WORKERS = 2
"""The least with which one scans while the other changes its set."""

_EACH = 4
"""Messages under way for each worker: there are always some waiting."""

_AFTER = 40
"""Messages scanned wholly with the new set before the test ends."""

_TIMEOUT_S = 300.0


def swap(subject: Subject, before: Subject | None, progress: Progress) -> Gate | NotRun:
    """Scan without a pause while ``subject`` takes the place of ``before``."""
    if before is None:
        return NotRun(NAME, "no set before it to change from")
    store = resting.store_in(subject.work / "swap-store")
    for each in (before, subject):
        resting.put(store, each)
    resting.activate(store, before)
    old, new = str(before.manifest.version), str(subject.manifest.version)
    return judge(asyncio.run(_Load(store, subject, new, progress).run()), old, new)


def judge(outcomes: list[Verdict | str], old: str, new: str) -> Gate:
    """``outcomes``: verdicts, and errors in words, in the order in which they came."""
    verdicts = [each for each in outcomes if isinstance(each, Verdict)]
    failed = [each for each in outcomes if isinstance(each, str)]
    culprits = [f"a scan failed: {why}" for why in failed]
    by_set = Counter(verdict.set for verdict in verdicts)
    culprits += [
        f"{count} verdicts name the set {name or 'none'}, not {old} or {new}"
        for name, count in by_set.items()
        if name not in (old, new)
    ]
    for verdict in verdicts:
        if any(risk.set != verdict.set for risk in verdict.risks):
            culprits.append(f"a verdict mixes {verdict.set} with another set")
        for each in verdict.unopened:
            if each.reason in (Reason.CRASH, Reason.TIME):
                culprits.append(f"a message could not be scanned: {each.reason}: {each.detail}")
    for name in (old, new):
        if not by_set[name]:
            culprits.append(f"no message was scanned with {name}")
    detail = f"{len(verdicts)} messages, {by_set[old]} by {old} and {by_set[new]} by {new}"
    return gate(NAME, not culprits, detail, culprits)


class _Load:
    """Clients that never pause, and the change in the middle of it."""

    def __init__(self, store: Store, subject: Subject, new: str, progress: Progress) -> None:
        self._store = store
        self._subject = subject
        self._new = new
        self._progress = progress
        self._outcomes: list[Verdict | str] = []
        self._after = 0
        self._warm = asyncio.Event()
        self._done = asyncio.Event()

    async def run(self) -> list[Verdict | str]:
        settings = ScanSettings(workers=_WORKERS)
        async with ScanPool(self._store, settings) as pool:
            clients = [asyncio.create_task(self._client(pool)) for _ in range(_WORKERS * _EACH)]
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    await self._warm.wait()
                    await asyncio.to_thread(resting.activate, self._store, self._subject)
                    await self._done.wait()
            except TimeoutError:
                self._outcomes.append(f"the new set was not in use after {_TIMEOUT_S:g} s")
                self._done.set()
            await asyncio.gather(*clients)
        return self._outcomes

    async def _client(self, pool: ScanPool) -> None:
        messages = [message for _, message in known_good.messages()]
        number = 0
        while not self._done.is_set():
            message = messages[number % len(messages)]
            number += 1
            try:
                verdict = await pool.scan(message)
            except MailwardError as e:
                self._outcomes.append(str(e))
                self._done.set()
                return
            self._note(verdict, set(pool.sets()))

    def _note(self, verdict: Verdict, in_use: set[str]) -> None:
        self._outcomes.append(verdict)
        if len(self._outcomes) >= _WORKERS * _EACH:
            self._warm.set()
        if in_use == {self._new}:  # every worker has changed
            self._after += 1
            self._progress(NAME, min(self._after, _AFTER), _AFTER)
            if self._after >= _AFTER:
                self._done.set()
