"""The rank of this process, collective operations of all ranks, and the process groups for these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh


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
            dist.all_reduce(tensor)
        return tensor

    def least(self, value: int) -> int:
        """Return the least of the values of all ranks."""
        if self.ranks == 1:
            return value
        least = torch.tensor(value, device=self.device)
        dist.all_reduce(least, dist.ReduceOp.MIN)
        return int(least)

    def wait(self) -> None:
        """Wait until every rank calls this method."""
        if self.ranks > 1:
            dist.barrier()

    def should_stop(self) -> bool:
        """Return whether a stop is requested from the first rank. All ranks must call it; all get the same answer."""
        stop_requested = self.rank == 0 and self.stop_requested()
        return (
            bool(self.sum(torch.tensor(int(stop_requested), device=self.device))) if self.ranks > 1 else stop_requested
        )


SINGLE = World()


def device_mesh(ranks: int, device_type: str) -> DeviceMesh:
    """Return the mesh of all ranks. A single rank gets its process group here; several need an initialised group."""
    _ensure_group(device_type)
    return init_device_mesh(device_type, (ranks,))


def process_group(device_type: str) -> dist.ProcessGroup:
    """Return another group of all ranks, for collectives on CPUs from a thread. All ranks must call the function."""
    _ensure_group(device_type)
    group: dist.ProcessGroup = dist.new_group(backend="gloo")
    return group


def _ensure_group(device_type: str) -> None:
    if not dist.is_initialized():
        backend = "nccl" if device_type == "cuda" else "gloo"
        store = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=0, world_size=1)
