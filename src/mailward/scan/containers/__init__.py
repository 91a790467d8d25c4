"""Containers: recognised by their content, never by their name, and unpacked within a budget.

A new format is a module beside these with ``read``, and a line in ``unpack``.
"""

from mailward.scan.budget import Budget
from mailward.scan.containers import stream, tar
from mailward.scan.containers import zip as zip_archive
from mailward.scan.containers.recognised import recognise
from mailward.scan.contents import Contents


def unpack(data: bytes, name: str, content_type: str, budget: Budget) -> Contents | None:
    """What is inside; None if ``data`` is no container.

    Making it costs nothing: the work is done while it is iterated, which raises Spent and nothing
    else, whatever ``data`` is. ``name``: the container's own.
    """
    if stream.find(data) is not None:
        return stream.read(data, name, budget)
    shut = recognise(data, content_type)
    if shut is not None:
        return iter((shut,))
    if zip_archive.looks_like_zip(data):
        return zip_archive.read(data, budget)
    if tar.looks_like_tar(data):
        return tar.read(data, budget)
    return None
