"""``/q/…``: the recipient of a held message asks for it (``protect.links``).

GET shows what is held and changes nothing, because mail scanners and previews follow links. POST, a
button on that page, asks. What then happens is ``notify.on_request``: the request is recorded for
the administrator, or the message is released to that one recipient at once, never if malware was
found in it. Everything that a sender wrote is escaped; the page has no scripts and loads nothing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from html import escape

import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from mailward.errors import MailwardError
from mailward.protect.events import Event
from mailward.protect.held import Held
from mailward.protect.links import PATH, Links
from mailward.protect.quarantine import Quarantine
from mailward.protect.requests import ReleaseRequest, RequestBook
from mailward.protect.window import Window
from mailward.scan.verdict import VerdictKind
from mailward.settings.notify import OnRequest

log = structlog.get_logger(__name__)

Release = Callable[[str, str], Awaitable[Mapping[str, str]]]
"""Entry and recipient: lets it out to that one; who was refused. Raises MailwardError, OSError."""

_PER_MINUTE_MAX = 60
"""Of requests that change something, from everybody."""
_AT_ONCE = 4
_SHOWN_MAX = 300
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
}
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Held message</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body><h1>Held message</h1>
{body}
</body></html>
"""
_GONE = "<p>This link is not valid, or the message is not held any more.</p>"
_BUTTON = '<form method="post"><button type="submit">Ask for this message</button></form>'


class Asking:
    """The handlers; ``routes`` are put into the console's listener."""

    def __init__(
        self,
        links: Links,
        quarantine: Quarantine,
        book: RequestBook,
        release: Release,
        on_request: OnRequest,
        record: Callable[[Event], None],
    ) -> None:
        self._links = links
        self._quarantine = quarantine
        self._book = book
        self._release = release
        self._on_request = on_request
        self._record = record
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._recent = Window(_PER_MINUTE_MAX, 60)

    @property
    def routes(self) -> list[Route]:
        """For Starlette."""
        path = PATH + "{token}"
        return [
            Route(path, self._show, methods=["GET"]),
            Route(path, self._ask, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        found = await self._found(request)
        if found is None:
            return _page(_GONE, 404)
        return _page(_about(found[0]) + _BUTTON)

    async def _ask(self, request: Request) -> Response:
        found = await self._found(request)
        if found is None:
            return _page(_GONE, 404)
        now = time.monotonic()
        if self._recent.is_full(now):
            return _page("<p>Too many requests at the moment: try again in a minute.</p>", 429)
        self._recent.add(now)
        held, recipient = found
        async with self._places:
            try:
                return await self._settle(held, recipient)
            except (MailwardError, OSError) as e:
                log.error("a request for a held message failed", id=held.id, why=str(e))
                return _page("<p>That did not work. Try again later.</p>", 503)

    async def _settle(self, held: Held, recipient: str) -> Response:
        new = await asyncio.to_thread(
            self._book.add, ReleaseRequest(held.id, recipient, datetime.now(UTC))
        )
        if new:
            log.info("a held message was asked for", id=held.id)
            self._record(Event("requested", "http", trace_id=held.id, recipients=(recipient,)))
        if self._on_request is OnRequest.RELEASE and _may_go(held):
            try:
                refused = await self._release(held.id, recipient)
            except MailwardError as e:
                refused = {recipient: str(e)}
            answer = refused.get(recipient, "")
            self._record(
                Event("released", "http", trace_id=held.id, recipients=(recipient,), answer=answer)
            )
            if not answer:
                return _page("<p>The message is on its way to you.</p>")
        return _page("<p>Your request was noted. The administrator decides about it.</p>")

    async def _found(self, request: Request) -> tuple[Held, str] | None:
        """The entry, and whom it is asked for."""
        asked = self._links.read(request.path_params["token"])
        if asked is None:
            return None
        entry = await asyncio.to_thread(self._quarantine.look, asked.id)
        if not isinstance(entry, Held):
            return None
        to = (r for r in entry.envelope.recipients if self._links.names(asked, r))
        recipient = next(to, None)
        return (entry, recipient) if recipient is not None else None


def _may_go(held: Held) -> bool:
    return VerdictKind.INFECTED not in held.verdict.kinds


def _about(held: Held) -> str:
    rows = (
        ("From", held.envelope.sender or "<>"),
        ("Subject", held.subject),
        ("Held since", f"{held.at:%Y-%m-%d %H:%M} UTC"),
        ("Why", held.decision.reason),
    )
    shown = "".join(f"<dt>{name}</dt><dd>{_escaped(value)}</dd>" for name, value in rows)
    return f"<dl>{shown}</dl>"


def _escaped(text: str) -> str:
    return escape("".join(c if c.isprintable() else " " for c in text[:_SHOWN_MAX]))


def _page(body: str, status: int = 200) -> Response:
    return HTMLResponse(_PAGE.format(body=body), status_code=status, headers=_HEADERS)
