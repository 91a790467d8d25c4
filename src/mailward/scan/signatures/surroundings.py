"""What definitions say of a part's surroundings: its links, its container, its type.

The lines of ``.pdb``, ``.wdb``, ``.gdb``, ``.cdb`` and ``.ftm`` files are checked when a set is
prepared and kept as they are. A worker reads them when a part first needs them: few sets have any.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property

from mailward.errors import FormatError
from mailward.scan.engine import Hit
from mailward.scan.part import Part, Role
from mailward.scan.signatures import container_rules, file_magic
from mailward.scan.signatures.container_rules import Member
from mailward.scan.signatures.errors import MalformedError, UnsupportedError
from mailward.scan.signatures.filetype import FileType, FileTypes, Target
from mailward.scan.signatures.phishing import Phishing

LINKS = frozenset({".gdb", ".pdb", ".wdb"})
CONTAINERS = ".cdb"
TYPES = ".ftm"
SUFFIXES = LINKS | {CONTAINERS, TYPES}

_OTHER_RELEASES = "made for other functionality levels of ClamAV"


def check(suffix: str, text: str) -> str:
    """The name in a line; empty if it has none. Raises MalformedError, UnsupportedError."""
    try:
        if suffix in LINKS:
            taken, name = Phishing().add(text), ""
        elif suffix == CONTAINERS:
            rule = container_rules.parse_line(text)
            taken, name = rule is not None, rule.name if rule is not None else ""
        else:
            taken, name = file_magic.parse_line(text) is not None, ""
    except FormatError as error:
        raise MalformedError(str(error)) from error
    if not taken:
        raise UnsupportedError(_OTHER_RELEASES)
    return name


def written(suffix: str, text: str) -> bytes:
    """A line as it is kept."""
    return f"{suffix}{text}\n".encode("latin-1")


class Surroundings:
    """What the lines of a set say."""

    def __init__(self, kept: bytes) -> None:
        """``kept``: lines as ``written``."""
        self._kept = kept

    def _lines(self, *suffixes: str) -> list[str]:
        lines = self._kept.decode("latin-1").split("\n") if self._kept else []
        return [line[4:] for line in lines if line[:4] in suffixes]

    @cached_property
    def _phishing(self) -> Phishing:
        phishing = Phishing()
        for line in self._lines(*LINKS):
            phishing.add(line)
        return phishing

    @cached_property
    def _rules(self) -> tuple[container_rules.Rule, ...]:
        rules = map(container_rules.parse_line, self._lines(CONTAINERS))
        return tuple(rule for rule in rules if rule is not None)

    @cached_property
    def types(self) -> FileTypes:
        """How parts are typed: by the set's own table if it has one."""
        magics = map(file_magic.parse_line, self._lines(TYPES))
        own = [magic for magic in magics if magic is not None]
        return FileTypes(own) if own else FileTypes()

    def hits(self, part: Part, kind: FileType, containers: Sequence[str]) -> Iterator[Hit]:
        """What is wrong with a part's links and its place in its container. ``containers``: the
        types of what it lies in, the nearest last."""
        parent = part.parent
        if parent is None or not self._kept:
            return
        is_page = kind.target is Target.HTML or kind.html_inside
        if is_page and parent.role is Role.MESSAGE:
            name = self._phishing.check(part.data)
            if name is not None:
                yield Hit(name, suspicious=True, signatures=(name,))
        if self._rules and part.name:
            member = Member(
                part.name,
                size=len(part.data),
                container_type=containers[-1] if containers else None,
                container_size=len(parent.data),
            )
            for name in container_rules.match(self._rules, member):
                yield Hit(name, signatures=(name,))
