"""What the running service says about itself, asked over its console."""

import json
import time
import urllib.error
import urllib.request
from typing import Any

from mailward.config import Config
from mailward.definitions.model import Version

_TIMEOUT_S = 2.0
_ANSWER_MAX_BYTES = 1024 * 1024
_IN_USE_WITHIN_S = 15.0
"""Workers change one after the other; large sets take seconds to load."""
_POLL_S = 0.2


def ask(config: Config) -> dict[str, Any] | None:
    """The body of ``/healthz``; None if no service answers."""
    if not config.console.enabled:
        return None
    host, _, port = config.console.listen.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 (what is listened on)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{host}:{port}/healthz", timeout=_TIMEOUT_S) as answer:
            told = json.loads(answer.read(_ANSWER_MAX_BYTES))
    except urllib.error.HTTPError as e:
        with e:
            told = _unprotected(e.read(_ANSWER_MAX_BYTES))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and "protected" in told else None


def wait_until_in_use(config: Config, version: Version) -> str:
    """Whether scanning uses a set (S9), in words; waits within bounds for workers to change."""
    until = time.monotonic() + _IN_USE_WITHIN_S
    while True:
        told = ask(config)
        if told is None:
            return "no running service answers (console.listen): nothing scans with it yet"
        workers = told.get("workers")
        if workers is None:
            return "the service that runs here only updates: nothing scans with it yet"
        if set(workers) == {str(version)}:
            return f"scanning uses it: {workers_in_words(workers)}"
        if time.monotonic() >= until:
            return f"scanning does not use it yet: {workers_in_words(workers) or 'no workers'}"
        time.sleep(_POLL_S)


def workers_in_words(workers: dict[str, int]) -> str:
    """``2 workers with 20261123.007``; empty without workers."""
    return ", ".join(
        f"{count} {'worker' if count == 1 else 'workers'} with {version}"
        for version, count in sorted(workers.items())
    )


def _unprotected(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None
