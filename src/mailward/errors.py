"""Everything that can go wrong, drawn once.

::

    MailwardError                exit 4
    ├── UsageError               exit 2   the command was used wrongly, or names what is not there
    │   └── ConfigError          exit 2   the configuration cannot be used
    ├── TemporaryError           exit 3   worth trying again as it is
    │   ├── FetchError           exit 3   a repository or feed did not answer as it should
    │   ├── BusyError            exit 3   somebody else is writing, or every worker is taken
    │   └── ScannerDownError     exit 3   no worker can scan at the moment: mail is to be retried
    └── PermanentError           exit 4   trying again will not help
        ├── FormatError          exit 4   a file or message is not what its format says
        ├── TrustError           exit 4   a signature, version, date, size or hash is wrong (S1)
        ├── StoreError           exit 4   the definition store cannot do what was asked
        ├── TrialError           exit 4   a set was proved and failed (S2)
        ├── PublishError         exit 4   the publisher's repository cannot do what was asked
        └── LicenseError         exit 4   a license does not allow it

A message says what happened, to what, and what to do about it. It never holds a secret (S15).
People outside (an SMTP client, say) get a generic text; the log gets the details.
"""

from typing import ClassVar


class MailwardError(Exception):
    """Anything that Mailward itself reports. ``exit_code`` is what the command line ends with."""

    exit_code: ClassVar[int] = 4


class UsageError(MailwardError):
    """The command was used wrongly, or names something that is not there."""

    exit_code = 2


class ConfigError(UsageError):
    """The configuration cannot be used; the message names the key."""


class TemporaryError(MailwardError):
    """Worth trying again without changing anything."""

    exit_code = 3


class FetchError(TemporaryError):
    """A repository or feed could not be reached or did not answer as it should."""


class BusyError(TemporaryError):
    """Somebody else holds what is needed; the message names who."""


class ScannerDownError(TemporaryError):
    """No worker can scan at the moment; the message must be offered again later."""


class PermanentError(MailwardError):
    """Trying again will not help until something is changed."""


class FormatError(PermanentError):
    """A file, message or document is not what its format says."""


class TrustError(PermanentError):
    """What came from outside failed a check of signature, version, expiry, size or hash (S1)."""


class StoreError(PermanentError):
    """The definition store cannot do what was asked; the active set is unchanged."""


class TrialError(PermanentError):
    """A set was proved before use and did not pass (S2)."""


class PublishError(PermanentError):
    """The publisher's repository cannot do what was asked; what is published is unchanged."""


class LicenseError(PermanentError):
    """A license is needed, or the one installed does not allow it (S10)."""
