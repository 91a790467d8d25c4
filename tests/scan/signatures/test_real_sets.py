"""The world's definitions for mail, as they are."""

from itertools import islice
from pathlib import Path

import pytest

from mailward.definitions.model import ShardKind
from mailward.scan.engine import Source
from mailward.scan.signatures import digests, reading
from mailward.scan.signatures.anchors import anchors
from mailward.scan.signatures.errors import MalformedError, UnsupportedError
from mailward.scan.signatures.reading import Tally

pytestmark = pytest.mark.shared


def test_99_percent_of_real_signatures_can_be_used(shared: Path) -> None:
    sources = [
        Source(path.name, ShardKind.CLAMAV, path)
        for path in sorted((shared / "definitions/clamav").iterdir())
        if path.is_file() and path.suffix != ".cvd"
    ]
    tally, signatures, used, read = Tally(), [], 0, 0
    for line in islice(reading.lines(sources, tally), 0, None, 16):
        read += 1
        if line.suffix in reading.BODIES:
            signature = reading.body(line, tally)
            if signature is not None:
                signatures.append(signature)
                if not read % 32:
                    again = reading.AGAIN[line.suffix](line.text)
                    assert tuple(again.subsignatures) == tuple(signature.subsignatures), line
        elif line.suffix in digests.KINDS:
            try:
                digests.read(line.text, digests.KINDS[line.suffix])
            except (MalformedError, UnsupportedError):
                continue
            used += 1
        else:
            used += 1
    used += sum(not isinstance(found, MalformedError) for found in anchors(signatures))
    assert read > 10_000
    assert used / read > 0.99  # of every sixteenth
