"""Telling the publisher: a command of theirs is run with the message on its standard input."""

import os
import subprocess
from collections.abc import Sequence

import structlog

log = structlog.get_logger(__name__)

_TIMEOUT_S = 60.0


def tell(command: Sequence[str], job: str, good: bool, text: str) -> None:
    """Run ``command``, if there is one. What goes wrong with it is logged.

    It gets ``MAILWARD_JOB`` and ``MAILWARD_STATE`` (``failing`` or ``recovered``) in its
    environment.
    """
    if not command:
        return
    state = "recovered" if good else "failing"
    try:
        subprocess.run(  # noqa: S603 (the publisher's own command, not passed to a shell)
            list(command),
            input=f"mailward repo watch: {job} {state}: {text}\n".encode(),
            env=os.environ | {"MAILWARD_JOB": job, "MAILWARD_STATE": state},
            timeout=_TIMEOUT_S,
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.SubprocessError) as e:
        log.error("the publisher could not be told", command=command[0], reason=str(e))
