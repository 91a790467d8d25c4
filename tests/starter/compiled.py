"""The starter rules in the real engine, for tests."""

import json
from pathlib import Path

from mailward import starter
from mailward.definitions.model import ShardKind
from mailward.scan.engine import Hit, Source
from mailward.scan.engines.yara import YaraEngine
from mailward.scan.part import Part

PART_TIMEOUT_S = 20.0
"""As by default in the settings."""


class StarterScanner:
    """Scans parts with all starter rules."""

    def __init__(self, folder: Path) -> None:
        """Prepares the rules in the empty folder ``folder``."""
        shard = folder / "starter"
        shard.write_text(
            "".join(
                json.dumps({"namespace": namespace, "source": source}) + "\n"
                for namespace, source in starter.rules()
            ),
            encoding="utf-8",
        )
        prepared = folder / "prepared"
        prepared.mkdir()
        engine = YaraEngine()
        self.preparation = engine.prepare([Source("starter", ShardKind.YARA, shard)], prepared)
        self._detector = engine.load(prepared)

    def hits(self, part: Part) -> list[Hit]:
        return list(self._detector.scan(part, PART_TIMEOUT_S))

    def names(self, part: Part) -> set[str]:
        return {hit.name for hit in self.hits(part)}
