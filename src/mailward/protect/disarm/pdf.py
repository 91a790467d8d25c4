"""PDF documents without scripts, actions that start or send something, and embedded files.

Read and written by qpdf, through pikepdf; what nothing refers to any more is not written.
"""

import io
import re
from collections.abc import Iterator
from typing import Any

import pikepdf

from mailward.protect.disarm.result import Disarmed, UnsoundError

_OBJECTS_MAX = 500_000
_NESTING_MAX = 200
"""Of dictionaries and lists inside of one object."""

_KEYS = {
    "/JS": "scripts",
    "/JavaScript": "scripts",
    "/AA": "actions that start by themselves",
    "/EmbeddedFiles": "embedded files",
    "/EF": "embedded files",
    "/AF": "embedded files",
    "/Collection": "embedded files",
    "/XFA": "forms with scripts",
    "/RichMediaContent": "media that run code",
    "/RichMediaSettings": "media that run code",
    "/Launch": "actions that start programs",
}
"""Entries of dictionaries that are taken out, and what they are."""
_ACTIONS = {
    "/JavaScript": "scripts",
    "/Launch": "actions that start programs",
    "/SubmitForm": "actions that send forms",
    "/ImportData": "actions that read files",
    "/GoToE": "actions that open other files",
    "/GoToR": "actions that open other files",
    "/Rendition": "media that run code",
    "/Movie": "media that run code",
    "/Sound": "media that run code",
    "/RichMediaExecute": "media that run code",
    "/GoTo3DView": "media that run code",
}
"""Kinds of action (ISO 32000-1 table 198) that are made to do nothing."""
_WEB = re.compile(r"\s*(?:(?:https?|mailto|tel|ftp):|about:blank|[^:]*\Z)", re.IGNORECASE)
_ANNOTATIONS = {
    "/FileAttachment": "embedded files",
    "/RichMedia": "media that run code",
    "/Movie": "media that run code",
    "/Screen": "media that run code",
    "/Sound": "media that run code",
    "/3D": "media that run code",
}


def disarm(data: bytes) -> Disarmed | None:
    """Raises UnsoundError."""
    try:
        with pikepdf.open(io.BytesIO(data)) as document:
            removed = _strip(document)
            if not removed:
                return None
            out = io.BytesIO()
            document.save(out, object_stream_mode=pikepdf.ObjectStreamMode.generate)
            return Disarmed(out.getvalue(), tuple(dict.fromkeys(removed)))
    except pikepdf.PasswordError:
        raise UnsoundError("an encrypted PDF document") from None
    except (pikepdf.PdfError, ValueError, RuntimeError, TypeError, RecursionError) as e:
        raise UnsoundError(f"a damaged PDF document: {str(e)[:100]}") from None


def _strip(document: pikepdf.Pdf) -> list[str]:
    if len(document.objects) > _OBJECTS_MAX:
        raise UnsoundError("a PDF document of very many objects")
    removed: list[str] = []
    for number in range(len(document.objects)):
        removed += _object(document.objects[number], 0)
    removed += _object(document.trailer, 0)
    root = document.Root
    opens = root.get("/OpenAction")
    if isinstance(opens, pikepdf.Dictionary) and opens.get("/S") not in (None, "/GoTo"):
        del root["/OpenAction"]
        removed.append("actions that start by themselves")
    return removed


def _object(value: Any, nesting: int) -> Iterator[str]:
    """Everything that is inside of one object; what it refers to has a turn of its own."""
    if nesting > _NESTING_MAX:
        raise UnsoundError("a PDF document with things very deep inside each other")
    if isinstance(value, pikepdf.Array):
        yield from _list(value, nesting)
    elif isinstance(value, pikepdf.Dictionary | pikepdf.Stream):
        for key in list(value.keys()):
            if key in _KEYS:
                del value[key]
                yield _KEYS[key]
            elif key != "/Parent":
                yield from _below(value[key], nesting)
        kind = str(value.get("/S", ""))
        if kind == "/URI" and not _WEB.match(str(value.get("/URI", ""))):
            value["/URI"] = pikepdf.String("about:blank")
            yield "links that open files or programs"
        if kind in _ACTIONS:
            for key in list(value.keys()):
                del value[key]
            value["/S"] = pikepdf.Name("/GoTo")
            value["/D"] = pikepdf.Array()
            yield _ACTIONS[kind]


def _list(value: pikepdf.Array, nesting: int) -> Iterator[str]:
    for index in range(len(value) - 1, -1, -1):
        item = value[index]
        if isinstance(item, pikepdf.Dictionary):
            kind = str(item.get("/Subtype", ""))
            if kind in _ANNOTATIONS and "/Rect" in item:
                del value[index]
                yield _ANNOTATIONS[kind]
                continue
        yield from _below(item, nesting)


def _below(item: Any, nesting: int) -> Iterator[str]:
    if isinstance(item, pikepdf.Object) and not item.is_indirect:
        yield from _object(item, nesting + 1)
