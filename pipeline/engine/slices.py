"""Split a part into slices of clips. All steps that share a model process a slice before the next slice begins.

The model's cache then still holds the clip's media from its caption when the questions are asked. The slices depend on
the part alone, never on timing, so the batches are the same in every run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from manifests.ledger import Manifest
from pipeline.plan import PlannedStep, ok_records
from pipeline.step import Step

Rows = dict[Manifest, pa.Table]  # of one part
CLIP = "clip"  # column that names the clip which a row is about


def slices_of(steps: Sequence[PlannedStep], part: int, held: Rows) -> Iterator[Rows]:
    """Yield per slice the rows of earlier steps that belong to its clips.

    held: rows of the part that were read before; rows that are read now are added.
    """
    own = {planned.manifest for planned in steps}
    read = dict.fromkeys(manifest for planned in steps for manifest in planned.reads.values() if manifest not in own)
    for manifest in read:
        if manifest not in held:
            held[manifest] = manifest.read(part)
    clips = list(dict.fromkeys(clip for manifest in read for clip in _clips(held[manifest])))
    size = min(planned.step.clips_at_once for planned in steps) if len(steps) > 1 else max(1, len(clips))
    for start in range(0, len(clips), size):
        chosen = pa.array(clips[start : start + size])
        yield {manifest: _of_clips(held[manifest], chosen) for manifest in read}


def expected_by(step: Step[Any, Any], *slices: Rows) -> tuple[Any, ...]:
    """Return the records of slices of which a step is told before it runs, in order; see `Step.expect`."""
    tables = [table for rows in slices for manifest, table in rows.items() if manifest.record is step.expects]
    return tuple(record for table in tables for record in ok_records(cast("type", step.expects), table))


def _clips(rows: pa.Table) -> list[str]:
    """Return the ids of the clips that the rows belong to, in order."""
    return pc.drop_null(rows[CLIP]).to_pylist() if CLIP in rows.column_names else []


def _of_clips(rows: pa.Table, clips: pa.Array) -> pa.Table:
    return rows.filter(pc.is_in(rows[CLIP], clips)) if CLIP in rows.column_names else rows
