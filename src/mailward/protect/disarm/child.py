"""The process that disarms one message: ``python -m mailward.protect.disarm.child SECONDS``.

The message comes on standard input, to its end. Standard output is a line of JSON (``removed``,
``unsound``, ``signed``; ``null`` for a message that nothing can be taken out of) and the new
message. Before it reads anything it gives up the network, other processes, and writing; it has a
limit on memory, and on processor time.
"""

import dataclasses
import json
import resource
import sys

from mailward.protect.disarm.message import disarm_message
from mailward.scan.sandbox import confine
from mailward.settings.base import MIB

_MEMORY_BYTES = 2048 * MIB
"""Private memory: a large document as a tree is many times its size."""
_OPEN_FILES_MAX = 64


def main(seconds: int) -> None:
    """See the module."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES_MAX, _OPEN_FILES_MAX))
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    confine()
    result = disarm_message(sys.stdin.buffer.read())
    told = None
    if result is not None:
        told = dataclasses.asdict(dataclasses.replace(result, content=b""))
        del told["content"]
    out = sys.stdout.buffer
    out.write(json.dumps(told).encode() + b"\n")
    out.write(result.content if result is not None else b"")
    out.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
