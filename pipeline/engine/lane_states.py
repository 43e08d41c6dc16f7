"""`<root>/lanes.json`: what the lanes of a run on a cluster do now, for `ola status` and the progress of `ola run`.

The run writes it every few seconds and deletes it in the end; of a run that was killed the last state is left, and is
too old to be shown.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from manifests import storage

LANES = "lanes.json"
OLD = 60.0  # seconds after which a state tells nothing of now; clocks of two machines may differ by some


@dataclass(frozen=True)
class LaneState:
    """A lane now. busy: share of its actors that work, 0..1; parts_a_minute: by their mean time of late."""

    steps: tuple[str, ...]
    actors: int
    busy: float
    parts_a_minute: float

    def __str__(self) -> str:
        """Return the state in one line."""
        actors = f"{self.actors} actor{'s' * (self.actors != 1)}"
        return f"{', '.join(self.steps)}: {actors}, {self.busy:.0%} busy, {self.parts_a_minute:.1f} parts a minute"


def write(root: str, states: Sequence[LaneState]) -> None:
    """Replace the stored state of the lanes. A failed write is ignored."""
    facts = {"time": time.time(), "lanes": [asdict(state) for state in states]}
    with suppress(OSError):
        storage.write_bytes(storage.join(root, LANES), json.dumps(facts).encode())


def read(root: str) -> list[LaneState]:
    """Return the lanes of the run that works at `root` now; none where no run on a cluster does."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        facts = json.loads(storage.read_bytes(storage.join(root, LANES)))
        if time.time() - facts["time"] < OLD:
            return [LaneState(**{**lane, "steps": tuple(lane["steps"])}) for lane in facts["lanes"]]
    return []


def remove(root: str) -> None:
    """Delete the state of a run that ends."""
    with suppress(OSError):
        storage.remove(storage.join(root, LANES))
