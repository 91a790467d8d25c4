"""Programs: what is packed or carried inside of them."""

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents
from mailward.scan.programs import carried


def read(data: bytes, budget: Budget) -> Contents:
    """Programs inside of the program or picture ``data``. Raises only Spent."""
    yield from carried.read(data, budget)
