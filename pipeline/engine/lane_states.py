"""Store the states of a cluster run's lanes in `<root>/lanes.json`, for `ola status` and the progress of `ola run`.

The run writes the file every few seconds and deletes it at the end. A file that a killed run left is too old to be
shown.
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
    """The state of a lane. busy: share of its actors that work, 0..1; parts_a_minute: from the last parts."""

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
    """Return the lane states of the run that works at `root`; empty if no run on a cluster does."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        facts = json.loads(storage.read_bytes(storage.join(root, LANES)))
        if time.time() - facts["time"] < OLD:
            return [LaneState(**{**lane, "steps": tuple(lane["steps"])}) for lane in facts["lanes"]]
    return []


def remove(root: str) -> None:
    """Delete the file at the end of a run."""
    with suppress(OSError):
        storage.remove(storage.join(root, LANES))
