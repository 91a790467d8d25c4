"""Getting bytes over HTTP within limits: for the agent's repository and for the publisher's feeds.

Nothing that comes through here is trusted; it is only bounded (S1).
"""

from mailward.fetch.http import CHUNK_BYTES, Answer, BoundedHttp, Limits, NotThereError

__all__ = ["CHUNK_BYTES", "Answer", "BoundedHttp", "Limits", "NotThereError"]
