"""Getting bytes within limits: for the agent's repository and for the publisher's feeds.

Nothing that comes through here is trusted; it is only bounded (S1).
"""

from mailward.fetch.bounds import (
    CHUNK_BYTES,
    Limits,
    NotResumableError,
    NotThereError,
    Watchdog,
    bounded,
)
from mailward.fetch.http import Answer, BoundedHttp
from mailward.fetch.route import Login, Route, read_login

__all__ = [
    "CHUNK_BYTES",
    "Answer",
    "BoundedHttp",
    "Limits",
    "Login",
    "NotResumableError",
    "NotThereError",
    "Route",
    "Watchdog",
    "bounded",
    "read_login",
]
