"""Upstream feeds: one reader per format behind one interface."""

from collections.abc import Iterable

from mailward.publish.feeds.address import Fetching
from mailward.publish.feeds.base import Draft, Feed, LeftOut, Probe, Reading
from mailward.publish.feeds.memory import remembered
from mailward.publish.feeds.spec import FeedSpec, read_spec

__all__ = [
    "Draft",
    "Feed",
    "FeedSpec",
    "Fetching",
    "LeftOut",
    "Probe",
    "Reading",
    "parse_spec",
    "parse_specs",
    "read_spec",
    "remembered",
]


def parse_spec(spec: str) -> Feed:
    """A feed, without memory, as ``read_spec`` has it. Raises UsageError."""
    return read_spec(spec).open()


def parse_specs(specs: Iterable[str]) -> list[Feed]:
    """Several feeds. Raises UsageError."""
    return [parse_spec(spec) for spec in specs]
