"""Who is told what became of messages, and how often."""

from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from mailward.rules import RecipientAddress
from mailward.settings.base import Positive, Section
from mailward.settings.domains import Domain, domain_key, entries_for


class OnRequest(StrEnum):
    """What happens when the recipient of a held message asks for it."""

    RECORD = "record"
    """It is noted for `mailward quarantine requests`."""
    RELEASE = "release"
    """It is released to that recipient, unless malware was found in it."""


class NotifySettings(Section):
    """Notifications that rules ask for (`notify` of a rule), sent through the next hop."""

    from_address: RecipientAddress | None = Field(
        None, description="whom they say that they are from; not set: mailward@ this computer"
    )
    admin: tuple[RecipientAddress, ...] = Field(
        (), description="who is meant by `admin` in a rule's `notify`"
    )
    domains: tuple[Domain, ...] = Field(
        (),
        description="ours: `sender` in a rule's `notify` needs it, and tells only senders there; "
        "set: `recipients` elsewhere are not told either",
    )
    per_recipient_per_h: Positive = Field(10, description="to one address; what is more is dropped")
    per_h: Positive = Field(500, description="to all addresses together; what is more is dropped")
    digest_h: Annotated[float, Field(ge=0, le=168)] = Field(
        0.0,
        description="0: recipients hear of each held message at once; otherwise of all of them "
        "together every so many hours",
    )
    templates: Path | None = Field(
        None,
        description="folder with recipients.txt, sender.txt, admin.txt, digest.txt in place of the "
        "built-in texts, those that are there",
    )
    public_url: str = Field(
        "",
        pattern=r"^(https?://[!-~]{1,500})?$",
        description="under which the world reaches `/q/` of the console; set: recipients get a "
        "link by which they ask for what is held",
    )
    link_days: Annotated[float, Field(gt=0, le=365)] = Field(
        7.0, description="how long such a link holds"
    )
    on_request: OnRequest = Field(
        OnRequest.RECORD,
        description="record: for `mailward quarantine requests`; release: to that recipient at "
        "once, unless malware was found",
    )

    @cached_property
    def own_domains(self) -> frozenset[str]:
        """``domains``, as they are compared."""
        return frozenset(domain_key(domain) for domain in self.domains)

    def is_ours(self, address: str) -> bool:
        """Whether an address is in one of ``domains``."""
        return any(entry in self.own_domains for entry in entries_for(address))
