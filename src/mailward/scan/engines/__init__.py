"""The engines behind ``mailward.scan.engine.Engine``, and the one list of them.

A new engine is added here and to the contract suite (``tests/contract/test_engines.py``), and is
then used by trials, by workers and in every listing.
"""

from mailward.scan.engine import Engine
from mailward.scan.engines.hashes import HashesEngine
from mailward.scan.engines.signatures import SignaturesEngine
from mailward.scan.engines.yara import YaraEngine


def all_engines() -> tuple[Engine, ...]:
    """Every engine of this release, in the order in which a part is scanned: the quickest first."""
    return (HashesEngine(), SignaturesEngine(), YaraEngine())
