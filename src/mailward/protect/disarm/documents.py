"""A document of any kind to the same without active content."""

from mailward.protect.disarm import compound, html, ooxml, pdf, rtf
from mailward.protect.disarm.result import Disarmed, UnsoundError
from mailward.rules import Content
from mailward.scan.containers.recognised import COMPOUND_FILE
from mailward.scan.kinds import extension, kinds
from mailward.scan.part import Part, Role

ACTIVE = frozenset(
    (
        Content.EXECUTABLE,
        Content.SCRIPT,
        Content.OFFICE_MACRO,
        Content.SHORTCUT,
        Content.INSTALLER,
        Content.HELP,
        Content.FLASH,
    )
)
"""What is nothing else, or what none may be left of."""

_NESTING_MAX = 3
"""Documents in documents that are disarmed; deeper ones are not sound."""


_PAGES = frozenset(("htm", "html", "xhtml", "xht", "shtml", "hta", ""))
"""Extensions of what a browser shows as a page; also without one."""
_XML = frozenset(("svg", "svgz", "xml", "xsl", "xslt", "mht", "mhtml"))
"""What it may show as a page and cannot be written anew as one."""
_TEXTS = frozenset(("txt", "log", "csv", "tsv", "ics", "vcf", "md", "eml", "json", "css", "asc"))
"""What nothing shows as a page, whatever is in it."""


def disarm(
    data: bytes, name: str = "", content_type: str = "", charset: str = "", nesting: int = 0
) -> Disarmed | None:
    """None: nothing in it is active, or it is no document. Raises UnsoundError.

    What is active and no document, a program or an archive with one, is not found here: a scan of
    the result tells.
    """
    if nesting > _NESTING_MAX:
        raise UnsoundError("documents inside each other")
    content = kinds(Part("", data, Role.ATTACHMENT, name, content_type, 1))
    if Content.PDF in content:
        return pdf.disarm(data)
    if Content.RTF in content:
        return rtf.disarm(data)
    if data.startswith(COMPOUND_FILE):
        return compound.disarm(data)
    if Content.OFFICE in content and data.startswith(b"PK"):
        if ooxml.looks_so(data):
            return ooxml.disarm(data, lambda inner: disarm(inner, nesting=nesting + 1))
        if Content.OFFICE_MACRO in content:
            raise UnsoundError("an OpenDocument with macros")
        return None
    last = extension(name)
    if Content.SVG in content or last in _XML or "svg" in content_type or "xml" in content_type:
        if "xhtml" not in content_type and html.xml_is_active(data):
            raise UnsoundError("a picture or XML with scripts")
        if "xhtml" not in content_type:
            return None
    if "html" in content_type or (
        (name or content_type != "text/plain")
        and ((Content.HTML in content and last not in _TEXTS) or _is_page(content, last))
    ):
        return html.disarm(data, charset)
    return None


def _is_page(content: tuple[Content, ...], last: str) -> bool:
    return Content.TEXT in content and last in _PAGES
