"""Text that a regular expression matches: for the examples of signatures that have one."""

import random
import re
import warnings
from collections.abc import Sequence
from typing import Any

import pcre2

from mailward.scan.signatures.evaluation import compile_regex
from mailward.scan.signatures.expression import Leaf
from mailward.scan.signatures.signature import Regex

_REPEATS_MAX = 3
"""More than an expression asks for."""
_TRIES = 20
"""Where an expression looks around: what it must see, or must not, is left to chance."""
_NAMED = re.compile(r"\(\?<(?=[A-Za-z_])")


class NoExampleError(ValueError):
    """No text is made for this expression: it uses what only PCRE knows, or looks around."""


def example(source: str, flags: str, random_: random.Random) -> bytes:
    """Bytes that ``source`` matches. Raises NoExampleError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The only way to get at what Python's own compiler makes of an expression.
            parsed = re._parser.parse(  # type: ignore[attr-defined]
                _NAMED.sub("(?P<", source), _flags(flags)
            )
        compiled = compile_regex(Regex(Leaf(0), source, flags.replace("A", "")), jit=False)
        for _ in range(_TRIES):
            made = _sequence(parsed, random_, {}).encode("latin-1")
            if made and compiled.search(made) is not None:
                return made
    except (re.error, ValueError, RecursionError, OverflowError, pcre2.LibraryError) as error:
        raise NoExampleError(str(error)) from None
    raise NoExampleError("an expression that looks around")


def _flags(flags: str) -> int:
    return (re.IGNORECASE if "i" in flags else 0) | (re.VERBOSE if "x" in flags else 0)


def _sequence(items: Any, random_: random.Random, groups: dict[int, str]) -> str:
    return "".join(_item(str(op), value, random_, groups) for op, value in items)


def _item(op: str, value: Any, random_: random.Random, groups: dict[int, str]) -> str:
    match op:
        case "LITERAL":
            return chr(value)
        case "NOT_LITERAL":
            return "q" if value != ord("q") else "z"
        case "ANY":
            return random_.choice("qwz")
        case "IN":
            return _one_of(value, random_)
        case "BRANCH":
            return _sequence(random_.choice(value[1]), random_, groups)
        case "SUBPATTERN":
            made = _sequence(value[3], random_, groups)
            if value[0] is not None:
                groups[value[0]] = made
            return made
        case "ATOMIC_GROUP":
            return _sequence(value, random_, groups)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, inner = value
            if least > 4096:
                raise NoExampleError("too many repetitions")
            count = random_.randint(least, min(int(most), least + _REPEATS_MAX))
            return "".join(_sequence(inner, random_, groups) for _ in range(count))
        case "GROUPREF":
            return groups.get(value, "")
        case "AT" | "ASSERT_NOT":
            return ""
        case "ASSERT":
            return _sequence(value[1], random_, groups) if random_.random() < 0.5 else ""
    raise NoExampleError(f"an expression with {op}")


def _one_of(choices: Sequence[tuple[Any, Any]], random_: random.Random) -> str:
    negated = str(choices[0][0]) == "NEGATE"
    fitting: set[int] = set()
    for op, value in choices[1:] if negated else choices:
        match str(op):
            case "LITERAL":
                fitting.add(value)
            case "RANGE":
                fitting.update(range(value[0], min(value[1], 255) + 1))
            case "CATEGORY":
                fitting.update(_category(str(value)))
    if negated:
        fitting = set(range(0x20, 0x7F)) - fitting
    if not fitting:
        raise NoExampleError("a class with nothing printable in it")
    return chr(random_.choice(sorted(fitting)))


def _category(name: str) -> set[int]:
    kinds = {
        "DIGIT": {*b"0123456789"},
        "SPACE": {*b" "},
        "WORD": {*b"abcdefghijklmnopqrstuvwxyz0123456789_"},
    }
    for kind, bytes_ in kinds.items():
        if name.endswith("NOT_" + kind):
            return set(range(0x21, 0x7F)) - bytes_ - {0x20}
        if name.endswith(kind):
            return bytes_
    raise NoExampleError(f"a class with {name}")
