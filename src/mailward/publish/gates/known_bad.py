"""Every known-bad sample that was found before is still found.

``known-bad.jsonl`` in the publisher's folder remembers the samples: a line each, with the
signatures that found it. It learns from sets that passed everything; a person drops a sample by
removing its line.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mailward import durable
from mailward.definitions.model import Gate
from mailward.errors import PublishError
from mailward.publish.gates.base import NotRun, gate
from mailward.publish.gates.files import Found
from mailward.publish.home import Home

NAME = "known-bad"


@dataclass(frozen=True, slots=True)
class Sample:
    """One that was found before."""

    key: str
    """As in ``File.key``."""
    path: str
    """Where it was last."""
    signatures: tuple[str, ...]
    """What found it last."""


_SAMPLE = TypeAdapter(Sample)


def read(home: Home) -> dict[str, Sample]:
    """All samples by key. Raises PublishError for a damaged line: no sample is lost silently."""
    try:
        lines = home.known_bad.read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    samples = {}
    for number, line in enumerate(lines, 1):
        try:
            sample = _SAMPLE.validate_json(line)
        except ValidationError as e:
            raise PublishError(
                f"{home.known_bad}, line {number}: not a sample: mend or remove that line"
            ) from e
        samples[sample.key] = sample
    return samples


def places(index: Mapping[str, Sample], given: Iterable[Path]) -> list[Path]:
    """What has to be scanned: what was given, and where the samples were."""
    return [*given, *(path for s in index.values() if (path := Path(s.path)).is_file())]


def known_bad(index: Mapping[str, Sample], found: Sequence[Found]) -> Gate | NotRun:
    """Compare what is found now with what was."""
    if not found and not index:
        return NotRun(NAME, "no sample was ever given: give some with --known-bad")
    now = {each.key: each for each in found}
    culprits = [problem for sample in index.values() if (problem := _problem(sample, now))]
    culprits += [f"{each.path}: {each.trouble}" for each in found if each.trouble]
    new = sum(1 for each in found if each.risks and each.key not in index)
    detail = (
        f"{sum(1 for each in found if each.risks)} of {len(found)} samples found; "
        f"{len(index)} were found before, {new} are new"
    )
    return gate(NAME, not culprits, detail, culprits)


def remember(home: Home, index: Mapping[str, Sample], found: Iterable[Found]) -> None:
    """Put down which samples are found, and by what. The caller holds the lock."""
    new = dict(index)
    for each in found:
        if each.risks:
            new[each.key] = Sample(each.key, each.path, each.signatures)
    if new != index:
        lines = [json.dumps(asdict(s), sort_keys=True) for _, s in sorted(new.items())]
        durable.write_atomic(home.known_bad, "".join(f"{line}\n" for line in lines).encode())


def _problem(sample: Sample, now: Mapping[str, Found]) -> str:
    each = now.get(sample.key)
    by = f"found before by {', '.join(sample.signatures) or 'a signature without a name'}"
    if each is None:
        return f"{sample.path} ({sample.key[:12]}) is gone; {by}"
    return "" if each.risks else f"{each.path} is lost; {by}"
