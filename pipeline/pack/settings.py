"""Settings of pack. Thresholds are here, not in the steps: changing one reruns no model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from pipeline import step
from pipeline.pack.licences import licence_name
from pipeline.pack.presets import Preset
from pipeline.steps.needs import Judges
from stages.samples import GIVEN, MADE

Needs = Literal["both", "video", "audio", "text", "none-agrees"]
Given = Literal["caption", "qa"]


class BalanceSettings(step.Settings):
    """Which clips are left out so that none of a kind prevails. Each rule holds within each group of parts."""

    by: str = ""
    """DuckDB expression over the columns of a clip, as `language` or `meta->>'category'`; empty: no shares."""
    at_most: float | None = Field(default=None, gt=0, le=1)
    """Largest share of the clips that a value of `by` may have."""
    like: Literal["uniform"] | None = None
    """`uniform`: as many clips of each value of `by` as the rarest has."""
    clips_per_video: int | None = Field(default=None, gt=0)
    """Most clips of a video."""
    clips_per_channel: int | None = Field(default=None, gt=0)
    """Most clips of a channel: of the videos with the same `channel_id`, `uploader_id`, `uploader` or `channel`."""

    @model_validator(mode="after")
    def _check_shares(self) -> BalanceSettings:
        rules = (self.at_most is not None) + (self.like is not None)
        if rules != bool(self.by):
            raise ValueError("expected `by` with one of `at_most` and `like`, as in {by: language, at_most: 0.4}")
        return self


NO_BALANCE = BalanceSettings()


class PackSettings(step.Settings):
    """What goes into the shards, and how they are cut."""

    where: str = "true"
    """DuckDB expression over the columns of `candidates`; tasks for which it is not true are left out."""
    preset: Preset = "none"
    """Named conditions that must be true besides `where`: see `docs/how-to/presets.md`."""
    licence: tuple[str, ...] = ()
    """Licences of videos that are packed, as `[CC-BY, CC0]`, or `unknown` for none; empty: all."""
    val: float = Field(default=0.02, ge=0, lt=1)
    """Share of the videos that is kept for validation."""
    shard_mb: int = Field(default=256, gt=0)
    """A shard is closed when it has this size."""
    context: int = Field(default=16384, gt=0)
    """Tokens of Ola's context; larger samples are left out, as a trainer would cut off the answer."""
    caps: dict[str, NonNegativeInt] = Field(default={})
    """Most tasks of a kind that a clip may have, as `{subtitle: 1}`."""
    balance: BalanceSettings = NO_BALANCE
    cross_modal_needs: tuple[Needs, ...] = ("both", "audio")
    """What a question must need to be packed as `cross_modal_qa`; those that need `video` are `video_qa`."""
    agreement: float = Field(default=0.5, gt=0, le=1)
    """Probability from which on an answer of `verify` counts as equal to the reference."""
    judges: Judges = "witnesses"
    """Whose answers tell what a question needs: those of all `witnesses` of `verify`, or of the `annotator` alone."""
    evidence: Literal["found", "any"] = "found"
    """Which questions of `ask.style: evidence` are packed: those whose answer was found from their spans and not from
    the rest of the clip, or `any`. Other questions have no spans, and are packed by the other rules alone."""
    given: tuple[Given, ...] = ()
    """Texts of the data set that are packed, as `given_caption` and `given_qa`: see `pipeline/sources/given.yaml`."""

    benchmarks: tuple[str, ...] = ()
    """Files with the texts of benchmarks (.txt, .json, .jsonl, .parquet), for the column `leaked_text`."""

    @field_validator("given")
    @classmethod
    def _sort_given(cls, given: tuple[Given, ...]) -> tuple[Given, ...]:
        return tuple(sorted(set(given)))

    @field_validator("licence")
    @classmethod
    def _name_licences(cls, licences: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted({licence_name(each) for each in licences}))

    @field_validator("caps")
    @classmethod
    def _check_caps(cls, caps: dict[str, int]) -> dict[str, int]:
        for kind in caps:
            if kind not in {**MADE, **GIVEN}:
                raise ValueError(f"expected a kind of task, got {kind!r} (choices: {', '.join([*MADE, *GIVEN])})")
        return caps
