"""The view `candidates` over the manifests: all tasks that could be packed, one row per clip and task.

Its columns, for `pack.where`:

    clip, video, uri, meta, start_ms, end_ms, seconds, width, height, frames, has_sound
    licence                                                         of the video by its `meta`, such as `CC-BY-SA`, or
                                                                    `unknown`
    motion, frozen, black, silence, loudness                        of the clip (see `ola sql ROOT "DESCRIBE split"`)
    source_frames, longest_gap                                      of the clip: its frames in the video, and seconds
    cancelled, channel                                              of its sound (see `ola sql ROOT "DESCRIBE extract"`)
    text, words, coverage, language, origin, word_times, ...        of its transcript: all columns of `transcribe`
    complete, informative                                           of its screening, probabilities
    kind, stage, number, tokens                                     of the task; tokens with its media and its text
    question, question_kind, options, answer                        a caption, or what is said, is an answer
    made_by                                                         software, dtype and device that answered
    task_origin, task_field                                         with pack.given: `given`, `model`, `transcript`
    needs, agree_both, agree_video, agree_audio, agree_text         of a question that was verified
    evidence, agree_spans, agree_rest                               with ask.style=evidence: what it rests on, and the
                                                                    agreements from these spans and from the rest
    answer_in_meta, option_length_bias, answer_share                of a question: see `pipeline.pack.shortcuts`;
                                                                    answer_share is null unless pack.where names it
    described                                                       of a clip with a caption of its frames: see there
    words_on_screen, answer_on_screen                               with inspect.text: of a clip, and of a question
    leaked_text                                                     with pack.benchmarks: the first 13 words in a row of
                                                                    its transcript or its task that they have, too
    leaked_near                                                     with pack.benchmarks: its most similar text: `field`
                                                                    (transcript, question, options, answer), `text` (of
                                                                    the benchmark), `similarity` to 1; null without
    duplicate_group, duplicate_best                                 with the step fingerprint: the first clip of its
                                                                    group of copies; whether it is the one to keep
    duplicate_relations, known_in, leaked_from                      as in the view `duplicates`; empty lists without
    sharpness, bars, still, slideshow, clipping, bandwidth, ...     with the step inspect: all columns of `inspect`
    speech, music, events, sound_kind, sound_event                  with the step hear: shares of the clip's time, the
                                                                    kind with the largest, the most frequent event
    av_sync, av_lag_ms, av_peak, seen_events, heard_events          with the step sync

Missing values are null. Steps that are not in the plan, or have no part yet, give no rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial

import duckdb
from duckdb.func import SPECIAL

from manifests import views
from manifests.duplicate_records import DuplicateClip
from manifests.records import Caption, Hearing, Inspection, Question, Screening, Verification
from manifests.schema import manifest_schema, record_schema
from ola.geometry import CELL, RELEASED, SOUND_CHUNK_S, SOUND_CHUNK_TOKENS
from pipeline.duplicates.grouping import has_fingerprints
from pipeline.pack.benchmark_text import NearFinder, find_leaked, read_benchmarks
from pipeline.pack.licences import LICENCE, create_licence_function
from pipeline.pack.settings import PackSettings
from pipeline.pack.shortcuts import (
    OF_CLIPS,
    ON_SCREEN,
    SHORTCUTS,
    AnswerShares,
    create_shortcut_functions,
    names_answer_share,
)
from pipeline.plan import Plan
from pipeline.sources.given import given_tasks, is_about_whole
from pipeline.steps.needs import agreement_sql, needs_sql
from pipeline.steps.span_views import SPAN_VIEWS
from pipeline.steps.verify import VIEWS
from stages.samples import BYTES_A_TOKEN, GIVEN, IMAGE, MADE, SPEECH

# Steps that a run may leave out.
OPTIONAL: Mapping[str, type] = {"screen": Screening, "caption": Caption, "ask": Question, "verify": Verification}
INSPECTION_SCORES = tuple(field.name for field in fields(Inspection) if field.name not in ("id", "clip"))
HEARING_SCORES = tuple(field.name for field in fields(Hearing) if field.name not in ("id", "clip", "footage", "spans"))
SPOKEN = ("subtitle", "speech_recognition")  # the answer is the transcript

# `stages.samples.media_tokens` and `text_tokens` in SQL, since Python functions would take most of the time.
TOKENS = f"""
CREATE TEMP MACRO grid_tokens(width, height) AS height // {CELL} * (width // {CELL} + 1);
CREATE TEMP MACRO video_tokens(width, height, frames) AS 2 + frames * (grid_tokens(width, height) + 1);
CREATE TEMP MACRO low_side(side, width, height) AS
    greatest(1, trunc(side * sqrt({RELEASED.image_low**2} / (width * height)) / {CELL})::BIGINT) * {CELL};
CREATE TEMP MACRO image_tokens(width, height) AS
    3 + grid_tokens(low_side(width, width, height), low_side(height, width, height)) + grid_tokens(width, height);
CREATE TEMP MACRO sound_tokens(seconds) AS 2 + {SOUND_CHUNK_TOKENS} * ceil(seconds / {SOUND_CHUNK_S})::BIGINT;
CREATE TEMP MACRO media_tokens(stage, sees, hears, width, height, frames, seconds) AS
    CASE WHEN NOT sees THEN 0 WHEN stage = 'image' THEN image_tokens(width, height)
         ELSE video_tokens(width, height, frames) END
    + CASE WHEN hears AND seconds > 0 THEN sound_tokens(seconds) ELSE 0 END;
CREATE TEMP MACRO text_tokens(text) AS (coalesce(strlen(text), 0) + {BYTES_A_TOKEN - 1}) // {BYTES_A_TOKEN};
"""

TASKS = """
CREATE TEMP VIEW tasks AS
SELECT clip, unnest({spoken}) AS kind, 0 AS number, 0 AS text_tokens, {transcript} AS task_origin
FROM extract WHERE status = 'ok'
UNION ALL BY NAME
SELECT clip, "view" || '_caption' AS kind, 0 AS number, text AS answer, text_tokens(text) AS text_tokens, made_by,
       {model} AS task_origin
FROM caption WHERE status = 'ok'
UNION ALL BY NAME
SELECT q.clip, q.number,
       unnest(CASE WHEN v.needs = 'video' THEN (SELECT kinds FROM of_video) ELSE ['cross_modal_qa'] END) AS kind,
       q.question, q.kind AS question_kind, q.options, q.answer, q.times AS evidence,
       text_tokens(CASE WHEN len(q.options) > 0 THEN array_to_string([q.question] || q.options, ' A) ')
                        ELSE q.question END) + text_tokens(q.answer) AS text_tokens,
       q.made_by, {model} AS task_origin,
       v.* EXCLUDE (question)
FROM ask q
LEFT JOIN (
    SELECT question, {needs} AS needs, {agreements}
    FROM verify WHERE status = 'ok') v ON v.question = q.id
WHERE q.status = 'ok'
{given};
"""

GIVEN_TASKS = """
UNION ALL BY NAME
SELECT clip, task.kind, task.number, task.question, task.answer,
       text_tokens(task.question) + text_tokens(task.answer) AS text_tokens,
       'given' AS task_origin, task.field AS task_field
FROM (SELECT f.clip, unnest(given_tasks(v.meta, c.meta, c.start_ms, c.end_ms, {is_whole})) AS task
      FROM extract f
      JOIN split c ON c.id = f.clip AND c.status = 'ok'
      JOIN ingest v ON v.id = c.video AND v.status = 'ok'
      WHERE f.status = 'ok')
"""
# The same columns without given tasks.
NO_GIVEN_TASKS = "UNION ALL BY NAME SELECT NULL::VARCHAR AS task_field WHERE false"
GIVEN_TYPES = ["VARCHAR", "VARCHAR", "BIGINT", "BIGINT", "BOOLEAN"]
GIVEN_ROWS = "STRUCT(kind VARCHAR, number INTEGER, question VARCHAR, answer VARCHAR, field VARCHAR)[]"

ANSWERS = "SELECT kind, answer, options FROM ask WHERE status = 'ok'"

# Columns that the tasks of a clip share.
CLIPS = """
CREATE TEMP VIEW clips AS
SELECT f.clip, v.id AS video, v.uri,
       CASE WHEN c.meta <> '{{}}' THEN json_merge_patch(v.meta::JSON, c.meta::JSON) ELSE v.meta::JSON END AS meta,
       c.start_ms, c.end_ms, (c.end_ms - c.start_ms) / 1000 AS seconds,
       f.width, f.height, len(f.frame_ms) AS frames, f.sound IS NOT NULL AS has_sound,
       c.motion, c.frozen, c.black, c.silence, c.loudness, c.frames AS source_frames, c.longest_gap,
       f.cancelled, f.channel,
       t.* EXCLUDE (input, status, reason, detail, seconds, id, clip), s.complete, s.informative,
       {duplicates}{inspection}{hearing}{shortcuts}
       f.frames AS pictures, f.frame_bytes, f.frame_ms, f.sound
FROM extract f
JOIN split c ON c.id = f.clip AND c.status = 'ok'
JOIN ingest v ON v.id = c.video AND v.status = 'ok'
LEFT JOIN transcribe t ON t.clip = c.id AND t.status = 'ok'
LEFT JOIN screen s ON s.clip = c.id AND s.status = 'ok'
LEFT JOIN caption p ON p.clip = c.id AND p.status = 'ok' AND p."view" = 'video'
LEFT JOIN duplicates d ON d.clip = c.id{inspected}{heard}
WHERE f.status = 'ok';
"""

LEAKED = """,
       nullif(coalesce(nullif(leaked_words(c.text), ''), nullif(leaked_words(a.question), ''),
                       nullif(leaked_words(array_to_string(a.options, ' ')), ''), leaked_words(a.answer)), '')
       AS leaked_text,
       near_copy(c.text, a.question, array_to_string(a.options, ' '), a.answer) AS leaked_near"""
LEAKED_COLUMNS = ("leaked_text", "leaked_near")
NEAR = "STRUCT(field VARCHAR, text VARCHAR, similarity DOUBLE)"

DUPLICATES = """
       d.first AS duplicate_group, coalesce(d.best = c.id, true) AS duplicate_best,
       coalesce(d.relations, []) AS duplicate_relations, coalesce(d.known_in, []) AS known_in,
       coalesce(d.leaked_from, []) AS leaked_from,"""

INSPECTION = "".join(f"\n       i.{name}," for name in INSPECTION_SCORES)
INSPECTED = "\nLEFT JOIN inspect i ON i.clip = c.id AND i.status = 'ok'"
HEARING = "".join(f"\n       h.{name}," for name in HEARING_SCORES)
HEARD = "\nLEFT JOIN hear h ON h.clip = c.id AND h.status = 'ok'"
SYNC_SCORES = "\n       y.av_sync, y.av_lag_ms, y.av_peak, y.seen_events, y.heard_events,"
SYNCED = "\nLEFT JOIN sync y ON y.clip = c.id AND y.status = 'ok'"

# The tokens of a clip's media are computed once for all of its tasks.
CANDIDATES = """
CREATE TEMP VIEW candidates AS
SELECT c.* EXCLUDE (picture_tokens, video_tokens, sound_tokens, spoken_tokens, lines_on_screen),
       {licence} AS licence, k.kind, k.stage, a.number,
       CASE WHEN NOT k.sees THEN 0 WHEN k.stage = 'image' THEN c.picture_tokens ELSE c.video_tokens END
       + CASE WHEN k.hears THEN c.sound_tokens ELSE 0 END
       + CASE WHEN k.spoken THEN c.spoken_tokens ELSE a.text_tokens END AS tokens,
       a.question, a.question_kind, a.options, CASE WHEN k.spoken THEN c.text ELSE a.answer END AS answer,
       a.needs, a.agree_both, a.agree_video, a.agree_audio, a.agree_text, a.evidence, a.agree_spans,
       a.agree_rest, a.made_by, a.task_origin, a.task_field{shortcuts}{leaked}
FROM tasks a
JOIN kinds k ON k.kind = a.kind
JOIN (SELECT *, media_tokens('image', true, false, width, height, frames, seconds) AS picture_tokens,
             media_tokens('video', true, false, width, height, frames, seconds) AS video_tokens,
             media_tokens('omni', false, has_sound, width, height, frames, seconds) AS sound_tokens,
             text_tokens(text) AS spoken_tokens
      FROM clips) c ON c.clip = a.clip
"""


def is_packable(plan: Plan) -> bool:
    """Return whether the plan has all steps that pack requires."""
    return {"ingest", "split", "extract", "transcribe"} <= {planned.step.name for planned in plan.steps}


def create_candidates(
    connection: duckdb.DuckDBPyConnection,
    plan: Plan,
    settings: PackSettings,
    needs: str | None = None,
    shares: AnswerShares | None = None,
) -> None:
    """Create the view `candidates` on a connection with the views of `plan`; steps without rows become empty tables.

    needs: SQL for what a verified question needs; None: by `settings.agreement`. An `unnest` makes several candidates
    of one question. shares: of the group that the connection shows; None: the connection shows all questions.
    """
    existing = views.names(connection)
    records = {**OPTIONAL, **{planned.manifest.name: planned.manifest.record for planned in plan.steps}}
    for name, record in records.items():
        if name not in existing:
            connection.register(name, manifest_schema(record).empty_table())
    if "duplicates" not in existing:
        connection.register("duplicates", record_schema(DuplicateClip).empty_table())
    connection.execute(
        "CREATE TEMP TABLE kinds (kind TEXT, stage TEXT, sees BOOL, hears BOOL, spoken BOOL, cap BIGINT)"
    )
    rows = [
        (kind, stage, IMAGE in tags, SPEECH in tags, kind in SPOKEN, settings.caps.get(kind))
        for kind, (stage, tags) in {**MADE, **GIVEN}.items()
    ]
    connection.executemany("INSERT INTO kinds VALUES (?, ?, ?, ?, ?, ?)", rows)
    shared = "video" in settings.cross_modal_needs
    connection.execute(
        "CREATE TEMP TABLE of_video AS SELECT ? AS kinds", [["video_qa", "cross_modal_qa"] if shared else ["video_qa"]]
    )
    needs = needs or needs_sql(settings.agreement, judges=settings.judges)
    agreements = ", ".join(
        f"{agreement_sql(view, judges=settings.judges)} AS agree_{view}" for view in (*VIEWS, *SPAN_VIEWS)
    )
    given = _given_sql(connection, settings.given)
    tasks = TASKS.format(spoken=list(SPOKEN), needs=needs, agreements=agreements, **given)
    has_step = {name: any(each.step.name == name for each in plan.steps) for name in ("inspect", "hear", "sync")}
    clips = CLIPS.format(
        duplicates=DUPLICATES if has_fingerprints(plan) else "",
        inspection=INSPECTION if has_step["inspect"] else "",
        inspected=INSPECTED if has_step["inspect"] else "",
        hearing=(HEARING if has_step["hear"] else "") + (SYNC_SCORES if has_step["sync"] else ""),
        heard=(HEARD if has_step["hear"] else "") + (SYNCED if has_step["sync"] else ""),
        shortcuts=OF_CLIPS.format(words_on_screen=ON_SCREEN[has_step["inspect"]]),
    )
    if settings.benchmarks:
        leaked = partial(find_leaked, read_benchmarks(settings.benchmarks))
        connection.create_function("leaked_words", leaked, ["VARCHAR"], "VARCHAR")
        near = NearFinder(settings.benchmarks).find_in_task
        connection.create_function("near_copy", near, ["VARCHAR"] * 4, NEAR, null_handling=SPECIAL)
    create_licence_function(connection)
    create_shortcut_functions(connection, shares or _count_answers(connection, settings))
    scores = {"licence": LICENCE, "shortcuts": SHORTCUTS, "leaked": LEAKED if settings.benchmarks else ""}
    connection.execute(TOKENS + tasks + clips + CANDIDATES.format(**scores))


def _count_answers(connection: duckdb.DuckDBPyConnection, settings: PackSettings) -> AnswerShares:
    """Count the answers of all questions, if `pack.where` names their share."""
    shares = AnswerShares()
    if names_answer_share(settings.where):
        shares.count(connection.sql(ANSWERS).to_arrow_table().to_pylist())
    return shares


def _given_sql(connection: duckdb.DuckDBPyConnection, sorts: Sequence[str]) -> Mapping[str, str]:
    """Return the parts of TASKS for given captions and questions, and create the function that they call."""
    if not sorts:
        return {"given": NO_GIVEN_TASKS, "model": "NULL::VARCHAR", "transcript": "NULL::VARCHAR"}
    connection.create_function("given_tasks", partial(given_tasks, tuple(sorts)), GIVEN_TYPES, GIVEN_ROWS)  # type: ignore[arg-type]
    given = GIVEN_TASKS.format(is_whole=is_about_whole())
    return {"given": given, "model": "'model'", "transcript": "'transcript'"}
