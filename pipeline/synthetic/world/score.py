"""Score a run over films of the synthetic world against their truth files.

The truth file lies beside each film (`ingest.uri`). It describes the whole film, so clips of a part of it are counted
and left out. Steps that did not run have no captions or questions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb

from manifests import storage, views
from manifests.duplicate_records import DuplicateClip, DuplicatePair
from manifests.records import Media, PackedTask, Transcript
from manifests.schema import manifest_schema, record_schema
from pipeline.annotation.text_rules import option_text
from pipeline.config import load_run
from pipeline.errors import ConfigError
from pipeline.pack.candidates import create_candidates
from pipeline.steps.needs import needs_sql
from pipeline.synthetic.world import metrics
from pipeline.synthetic.world.fact_metrics import SENSES, count_invented, invented_words, measure_spans, true_span
from pipeline.synthetic.world.fault_metrics import copy_metrics, film_origin, separations
from pipeline.synthetic.world.metrics import RIGHT, ScoredQuestion, score_question
from pipeline.synthetic.world.planted_questions import (
    BOTH,
    TELLING_OPTIONS,
    PlantedQuestion,
    are_telling,
    count_plants,
    find_question,
    is_planted,
)
from pipeline.synthetic.world.truth import Truth, read_truth, truth_uri
from stages.catalogue import current

TOLERANCE_S = 0.25  # a film may end with its last frame, or later with the padding of its sound

CLIPS = """
SELECT f.clip, v.uri, c.start_ms / 1000 AS start, c.end_ms / 1000 AS "end", f.frames, f.frame_bytes, f.sound,
       coalesce(t.text, '') AS text, (c.start_ms + f.frame_ms[len(f.frame_ms) // 2 + 1]) / 1000 AS middle
FROM extract f JOIN split c ON c.id = f.clip AND c.status = 'ok' JOIN ingest v ON v.id = c.video AND v.status = 'ok'
LEFT JOIN transcribe t ON t.clip = f.clip AND t.status = 'ok'
WHERE f.status = 'ok' ORDER BY v.uri, f.clip
"""
CAPTIONS = "SELECT clip, \"view\", text FROM caption WHERE status = 'ok' ORDER BY id"
QUESTIONS = """
SELECT q.clip, q.question, q.answer, q.options, v.needs, s.id IS NOT NULL AS packed, {times} AS times,
       trim(coalesce(v.veto_witness || ' ' || v.veto_view, '')) AS veto
FROM ask q
LEFT JOIN (SELECT question, veto_witness, veto_view, {needs} AS needs FROM verify WHERE status = 'ok') v
ON v.question = q.id
LEFT JOIN shards s ON s.id = q.clip || '-cross_modal_qa-' || q.number
WHERE q.status = 'ok' ORDER BY q.id
"""

COLUMNS = "SELECT column_name FROM (DESCRIBE candidates) WHERE column_type = 'DOUBLE' AND column_name <> 'seconds'"
SCORES = "SELECT clip, {means} FROM candidates GROUP BY clip"
PAIRS = "SELECT clip, other, relation FROM duplicate_pairs WHERE against = '' AND relation <> 'overlap'"
LEAKED = "SELECT clip FROM duplicates WHERE len(leaked_from) > 0"
STEPS = {"ingest", "split", "extract"}
MISSING = {
    "shards": record_schema(PackedTask),
    "transcribe": manifest_schema(Transcript),
    "duplicates": record_schema(DuplicateClip),
    "duplicate_pairs": record_schema(DuplicatePair),
}
"""Views that a run may lack, with their columns."""


@dataclass(frozen=True)
class ScoredClip:
    """A clip of the run that is a whole film, with its media and its truth.

    text: transcript. middle: time of the clip's middle frame, seconds.
    """

    clip: str
    film: str
    frames: Media
    frame_bytes: tuple[int, ...]
    sound: Media | None
    text: str
    middle: float
    truth: Truth


class RunScore:
    """Metrics of the run at `root`. Raises ConfigError without a run, or if no film of it has a truth file."""

    def __init__(self, root: str) -> None:
        """Read the run's manifests and the truth files."""
        config = load_run(root)
        plan = config.plan(root)
        if not {planned.step.name for planned in plan.steps} >= STEPS:
            raise ConfigError(f"{root}: expected a run with ingest, split and extract; other runs cannot be scored")
        self.wanted_needs = config.pack.cross_modal_needs
        self.without_truth = self.not_whole = 0
        with views.connect(plan.root, plan.manifests, current(plan.root)) as connection:
            known = views.columns_by_view(connection)
            for name, schema in MISSING.items():
                if name not in known:
                    connection.register(name, schema.empty_table())
            create_candidates(connection, plan, config.pack)
            self.clips = {each.clip: each for each in self._match_truths(views.fetch_rows(connection, CLIPS))}
            self.captions = views.fetch_rows(connection, CAPTIONS)
            needs = needs_sql(config.pack.agreement, judges=config.pack.judges)
            times = "q.times" if "times" in known.get("ask", {}) else "[]"
            self.question_rows = views.fetch_rows(connection, QUESTIONS.format(needs=needs, times=times))
            self.scores = fetch_scores(connection)
            self.pairs, self.leaked = views.fetch_rows(connection, PAIRS), views.fetch_rows(connection, LEAKED)
        if not self.clips:
            raise ConfigError(f"{root}: no film of this run has a truth file; make films with one: ola world make")

    def _match_truths(self, rows: list[dict[str, Any]]) -> Iterator[ScoredClip]:
        for row in rows:
            uri = truth_uri(row["uri"])
            if not storage.exists(uri):
                self.without_truth += 1
                continue
            truth = read_truth(uri)
            if row["start"] > TOLERANCE_S or abs(row["end"] - truth.seconds) > TOLERANCE_S:
                self.not_whole += 1
                continue
            film = row["uri"].rpartition("/")[2]
            frames, sizes, sound = Media(**row["frames"]), tuple(row["frame_bytes"]), row["sound"]
            sound = None if sound is None else Media(**sound)
            yield ScoredClip(row["clip"], film, frames, sizes, sound, row["text"], row["middle"], truth)

    @cached_property
    def questions(self) -> list[ScoredQuestion]:
        """Questions of the scored clips, checked against the truth."""
        return [
            score_question(
                self.clips[row["clip"]].film,
                self.clips[row["clip"]].truth,
                row["question"],
                option_text(row["answer"], row["options"] or ()),
                row["needs"],
                row["packed"],
                row["options"] or (),
            )
            for row in self._known_rows()
        ]

    def _known_rows(self) -> list[dict[str, Any]]:
        return [row for row in self.question_rows if row["clip"] in self.clips]

    @cached_property
    def planted(self) -> list[PlantedQuestion]:
        """Questions of films with a plant, and those with options."""
        found = []
        for row, each in zip(self._known_rows(), self.questions, strict=True):
            scene, options = self.clips[row["clip"]].truth.scene, row["options"] or ()
            packed, both = each.packed and each.measured_needs == BOTH, each.true_needs == BOTH
            if scene.plant:
                planted = is_planted(scene, each.question, each.answer)
                found.append(PlantedQuestion(scene.plant, planted, both, packed, row["veto"]))
            if options:
                telling = are_telling(each.answer, options)
                found.append(PlantedQuestion(TELLING_OPTIONS, telling, both, packed, row["veto"]))
        return found

    def report(self) -> dict[str, Any]:
        """Return all metrics and faults, for JSON."""
        captions = [
            (row["view"], truth[row["view"]], row["text"])
            for row in self.captions
            if row["clip"] in self.clips and row["view"] in (truth := self._captions(row["clip"]))
        ]
        transcripts = [(each.truth.transcript, each.text) for each in self.clips.values() if each.sound]
        return {
            "clips": {"scored": len(self.clips), "without_truth": self.without_truth, "not_whole": self.not_whole},
            "transcripts": metrics.transcript_metrics(transcripts),
            "captions": metrics.caption_metrics(captions),
            "questions": metrics.question_metrics(self.questions),
            "needs": metrics.needs_confusion(self.questions),
            "cross_modal": metrics.cross_modal_metrics(self.questions, self.wanted_needs),
            "by_speech": metrics.yield_by_speech(
                {each.film: bool(each.truth.transcript) for each in self.clips.values() if each.truth.scene.sounds},
                self.questions,
                self.wanted_needs,
            ),
            "planted": count_plants({each.film: each.truth.scene.plant for each in self.clips.values()}, self.planted),
            "invented": count_invented(self._invented()),
            "spans": measure_spans(self._spans()),
            "separation": separations(self._scored_clips()),
            "copies": copy_metrics(
                {each.truth.scene.name: film_origin(each.truth.scene) for each in self.clips.values()},
                self._related(),
                (self._name(row["clip"]) for row in self.leaked),
            ),
            "faults": [{"film": film, "fault": fault, "said": text} for film, fault, text in self.faults()],
        }

    def _captions(self, clip: str) -> dict[str, str]:
        each = self.clips[clip]
        return each.truth.captions(each.middle)

    def _invented(self) -> Iterator[tuple[str, list[str]]]:
        for row in self.captions:
            each = self.clips.get(row["clip"])
            if each and row["view"] in SENSES:
                yield row["view"], invented_words(row["view"], row["text"], each.truth, each.middle)

    def _spans(self) -> Iterator[tuple[str, tuple[float, float], tuple[float, float]]]:
        """Yield the spans of right questions, each with its true span."""
        for row, each in zip(self._known_rows(), self.questions, strict=True):
            truth = self.clips[row["clip"]].truth
            pair = find_question(truth.scene, each.question) if each.verdict == RIGHT else None
            for span in row["times"] if pair else ():
                true = true_span(truth, pair, span["sense"]) if pair else None
                if true:
                    yield span["sense"], (span["start"], span["end"]), true

    def _scored_clips(self) -> Iterator[tuple[str, str, dict[str, float | None]]]:
        for row in self.scores:
            if each := self.clips.get(row.pop("clip")):
                yield each.truth.scene.plant, each.truth.scene.kind, row

    def _related(self) -> Iterator[tuple[str, str, str]]:
        for row in self.pairs:
            if row["clip"] in self.clips and row["other"] in self.clips:
                yield self._name(row["clip"]), self._name(row["other"]), row["relation"]

    def _name(self, clip: str) -> str:
        return self.clips[clip].truth.scene.name if clip in self.clips else clip

    def faults(self) -> Iterator[tuple[str, str, str]]:
        """Yield (film, fault, text) for swapped sound tracks, packed shortcuts, and wrong questions."""
        transcripts = {each.film: each.text for each in self.clips.values()}
        truths = {each.film: each.truth.transcript for each in self.clips.values()}
        for film, other in metrics.find_swapped_tracks(transcripts, truths).items():
            yield film, f"says what {other} says", transcripts[film]
        for each in self.questions:
            text = f"{each.question} {each.answer}"
            if each.packed and metrics.is_shortcut(each, self.wanted_needs):
                yield each.film, f"a shortcut in the shards: {each.true_needs} suffices", text
            if each.verdict != RIGHT:
                yield each.film, f"{each.verdict}{' (in the shards)' if each.packed else ''}", text


def fetch_scores(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Return the means of the scores of each clip's candidates, as `clip` and the columns."""
    columns = [name for (name,) in connection.sql(COLUMNS).fetchall()]
    means = ", ".join(f'avg("{name}") AS "{name}"' for name in columns)
    return views.fetch_rows(connection, SCORES.format(means=means))
