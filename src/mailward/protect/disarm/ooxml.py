"""Office Open XML documents (ECMA-376) without macros, embedded objects, templates from elsewhere.

The archive is written anew from what its directory lists: XML, pictures, sounds, fonts; documents
in the document disarmed themselves. What went is taken out of the relationships, the list of
content types, and wherever the XML refers to it, or Office would call the document damaged.
"""

import io
import posixpath
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from lxml import etree

from mailward.protect.disarm.fields import is_harmless
from mailward.protect.disarm.result import Disarmed, UnsoundError

Inner = Callable[[bytes], Disarmed | None]
"""Disarms a document inside. Raises UnsoundError."""

_MEMBERS_MAX = 10_000
_TOTAL_MAX_BYTES = 400 * 1024 * 1024
_RELATIONSHIPS = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"
_REFERENCE = re.compile(r"\{http://[^}]*/officeDocument/(?:2006/)?relationships\}")
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"

_ACTIVE_RELATIONS = {
    "vbaproject": "macros",
    "wordvbadata": "macros",
    "attachedtemplate": "a template from elsewhere",
    "oleobject": "embedded objects",
    "control": "controls",
    "activexcontrolbinary": "controls",
    "frame": "documents from elsewhere",
    "subdocument": "documents from elsewhere",
    "afchunk": "documents from elsewhere",
    "extensibility": "buttons that run macros",
    "keymapcustomizations": "keys that run macros",
    "attachedtoolbars": "buttons that run macros",
    "mailmergesource": "data from elsewhere",
    "mailmergeheadersource": "data from elsewhere",
}
"""By the last piece of their type."""
_WORKBOOK_LINK = "externallinkpath"
_ON_ANOTHER_COMPUTER = re.compile(
    r"(?:\\\\|//|file:(?!///[a-z]:|[a-z]:)|(?!file:)[a-z]{2,10}:)", re.IGNORECASE
)
_NOWHERE = "removed.xlsx"
_MACRO_SHEETS = ("xlmacrosheet", "xlintlmacrosheet", "msmacrosheet", "dialogsheet")
_HYPERLINK = re.compile(r"(?:https?|mailto|tel):|#", re.IGNORECASE)
_KEPT = re.compile(
    r"\.(?:xml|rels|vml|png|jpe?g|gif|bmp|tiff?|emf|wmf|wdp|ico|eps|svg|pict|odttf|ttf|fntdata|txt|"
    r"fpage|fdoc|fdseq|model|dict|struct|frag|wav|mp3|m4a|mp4|m4v|mov|wmv|avi|mid|glb)\Z",
    re.IGNORECASE,
)
_BINARY_KEPT = re.compile(
    r"printersettings|xl/(?:workbook|styles|sharedstrings|theme|worksheets/|calcchain|comments|"
    r"tables/|charts/|binaryindex|metadata)",
    re.IGNORECASE,
)
_MACROS = re.compile(r"vbaproject\.bin\Z|vbadata\.xml\Z|vbaprojectsignature")
_NEVER_STARTS = (b"\xd0\xcf\x11\xe0", b"MZ", b"\x7fELF", b"Rar!", b"7z\xbc\xaf", b"#!", b"L\0\0\0")
_EMPTY_GOES = ("oleobjects", "controls", "choice", "fallback", "alternatecontent", "graphicdata",
               "graphic", "graphicframe")  # fmt: skip
"""Elements that mean nothing, or are damaged, once what was in them has gone."""
_ACTIONS = re.compile(r"ppaction://(?:macro|program|ole|file)", re.IGNORECASE)


@dataclass(slots=True)
class _Package:
    members: dict[str, bytes]
    removed: dict[str, None] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    """Names of members, in lower case."""


def looks_so(data: bytes) -> bool:
    """Whether it is a document in this format, or another that is packed in the same way."""
    return b"[Content_Types].xml" in data


def disarm(data: bytes, inner: Inner) -> Disarmed | None:
    """Raises UnsoundError."""
    package = _Package(_read(data))
    if "[Content_Types].xml" not in package.members:
        raise UnsoundError("a document without a list of its content types")
    trees = {
        name: _parsed(name, content)
        for name, content in package.members.items()
        if name.lower().endswith((".xml", ".rels", ".vml"))
    }
    _drop_members(package, inner)
    for name in [n for n in package.members if _owner_of(n) in package.gone]:
        del package.members[name]
    lost = {
        name: _drop_relations(package, name, tree)
        for name, tree in trees.items()
        if name in package.members and name.lower().endswith(".rels")
    }
    for name, tree in trees.items():
        if name in package.members and not name.lower().endswith(".rels"):
            _clean(package, tree, lost.get(_relations_of(name), set()))
    if not package.removed:
        return None
    _unlist(package, trees["[Content_Types].xml"])
    return Disarmed(_written(package, trees), tuple(package.removed))


def _read(data: bytes) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if len(infos) > _MEMBERS_MAX or sum(i.file_size for i in infos) > _TOTAL_MAX_BYTES:
                raise UnsoundError("a document that unpacks to very much")
            for info in infos:
                if info.is_dir():
                    continue
                if info.filename in members:
                    raise UnsoundError("a document with two members of one name")
                with archive.open(info) as member:
                    members[info.filename] = member.read(info.file_size + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as e:
        raise UnsoundError(f"a damaged document: {str(e)[:100]}") from None
    except (RuntimeError, NotImplementedError, ValueError) as e:  # encrypted, or packed in odd ways
        raise UnsoundError(f"a document that cannot be unpacked: {str(e)[:100]}") from None
    return members


def _parsed(name: str, content: bytes) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        tree = etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise UnsoundError(f"a document with damaged XML ({name[:100]})") from None
    if tree.getroottree().docinfo.doctype:
        raise UnsoundError("a document with XML that defines entities")
    return tree


def _drop_members(package: _Package, inner: Inner) -> None:
    for name, content in list(package.members.items()):
        lower = name.lower()
        if content.startswith(b"PK"):
            try:
                disarmed = inner(content)
            except UnsoundError:
                _drop(package, name, "embedded objects")
                continue
            if disarmed is not None:
                package.members[name] = disarmed.data
                package.removed |= dict.fromkeys(disarmed.removed)
        elif _MACROS.search(lower) or b"_\0V\0B\0A\0_\0P\0R\0O\0J\0E\0C\0T\0" in content:
            _drop(package, name, "macros")
        elif "macrosheets/" in lower:
            raise UnsoundError("a workbook with Excel 4.0 macros")
        elif "activex/" in lower:
            _drop(package, name, "controls")
        elif content.startswith(_NEVER_STARTS) or not _is_kept(lower):
            _drop(package, name, "embedded objects")


def _is_kept(name: str) -> bool:
    if _KEPT.search(name):
        return True
    return name.endswith((".bin", ".data")) and _BINARY_KEPT.search(name) is not None


def _drop(package: _Package, name: str, what: str) -> None:
    del package.members[name]
    package.gone.add(name.lower())
    package.removed[what] = None


def _relations_of(name: str) -> str:
    folder, file = posixpath.split(name)
    return posixpath.join(folder, "_rels", f"{file}.rels")


def _owner_of(name: str) -> str:
    """Of relationships: whose they are, in lower case."""
    folder, file = posixpath.split(name.lower())
    if not file.endswith(".rels"):
        return name
    return posixpath.join(posixpath.dirname(folder), file.removesuffix(".rels"))


def _drop_relations(package: _Package, name: str, tree: etree._Element) -> set[str]:
    """The ids of what went."""
    base = posixpath.dirname(posixpath.dirname(name))
    lost = set()
    for relation in list(tree.iter(_RELATIONSHIPS)):
        kind = relation.get("Type", "").rpartition("/")[2].lower()
        target = relation.get("Target", "")
        if kind in _MACRO_SHEETS:
            raise UnsoundError("a workbook with Excel 4.0 macros")
        if kind == _WORKBOOK_LINK:
            # It stays, or what formulas call it would be another one: they have its values.
            if _ON_ANOTHER_COMPUTER.match(target.strip()):
                relation.set("Target", _NOWHERE)
                package.removed["links to workbooks on other computers"] = None
            continue
        why = _ACTIVE_RELATIONS.get(kind)
        if why is None:
            why = _why_elsewhere(relation.get("TargetMode", ""), kind, target)
        full = posixpath.normpath(posixpath.join("/", base, target)).lstrip("/").lower()
        if (
            not why
            and relation.get("TargetMode", "").lower() != "external"
            and full in package.gone
        ):
            why = "embedded objects"
        if not why:
            continue
        package.removed[why] = None
        lost.add(relation.get("Id", ""))
        for member in [m for m in package.members if m.lower() == full and kind != "afchunk"]:
            _drop(package, member, why)
        _remove(relation)
    return lost


def _why_elsewhere(mode: str, kind: str, target: str) -> str:
    if mode.lower() != "external":
        return ""
    if kind == "hyperlink":
        return "" if _HYPERLINK.match(target.strip()) else "links that open files or programs"
    return "things from elsewhere"


def _clean(package: _Package, tree: etree._Element, lost: set[str]) -> None:
    """What refers to what has gone, and what runs something by its words alone."""
    for element in list(tree.iter()):
        if not isinstance(element.tag, str):
            continue
        for name, value in list(element.attrib.items()):
            if _REFERENCE.match(str(name)) and value in lost:
                _remove(element)
            elif _ACTIONS.search(str(value)):
                del element.attrib[name]
                package.removed["actions that start programs"] = None
        local = etree.QName(element).localname
        if local == "ddeLink":
            raise UnsoundError("a workbook with links to programs")
        if local in ("connection", "webPr") and element.get("refreshOnLoad") is not None:
            del element.attrib["refreshOnLoad"]
            package.removed["data that are fetched when it is opened"] = None
    _clean_fields(package, tree)


def _clean_fields(package: _Package, tree: etree._Element) -> None:
    instruction = f"{_WORD}instr"
    open_: list[list[etree._Element]] = []
    for element in list(tree.iter(f"{_WORD}fldChar", f"{_WORD}instrText", f"{_WORD}fldSimple")):
        if element.tag == f"{_WORD}fldSimple":
            if not is_harmless(element.get(instruction, "")):
                element.set(instruction, " ")
                package.removed["fields that fetch or run something"] = None
        elif element.tag == f"{_WORD}instrText":
            if not open_:
                open_.append([])
            open_[-1].append(element)
        elif element.get(f"{_WORD}fldCharType") == "begin":
            open_.append([])
        elif element.get(f"{_WORD}fldCharType") == "end" and open_:
            _clean_field(package, open_.pop())
    while open_:
        _clean_field(package, open_.pop())


def _clean_field(package: _Package, texts: list[etree._Element]) -> None:
    joined = "".join(text.text or "" for text in texts)
    if not texts or is_harmless(joined):
        return
    for text in texts:
        text.text = " "
    package.removed["fields that fetch or run something"] = None


def _remove(element: etree._Element) -> None:
    """With what is empty without it; what is written behind it stays."""
    parent = element.getparent()
    if parent is None:
        return
    previous = element.getprevious()
    tail = element.tail or ""
    if previous is not None:
        previous.tail = (previous.tail or "") + tail
    else:
        parent.text = (parent.text or "") + tail
    parent.remove(element)
    if len(parent) == 0 and etree.QName(parent).localname.lower() in _EMPTY_GOES:
        _remove(parent)


def _unlist(package: _Package, types: etree._Element) -> None:
    for override in list(types):
        if isinstance(override.tag, str):
            part = override.get("PartName", "").lstrip("/").lower()
            if part in package.gone:
                _remove(override)


def _written(package: _Package, trees: dict[str, etree._Element]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in package.members.items():
            if name in trees:
                content = etree.tostring(
                    trees[name], xml_declaration=True, encoding="UTF-8", standalone=True
                )
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()
