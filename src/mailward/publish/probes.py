"""Probes: content in which a set must find something, so that a trial proves every engine (S2).

Feeds bring probes of their own; these canaries are added so that no kind of shard goes unproved.
"""

import base64
import hashlib
import json
from collections.abc import Iterable

from mailward.definitions.model import ShardKind
from mailward.publish.feeds import Draft, Probe
from mailward.publish.feeds.base import yara_lines

_HASHES_CONTENT = b"Mailward looks for these words by their hash to see that hashes work.\n"
_YARA_WORDS = "mailward-probe-for-yara-5d1f0c7e"

_YARA_RULE = f"""rule Mailward_Probe_Yara {{
  meta:
    name = "Mailward.Probe.Yara"
    severity = "low"
    description = "Proves in a trial that YARA rules work; no mail holds these words."
  strings:
    $words = "{_YARA_WORDS}"
  condition:
    $words
}}
"""

_CANARIES = {
    ShardKind.HASHES: (
        Draft(
            "hashes/mailward-probe.txt",
            ShardKind.HASHES,
            b"%b:%d:Mailward.Probe.Hashes\n"
            % (hashlib.sha256(_HASHES_CONTENT).hexdigest().encode(), len(_HASHES_CONTENT)),
            1,
        ),
        Probe("canary-hashes", "Mailward.Probe.Hashes", _HASHES_CONTENT),
    ),
    ShardKind.YARA: (
        Draft(
            "yara/mailward-probe.jsonl",
            ShardKind.YARA,
            yara_lines([("mailward-probe", _YARA_RULE)]),
            1,
        ),
        Probe("canary-yara", "Mailward.Probe.Yara", f"words: {_YARA_WORDS}\n".encode()),
    ),
}


def with_probes(drafts: Iterable[Draft], probes: Iterable[Probe]) -> list[Draft]:
    """``drafts``, a canary for each kind among them that an engine reads, and all probes' shard."""
    out = list(drafts)
    all_probes = list(probes)
    for kind in sorted({draft.kind for draft in out} & _CANARIES.keys()):
        draft, probe = _CANARIES[kind]
        out.append(draft)
        all_probes.append(probe)
    if all_probes:
        all_probes.sort(key=lambda probe: (probe.name, probe.expect))
        lines = [_line(probe) for probe in all_probes]
        out.append(Draft("probes.jsonl", ShardKind.PROBES, b"".join(lines), len(lines)))
    return out


def _line(probe: Probe) -> bytes:
    plain = {
        "name": probe.name,
        "expect": probe.expect,
        "content": base64.b64encode(probe.content).decode(),
    }
    return json.dumps(plain, sort_keys=True).encode() + b"\n"
