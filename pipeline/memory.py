"""The resident memory of a process and its children, measured while it works."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil  # imported where it is used: each process of a step imports this module, and has no use for it

GLANCE = 0.1  # seconds between measurements: at 2 GB/s a process gets 200 MB past its limit
CENSUS = 10  # measurements between searches for children: a search reads all of /proc, some 5 ms


class MemoryGauge:
    """Measures one process during one batch."""

    def __init__(self, pid: int) -> None:
        """The first measurement comes GLANCE seconds from now."""
        self.pid, self.looks, self.last = pid, 0, 0
        self.family: list[psutil.Process] = []
        self.due = time.monotonic() + GLANCE

    def exceeds(self, limit: float) -> bool:
        """Return whether the memory is over `limit` bytes; False if the last measurement is younger than GLANCE."""
        if time.monotonic() < self.due:
            return False
        self.last = self._measure(census=self.looks % CENSUS == 0) or self.last
        self.looks, self.due = self.looks + 1, time.monotonic() + GLANCE
        return self.last > limit

    def _measure(self, census: bool) -> int:
        import psutil

        total = 0
        try:
            if census:
                parent = psutil.Process(self.pid)
                self.family = [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            self.family = []
        for process in self.family:
            with suppress(psutil.NoSuchProcess):  # it ended between two measurements
                total += process.memory_info().rss
        return total
