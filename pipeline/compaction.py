"""Compaction: 64 part files of a step become one block file, so that whoever looks at a run reads few files.

What is compacted, and why a kill loses nothing, is told in `manifests.blocks`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import pyarrow as pa

from manifests import blocks
from manifests.ledger import Manifest
from pipeline.actor_pool import LanePlan
from pipeline.plan import Plan

COMPACT = "compact"  # name of the lane, beside those of the steps

Run = Callable[[Sequence[LanePlan], Sequence[int]], object]  # `map` of an engine


def compact(plan: Plan, parts: Sequence[int], run: Run) -> None:
    """Compact every block of committed parts of the plan's steps, and delete part files that nobody reads any more.

    parts: of the sources. With fewer than a block of them nothing is listed. run: brings lanes to work.
    """
    present = set(parts)
    if not any(present.issuperset(blocks.parts_of(number)) for number in {part // blocks.BLOCK for part in parts}):
        return
    todo = to_compact([planned.manifest for planned in plan.steps])
    if todo:
        run([LanePlan(partial(CompactLane, todo), steps=(COMPACT,))], range(len(todo)))


def to_compact(manifests: Sequence[Manifest]) -> list[tuple[Manifest, int]]:
    """Return the manifests and numbers of the blocks to compact. One listing a manifest."""
    return [(manifest, number) for manifest in manifests for number in _numbers(manifest)]


def _numbers(manifest: Manifest) -> list[int]:
    return blocks.part_files(manifest.folder_uri).to_compact()


class CompactLane:
    """Compacts the n-th of a list of blocks."""

    def __init__(self, todo: Sequence[tuple[Manifest, int]]) -> None:
        """todo: manifests and numbers of blocks."""
        self.todo = todo

    def __call__(self, number: int) -> None:
        """Compact one block. A block that cannot be compacted keeps its part files until the next run."""
        manifest, block = self.todo[number]
        with suppress(OSError, pa.ArrowException):
            blocks.compact(manifest.folder_uri, manifest.schema, block)

    def close(self) -> None:
        """Nothing is held."""
