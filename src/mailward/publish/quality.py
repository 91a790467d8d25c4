"""The tests that a built set passes before it may be published, and the report on them.

Basic opens rapid: seconds to a minute. Stringent opens certified: everything basic does, and what
takes a collection of files, the sets before, and time. Each test is a file in ``gates``; here they
are listed. The report is signed along with the set.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from mailward.definitions.model import Channel, Gate, Level, Manifest, QualityReport, Version
from mailward.errors import TrialError
from mailward.publish import candidates, exclusions, history
from mailward.publish.build import rebuild
from mailward.publish.gates import known_bad, known_good, spared
from mailward.publish.gates.base import NotRun, Subject, gate, unpack
from mailward.publish.gates.bounds import bounds
from mailward.publish.gates.collection import Workers, forget_old, scan_all
from mailward.publish.gates.dask_workers import DaskWorkers
from mailward.publish.gates.files import Found
from mailward.publish.gates.journeys import journeys, kept_sets
from mailward.publish.gates.local import LocalWorkers
from mailward.publish.gates.means import Means
from mailward.publish.gates.patches import patches
from mailward.publish.gates.performance import performance
from mailward.publish.gates.readable import readable
from mailward.publish.gates.samples import samples
from mailward.publish.gates.swap import swap
from mailward.publish.gates.trial import gates as trial_gates
from mailward.publish.home import Home
from mailward.publish.metadata import Signed
from mailward.scan.proof import Proof, prove

__all__ = ["Checked", "Means", "check", "check_excluding"]

log = structlog.get_logger(__name__)

PROOF_TIMEOUT_S = 600.0
"""For preparing and probing a set: what agents allow by default (update.trial_timeout_s)."""

PROOF_MEMORY_BYTES = 4 << 30
"""Of the child process: what agents allow by default (update.trial_memory_bytes)."""

EXCLUDED_AT_ONCE_MAX = 50
"""More signatures than this, and more than the next share, are never excluded without a person: it
is then rather the collection that is wrong, or a feed as a whole."""

EXCLUDED_SHARE_MAX = 0.001

_ROUNDS_MAX = 3
"""Of excluding and checking again: the first names all that hit, so that one is enough."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check came to."""

    version: Version
    """Of the set that was checked last: another than was asked for, if signatures were excluded."""
    report: QualityReport
    excluded: tuple[str, ...] = ()
    """What was excluded on the way."""


def check(
    home: Home,
    version: Version,
    level: Level = Level.BASIC,
    means: Means = Means(),  # noqa: B008 (frozen)
    *,
    now: datetime | None = None,
) -> QualityReport:
    """Test a built set and keep the report with it.

    Repeating it after an interruption does not scan again what was scanned. Raises UsageError if no
    such set was built or a file is not there, PublishError, TemporaryError, BusyError. A set that
    fails is a report that says so, not an error.
    """
    return _Check(home, version, level, means, now or datetime.now(UTC)).run()


def check_excluding(
    home: Home,
    version: Version,
    level: Level = Level.BASIC,
    means: Means = Means(),  # noqa: B008 (frozen)
    *,
    now: datetime | None = None,
) -> Checked:
    """``check``; what hits known-good files is excluded, and the rebuilt set checked in its place.

    Raises as ``check``.
    """
    now = now or datetime.now(UTC)
    excluded: list[str] = []
    for number in range(1, _ROUNDS_MAX + 1):
        last = number == _ROUNDS_MAX
        trying = _Check(home, version, level, means, now, stop_for_exclusion=not last)
        report = trying.run()
        if last or not trying.to_exclude:
            break
        why = f"hit known-good files in the {level} check of {version}"
        new = exclusions.add(home, trying.to_exclude, why, now)
        if not new:
            break
        excluded += new
        log.info("signatures excluded", count=len(new), set=str(version), first=new[:10])
        version = rebuild(home, candidates.load(home, version), now).version
    return Checked(version, report, tuple(excluded))


class _Check:
    """One check of one set; ``run`` is the story."""

    def __init__(
        self,
        home: Home,
        version: Version,
        level: Level,
        means: Means,
        now: datetime,
        *,
        stop_for_exclusion: bool = False,
    ) -> None:
        self._home = home
        self._manifest = candidates.load(home, version)
        self._level = level
        self._means = means
        self._now = now.replace(microsecond=0)
        self._stop_for_exclusion = stop_for_exclusion
        self._outcomes: list[Gate | NotRun] = []
        self._basic_count = 1  # the trial, if it fails
        self._at_fault: set[str] = set()
        self._bad_found: list[Found] = []
        self._bad_index: dict[str, known_bad.Sample] = {}

    @property
    def to_exclude(self) -> set[str]:
        """The signatures that hit known-good files, unless there are too many of them."""
        share = int(self._manifest.signatures * EXCLUDED_SHARE_MAX)
        if len(self._at_fault) > max(EXCLUDED_AT_ONCE_MAX, share):
            return set()
        return self._at_fault

    def run(self) -> QualityReport:
        """All gates of the level, the quick ones first."""
        self._means.require_there()
        with tempfile.TemporaryDirectory(prefix="mailward-check-") as name:
            work = Path(name)
            subject = self._prove(self._manifest, work / "new")
            if isinstance(subject, Gate):
                self._outcomes.append(subject)
            else:
                with self._home.lock():
                    spared.keep(self._home, subject[0].prepared)
                self._basic(*subject)
                if self._level is Level.STRINGENT:
                    self._stringent(*subject, work)
        return self._keep_report()

    def _prove(self, manifest: Manifest, work: Path) -> tuple[Subject, Proof] | Gate:
        """A set ready to be scanned with; or the gate that it failed on the way."""
        work.mkdir()
        prepared = work / "prepared"
        prepared.mkdir()
        sources = unpack(self._home, manifest, work / "shards")
        self._means.progress("proving", 0, 0)
        basic = self._level is Level.BASIC
        try:
            proof = prove(
                sources,
                prepared,
                known_good=self._means.some_known_good() if basic else (),
                before=spared.before(self._home),
                timeout_s=PROOF_TIMEOUT_S,
                memory_bytes=PROOF_MEMORY_BYTES,
            )
        except TrialError as e:
            return gate("trial", False, str(e))
        return Subject(self._home, manifest, sources, prepared, work), proof

    def _basic(self, subject: Subject, proof: Proof) -> None:
        self._at_fault.update(proof.at_fault)
        before = _offered(self._home, self._manifest, Channel.RAPID, Channel.CERTIFIED)
        self._outcomes += [
            *trial_gates(proof),
            bounds(subject.manifest, before, self._means.limits),
        ]
        self._basic_count = len(self._outcomes)

    def _stringent(self, subject: Subject, proof: Proof, work: Path) -> None:
        means, progress = self._means, self._means.progress
        self._outcomes.append(readable(subject))
        self._outcomes.append(patches(subject, progress))
        workers = self._workers(subject)
        here = LocalWorkers(subject)
        self._outcomes.append(samples(subject, proof.probes_excluded, here, progress))
        self._known_good(subject, workers)
        if self._stop_for_exclusion and self.to_exclude:
            self._outcomes.append(
                gate("further-tests", False, "not run: signatures are being excluded first")
            )
            return
        self._known_bad(subject, workers)
        before = self._before(work)
        self._outcomes += [
            performance(subject, before, means.known_good, means.limits, progress),
            journeys(subject, kept_sets(subject), progress),
            swap(subject, before, progress),
        ]

    def _workers(self, subject: Subject) -> Workers:
        if self._means.workers is None:
            return LocalWorkers(subject)
        return DaskWorkers(subject, self._means.workers)

    def _known_good(self, subject: Subject, workers: Workers) -> None:
        means = self._means
        found = scan_all(subject, known_good.NAME, means.known_good, workers, means.progress)
        self._at_fault |= known_good.at_fault(found)
        self._outcomes.append(known_good.known_good(found))
        if self._stop_for_exclusion and self._at_fault and not self.to_exclude:
            why = f"{len(self._at_fault)} signatures at fault are too many without a person's look"
            self._outcomes.append(NotRun("exclusion", why))

    def _known_bad(self, subject: Subject, workers: Workers) -> None:
        means = self._means
        self._bad_index = known_bad.read(self._home)
        places = known_bad.places(self._bad_index, means.known_bad)
        self._bad_found = scan_all(subject, known_bad.NAME, places, workers, means.progress)
        self._outcomes.append(known_bad.known_bad(self._bad_index, self._bad_found))

    def _before(self, work: Path) -> Subject | None:
        """The set that this one follows, prepared: the certified one, or else what rapid offers."""
        manifest = _offered(self._home, self._manifest, Channel.CERTIFIED, Channel.RAPID)
        if manifest is None:
            return None
        proved = self._prove(manifest, work / "before")
        if isinstance(proved, Gate):
            # It is not this set's fault. What needs it will say that it did not run.
            why = f"{manifest.version} cannot be prepared any more: {proved.detail}"
            self._outcomes.append(NotRun("set-before", why))
            return None
        return proved[0]

    def _keep_report(self) -> QualityReport:
        report = self._report(self._level, self._outcomes)
        version = self._manifest.version
        with self._home.lock():
            candidates.save_report(self._home, version, report)
            if candidates.report(self._home, version, Level.BASIC) is None:
                # Stringent has run them all: rapid need not ask for them again.
                basic = self._report(Level.BASIC, self._outcomes[: self._basic_count])
                candidates.save_report(self._home, version, basic)
            if report.passed:
                known_bad.remember(self._home, self._bad_index, self._bad_found)
        forget_old(self._home)
        return report

    def _report(self, level: Level, outcomes: Sequence[Gate | NotRun]) -> QualityReport:
        return QualityReport(
            level=level,
            checked_at=self._now,
            gates=tuple(each for each in outcomes if isinstance(each, Gate)),
            not_run=tuple(
                f"{each.name}: {each.why}" for each in outcomes if isinstance(each, NotRun)
            ),
        )


def _offered(home: Home, manifest: Manifest, *channels: Channel) -> Manifest | None:
    """What the first of ``channels`` offers that offers another set than this one."""
    signed = Signed.load(home)
    for channel in channels:
        version = history.current(home, signed, channel).version
        if version is not None and version != manifest.version:
            return history.manifest(home, signed, channel, version)
    return None
