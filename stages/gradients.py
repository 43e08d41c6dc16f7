"""Compute the gradients of a step, a few packs at a time, so that its packs are never in memory together.

    packs ─► losses ─► backward, summed ─► at the end of the step: divided by the supervised tokens of all ranks

In: the packs of a step, as they are read. Out: gradients of the mean loss over the step's supervised tokens on all
ranks, and sums of losses by kind of task. Losses stay on the device until the step ends: reading them synchronises.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from ola.model import OlaForConditionalGeneration
from ola.packing import row_lengths
from ola.prompt import IGNORE, Prompt
from stages.decoding import Pack
from stages.ranks import World

SHARE = 0.8  # of a GPU's free memory that the passes of a step may take, since packs differ in their media


@dataclass(frozen=True)
class StepLosses:
    """The losses of a step. by_kind: sum and number of losses by kind, on all ranks. tokens: read by all ranks.

    lengths: of this rank's pieces of rows.
    """

    by_kind: Mapping[str, tuple[float, float]]
    tokens: int
    lengths: Sequence[int]

    @property
    def loss(self) -> float:
        """The mean loss in nats per supervised token."""
        return sum(nats for nats, _ in self.by_kind.values()) / max(
            1.0, sum(count for _, count in self.by_kind.values())
        )


class Gradients:
    """Computes the gradients of steps. kind_of: the kind of task of each row of the catalogue."""

    def __init__(
        self, model: OlaForConditionalGeneration, world: World, kind_of: Sequence[str], passes: PassSize
    ) -> None:
        self.model, self.world, self.kind_of, self.passes = model, world, kind_of, passes
        self.kinds = sorted(set(kind_of))

    def compute(self, packs: Iterable[Pack]) -> StepLosses:
        """Add the gradients of a step to those of the parameters."""
        sums = torch.zeros(len(self.kinds) + 1, 2, dtype=torch.float64, device=self.world.device)
        lengths = list[int]()
        for some in self.passes.split(packs):
            own = [length for pack in some if pack.counts for length in row_lengths(pack.prompts)]
            sums[:-1] += self._run_pass([pack.to(self.world.device) for pack in some])
            sums[-1, 0] += sum(own)
            lengths += own
        self.world.sum(sums)
        self._scale(self.world.ranks / sums[:-1, 1].sum().clamp(min=1))
        *by_kind, (tokens, _) = sums.tolist()
        return StepLosses(dict(zip(self.kinds, map(tuple, by_kind), strict=True)), int(tokens), lengths)

    def _run_pass(self, packs: Sequence[Pack]) -> Tensor:
        """Run packs as one row, forward and backward; return the sum and the number of losses by kind (kinds, 2)."""
        device = self.world.device
        losses = self.model([prompt for pack in packs for prompt in pack.prompts]).losses
        rows = [
            (row, prompt, pack.counts) for pack in packs for row, prompt in zip(pack.rows, pack.prompts, strict=True)
        ]
        sizes = torch.tensor([count_supervised(prompt) for _, prompt, _ in rows])
        kinds = torch.tensor([self.kinds.index(self.kind_of[row]) for row, _, _ in rows]).repeat_interleave(sizes)
        counts = torch.tensor([float(counts) for *_, counts in rows], dtype=torch.float64).repeat_interleave(sizes)
        kinds, counts = kinds.to(device, non_blocking=True), counts.to(device, non_blocking=True)
        (losses * counts.to(losses.dtype)).sum().backward()
        table = torch.zeros(len(self.kinds), 2, dtype=torch.float64, device=device)
        return table.index_add_(0, kinds, torch.stack([losses.detach().double() * counts, counts.double()], 1))

    def _scale(self, factor: Tensor) -> None:
        """Scale the gradients. factor: ranks / supervised tokens, since FSDP averages gradients over the ranks."""
        for parameter in self.model.parameters():
            if (gradient := parameter.grad) is not None:
                local = gradient.to_local() if isinstance(gradient, DTensor) else gradient
                local *= factor.to(local.dtype)


class PassSize:
    """The number of packs in a pass: as set, or with `auto` as many as fit in the memory of every rank's GPU.

    The first step runs one pack at a time and measures; on a CPU all steps do so.
    """

    def __init__(self, micro_batch: int | None, world: World) -> None:
        """micro_batch: packs in a pass; None: auto."""
        self.size, self.world = micro_batch or 1, world
        self.measures = micro_batch is None and world.device.startswith("cuda")
        self.step_bytes = 0

    def split(self, packs: Iterable[Pack]) -> Iterator[list[Pack]]:
        """Yield the packs of a step in passes. All ranks must call the method for each step."""
        before = 0
        if self.measures and self.step_bytes:
            self.size, self.measures = self._fitting(), False
        if self.measures:
            before = torch.cuda.memory_allocated(self.world.device)
            torch.cuda.reset_peak_memory_stats(self.world.device)
        given = iter(packs)
        while some := list(islice(given, self.size)):
            yield some
        if self.measures:
            self.step_bytes = torch.cuda.max_memory_allocated(self.world.device) - before

    def _fitting(self) -> int:
        """Return how many packs fit beside weights and optimizer, on the rank with the least memory."""
        device = self.world.device
        total = torch.cuda.get_device_properties(device).total_memory
        free = SHARE * (total - torch.cuda.memory_allocated(device))
        return self.world.least(max(1, int(free // max(1, self.step_bytes))))


def count_supervised(prompt: Prompt) -> int:
    """Count the supervised tokens of a prompt; the first token has no context and is never supervised."""
    assert prompt.labels is not None
    return int((prompt.labels[1:] != IGNORE).sum())
