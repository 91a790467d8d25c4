"""Windows Installer packages: what their streams are called."""

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._"
_TWO, _ONE, _TABLE = 0x3800, 0x4800, 0x4840
"""From here on a letter stands for two, for one, for the mark of a table."""


def stream_name(name: str) -> str:
    """In plain; ``name`` as it is in the compound file. Any other name comes back as it is.

    Windows Installer packs names of up to 62 letters into the 31 that a compound file has.
    """
    if not _TWO <= ord(name[:1] or "\0") <= _TABLE:
        return name
    out: list[str] = []
    for letter in name:
        code = ord(letter)
        if code == _TABLE:
            out.append("!")
        elif _ONE <= code < _TABLE:
            out.append(_LETTERS[code - _ONE])
        elif _TWO <= code < _ONE:
            out += _LETTERS[code - _TWO & 63], _LETTERS[code - _TWO >> 6]
        else:
            out.append(letter)
    return "".join(out)
