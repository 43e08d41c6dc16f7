"""Compact 64 part files of a step into one block file, so that readers of a run open few files.

The format, and why a kill loses no rows, is documented in `manifests.blocks`.
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
from pipeline.engine.lane_plan import Lane, LanePlan
from pipeline.plan import Plan

INTERVAL = 600.0  # seconds between compactions during a run; each needs one listing per step
COMPACT = "compact"  # name of the compaction lane

Run = Callable[[Sequence[LanePlan], Sequence[int]], object]  # `map` of an engine


def compact(plan: Plan, parts: Sequence[int], run: Run) -> None:
    """Compact every complete block of the plan's steps, and delete the part files that block files replace.

    parts: the parts of the sources; if they fill no block, no request is made. run: runs lanes on an engine.
    """
    files = _list_files([planned.manifest for planned in plan.steps]) if _has_full_block(parts) else {}
    todo = [(manifest, number) for manifest, found in files.items() for number in found.complete_blocks()]
    if todo:
        run([LanePlan(partial(CompactLane, todo), steps=(COMPACT,))], range(len(todo)))
        files |= _list_files([manifest for manifest, _ in todo])
    for manifest, found in files.items():
        with suppress(OSError):  # the next run deletes them
            blocks.remove_leftovers(manifest.folder_uri, found)


def _list_files(manifests: Iterable[Manifest]) -> dict[Manifest, PartFiles]:
    return {manifest: blocks.part_files(manifest.folder_uri) for manifest in dict.fromkeys(manifests)}


@contextmanager
def compacting(plan: Plan, parts: Sequence[int]) -> Iterator[None]:
    """Compact every INTERVAL seconds in a thread until the block ends, so that a long run has few files."""
    ended = threading.Event()
    thread = threading.Thread(target=_compact_until, args=(plan, parts, ended), daemon=True)
    if _has_full_block(parts):
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
        with suppress(OSError):  # retried after the next INTERVAL
            compact(plan, parts, run)


def _has_full_block(parts: Sequence[int]) -> bool:
    """Return whether the parts include all parts of a block."""
    present = set(parts)
    return any(present.issuperset(blocks.parts_of(number)) for number in {part // blocks.BLOCK for part in parts})


class CompactLane(Lane):
    """A lane whose numbers are indices into a list of block files to write."""

    def __init__(self, todo: Sequence[tuple[Manifest, int]]) -> None:
        """todo: the manifest and the number of each block."""
        self.todo = todo

    def __call__(self, number: int) -> None:
        """Write one block file. If that fails, the block keeps its part files until the next run."""
        manifest, block = self.todo[number]
        with suppress(OSError, pa.ArrowException):
            blocks.write_block(manifest.folder_uri, manifest.schema, block)
