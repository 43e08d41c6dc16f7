"""The Ray actor that holds a lane."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from manifests import retries
from pipeline.engine.lane_plan import Lane
from pipeline.engine.ray_errors import TransportedError, as_ola_error
from pipeline.errors import SetAside
from pipeline.monitoring.metrics import VALUES, Values, publish_on_ray


def hide_gpus() -> None:
    """Hide all GPUs from an actor that has no share of one, and from its processes; Ray would show all."""
    import ray

    if not ray.get_gpu_ids():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


class LaneActor:
    """A lane inside a Ray actor."""

    def __init__(self, make: Callable[[], Lane], patience: float | None = None) -> None:
        """Make the lane in the actor's own process. patience: with stores, in minutes."""
        hide_gpus()
        publish_on_ray()
        retries.set_patience(patience)
        self.lane = make()

    def ready(self) -> None:
        """Return once the actor has started."""

    def work(
        self, number: int, is_retry: bool = False, following: int | None = None
    ) -> tuple[float, SetAside | None, Values, int]:
        """Process a number. Returns its seconds, why it was set aside, its counters, and the count of retries.

        is_retry: whether another actor died over it. following: the number that the actor gets next, if it is known.
        """
        began, aside = time.monotonic(), None
        try:
            if is_retry:
                self.lane.refresh()
            self.lane.expect(following)
            self.lane(number)
        except SetAside as fault:
            aside = fault
        except Exception as error:
            raise TransportedError(as_ola_error(error)) from error
        return time.monotonic() - began, aside, VALUES.take(), retries.tally.take()

    def close(self) -> None:
        """Close the lane."""
        self.lane.close()
