"""The ranks of a training: which one this process is, and what all of them do together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def never_stopped() -> bool:
    """Return False: nobody asks for a stop."""
    return False


@dataclass(frozen=True)
class World:
    """Which of how many ranks this process is, and its device. Several ranks need a process group that is set up.

    asked: whether the first rank is asked to stop after the step in hand.
    """

    rank: int = 0
    ranks: int = 1
    device: str = "cpu"
    asked: Callable[[], bool] = never_stopped

    def sum(self, tensor: Tensor) -> Tensor:
        """Over all ranks, in place."""
        if self.ranks > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def wait(self) -> None:
        """Until every rank is here."""
        if self.ranks > 1:
            torch.distributed.barrier()

    def stops(self) -> bool:
        """Return whether the first rank is asked to stop; all ranks call it at once, and get the same answer."""
        asked = self.rank == 0 and self.asked()
        return bool(self.sum(torch.tensor(int(asked), device=self.device))) if self.ranks > 1 else asked


ALONE = World()
