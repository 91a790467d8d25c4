"""`mailward scan --definitions FOLDER`: plain signature files, prepared on first use and cached.

ClamAV's text formats and YARA rules, as they are. What came of a folder is kept below the state
folder under a name that its content decides, so a changed file is prepared anew and an unchanged
folder loads at once. Signatures that are bad are named and left out, as in a trial; whoever tries
their own wants to see what the others find.
"""

import hashlib
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from mailward import __version__, main
from mailward.config import Config
from mailward.definitions.model import Channel, Manifest, Shard, ShardKind, Trial, Version
from mailward.definitions.store import Store
from mailward.errors import UsageError
from mailward.publish.feeds.base import Draft, Reading
from mailward.publish.feeds.clamav import ClamavFeed
from mailward.publish.feeds.yara import YaraFeed
from mailward.scan.engine import Source
from mailward.scan.engines import all_engines
from mailward.scan.prepared import folder_name
from mailward.scan.proof import Proof, prove

_FOLDERS_KEPT = 4
"""Prepared folders: ClamAV's official set takes 400 MB."""
_NAMED_MAX = 20
_YARA_SUFFIXES = frozenset({".yar", ".yara"})


def configured(config: Config, folder: Path) -> Config:
    """The configuration with ``folder`` as its active definitions. Raises MailwardError."""
    reading = _read(folder)
    key = _key(reading.drafts)
    home = config.state_dir / "folders"
    found = config.model_copy(update={"state_dir": home / key})
    if main.store(found).active() is None:
        home.mkdir(parents=True, exist_ok=True)
        _say(f"preparing {reading.signatures:,} signatures of {folder} (once)")
        _report(_adopt(main.store(found), reading.drafts, config), reading)
        _forget_old(home, keep=key)
    return found


def _read(folder: Path) -> Reading:
    if not folder.is_dir():
        raise UsageError(f"{folder}: not a folder of signature files")
    readings = [ClamavFeed("folder", folder).read()]
    if any(path.suffix.lower() in _YARA_SUFFIXES for path in folder.rglob("*")):
        readings.append(YaraFeed("folder", folder).read())
    drafts = tuple(draft for reading in readings for draft in reading.drafts)
    if not drafts:
        raise UsageError(f"{folder}: no signatures in it (ClamAV's text formats, .yar, .yara)")
    counted = Counter(left_out for reading in readings for left_out in reading.left_out)
    # What each feed leaves to the other is taken by one of them.
    nobodys = tuple(left for left, times in counted.items() if times == len(readings))
    mine = tuple(left for left in counted if "not a file of this feed" not in left.reason)
    return Reading(drafts, left_out=tuple(dict.fromkeys(mine + nobodys)))


def _key(drafts: Sequence[Draft]) -> str:
    digest = hashlib.sha256(__version__.encode())
    for engine in all_engines():
        digest.update(folder_name(engine).encode())
    for draft in sorted(drafts, key=lambda d: d.name):
        digest.update(f"{draft.name} {hashlib.sha256(draft.content).hexdigest()}".encode())
    return digest.hexdigest()[:32]


def _adopt(store: Store, drafts: Sequence[Draft], config: Config) -> Proof:
    """Make the drafts the store's active set, prepared in a confined child (S2)."""
    now = datetime.now(UTC)
    manifest = Manifest(
        version=Version.parse(now.strftime("%Y%m%d.001")),
        channel=Channel.RAPID,
        built_at=now,
        engine_level=1,
        shards=tuple(_shard(draft) for draft in drafts),
    )
    with store.writer("scan --definitions") as writer:
        for draft in drafts:
            digest = hashlib.sha256(draft.content).hexdigest()
            writer.add_object(digest, len(draft.content), [draft.content])
        stored = writer.stage(manifest)
        with writer.workspace() as workspace:
            sources = [Source(s.name, s.kind, path) for s, path in stored.shard_paths()]
            settings = config.update
            proof = prove(
                sources,
                workspace,
                timeout_s=settings.trial_timeout_s,
                memory_bytes=settings.trial_memory_bytes,
            )
            trial = Trial(version=stored.version, passed=True, at=now, engines=proof.engines)
            writer.record_trial(stored.version, trial, workspace)
        writer.activate(stored.version, "scan --definitions")
    return proof


def _shard(draft: Draft) -> Shard:
    return Shard(
        name=draft.name,
        kind=ShardKind(draft.kind),
        sha256=hashlib.sha256(draft.content).hexdigest(),
        size_bytes=len(draft.content),
        object_bytes=len(draft.content),
        signatures=draft.signatures,
    )


def _report(proof: Proof, reading: Reading) -> None:
    """To standard error, so that --json stays what it is."""
    for piece in reading.left_out[:_NAMED_MAX]:
        _say(f"left out: {piece.where}: {piece.reason}")
    for engine in proof.engines:
        if not engine.signatures + engine.refused_count + sum(engine.unsupported.values()):
            continue
        _say(f"{engine.engine}: {engine.signatures:,} signatures active")
        for refused in engine.refused[:_NAMED_MAX]:
            _say(f"left out: {refused.shard}:{refused.line}: {refused.signature}: {refused.reason}")
        if engine.refused_count > _NAMED_MAX:
            _say(f"left out: {engine.refused_count - _NAMED_MAX:,} more")
        for reason, count in engine.unsupported.items():
            _say(f"not supported: {count:,}: {reason}")
    for hit in proof.false_positives[:_NAMED_MAX]:
        _say(f"hits harmless mail: {hit}")


def _say(line: str) -> None:
    shown = "".join(c if c.isprintable() else "?" for c in line)
    print(f"mailward: {shown}", file=sys.stderr)


def _forget_old(home: Path, keep: str) -> None:
    others = sorted(
        (path for path in home.iterdir() if path.name != keep), key=lambda p: p.stat().st_mtime
    )
    for path in others[: max(0, len(others) + 1 - _FOLDERS_KEPT)]:
        shutil.rmtree(path, ignore_errors=True)
