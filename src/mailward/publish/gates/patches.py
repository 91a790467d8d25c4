"""Every patch that agents will be offered gives exactly the new content."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from mailward.definitions import frames
from mailward.definitions.model import Gate, Patch, Shard
from mailward.errors import PublishError, TrustError
from mailward.publish import candidates, history, objects
from mailward.publish.gates.base import NotRun, Progress, Subject, gate
from mailward.publish.metadata import Signed

_NAME = "patches"
_CHUNK_BYTES = 64 * 1024


def patches(subject: Subject, progress: Progress) -> Gate | NotRun:
    """Apply each one as an agent does: as the file that it will download, within its bounds.

    Patches that publishing would add are made here already. Raises PublishError, OSError.
    """
    home = subject.home
    with home.lock():
        signed = Signed.load(home)
        offered = history.published_sets(home, signed)
        coming = objects.make_patches(home, subject.manifest.shards, offered)
    every = dict.fromkeys((*subject.manifest.patches, *coming))
    if not every:
        return NotRun(_NAME, "there are none: no set before has shards that changed")
    built = [candidates.load(home, version) for version in candidates.versions(home)]
    olds = {s.sha256: s for m in (*built, *offered) for s in m.shards}
    news = {s.sha256: s for s in subject.manifest.shards}
    culprits = []
    for done, patch in enumerate(every):
        progress(_NAME, done, len(every))
        problem = _problem(subject, patch, olds, news)
        if problem:
            culprits.append(problem)
    saved = sum(news[p.new].object_bytes - p.size_bytes for p in every if p.new in news)
    detail = f"{len(every) - len(culprits)} of {len(every)} applied, {saved} bytes saved"
    return gate(_NAME, not culprits, detail, culprits)


def _problem(subject: Subject, patch: Patch, olds: dict[str, Shard], news: dict[str, Shard]) -> str:
    path = subject.home.patch_path(patch.old, patch.new)
    new, old = news.get(patch.new), olds.get(patch.old)
    if new is None:
        return f"patch to {patch.new}: no shard of this set"
    what = f"{new.name}: patch from {patch.old[:12]}"
    if old is None:
        return f"{what}: cannot be tried, that content is no longer here: build again"
    try:
        content = objects.get(subject.home, old)
        digest = hashlib.sha256()
        for step in frames.unpack_patch(_read(path, patch), content, new.size_bytes, what):
            digest.update(step)
    except (TrustError, PublishError, OSError) as e:
        return f"{what}: {e}"
    if digest.hexdigest() != new.sha256:
        return f"{what}: gives other content than the shard's"
    return ""


def _read(path: Path, patch: Patch) -> Iterator[bytes]:
    left = patch.size_bytes
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise TrustError(f"{path}: longer than the {patch.size_bytes} bytes named")
            yield chunk
    if left:
        raise TrustError(f"{path}: {left} of {patch.size_bytes} bytes missing")
