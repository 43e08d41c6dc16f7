"""What an hour of video gives and takes: clips, tasks, tokens, seconds and bytes by step.

From the earlier run of a root with intervals from its videos, else from `rates.yaml`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from statistics import median
from typing import Any

import duckdb
import yaml

from manifests import blocks, storage, views
from manifests.schema import hints
from ola import locate_model
from pipeline.annotation.annotator_settings import LARGE, weight_bytes
from pipeline.config import Config
from pipeline.forecast.estimate import Estimate, ratio_estimate, total
from pipeline.forecast.sampled import Sample
from pipeline.forecast.step_seconds import estimate_seconds
from pipeline.plan import Plan
from pipeline.run import all_manifests
from pipeline.state.registration import part_size

ASKING = ("screen", "caption", "ask", "verify")
TOKENS = {"asked": "prompt_tokens", "read": "read_tokens", "written": "answer_tokens"}
LEAST_VIDEOS = 2  # of an earlier run, for ratios with an interval
SIZE_LOW, SIZE_HIGH = 0.85, 1.1  # of bytes

VIDEOS = "SELECT id, duration / 3600 FROM ingest WHERE status = 'ok' ORDER BY id"
SECONDS = "SELECT input[1:20], sum(seconds) FROM {step} GROUP BY ALL"
CALLS = (
    "SELECT clip[1:20], sum(asked.{column}) FROM (SELECT DISTINCT clip, asked FROM {step} WHERE status = 'ok') "
    "GROUP BY ALL"
)
CALLS_WITH_NOTES = (
    "SELECT clip[1:20], sum(asked.{column} + coalesce(list_sum([c.{column} FOR c IN note_calls]), 0)) "
    "FROM (SELECT DISTINCT clip, asked, note_calls FROM {step} WHERE status = 'ok') GROUP BY ALL"
)
SUMMED = "SELECT clip[1:20], sum({column}) FROM {step} WHERE status = 'ok' GROUP BY ALL"
CLIPS = "SELECT video, count(*) FROM split WHERE status = 'ok' GROUP BY ALL"
TASKS = "SELECT video, kind, count(*) FROM pack WHERE status = 'ok' GROUP BY ALL"


@dataclass(frozen=True)
class Ratios:
    """Amounts by name, such as `clips`, `tasks: subtitle`, `tokens read`, `seconds: split`, `bytes: extract`.

    Of all videos of the input, not of an hour. origin: where they are from, in words. gpu: seconds on a GPU by step.
    """

    amounts: Mapping[str, Estimate]
    gpu: Mapping[str, Estimate]
    origin: str


def ratios_for(plan: Plan, config: Config, sample: Sample, card: str) -> Ratios:
    """Return the amounts of a run over the sampled input."""
    made = [planned for planned in plan.steps if planned.manifest.committed()]
    if len(made) == len(plan.steps):
        with views.connect(plan.root, all_manifests(plan), {}, []) as connection:
            measured = _measured(connection, plan)
            seconds = _measured_seconds(connection, plan, sample.total_hours) if measured else {}
            hours = sum(dict(connection.sql(VIDEOS).fetchall()).values())
        if measured:
            amounts = {name: ratio * sample.total_hours for name, ratio in measured.items()} | seconds
            amounts |= _measured_bytes(plan, hours, sample.total_hours, part_count(plan, config, sample))
            on_gpu = config.annotator.runs_on == "cuda"
            gpu = {f: amounts[f"seconds: {f}"] for f in ASKING if on_gpu and f"seconds: {f}" in amounts}
            return Ratios(amounts, gpu, "the earlier run of this root")
    return _from_table(plan, config, sample, card)


def _measured(connection: duckdb.DuckDBPyConnection, plan: Plan) -> dict[str, Estimate]:
    """Return amounts of an hour of video of the earlier run; empty for too few videos."""
    hours = dict(connection.sql(VIDEOS).fetchall())
    if len(hours) < LEAST_VIDEOS:
        return {}

    def ratio(rows: Mapping[str, float]) -> Estimate:
        return ratio_estimate([float(rows.get(video, 0)) for video in hours], list(hours.values()))

    found = {"clips": ratio(dict(connection.sql(CLIPS).fetchall()))}
    if "pack" in views.names(connection):
        by_kind: dict[str, dict[str, float]] = {}
        for video, kind, count in connection.sql(TASKS).fetchall():
            by_kind.setdefault(kind, {})[video] = count
        found |= {f"tasks: {kind}": ratio(rows) for kind, rows in sorted(by_kind.items())}
    for name, column in TOKENS.items():
        parts = [ratio(dict(rows)) for rows in _token_rows(connection, plan, column)]
        found |= {f"tokens {name}": total(parts)} if parts else {}
    return found


def _measured_seconds(connection: duckdb.DuckDBPyConnection, plan: Plan, expected: Estimate) -> dict[str, Estimate]:
    """Return the seconds of each step after `ingest` for so many hours of video."""
    hours, found = dict(connection.sql(VIDEOS).fetchall()), {}
    for planned in plan.steps[1:]:
        rows = dict(connection.sql(SECONDS.format(step=planned.step.name)).fetchall())
        seconds = [float(rows.get(video, 0)) for video in hours]
        found[f"seconds: {planned.step.name}"] = estimate_seconds(seconds, list(hours.values()), expected)
    return found


def _measured_bytes(plan: Plan, hours: float, expected: Estimate, parts: int) -> dict[str, Estimate]:
    """Return the bytes of each step's folder for so many hours and parts.

    A part's file has a size of its own, whatever its rows: that of the smallest; the rest grows with the hours. At the
    least, all of a usual file is its own size. A block of parts is compacted into one file. hours: of the earlier run.
    """
    found = {}
    for planned in plan.steps:
        entries = storage.listing(storage.join(plan.root, planned.manifest.folder))
        size = sum(entry.size for entry in entries)
        files = [entry.size for entry in entries if entry.path.endswith(".parquet")]
        fixed = min(files, default=0)
        rest = (size - fixed * len(files)) / hours
        likely = fixed * sum(divmod(parts, blocks.BLOCK)) + rest * expected.middle
        high = max(likely, size / hours * expected.high)
        media = (size - sum(files)) / hours
        low = (median(files) if files else 0) * sum(divmod(parts, blocks.BLOCK)) + media * expected.low
        found[f"bytes: {planned.step.name}"] = Estimate(SIZE_LOW * min(low, likely), likely, SIZE_HIGH * high)
    return found


def _token_rows(connection: duckdb.DuckDBPyConnection, plan: Plan, column: str) -> list[list[tuple[str, float]]]:
    rows = []
    for planned in plan.steps:
        fields = hints(planned.manifest.record)
        calls = CALLS_WITH_NOTES if "note_calls" in fields else CALLS
        query = calls if "asked" in fields else SUMMED if column in fields else None
        if query is not None:
            rows.append(connection.sql(query.format(step=planned.step.name, column=column)).fetchall())
    return rows


def part_count(plan: Plan, config: Config, sample: Sample) -> int:
    """Return the number of parts after `ola run`: those of the earlier run stay, and new sources make new ones."""
    sizes = plan.sources.committed()
    new = max(0, sample.sources - sum(sizes.values()))
    return len(sizes) + math.ceil(new / (config.videos_per_part or part_size(new)))


def folder_bytes(root: str, folder: str) -> int:
    """Return the size of all files in a folder of the root."""
    return sum(entry.size for entry in storage.listing(storage.join(root, folder)))


@cache
def rates() -> dict[str, Any]:
    """Return the table of rates."""
    text = (resources.files("pipeline.forecast") / "rates.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def _rate(entry: Mapping[str, Any]) -> Estimate:
    return Estimate(*(float(value) for value in entry["values"]))


def _from_table(plan: Plan, config: Config, sample: Sample, card: str) -> Ratios:
    table, names = rates(), [planned.step.name for planned in plan.steps]
    hours = sample.total_hours
    share, longest = _rate(table["clip_share"]), config.split.longest
    seconds = hours * 3600
    shortest_first = Estimate(seconds.low / share.high, seconds.middle / share.middle, seconds.high / share.low)
    clips = (shortest_first * (1 / longest)).at_least(sample.videos)
    spoken = clips * _rate(table["spoken_share"])
    found = {"clips": clips}
    for step in ("split", "extract", "transcribe"):
        if step in names:
            found[f"seconds: {step}"] = hours * _rate(table[f"{step}_seconds"])
    found |= _tasks(table, config, names, clips, spoken)
    gpu = _model_amounts(table, config, names, clips, card, found)
    rows, parts = _rate(table["row_bytes"]), _rate(table["file_bytes"]) * part_count(plan, config, sample)
    frames = clips.at_least(Estimate(*(value * config.extract.frames.fps for value in seconds.values())))
    for step in names:
        found[f"bytes: {step}"] = total([(sample.videos if step == "ingest" else clips) * rows, parts])
    sound = seconds * 32_000
    found["bytes: extract"] = total([frames * _rate(table["frame_bytes"]), Estimate(0, sound.middle, sound.high)])
    return Ratios(found, gpu, "the table in pipeline/forecast/rates.yaml")


def _tasks(
    table: Mapping[str, Any], config: Config, names: list[str], clips: Estimate, spoken: Estimate
) -> dict[str, Estimate]:
    kept = _rate(table["kept_share"])
    found = {f"tasks: {kind}": spoken for kind in ("speech_recognition", "subtitle")}
    if "caption" in names:
        found |= {f"tasks: {kind}_caption": clips * kept for kind in config.caption.kinds}
    if "verify" in names:
        questions = spoken * _rate(table["asked_share"]) * kept * config.ask.questions
        found["tasks: cross_modal_qa"] = questions * _rate(table["cross_modal_share"])
        found["tasks: video_qa"] = questions * _rate(table["video_share"])
    return found


def _model_amounts(
    table: Mapping[str, Any], config: Config, names: list[str], clips: Estimate, card: str, found: dict[str, Estimate]
) -> dict[str, Estimate]:
    """Add the tokens and seconds of the steps that ask to `found`; return the seconds on a GPU by step."""
    asking = [name for name in names if name in ASKING]
    if not asking:
        return {}
    is_large = config.annotator.model == "" or weight_bytes(locate_model(config.annotator.model)) > LARGE
    model = table["released" if is_large else "nano"]
    for name in TOKENS:
        found[f"tokens {name}"] = clips * _rate(model[name])
    if not is_large:
        if "ola" in config.transcribe.sources:
            asking.append("transcribe")
        found |= {f"seconds: {step}": clips * _rate(model["seconds"][step]) for step in asking}
        return {}
    speed = {name: _rate(table["cards"][card][name]) for name in ("read", "written")}
    slow = {
        name: Estimate(
            found[f"tokens {name}"].low / each.high,
            found[f"tokens {name}"].middle / each.middle,
            found[f"tokens {name}"].high / each.low,
        )
        for name, each in speed.items()
    }
    whole = total(slow.values())
    gpu = {step: whole * float(model["shares"][step]) for step in asking}
    found |= {f"seconds: {step}": each for step, each in gpu.items()}
    return gpu
