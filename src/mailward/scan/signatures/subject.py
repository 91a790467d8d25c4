"""What a signature is matched against: one buffer, what is known of it, and until when."""

import time
from collections.abc import Callable, Sequence
from functools import cached_property

from mailward.scan.engine import ScanTimeoutError
from mailward.scan.signatures.offsets import Layout, Offset, Window


class Subject:
    """A buffer. What takes work to know is found out when it is first asked for."""

    def __init__(
        self,
        data: bytes,
        deadline: float,
        layout: Callable[[], Layout | None] = lambda: None,
        containers: Sequence[str] = (),
        file_size: int | None = None,
    ) -> None:
        self.data = data
        self._deadline = deadline
        self.containers = containers
        """The types of what it lies in, e.g. ``CL_TYPE_ZIP``, the nearest last."""
        self.found: dict[object, tuple[int, list[int]]] = {}
        """What was looked for already: up to how many, and where it was found."""
        self._layout = layout
        self.file_size = len(data) if file_size is None else file_size
        """What the attribute FileSize is compared with, bytes."""

    @cached_property
    def lower(self) -> bytes:
        """The data with ASCII letters in lower case: the length is the same."""
        return self.data.lower()

    @cached_property
    def layout(self) -> Layout | None:
        """Entry point and sections; None if it is no executable."""
        return self._layout()

    def window(self, offset: Offset) -> Window | None:
        """Where ``offset`` is here; None if nowhere."""
        return offset.window(len(self.data), self.layout if offset.needs_layout else None)

    def is_late(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self._deadline

    def check_time(self) -> None:
        """Raises ScanTimeoutError when the time is up (S11)."""
        if self.is_late():
            raise ScanTimeoutError("signatures took too long")
