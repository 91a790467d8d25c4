"""Which document begins how, and who reads it."""

from collections.abc import Callable

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents
from mailward.scan.documents import office, tnef

Reader = Callable[[bytes, str, Budget], Contents]
"""As ``mailward.scan.containers.Reader``."""

AT_START: tuple[tuple[bytes, str, Reader], ...] = (
    (office.STARTS, "compound file (Office, Outlook)", office.read),
    (tnef.STARTS, "TNEF (winmail.dat)", tnef.read),
)
"""Regular expressions without groups."""

BY_LOOK: tuple[tuple[Callable[[bytes], bool], str, Reader], ...] = ()
"""Besides what it starts as."""
