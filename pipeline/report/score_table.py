"""The scores and tasks of all clips as columns of numbers, from which the page computes the yield of other thresholds.

A threshold is one of up to `POSITIONS` positions of a slider. For each clip the table holds the number of positions
that the score passes, so that the page compares small integers and agrees with `ola whatif` exactly.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from pipeline.pack.candidates import create_candidates
from pipeline.pack.rules import judge_candidates
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from stages.samples import GIVEN, MADE

LEAST, MOST = ">=", "<="
SCORES: Mapping[str, str] = {
    "motion": LEAST, "frozen": MOST, "black": MOST, "silence": MOST, "loudness": LEAST, "words": LEAST,
    "coverage": LEAST, "flagged": MOST, "complete": LEAST, "informative": LEAST,
}  # fmt: skip
"""Scores with a slider, and the comparison that keeps a clip."""

VIEWS = ("both", "video", "audio", "text")
VARIANTS = ("both", "audio", "text", "none-agrees", "video")  # values of `needs`; each has a bit in `passes`
VIDEO_QA = 1 << len(VARIANTS)  # bit of the task `video_qa`, for a question that needs the video
POSITIONS = 100  # of a slider
CLIPS = 200_000  # most clips in the table: 5 MB
NOT_SCORES = {"start_ms", "end_ms", "width", "height", "channel"}
NUMERIC = {"DOUBLE", "BIGINT", "FLOAT", "INTEGER"}

TASKS = """
SELECT n.n AS clip, list_position({kinds}, v.kind) - 1 AS kind, v.tokens
FROM verdicts v JOIN numbered n USING (clip) WHERE v.needs IS NULL AND v.now IS NULL
ORDER BY n.n, v.kind, v.number
"""
QUESTIONS = """
SELECT n.n AS clip, any_value(v.question_kind) AS question_kind,
       coalesce(bit_or({bits}) FILTER (v.now IS NULL), 0) AS passes,
       coalesce(max(v.tokens) FILTER (v.kind = 'cross_modal_qa'), 0) AS tokens,
       coalesce(max(v.tokens) FILTER (v.kind = 'video_qa'), 0) AS video_tokens,
       {agreements}
FROM verdicts v JOIN numbered n USING (clip) WHERE v.needs IS NOT NULL
GROUP BY n.n, v.clip, v.number ORDER BY n.n, v.number
"""
Columns = dict[str, NDArray[Any]]


@dataclass
class ScoreTable:
    """The clips of a run, their tasks and their verified questions, as columns.

    total: number of clips of the run; `clips` may be a sample of them. scores: numbers by name, NaN where missing.
    questions: the column `passes` is a bit mask: one bit for each of VARIANTS, and VIDEO_QA.
    """

    total: int
    clips: Columns
    scores: Columns
    tasks: Columns
    questions: Columns
    question_kinds: Sequence[str]
    settings: PackSettings
    languages: Sequence[str | None] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Return the share of the run's clips that the table holds."""
        return len(self.clips["ms"]) / self.total if self.total else 1.0

    def is_val(self) -> NDArray[np.bool_]:
        """Return for each clip whether its video is for validation, as pack decides it."""
        return np.asarray(self.clips["hash"] < self.settings.val * 2**32)


def read_scores(connection: duckdb.DuckDBPyConnection, plan: Plan, settings: PackSettings) -> ScoreTable:
    """Read the table. connection: with the views of `plan`, without candidates yet.

    Every question becomes a candidate for each thing that it may need, so that the rules and `pack.where` of this run
    are evaluated for all positions of the slider of `pack.agreement`.
    """
    (total,) = connection.sql("SELECT count(*) FROM extract WHERE status = 'ok'").fetchall()[0]
    if total > CLIPS:  # a clip's id begins with a digest, so this sample is even
        kept = f"('0x' || md5(clip)[1:8])::UBIGINT < {CLIPS / total} * 4294967296"
        connection.execute(f"CREATE TEMP VIEW extract AS SELECT * FROM memory.main.extract WHERE {kept}")
    create_candidates(connection, plan, settings, f"unnest({list(VARIANTS)})")
    columns = ("needs", "question_kind", *(f"agree_{view}" for view in VIEWS))
    judge_candidates(connection, settings.model_copy(update={"caps": {}}), {"now": settings.where}, columns=columns)
    return _read_table(connection, settings, total)


def _read_table(connection: duckdb.DuckDBPyConnection, settings: PackSettings, total: int) -> ScoreTable:
    described = connection.sql("SELECT column_name, column_type FROM (DESCRIBE clips)").fetchall()
    names = [name for name, kind in described if kind in NUMERIC and name not in NOT_SCORES]
    spoken = "text_language" if "text_language" in dict(described) else "language"
    connection.execute(
        f"CREATE TEMP TABLE numbered AS SELECT (row_number() OVER (ORDER BY clip) - 1)::UINTEGER AS n, clip, "
        f"(end_ms - start_ms)::UINTEGER AS ms, (dense_rank() OVER (ORDER BY video) - 1)::UINTEGER AS video, "
        f"('0x' || video[1:8])::UBIGINT AS hash, coalesce({spoken}, language) AS spoken, "
        f"{', '.join(f'{name}::DOUBLE AS {name}' for name in names)} FROM clips"
    )
    clips = _columns(connection, "SELECT ms, video, hash FROM numbered ORDER BY n")
    scores = _columns(connection, f"SELECT {', '.join(names)} FROM numbered ORDER BY n")
    tongues = connection.sql("SELECT spoken FROM numbered ORDER BY n").to_arrow_table()["spoken"].to_pylist()
    tasks = _columns(connection, TASKS.format(kinds=list(KINDS)))
    bits = f"CASE WHEN v.kind = 'video_qa' THEN {VIDEO_QA} ELSE 1 << (list_position({list(VARIANTS)}, v.needs) - 1) END"
    agreements = ", ".join(f"any_value(v.agree_{view}) AS agree_{view}" for view in VIEWS)
    rows = connection.sql(QUESTIONS.format(bits=bits, agreements=agreements)).to_arrow_table()
    kinds = sorted({kind or "" for kind in rows["question_kind"].unique().to_pylist()})
    questions = _columns(connection, QUESTIONS.format(bits=bits, agreements=agreements), skip="question_kind")
    questions["kind"] = np.array([kinds.index(kind or "") for kind in rows["question_kind"].to_pylist()], np.uint8)
    return ScoreTable(total, clips, scores, tasks, questions, kinds, settings, tongues)


KINDS = (*MADE, *GIVEN)


def _columns(connection: duckdb.DuckDBPyConnection, query: str, skip: str = "") -> Columns:
    """Return the columns of a query as arrays; null becomes NaN."""
    table = connection.sql(query).to_arrow_table()
    return {name: np.asarray(table[name].to_numpy(zero_copy_only=False)) for name in table.column_names if name != skip}


def slider_positions(values: NDArray[Any], comparison: str) -> list[float]:
    """Return the thresholds of a slider, from lenient to strict: round numbers over the range of the values."""
    known = values[~np.isnan(values)]
    if not len(known) or known.min() == known.max():
        return []
    low, high = (float(edge) for edge in np.quantile(known, (0.005, 0.995)))
    step = round_step(max(high - low, 1e-9) / (POSITIONS / 2))
    count = min(POSITIONS, math.floor(high / step) - math.ceil(low / step) + 1)
    # divided, so that each is the double that its decimal digits stand for
    digits = max(0, -math.floor(math.log10(step)))
    found = [round((math.ceil(low / step) + n) * step, digits) for n in range(count)]
    return found if comparison == LEAST else found[::-1]


def round_step(least: float) -> float:
    """Return the least of 1, 2 and 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def passed_positions(values: NDArray[Any], positions: Sequence[float], comparison: str) -> NDArray[np.uint8]:
    """Return how many of the positions, from lenient to strict, each value passes; a missing value passes none."""
    sign = 1 if comparison == LEAST else -1
    passed = np.searchsorted(sign * np.array(positions), sign * values, side="right")
    return np.where(np.isnan(values), 0, passed).astype(np.uint8)


def page_table(table: ScoreTable, where: str) -> dict[str, Any]:
    """Return the table for the page: columns as base64, sliders, and the settings of pack that the page needs."""
    sliders, bins = [], {}
    for name, comparison in SCORES.items():
        if name in table.scores and (positions := slider_positions(table.scores[name], comparison)):
            sliders.append({"name": name, "comparison": comparison, "positions": positions})
            bins[name] = _base64(passed_positions(table.scores[name], positions, comparison), np.uint8)
    agreements = sorted({table.settings.agreement, *(round(0.01 * n, 2) for n in range(1, 101))})
    questions, clips, tasks = table.questions, table.clips, table.tasks
    views = {view: _base64(passed_positions(questions[f"agree_{view}"], agreements, LEAST), np.uint8) for view in VIEWS}
    numbers = {name: _base64(questions[name], np.uint32) for name in ("clip", "tokens", "video_tokens")}
    return {
        "total": table.total, "count": len(clips["ms"]), "sliders": sliders, "bins": bins, "where": where,
        "agreements": agreements, "agreement": table.settings.agreement, "variants": VARIANTS, "video_qa": VIDEO_QA,
        "caps": table.settings.caps, "kinds": [[kind, {**MADE, **GIVEN}[kind].stage] for kind in KINDS],
        "questionKinds": list(table.question_kinds),
        "clips": {"ms": _base64(clips["ms"], np.uint32), "video": _base64(clips["video"], np.uint32)},
        "tasks": {
            "clip": _base64(tasks["clip"], np.uint32), "kind": _base64(tasks["kind"], np.uint8),
            "tokens": _base64(tasks["tokens"], np.uint32),
        },
        "questions": {
            **numbers, **views, "passes": _base64(questions["passes"], np.uint8),
            "kind": _base64(questions["kind"], np.uint8),
        },
    }  # fmt: skip


def _base64(values: NDArray[Any], kind: Any) -> str:
    return base64.b64encode(values.astype(np.dtype(kind).newbyteorder("<")).tobytes()).decode()
