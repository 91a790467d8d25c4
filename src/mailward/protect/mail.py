"""What rules may ask of a message beside its verdict: envelope, client, header fields."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.errors import MessageError
from email.header import decode_header, make_header
from functools import cached_property

from mailward.rules import Networks, in_networks

_HEADER_MAX_BYTES = 256 * 1024
"""Of the header that rules look at: mail servers refuse larger ones (Postfix: 100 KB)."""
_TEXT_MAX = 1000
"""Characters of a field that are kept to be shown and searched."""
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:([^\r\n]*(?:(?:\r\n|\n)[ \t][^\r\n]*)*)(?:\r\n|\n|\Z)")
_RESULT = re.compile(r"\b(spf|dkim|dmarc|arc)\s*=\s*([a-z]+)", re.IGNORECASE)
_COMMENT = re.compile(r"\([^()]*\)")


@dataclass(frozen=True)
class Mail:
    """A message as a door took it. Nothing is parsed before a rule asks for it."""

    sender: str
    """Envelope sender without the angle brackets; empty for the null sender of bounces."""
    recipients: tuple[str, ...]
    client: str
    """IP address; empty if the door does not know it."""
    content: bytes
    helo: str = ""
    """What the client called itself."""
    login: str = ""
    """Who authenticated at the mail server in front; empty: nobody, or the door does not know."""

    def comes_from(self, networks: Networks) -> bool:
        """Whether the client is in one of ``networks``; an unknown client is in none."""
        return in_networks(self.client, networks)

    @cached_property
    def fields(self) -> Mapping[str, tuple[str, ...]]:
        """Header fields, decoded (RFC 2047) and unfolded; names in lower case, in order."""
        fields: dict[str, tuple[str, ...]] = {}
        at, head = 0, self.content[:_HEADER_MAX_BYTES]
        while (found := _FIELD.match(head, at)) is not None:
            name = found[1].decode("ascii").lower()
            fields[name] = (*fields.get(name, ()), _decoded(found[2]))
            at = found.end()
        return fields

    def authentication(self, authserv_id: str) -> Mapping[str, frozenset[str]]:
        """Method to results of the fields that ``authserv_id`` has added (RFC 8601); else nothing.

        Whoever runs that server has it remove such fields that come from outside (section 5).
        """
        results: dict[str, frozenset[str]] = {}
        for field in self.fields.get("authentication-results", ()) if authserv_id else ():
            said_by, _, rest = _COMMENT.sub(" ", field).partition(";")
            if said_by.split()[:1] != [authserv_id]:
                continue
            for method, result in _RESULT.findall(rest):
                key = method.lower()
                results[key] = results.get(key, frozenset()) | {result.lower()}
        return results


def mail_text(content: bytes, name: str) -> str:
    """The first header field of that name, as people read it; empty if there is none."""
    found = Mail("", (), "", content).fields.get(name, ("",))[0]
    return "".join(c if c.isprintable() else "?" for c in found[:_TEXT_MAX])


def _decoded(raw: bytes) -> str:
    text = re.sub(r"[\r\n]+", "", raw.decode("utf-8", "surrogateescape")).strip()
    if "=?" not in text:
        return text
    try:
        return str(make_header(decode_header(text)))
    except (ValueError, LookupError, MessageError):  # not what RFC 2047 says: as it stands
        return text
