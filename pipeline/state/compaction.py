"""Compaction: 64 part files of a step become one block file, so that whoever looks at a run reads few files.

What is compacted, and why a kill loses nothing, is told in `manifests.blocks`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

import pyarrow as pa

from manifests import blocks
from manifests.blocks import PartFiles
from manifests.ledger import Manifest
from pipeline.engine.actor_pool import Lane, LanePlan
from pipeline.plan import Plan

INTERVAL = 600.0  # seconds between two looks of a run at work: a listing a step
COMPACT = "compact"  # name of the lane, beside those of the steps

Run = Callable[[Sequence[LanePlan], Sequence[int]], object]  # `map` of an engine


def compact(plan: Plan, parts: Sequence[int], run: Run) -> None:
    """Compact every block of committed parts of the plan's steps, and delete part files that nobody reads any more.

    parts: of the sources. With fewer than a block of them nothing is listed, else each step once, and those that are
    compacted once more. run: brings lanes to work.
    """
    files = _look([planned.manifest for planned in plan.steps]) if _fill_a_block(parts) else {}
    todo = [(manifest, number) for manifest, found in files.items() for number in found.whole()]
    if todo:
        run([LanePlan(partial(CompactLane, todo), steps=(COMPACT,))], range(len(todo)))
        files |= _look([manifest for manifest, _ in todo])
    for manifest, found in files.items():
        with suppress(OSError):  # files that nobody reads may wait for the next run
            blocks.remove_leftovers(manifest.folder_uri, found)


def _look(manifests: Iterable[Manifest]) -> dict[Manifest, PartFiles]:
    return {manifest: blocks.part_files(manifest.folder_uri) for manifest in dict.fromkeys(manifests)}


@contextmanager
def compacting(plan: Plan, parts: Sequence[int]) -> Iterator[None]:
    """Compact in this process every INTERVAL while the block lasts, so that a long run leaves few files to look at."""
    ended = threading.Event()
    thread = threading.Thread(target=_compact_until, args=(plan, parts, ended), daemon=True)
    if _fill_a_block(parts):
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if thread.ident is not None:
            thread.join()


def _compact_until(plan: Plan, parts: Sequence[int], ended: threading.Event) -> None:
    def run(lanes: Sequence[LanePlan], numbers: Sequence[int]) -> None:
        lane = lanes[0].make()
        for number in numbers:
            if not ended.is_set():
                lane(number)

    while not ended.wait(INTERVAL):
        with suppress(OSError):  # the store may answer the next time
            compact(plan, parts, run)


def _fill_a_block(parts: Sequence[int]) -> bool:
    """Tell whether the parts have all those of some block."""
    present = set(parts)
    return any(present.issuperset(blocks.parts_of(number)) for number in {part // blocks.BLOCK for part in parts})


class CompactLane(Lane):
    """Writes the n-th of a list of block files."""

    def __init__(self, todo: Sequence[tuple[Manifest, int]]) -> None:
        """todo: manifests and numbers of blocks."""
        self.todo = todo

    def __call__(self, number: int) -> None:
        """Write one block file. A block that cannot be compacted keeps its part files until the next run."""
        manifest, block = self.todo[number]
        with suppress(OSError, pa.ArrowException):
            blocks.write_block(manifest.folder_uri, manifest.schema, block)
