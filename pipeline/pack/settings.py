"""Settings of pack. Thresholds live here, apart from the steps: changing one reruns no model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, field_validator

from pipeline import step
from stages.samples import GIVEN, MADE

Needs = Literal["both", "video", "audio", "text", "none-agrees"]
Given = Literal["caption", "qa"]


class PackSettings(step.Settings):
    """What goes into the shards, and how they are cut.

    where: a DuckDB expression over the columns of `candidates` (see `pipeline.pack.candidates`); tasks for which it is
    not true are left out. val: share of videos kept for validation. shard_mb: a shard is closed when it is this large.
    context: tokens of Ola's context; samples beyond it are left out, since a trainer would cut off the answer.
    caps: of a kind of task, how many a clip has at most. cross_modal_needs: what a question must need to be a
    `cross_modal_qa`; one that needs the video alone is a `video_qa`. agreement: probability from which on an answer
    of `verify` counts as the same. given: what came with the data set and becomes tasks of its own kinds,
    `given_caption` and `given_qa` (see `pipeline/sources/given.yaml`).
    """

    where: str = "true"
    val: float = Field(default=0.02, ge=0, lt=1)
    shard_mb: int = Field(default=256, gt=0)
    context: int = Field(default=16384, gt=0)
    caps: dict[str, NonNegativeInt] = Field(default={})
    cross_modal_needs: tuple[Needs, ...] = ("both", "audio")
    agreement: float = Field(default=0.5, gt=0, le=1)
    given: tuple[Given, ...] = ()

    @field_validator("given")
    @classmethod
    def _ordered(cls, given: tuple[Given, ...]) -> tuple[Given, ...]:
        return tuple(sorted(set(given)))

    @field_validator("caps")
    @classmethod
    def _known(cls, caps: dict[str, int]) -> dict[str, int]:
        for kind in caps:
            if kind not in {**MADE, **GIVEN}:
                raise ValueError(f"no kind of task {kind!r} (choices: {', '.join([*MADE, *GIVEN])})")
        return caps
