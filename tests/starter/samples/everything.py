"""All samples by rule: what it must detect, and what it must leave alone."""

from mailward.scan.part import Part
from tests.starter.samples import (
    disk_images,
    eicar,
    executables,
    html,
    names,
    office,
    onenote,
    pdf,
    rtf,
    scripts,
    shortcuts,
    svg,
)

_MODULES = (
    disk_images,
    eicar,
    executables,
    html,
    names,
    office,
    onenote,
    pdf,
    rtf,
    scripts,
    shortcuts,
    svg,
)

DETECTED: dict[str, list[Part]] = {}
LEFT_ALONE: dict[str, list[Part]] = {}
for _module in _MODULES:
    DETECTED |= _module.DETECTED
    LEFT_ALONE |= _module.LEFT_ALONE
