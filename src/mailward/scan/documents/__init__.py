"""Documents: what is in them, and what they run, within a budget.

Each module has ``read`` with the signature of a container's (``mailward.scan.containers.Reader``),
and a line in ``mailward.scan.documents.readers``.
"""

import mailward.scan.containers  # noqa: F401 (it knows the order: its table names the readers here)
