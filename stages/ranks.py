"""The rank of this process, and collective operations of all ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def never_stopped() -> bool:
    """Return False: no stop is requested."""
    return False


@dataclass(frozen=True)
class World:
    """The rank and the device of this process. ranks: their number; several ranks need an initialised process group.

    stop_requested: whether the first rank shall stop after the current step.
    """

    rank: int = 0
    ranks: int = 1
    device: str = "cpu"
    stop_requested: Callable[[], bool] = never_stopped

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over all ranks, in place, and return it."""
        if self.ranks > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def wait(self) -> None:
        """Wait until every rank calls this method."""
        if self.ranks > 1:
            torch.distributed.barrier()

    def should_stop(self) -> bool:
        """Return whether a stop is requested from the first rank. All ranks must call it; all get the same answer."""
        stop_requested = self.rank == 0 and self.stop_requested()
        return (
            bool(self.sum(torch.tensor(int(stop_requested), device=self.device))) if self.ranks > 1 else stop_requested
        )


SINGLE = World()
