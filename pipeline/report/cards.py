"""Collect all that the steps say of the drawn records, as the data of their cards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import duckdb
import pyarrow as pa

from manifests import views
from manifests.json_values import json_value
from pipeline.pack.balance import exclude_as_packed
from pipeline.pack.candidates import create_candidates
from pipeline.pack.rules import judge_candidates
from pipeline.pack.settings import NO_BALANCE, PackSettings
from pipeline.plan import Plan
from pipeline.report.sample import Drawn
from pipeline.report.score_table import VIEWS

# Columns of `clips` that are no scores of a clip.
NOT_SHOWN = {
    "clip", "video", "uri", "meta", "start_ms", "end_ms", "text", "segments", "unspoken", "flags", "track",
    "pictures", "frame_bytes", "frame_ms", "sound", "width", "height", "frames", "seconds",
}  # fmt: skip
TITLES = ("title", "name", "caption", "description")  # keys of metadata that name a video
STEP_ROWS = "SELECT '{step}' AS step, input, status, any_value(reason), any_value(detail), max(seconds) FROM {step}"
CLIP_ROWS = "SELECT c.* EXCLUDE (meta), c.meta::VARCHAR AS meta FROM clips c ORDER BY c.clip"
TASK_ROWS = "SELECT clip, kind, stage, number, tokens, now, needs FROM verdicts ORDER BY clip, stage, kind, number"
QUESTION_ROWS = """
SELECT q.*, v.both, v.video, v.audio, v.text FROM ask q
LEFT JOIN verify v ON v.question = q.id AND v.status = 'ok'
WHERE q.status = 'ok' AND q.clip IN (SELECT id FROM drawn) ORDER BY q.clip, q.number
"""
CAPTION_ROWS = """
SELECT clip, "view", text FROM caption WHERE status = 'ok' AND clip IN (SELECT id FROM drawn) ORDER BY clip, id
"""

Row = dict[str, Any]
Card = dict[str, Any]


def make_cards(
    connection: duckdb.DuckDBPyConnection, plan: Plan, settings: PackSettings, drawn: Sequence[Drawn]
) -> list[Card]:
    """Return the cards, in the order of `drawn`. connection: with the views of the run, without candidates yet.

    A card has the references to its media in `pictures` and `sound`; see `pipeline.report.media`.
    """
    connection.register("drawn", pa.table({"id": [each.id for each in drawn]}, pa.schema([("id", pa.string())])))
    made = views.names(connection) & {"source", *(planned.step.name for planned in plan.steps), "pack"}
    if "extract" in made:
        connection.execute("CREATE TEMP VIEW extract AS FROM memory.main.extract WHERE clip IN (SELECT id FROM drawn)")
    create_candidates(connection, plan, settings)
    judge_candidates(connection, settings, {"now": settings.where}, columns=("needs",))
    if "pack" in made and settings.balance != NO_BALANCE:
        exclude_as_packed(connection, "now")
    clips = {row["clip"]: row for row in views.fetch_rows(connection, CLIP_ROWS)}
    tasks = _by_clip(views.fetch_rows(connection, TASK_ROWS))
    captions, questions = (_by_clip(views.fetch_rows(connection, query)) for query in (CAPTION_ROWS, QUESTION_ROWS))
    steps = _step_rows(
        connection, [p.step.name for p in plan.steps if p.step.name in made] + ["pack"] * ("pack" in made)
    )
    spans = {
        row["id"]: row for row in views.fetch_rows(connection, "SELECT * FROM split WHERE id IN (SELECT id FROM drawn)")
    }
    sources = _sources(connection, made)
    found = []
    for each in drawn:
        row = clips.get(each.id) or spans.get(each.id) or {}
        card = _head(each, row, sources.get(each.id[:20], {}), settings)
        card["steps"] = steps.get(each.id, [])
        card["tasks"] = [_task(task) for task in tasks.get(each.id, ())]
        card |= _clip_facts(clips[each.id]) if each.id in clips else {"scores": _scores(row)}
        card["captions"] = [[caption["view"], caption["text"]] for caption in captions.get(each.id, ())]
        card["questions"] = [_question(row, card["tasks"]) for row in questions.get(each.id, ())]
        found.append(json_value(card))
    return found


def _by_clip(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["clip"], []).append(row)
    return found


def _sources(connection: duckdb.DuckDBPyConnection, made: set[str]) -> dict[str, Row]:
    """Return uri and metadata of the drawn records' videos, by the id of the source and of the video."""
    ids = "SELECT id[1:20] FROM drawn"
    found: list[Row] = []
    for view in sorted(made & {"source", "ingest"}):
        found += views.fetch_rows(connection, f"SELECT id, uri, meta FROM {view} WHERE id IN ({ids})")
    return {row["id"]: row for row in found}


def _step_rows(connection: duckdb.DuckDBPyConnection, steps: Sequence[str]) -> dict[str, list[list[Any]]]:
    """Return (step, status, reason, detail, seconds) of the rows of each drawn record, by its id."""
    found: dict[str, list[list[Any]]] = {}
    for step in steps:
        key = "input" if step in ("ingest", "split") else "input[1:40]"
        query = (
            f"{STEP_ROWS.format(step=step)} WHERE {key} IN (SELECT id FROM drawn) GROUP BY input, status ORDER BY input"
        )
        for name, source, *facts in connection.sql(query).fetchall():
            clip = source if key == "input" else source[:40]
            if [name, *facts] not in found.setdefault(clip, []):
                found[clip].append([name, *facts])
    return found


def _head(drawn: Drawn, row: Row, source: Row, settings: PackSettings) -> Card:
    """Return the first fields of a card: what the record is and where it ended."""
    uri = str(source.get("uri") or row.get("uri") or "")
    meta = _metadata(source.get("meta")) | _metadata(row.get("meta"))
    start, end = row.get("start_ms"), row.get("end_ms")
    title = next((str(meta[key]) for key in TITLES if meta.get(key)), PurePosixPath(uri).name)
    is_val = drawn.is_clip and int(drawn.id[:8], 16) < settings.val * 2**32
    return {
        "id": drawn.id, "clip": drawn.is_clip, "title": title, "uri": uri, "meta": meta,
        "span": None if start is None else [start, end], "split": ("val" if is_val else "train") * drawn.is_clip,
        "ended": [drawn.step, drawn.status, drawn.reason],
    }  # fmt: skip


def _metadata(text: Any) -> dict[str, Any]:
    value = json.loads(text) if isinstance(text, str) and text else {}
    return value if isinstance(value, dict) else {}


def _scores(row: Mapping[str, Any]) -> list[list[Any]]:
    """Return (name, value) of the numbers and short texts of a row that are scores."""
    return [
        [name, value]
        for name, value in row.items()
        if name not in NOT_SHOWN
        and value is not None
        and isinstance(value, (int, float, str))
        and name not in ("id", "input", "status", "reason", "detail")
    ]


def _clip_facts(row: Row) -> Card:
    spoken = [
        {
            "start": segment["start"], "end": segment["end"], "flags": segment["flags"] or [],
            "speaker": segment["speaker"] or "", "text": segment["text"],
            "words": [[word["text"], word["start"], word["end"]] for word in segment["words"] or ()],
        }
        for segment in row["segments"] or ()
    ]  # fmt: skip
    transcript = None if row["text"] is None else {"text": row["text"], "track": row["track"], "segments": spoken}
    media = {name: row[name] for name in ("pictures", "frame_bytes", "frame_ms", "sound")}
    language = row["text_language"] or row["language"] or ""
    return {
        "transcript": transcript,
        "scores": _scores(row),
        "language": language,
        "size": [row["width"], row["height"]],
    } | media


def _task(row: Row) -> Row:
    return {
        "kind": row["kind"],
        "stage": row["stage"],
        "number": row["number"],
        "reason": row["now"],
        "needs": row["needs"],
    }


def _question(row: Row, tasks: Sequence[Row]) -> Row:
    """Return a question with the answers of the four views and its tasks."""
    own = [task for task in tasks if task["kind"] in ("cross_modal_qa", "video_qa") and task["number"] == row["number"]]
    answers = {view: row[view] and {k: row[view][k] for k in ("answer", "agreement", "exact")} for view in VIEWS}
    return {
        "id": row["id"], "kind": row["kind"], "question": row["question"], "options": row["options"] or [],
        "answer": row["answer"], "views": answers if row["text"] else None,
        "needs": next((task["needs"] for task in own), None), "tasks": own,
    }  # fmt: skip
