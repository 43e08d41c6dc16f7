"""A toy step for measuring engines: it sleeps for half a second, so that what is left is the engine's own time.

In a module of its own, since Ray's workers and the sandboxes import it by name.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from manifests.records import Drop, Source
from pipeline import step

NAP_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """When a nap began and ended, in seconds since the epoch: processes share no other clock."""

    id: str
    source: str
    began: float
    ended: float


class Nap(step.Step[Source, Rest]):
    """Sleep, whatever comes."""

    name, takes, gives = "nap", Source, Rest

    def run(self, batch: Sequence[Source]) -> list[list[Rest] | Drop]:
        """One Rest per source."""
        return [[self._rest(source)] for source in batch]

    def _rest(self, source: Source) -> Rest:
        began = time.time()
        time.sleep(NAP_S)
        return Rest(id=source.id, source=source.id, began=began, ended=time.time())
