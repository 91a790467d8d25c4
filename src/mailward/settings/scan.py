"""Workers, and the limits of a scan: each with its unit and the reason for its default."""

import os

from pydantic import Field

from mailward.settings.base import MIB, Positive, Seconds, Section


class ScanSettings(Section):
    """Workers and limits of a scan. What goes over a limit is unscannable, never clean (S11)."""

    workers: Positive = Field(
        default_factory=lambda: os.cpu_count() or 2,
        description="worker processes; scanning is computing, so one a core",
    )
    message_timeout_s: Seconds = Field(
        60.0, description="for one message; a worker that takes longer is ended (S13)"
    )
    part_timeout_s: Seconds = Field(
        20.0, description="for one engine on one part; one pathological YARA rule takes about that"
    )
    max_message_bytes: Positive = Field(
        150 * MIB, description="larger than what large providers accept (Exchange Online: 150 MB)"
    )
    max_part_bytes: Positive = Field(
        100 * MIB, description="of one part once unpacked; bounds a worker's memory"
    )
    max_total_bytes: Positive = Field(
        400 * MIB,
        description="of all parts of a message once unpacked; ClamAV's MaxScanSize default",
    )
    max_parts: Positive = Field(10_000, description="of a message; ClamAV's MaxFiles default")
    max_depth: Positive = Field(
        17, description="containers and messages inside each other; ClamAV's MaxRecursion default"
    )
    max_ratio: Positive = Field(
        250,
        description="unpacked to packed size of a member above 10 MiB; honest text stays below 100",
    )
