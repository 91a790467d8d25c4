"""Why a signature is left out: it is wrong, or it needs what this release does not have."""


class MalformedError(ValueError):
    """A line that is no signature of its format, and why (S3)."""


class UnsupportedError(Exception):
    """A sound signature that cannot be used here. Counted by reason, so each is one of a few."""
