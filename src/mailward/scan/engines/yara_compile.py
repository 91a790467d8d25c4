"""``yara`` shards to compiled rules, with everything that had to be left out named (S3).

YARA-X goes on after a bad rule, and after a syntax error with some later rule of the same source.
What it dropped is found by comparing the rules that a source declares with those that came out, and
the places of the errors with the places of the rules.
"""

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import yara_x

from mailward.errors import FormatError
from mailward.scan.engine import NAMED_MAX, Preparation, Refused, Source
from mailward.scan.engines.yara_text import Declared, declared_rules

SOURCE_MAX_BYTES = 16 * 1024 * 1024
"""Of one source file, as UTF-8; the largest public ones are below 2 MB."""

SOURCES_MAX_BYTES = 256 * 1024 * 1024
"""Of a set's source files together: 25 times the rules of five public projects."""

RULES_MAX = 200_000
"""In a set: 25 times the rules of five public projects."""

_LINE_MAX_BYTES = 4 * SOURCE_MAX_BYTES
"""Of one line of a shard: JSON makes sources longer."""

_REASON_MAX = 300

GLOBALS: Mapping[str, str | int] = {
    "filename": "",
    "filepath": "",
    "extension": "",
    "filetype": "",
    "owner": "",
    "md5": "",
    "mailward_role": "",
    "mailward_name": "",
    "mailward_extension": "",
    "mailward_type": "",
    "mailward_depth": 0,
}
"""What conditions may ask about a part, with its value when unknown. Public rules use the first six
(the external variables of LOKI and THOR)."""


@dataclass(frozen=True, slots=True)
class _File:
    """One source file: a line of a shard, compiled in a namespace of its own."""

    shard: str
    name: str
    source: bytes


@dataclass(frozen=True, slots=True)
class _Error:
    """What the compiler said about a place in a file."""

    kind: str
    at: int
    """In bytes."""
    end: int
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class _Compiled:
    rules: yara_x.Rules
    names: dict[int, set[str]]
    """Of the rules that came out of each file that has any."""
    errors: dict[int, list[_Error]]
    """By file."""


def compile_sources(sources: Sequence[Source]) -> tuple[yara_x.Rules, Preparation]:
    """Compile all shards into one set of rules.

    A file whose global rule is bad is left out whole: that rule restricts all others in it, which
    would hit what they must not. Raises FormatError when a shard's framing is wrong or too much.
    """
    files = dict(enumerate(_read_files(sources)))
    compiled = _compile(files)
    losses = {at: _losses(files[at], compiled, at) for at in sorted(compiled.errors)}
    unbound = {at: loss for at, loss in losses.items() if any(d.is_global for d in loss.rules)}
    if unbound:
        compiled = _compile({at: file for at, file in files.items() if at not in unbound})
    refused = [
        refusal
        for at, loss in losses.items()
        for refusal in (_whole(files[at], loss) if at in unbound else loss.refused)
    ]
    active = _count_active(files, compiled)
    return compiled.rules, Preparation(active, tuple(refused[:NAMED_MAX]), len(refused[NAMED_MAX:]))


def namespace_of(compiled: str) -> str:
    """A source file's namespace as the shard gives it, from that of the compiled rules."""
    return compiled.partition(":")[2]


def _read_files(sources: Iterable[Source]) -> Iterator[_File]:
    total = 0
    for shard in sorted(sources, key=lambda s: s.name):
        with shard.path.open("rb") as file:
            number = 0
            while line := file.readline(_LINE_MAX_BYTES + 1):
                number += 1
                read = _read_file(shard.name, number, line)
                total += len(read.source)
                if total > SOURCES_MAX_BYTES:
                    raise FormatError(
                        f"YARA shards have more than {SOURCES_MAX_BYTES} bytes of sources together"
                    )
                yield read


def _read_file(shard: str, number: int, line: bytes) -> _File:
    where = f"YARA shard {shard}, line {number}"
    if len(line) > _LINE_MAX_BYTES:
        raise FormatError(f"{where}: longer than {_LINE_MAX_BYTES} bytes")
    try:
        plain = json.loads(line)
        namespace, source = plain["namespace"], plain["source"]
        raw = source.removeprefix("\ufeff").encode()
        readable = "".join(c if c.isprintable() else "?" for c in namespace[:200])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise FormatError(f"{where}: not a JSON object with namespace and source: {e}") from e
    if len(raw) > SOURCE_MAX_BYTES:
        raise FormatError(f"{where}: a source of {len(raw)} bytes, more than {SOURCE_MAX_BYTES}")
    return _File(shard, readable, raw)


def _compile(files: Mapping[int, _File]) -> _Compiled:
    # Relaxed: rules written for classic YARA have escapes that YARA-X does not take by default.
    compiler = yara_x.Compiler(relaxed_re_syntax=True, includes_enabled=False)
    for name, value in GLOBALS.items():
        compiler.define_global(name, value)
    for at, file in files.items():
        compiler.new_namespace(f"{at}:{file.name}")  # the number makes it unique
        with suppress(yara_x.CompileError):  # errors() has all of them, for all files
            compiler.add_source(file.source.decode(), origin=str(at))
    errors = _errors(compiler)
    rules = compiler.build()
    names: dict[int, set[str]] = defaultdict(set)
    for number, rule in enumerate(rules, 1):
        names[int(rule.namespace.partition(":")[0])].add(rule.identifier)
        if number > RULES_MAX:
            raise FormatError(f"more than {RULES_MAX} YARA rules in a set")
    return _Compiled(rules, names, errors)


def _errors(compiler: yara_x.Compiler) -> dict[int, list[_Error]]:
    errors: dict[int, list[_Error]] = defaultdict(list)
    for error in compiler.errors():
        label = error["labels"][0]
        detail = f"{error['title']}: {label['text']}"[:_REASON_MAX]
        errors[int(label["code_origin"])].append(
            _Error(
                error["type"], label["span"]["start"], label["span"]["end"], label["line"], detail
            )
        )
    return errors


@dataclass(slots=True)
class _Loss:
    """What a file lost."""

    rules: list[Declared]
    refused: list[Refused]


def _losses(file: _File, compiled: _Compiled, at: int) -> _Loss:
    """Name what a file with errors lost: rules at errors, rules that disappeared with them."""
    declared = list(declared_rules(file.source))
    starts = [rule.at for rule in declared]
    missing = Counter(rule.name for rule in declared)
    missing.subtract(compiled.names.get(at, ()))
    errors = sorted(compiled.errors[at], key=lambda e: e.at)
    loss = _Loss([], [])

    def lose(rule: Declared, line: int, reason: str) -> None:
        missing[rule.name] -= 1
        loss.rules.append(rule)
        loss.refused.append(_refused(file, rule.name, line, reason))

    bad = set()  # the rules, by index, that an error was put down to; -1: before the first
    for error in errors:
        index = bisect_right(starts, error.at) - 1
        if error.kind == "IncludeNotAllowed":
            statement = file.source[error.at : error.end].decode(errors="replace")
            loss.refused.append(_refused(file, statement[:200], error.line, error.text))
        elif index in bad:
            continue
        elif index >= 0 and missing[declared[index].name] > 0:
            bad.add(index)
            lose(declared[index], error.line, error.text)
        elif error.kind == "SyntaxError":
            bad.add(index)  # behind a good rule: something that is not even declared
            loss.refused.append(_refused(file, file.name, error.line, error.text))
    for index, rule in enumerate(declared):
        if index not in bad and missing[rule.name] > 0:
            lose(rule, rule.line, f"lost to an error in line {errors[0].line}: {errors[0].text}")
    return loss


def _whole(file: _File, loss: _Loss) -> list[Refused]:
    """Refuse all rules of a file whose global rule is bad."""
    bad = next(rule.name for rule in loss.rules if rule.is_global)
    named = Counter(refused.signature for refused in loss.refused)
    others = []
    for rule in declared_rules(file.source):
        if named[rule.name] > 0:
            named[rule.name] -= 1
        else:
            reason = f"the global rule {bad} of the same file is bad"
            others.append(_refused(file, rule.name, rule.line, reason))
    return loss.refused + others


def _refused(file: _File, signature: str, line: int, reason: str) -> Refused:
    return Refused(signature, file.shard, line, f"{reason} (in {file.name})")


def _count_active(files: Mapping[int, _File], compiled: _Compiled) -> int:
    private = 0
    for at, names in compiled.names.items():
        if b"private" in files[at].source:
            rules = declared_rules(files[at].source)
            private += len({rule.name for rule in rules if rule.is_private} & names)
    return sum(map(len, compiled.names.values())) - private
