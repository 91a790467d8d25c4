"""Pages without scripts, event handlers, forms, frames, objects and packed files.

A page in which none of these is, is left as it is. Otherwise it is written anew by a sanitiser that
knows what may stay (Ammonia, through nh3), as ASCII, so that no charset reads it in another way.
"""

import html as entities
import re

import nh3

from mailward.protect.disarm.result import Disarmed, UnsoundError
from mailward.scan import encodings

_SCRIPTS = re.compile(r"<\s*script|[\s\"'/]on[a-z]{3,}\s*=|srcdoc\s*=|<\s*noscript", re.IGNORECASE)
_FRAMES = r"<\s*(?:object|embed|applet|iframe|frame|frameset|portal)\b"
_REDIRECTIONS = r"<\s*base\b|http-equiv\s*=\s*[\"']?\s*(?:refresh|set-cookie)"
_CODE_IN_STYLES = r"expression\s*\(|(?<![a-z-])behavior\s*:|-moz-binding"
_ACTIVE: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("scripts", _SCRIPTS),
    ("forms", re.compile(r"<\s*(?:form|input|button|textarea|select|isindex)\b", re.IGNORECASE)),
    ("frames and objects", re.compile(_FRAMES, re.IGNORECASE)),
    ("redirections", re.compile(_REDIRECTIONS, re.IGNORECASE)),
    ("code in styles", re.compile(_CODE_IN_STYLES, re.IGNORECASE)),
)  # fmt: skip
_IN_VALUES = re.compile(
    r"http-equiv=[\"']?(?:refresh|set-cookie)|"
    r"[=(][\"']?(?:(?:javascript|vbscript|livescript|mocha|mhtml|search-ms|ms-[a-z-]+|file):|"
    r"data:(?!image/(?:png|jpe?g|gif|webp|bmp)[;,]))",
    re.IGNORECASE,
)
"""In a page without blanks and control characters, entities undone."""
_LOOKS_SO = re.compile(r"<\s*[a-z!/?]", re.IGNORECASE)
_BLANKS = re.compile(r"[\x00-\x20\x7f-\xa0]+")
_IMAGE = re.compile(r"data:image/(?:png|jpe?g|gif|webp|bmp)[;,]", re.IGNORECASE)
_BAD_STYLE = re.compile(r"expression|url\s*\(|@|behavior|binding|javascript|\\|/\*", re.IGNORECASE)

_TAGS = nh3.ALLOWED_TAGS | {
    "font", "center", "big", "strike", "u", "tt", "dir", "basefont", "section", "main", "label",
    "caption", "colgroup", "tfoot",
}  # fmt: skip
_EVERYWHERE = {
    "style", "align", "valign", "bgcolor", "width", "height", "dir", "lang", "title", "class", "id",
    "border", "color",
}  # fmt: skip
_ATTRIBUTES = {tag: set(allowed) for tag, allowed in nh3.ALLOWED_ATTRIBUTES.items()}
_ATTRIBUTES["*"] = _EVERYWHERE
for _tag, _more in {
    "table": {"cellpadding", "cellspacing", "background"},
    "td": {"colspan", "rowspan", "nowrap", "background"},
    "th": {"colspan", "rowspan", "nowrap"},
    "img": {"src", "alt", "hspace", "vspace"},
    "a": {"href", "name", "target"},
    "font": {"face", "size"},
}.items():
    _ATTRIBUTES[_tag] = _ATTRIBUTES.get(_tag, set()) | _more
_SCHEMES = {"http", "https", "mailto", "tel", "cid", "data"}
_DROPPED_WHOLE = {"script", "style", "title", "noscript", "svg", "math", "object", "template"}


def disarm(data: bytes, charset: str = "") -> Disarmed | None:
    """``charset``: as declared. Raises UnsoundError."""
    text = encodings.decode(data, charset or "utf-8")
    others = (data.replace(b"\0", b"").decode("latin-1"), encodings.text(data))
    found = tuple(dict.fromkeys(what for each in (text, *others) for what in active(each)))
    if not found:
        return None
    _require_ascii(data, charset)
    cleaned = nh3.clean(
        text,
        tags=_TAGS - _DROPPED_WHOLE,
        clean_content_tags=_DROPPED_WHOLE,
        attributes=_ATTRIBUTES,
        attribute_filter=_attribute,
        url_schemes=_SCHEMES,
    )
    page = f"<!DOCTYPE html>\n<html><body>\n{cleaned}\n</body></html>\n"
    if active(page):
        raise UnsoundError("a page of which active content is left")
    return Disarmed(page.encode("ascii", "xmlcharrefreplace"), found)


def xml_is_active(data: bytes) -> bool:
    """Whether a picture (SVG) or other XML runs something when a browser shows it."""
    text = data.replace(b"\0", b"").decode("latin-1")
    plain = _BLANKS.sub("", entities.unescape(text))
    return bool(_SCRIPTS.search(text) or _IN_VALUES.search(plain) or "foreignObject" in text)


def active(text: str) -> list[str]:
    """What a page would run or open by itself, for people; errs on the side of finding some."""
    if _LOOKS_SO.search(text) is None:
        return []
    found = [what for what, pattern in _ACTIVE if pattern.search(text)]
    if _IN_VALUES.search(_BLANKS.sub("", entities.unescape(text))):
        found.append("addresses that run or unpack something")
    return found


def _attribute(tag: str, name: str, value: str) -> str | None:
    """nh3's hook: what stays of an attribute."""
    plain = _BLANKS.sub("", value)
    if plain.lower().startswith("data:"):
        return value if tag == "img" and name == "src" and _IMAGE.match(plain) else None
    if name == "style" and _BAD_STYLE.search(value):
        return None
    return value


def _require_ascii(data: bytes, charset: str) -> None:
    """Raises UnsoundError where the result, which is ASCII, would be read as something else."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnsoundError("a page in UTF-16")
    try:
        same = "<a>&#0;".encode(charset or "ascii") == b"<a>&#0;"
    except (LookupError, UnicodeError):
        return  # read as ASCII or what includes it, when nobody knows it
    if not same:
        raise UnsoundError(f"a page in {charset[:40]}")
