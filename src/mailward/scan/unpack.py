"""Everything inside everything: a message or file to the parts that engines look at."""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from mailward.scan import containers, encodings, message, passwords
from mailward.scan.budget import Budget, Spent
from mailward.scan.containers import rar_volumes
from mailward.scan.contents import Contents, Found, Fragment, Piece, Shut, Unlocked
from mailward.scan.fragments import Fragments
from mailward.scan.part import Part, Role
from mailward.scan.passwords import Passwords, Said
from mailward.scan.signatures.filetype import identify
from mailward.scan.verdict import Ambiguity, OwnPassword, Reason, Unopened

_NAME_MAX = 120
"""Characters of a name that a path shows."""
_SUBJECT = re.compile(rb"^subject:([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)", re.IGNORECASE | re.MULTILINE)
_SUBJECT_SEARCH_BYTES = 64 * 1024
_TEXT_MAX_BYTES = 256 * 1024
_TEXTS_DEPTH = 3
"""Where passwords are looked for."""

_MAIL = ("eml", "mbox", "mbx", "mime", "msg", "txt", "nws")
"""Extensions that mail clients and editors open: what is a message is nothing else then."""

_NOT_ALL_TRIED = "too many words could be its password: only the likeliest were tried"

_PART_NAME_MAX = 1000
"""Characters of a name that rules see."""


def parts(
    data: bytes, *, role: Role, name: str, budget: Budget
) -> Iterator[Part | Unopened | Ambiguity | OwnPassword]:
    """``data`` itself, then what is in it, at any depth; what stays shut is named (S11).

    Passwords that its text gives are tried on what is encrypted.

    ``name``: of the file, if it is one. Never raises, whatever ``data`` is.
    """
    root = "message" if role is Role.MESSAGE else _printable(name.rpartition("/")[2]) or "file"
    tree = _Tree(budget, root)
    budget.begin(len(data))
    budget.passwords = Passwords(lambda: _texts(data, role, name, budget))
    try:
        yield from tree.visit(Piece(data, role, name), root, 0)
    except Spent as spent:
        yield _unopened(root, spent.shut)
    yield from tree.unjoined()


def _texts(data: bytes, role: Role, name: str, budget: Budget, depth: int = 0) -> Iterator[Said]:
    """What people read in a message: subject, bodies, names; of messages inside. Raises Spent."""
    if role is not Role.MESSAGE and not message.looks_like_message(data, name):
        return
    subject = _SUBJECT.search(data, 0, _SUBJECT_SEARCH_BYTES)
    if subject is not None:
        yield Said(encodings.decode_words(encodings.text(subject[1])))
    for found in message.read(data, budget):
        if isinstance(found, Piece) and found.role is Role.BODY:
            text = encodings.text(found.data[:_TEXT_MAX_BYTES])
            yield Said(passwords.plain_text(text))
            if "<" in text and not found.content_type.lower().startswith("text/html"):
                yield Said(text)
        elif isinstance(found, Piece) and found.role is Role.MESSAGE and depth < _TEXTS_DEPTH:
            yield from _texts(found.data, found.role, found.name, budget, depth + 1)
        elif isinstance(found, Piece) and found.name:
            yield Said(found.name, is_name=True)


class _Tree:
    """One walk through one message."""

    def __init__(self, budget: Budget, root: str) -> None:
        self._budget = budget
        self._paths = {root}
        self._numbers: dict[str, int] = {}
        self._fragments = Fragments()

    def visit(
        self, piece: Piece, path: str, depth: int, parent: Part | None = None
    ) -> Iterator[Part | Unopened | Ambiguity | OwnPassword]:
        """A piece, then what is in it. Raises Spent."""
        data, cut = self._within_room(piece.data) if depth else (piece.data, None)
        self._budget.count_part(len(data) if depth else 0)
        role, contents = self._open(piece, data)
        name, content_type = piece.name[:_PART_NAME_MAX], piece.content_type[:_NAME_MAX]
        part = Part(path, data, role, name, content_type, depth, parent, piece.inside, piece.type)
        yield part
        if cut is not None:
            yield _unopened(path, cut)
        if contents is None:
            return
        too_deep = self._budget.over_depth(depth)
        if too_deep is not None:
            yield _unopened(path, too_deep)
            return
        volumes: list[Piece] = []
        held = 0
        format_: str | None = None
        for found in contents:
            if isinstance(found, Piece) and rar_volumes.is_volume(found):
                held += len(found.data)
                if held <= self._budget.room():  # else they are read one by one
                    self._budget.count_part(0)
                    volumes.append(found)
                    continue
            if isinstance(found, Piece):
                yield from self.visit(found, self._unique(_below(path, found)), depth + 1, part)
                continue
            self._budget.count_part(0)  # or millions of them would cost nothing but time
            if isinstance(found, Shut):
                if format_ is None and found.reason is Reason.ENCRYPTED:
                    format_ = identify(data).name.removeprefix("CL_TYPE_")
                yield _unopened(_below(path, found), self._told(found), format_ or "")
            elif isinstance(found, Fragment):
                whole = self._fragments.add(_below(path, found), found)
                if whole is not None:
                    joined = Piece(whole, Role.MESSAGE, label="joined")
                    yield from self.visit(joined, self._unique(f"{path}/joined"), depth + 1, part)
            elif isinstance(found, Unlocked):
                yield OwnPassword(_below(path, found))
            else:
                yield Ambiguity(_below(path, found), found.doubt, found.detail)
        for one in rar_volumes.joined(volumes):
            yield from self.visit(one, self._unique(_below(path, one)), depth + 1, part)

    def unjoined(self) -> Iterator[Unopened]:
        """Pieces of messages of which others are missing (S11)."""
        for path in self._fragments.alone():
            why = "one piece of a message that was sent in several (message/partial)"
            yield Unopened(path, Reason.UNSUPPORTED, why)

    def _told(self, shut: Shut) -> Shut:
        if shut.reason is not Reason.ENCRYPTED or not self._budget.passwords.ran_out:
            return shut
        return replace(shut, detail=f"{shut.detail}; {_NOT_ALL_TRIED}")

    def _within_room(self, data: bytes) -> tuple[bytes, Shut | None]:
        room = self._budget.room()
        if len(data) <= room:
            return data, None
        return data[:room], self._budget.over_room(room)

    def _open(self, piece: Piece, data: bytes) -> tuple[Role, Contents | None]:
        """What a piece turns out to be, and what is in it; None if nothing can be."""
        if piece.is_sealed:
            return piece.role, None
        if piece.role is Role.MESSAGE:
            return piece.role, message.read(data, self._budget)
        contents = containers.unpack(data, piece.name, piece.content_type, self._budget)
        if piece.role is Role.BODY:
            return piece.role, contents
        role: Role = piece.role
        mailbox = message.mbox_messages(data)
        if len(mailbox) > 1:
            found = message.read_mbox(data, mailbox)
        elif message.looks_like_message(data, "" if contents is not None else piece.name):
            role, found = Role.MESSAGE, message.read(data, self._budget)
        else:
            return role, contents
        opened_as_mail = piece.name.rpartition(".")[2].lower() in _MAIL or "." not in piece.name
        if contents is None or opened_as_mail:
            return role, found
        return role, chain(found, contents)

    def _unique(self, path: str) -> str:
        """Members may have the same name: the second is ``name~2``."""
        candidate, number = path, self._numbers.get(path, 1)
        while candidate in self._paths:
            number += 1
            candidate = f"{path}~{number}"
        self._numbers[path] = number  # or thousands of the same name would cost their square
        self._paths.add(candidate)
        return candidate


def _below(path: str, found: Found) -> str:
    name = _printable(found.name)
    if not name and not found.label:
        return f"{path}/content" if isinstance(found, Piece) else path
    return f"{path}/{found.label}{':' if name and found.label else ''}{name}"


def _printable(name: str) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in name[: _NAME_MAX + 1])
    return shown if len(shown) <= _NAME_MAX else shown[: _NAME_MAX - 1] + "…"


def _unopened(path: str, shut: Shut, format_: str = "") -> Unopened:
    locked = shut.reason is Reason.ENCRYPTED
    return Unopened(path, shut.reason, shut.detail, format_ if locked else "")
