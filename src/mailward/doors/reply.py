"""An SMTP reply as a value: ours, or one of the next hop's to be passed on."""

import re
from dataclasses import dataclass

_MAX_LINE = 500
"""RFC 5321 section 4.5.3.1.5 allows 512 octets with code and CRLF."""
_MAX_LINES = 100
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?= |$)")
_DEFAULT_ENHANCED = {500: "5.5.2", 501: "5.5.4", 502: "5.5.1", 503: "5.5.1"}


@dataclass(frozen=True, slots=True)
class Reply:
    """Three digits and at least one line of text, which begins with the enhanced code if any."""

    code: int
    lines: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> "Reply":
        """From ``"550 5.7.1 Message refused"``."""
        code, _, rest = text.partition(" ")
        return cls(int(code), (rest,))

    @property
    def accepted(self) -> bool:
        """2xx: the command was done."""
        return 200 <= self.code < 300

    @property
    def final(self) -> bool:
        """2xx, 4xx or 5xx: an answer that ends a command."""
        return self.code // 100 in (2, 4, 5)

    def __str__(self) -> str:
        return f"{self.code} {' '.join(self.lines)}"

    def wire(self) -> bytes:
        """As it goes over the line: printable ASCII, bounded, each line with an enhanced code.

        RFC 2034 wants one in every 2xx, 4xx and 5xx answer (but those to EHLO and the greeting).
        """
        lines = [_printable(self._enhanced(line)) for line in self.lines[:_MAX_LINES]] or [""]
        last = len(lines) - 1
        return b"".join(
            f"{self.code}{' ' if i == last else '-'}{line}\r\n".encode("ascii")
            for i, line in enumerate(lines)
        )

    def _enhanced(self, line: str) -> str:
        if not self.final or _ENHANCED.match(line):
            return line
        enhanced = _DEFAULT_ENHANCED.get(self.code, f"{self.code // 100}.0.0")
        return f"{enhanced} {line}"


def _printable(text: str) -> str:
    return "".join(c if " " <= c <= "~" or c == "\t" else "?" for c in text[:_MAX_LINE]).rstrip()
