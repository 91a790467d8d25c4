"""The license: the publisher's signed permission to update. It never stops scanning (S10).

``token`` issues and reads one; ``published`` is what the publisher signs about them: who it is, the
keys that sign licenses, the ids that are revoked; ``entitlement`` judges what several licenses
allow on a channel at a moment; ``warnings`` decides when to speak of it. All of it is values in,
values out: where licenses rest is the business of ``update`` and ``publish``.
"""

from mailward.license.entitlement import Entitlement, Held, State, Times, judge
from mailward.license.published import LICENSING_MAX_BYTES, LICENSING_PATH, LicenseKey, Licensing
from mailward.license.token import (
    TOKEN_MAX_BYTES,
    License,
    SigningKey,
    Terms,
    clean,
    issue,
    verify,
)
from mailward.license.warnings import warning_due

__all__ = [
    "LICENSING_MAX_BYTES",
    "LICENSING_PATH",
    "TOKEN_MAX_BYTES",
    "Entitlement",
    "Held",
    "License",
    "LicenseKey",
    "Licensing",
    "SigningKey",
    "State",
    "Terms",
    "Times",
    "clean",
    "issue",
    "judge",
    "verify",
    "warning_due",
]
