"""Settings of pack. Thresholds live here, apart from the steps: changing one reruns no model."""

from __future__ import annotations

from pydantic import Field

from pipeline import step


class PackSettings(step.Settings):
    """What goes into the shards, and how they are cut.

    where: a DuckDB expression over the columns of `candidates` (see `pipeline.pack.choose`); tasks for which it is
    not true are left out. val: share of videos kept for validation. shard_mb: a shard is closed when it is this large.
    context: tokens of Ola's context; samples beyond it are left out, since a trainer would cut off the answer.
    """

    where: str = "true"
    val: float = Field(default=0.02, ge=0, lt=1)
    shard_mb: int = Field(default=256, gt=0)
    context: int = Field(default=16384, gt=0)
