"""The definitions that ship with Mailward, as a feed."""

from dataclasses import dataclass

from mailward import starter
from mailward.definitions.model import ShardKind
from mailward.publish.feeds.base import Draft, Probe, Reading, yara_lines
from mailward.publish.feeds.yara import count_rules


@dataclass(frozen=True, slots=True)
class StarterFeed:
    """Rules, hashes and probes of ``mailward.starter``."""

    name: str = "starter"

    def read(self) -> Reading:
        """See Feed.read."""
        rules = starter.rules()
        hashes = sorted({f"{line}\n" for line in starter.hashes()})
        drafts = (
            Draft(
                f"yara/{self.name}.jsonl",
                ShardKind.YARA,
                yara_lines(rules),
                sum(count_rules(source) for _, source in rules),
            ),
            Draft(
                f"hashes/{self.name}.txt", ShardKind.HASHES, "".join(hashes).encode(), len(hashes)
            ),
        )
        probes = tuple(Probe(p.name, p.expect, p.content) for p in starter.probes())
        return Reading(drafts, probes)
