"""What of a part is matched: its bytes as they are, or forms that tricks of spelling do not change.

Signatures for HTML and text (targets 3 and 7) are written against ClamAV's normalised forms
(docs.clamav.net, manual/Signatures/BodySignatureFormat: "HTML", "Text files"), all others against
the part itself. Which forms which type of file gets was found by trying clamscan 1.4.
"""

from collections.abc import Iterator
from typing import NamedTuple

from mailward.scan.signatures import html, javascript
from mailward.scan.signatures.filetype import HTML_UTF16, FileType, Target, narrow

HTML_MAX_BYTES = 40 << 20
"""Larger pages are matched as they are; ClamAV's MaxHTMLNormalize."""
TEXT_MAX_BYTES = 20 << 20
"""Larger texts have no normalised form; ClamAV's MaxScriptNormalize."""
SCRIPTS_MAX_BYTES = 2 << 20
"""Of all scripts of one page: the rest is matched with white space folded alone. Tokens take half a
second for each megabyte, and a page of 40 MB could be nothing else."""

_WHITE_SPACE = b"\t\n\v\f\r "
_DROPPED = bytes(b for b in range(256) if (b < 0x20 and b not in _WHITE_SPACE) or b > 0x7F)
_LOWER = bytes(range(256)).lower()


class View(NamedTuple):
    """One form of a part."""

    target: Target
    """Signatures of this target are for it; those for any target are for every view."""
    data: bytes


def views(data: bytes, filetype: FileType) -> tuple[View, ...]:
    """The forms of a part that signatures are matched against; none for ignored types.

    A page of HTML has no form as it is, unless it is in UTF-16: nobody writes signatures against
    that. Never raises.
    """
    if filetype.ignored:
        return ()
    if filetype.target is Target.HTML or filetype.html_inside:
        is_wide = filetype.name == HTML_UTF16
        raw = (View(Target.ANY, data),) if filetype.html_inside or is_wide else ()
        if len(data) > HTML_MAX_BYTES:
            return (View(Target.HTML, data),)
        page = html.normalise(narrow(data) if is_wide else data)
        forms = (*raw, View(Target.HTML, page.nocomment), View(Target.HTML, page.notags))
        if not page.scripts:
            return forms
        scripts = b"\n".join(_scripts(page.scripts))
        return (*forms, View(Target.HTML, scripts), View(Target.TEXT, scripts))
    if filetype.target is Target.TEXT:
        if len(data) > TEXT_MAX_BYTES:
            return (View(Target.ANY, data),)
        return (View(Target.ANY, data), View(Target.TEXT, text(data)))
    return (View(filetype.target, data),)


def _scripts(scripts: tuple[bytes, ...]) -> Iterator[bytes]:
    room = SCRIPTS_MAX_BYTES
    for script in scripts:
        room -= len(script)
        made = javascript.normalise(script) if room >= 0 else b" ".join(script.lower().split())
        yield b"<script>" + made + b"</script>"


def text(data: bytes) -> bytes:
    """A text in lower case, with white space folded, and without control characters and whatever
    is not ASCII; of UTF-16 the ASCII is left."""
    kept = data.translate(_LOWER, _DROPPED)
    if not kept:
        return b""
    begins = b" " if kept[0] in _WHITE_SPACE else b""
    ends = b" " if kept[-1] in _WHITE_SPACE else b""
    return begins + b" ".join(kept.split()) + (ends if len(kept) > 1 else b"")
