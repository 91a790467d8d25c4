"""Nothing is found in a large collection of harmless files."""

from collections.abc import Sequence

from mailward.definitions.model import Gate
from mailward.publish.gates.base import gate
from mailward.publish.gates.files import Found

NAME = "known-good-collection"

_FILES_NAMED_MAX = 3
"""Of those that one signature hits; their number is always given."""


def known_good(found: Sequence[Found]) -> Gate:
    """Judge what was found in the collection. Without any file it fails: nothing was tested."""
    if not found:
        return gate(
            NAME, False, "not run: there is no known-good collection: give one with --known-good"
        )
    hit = [each for each in found if each.risks]
    trouble = [each for each in found if each.trouble]
    detail = f"{len(hit)} of {len(found)} files hit"
    if trouble:
        detail += f", {len(trouble)} not scanned to the end"
    culprits = [*_by_signature(hit), *(f"{each.path}: {each.trouble}" for each in trouble)]
    return gate(NAME, not culprits, detail, culprits)


def at_fault(found: Sequence[Found]) -> set[str]:
    """The signatures that hit something, as they are excluded."""
    return {signature for each in found for signature in each.signatures}


def _by_signature(hit: Sequence[Found]) -> list[str]:
    """Each signature with the files that it hits, the worst one first."""
    files: dict[str, list[str]] = {}
    for each in hit:
        for signature in each.signatures or each.risks:
            files.setdefault(signature, []).append(each.path)
    return [
        f"{signature} in {', '.join(paths[:_FILES_NAMED_MAX])}"
        + (f" and {len(paths) - _FILES_NAMED_MAX} more" if len(paths) > _FILES_NAMED_MAX else "")
        for signature, paths in sorted(files.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
