"""Every parser of what others send, by name: fed by ``scripts/fuzz.py`` and by the tests here.

Each takes any bytes. An exception is a bug, and so is an input that takes seconds.
"""

from collections.abc import Callable

from tests.fuzzing import readers, signatures, strangers

PARSERS: dict[str, Callable[[bytes], object]] = {
    **readers.PARSERS,
    **signatures.PARSERS,
    **strangers.PARSERS,
}
