"""Scores of shortcuts: how far a question can be answered without its clip, as columns of `candidates`.

    answer_in_meta        share of the answer's words in title, description and chapters of the clip, 0..1
    option_length_bias    how much longer the right option is than the longest other one: 0.5 for half as long again
    answer_share          share of the questions of its kind, in its group of parts, that have the same answer, 0..1
    words_on_screen, answer_on_screen, described          see `pipeline.pack.screen_words`

DuckDB calls the functions only where a query names the column.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import duckdb
from duckdb.func import SPECIAL

from pipeline.annotation.text_rules import option_text
from pipeline.pack.screen_words import answer_on_screen, content_words, described, words_on_screen
from pipeline.plan import Plan
from stages.text_metrics import significant_words

SHORTCUTS = """,
       answer_in_meta(a.question, a.answer, a.options, c.meta::VARCHAR, c.start_ms, c.end_ms) AS answer_in_meta,
       option_length_bias(a.answer, a.options) AS option_length_bias,
       answer_share(a.question_kind, a.answer, a.options) AS answer_share,
       answer_on_screen(a.question, a.answer, a.options, c.lines_on_screen) AS answer_on_screen"""
"""SQL for the columns of a task `a` of a clip `c`."""
OF_CLIPS = """
       described(t.text, p.text) AS described, {words_on_screen}"""
"""SQL for the columns of a clip with the transcript `t` and the caption `p`; one of ON_SCREEN has the rest."""
ON_SCREEN = {
    True: """
       CASE WHEN i.text_area IS NOT NULL THEN to_json(i.screen_text)::VARCHAR END AS lines_on_screen,
       CASE WHEN i.text_area IS NOT NULL THEN words_on_screen(
           to_json(flatten(list_transform(t.segments, lambda each: each.words)))::VARCHAR,
           to_json(i.screen_text)::VARCHAR, to_json(i.text_times)::VARCHAR) END AS words_on_screen,""",
    False: "NULL::VARCHAR AS lines_on_screen, NULL::DOUBLE AS words_on_screen,",
}
"""By whether `inspect` has rows `i`. `lines_on_screen` is not for users."""
COLUMNS = ("answer_in_meta", "option_length_bias", "answer_share", "answer_on_screen", "words_on_screen", "described")
LINES = ("text_times", "screen_text")  # columns of `inspect` of which the scores are made

MOST_TEXTS = 256  # of neighbouring clips: the tasks of a clip follow each other


def answer_in_meta(
    question: str | None,
    answer: str | None,
    options: Sequence[str] | None,
    meta: str | None,
    start_ms: int,
    end_ms: int,
) -> float | None:
    """Return the share of the answer's words in the metadata; null for a task without question or answer."""
    if question is None or not answer:
        return None
    asked = content_words(option_text(answer, options or ()))
    known = _meta_words(meta or "{}", start_ms, end_ms)
    return sum(word in known for word in asked) / len(asked) if asked else None


@lru_cache(maxsize=MOST_TEXTS)
def _meta_words(meta: str, start_ms: int, end_ms: int) -> frozenset[str]:
    """Return the words of title, description and the chapters that the clip is in."""
    facts: Mapping[str, Any] = json.loads(meta)
    texts = [facts.get("title"), facts.get("description")]
    chapters = facts.get("chapters")
    for chapter in chapters if isinstance(chapters, list) else ():
        if isinstance(chapter, dict) and _overlaps(chapter, start_ms / 1000, end_ms / 1000):
            texts.append(chapter.get("title"))
    return frozenset(word for text in texts if isinstance(text, str) for word in significant_words(text))


def _overlaps(chapter: Mapping[str, Any], start: float, end: float) -> bool:
    """Return whether a chapter is on in a span of seconds; a chapter without times always is."""
    begins, ends = (chapter.get(name) for name in ("start_time", "end_time"))
    begins = begins if isinstance(begins, int | float) else float("-inf")
    ends = ends if isinstance(ends, int | float) else float("inf")
    return begins < end and ends > start


def option_length_bias(answer: str | None, options: Sequence[str] | None) -> float | None:
    """Return the length of the right option over that of the longest other one, less 1; null without options."""
    if not answer or not options or len(options) < 2:
        return None
    right = option_text(answer, options)
    if right not in options:
        return None
    others = list(options)
    others.remove(right)
    return len(right) / max(1, *map(len, others)) - 1


class AnswerShares:
    """How often each answer is given within its kind of question, among the questions of a group of parts."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, str]] = Counter()
        self.questions: Counter[str] = Counter()

    def count(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Replace the questions by others. rows: with kind, answer and options."""
        answers = Counter((row["kind"], _answer_key(row["answer"], row["options"])) for row in rows)
        self.answers, self.questions = answers, Counter()
        for (kind, _), count in answers.items():
            self.questions[kind] += count

    def share(self, kind: str | None, answer: str | None, options: Sequence[str] | None) -> float | None:
        """Return the share of an answer; null for a kind without counted questions."""
        if kind is None or answer is None or not self.questions[kind]:
            return None
        return self.answers[kind, _answer_key(answer, options)] / self.questions[kind]


def _answer_key(answer: str, options: Sequence[str] | None) -> str:
    text = option_text(answer, options or ())
    return " ".join(significant_words(text)) or text.strip()


def create_shortcut_functions(connection: duckdb.DuckDBPyConnection, shares: AnswerShares) -> None:
    """Create the SQL functions that SHORTCUTS calls. shares: of the group that the connection shows."""
    texts, numbers = ["VARCHAR", "VARCHAR", "VARCHAR[]"], ["BIGINT", "BIGINT"]
    functions: Mapping[str, tuple[Any, list[Any]]] = {
        "answer_in_meta": (answer_in_meta, [*texts, "VARCHAR", *numbers]),
        "option_length_bias": (option_length_bias, texts[1:]),
        "answer_share": (shares.share, texts),
        "answer_on_screen": (answer_on_screen, [*texts, "VARCHAR"]),
        "words_on_screen": (words_on_screen, ["VARCHAR", "VARCHAR", "VARCHAR"]),
        "described": (described, ["VARCHAR", "VARCHAR"]),
    }
    for name, (function, types) in functions.items():
        connection.create_function(name, function, types, "DOUBLE", null_handling=SPECIAL)


def is_inspected(plan: Plan) -> bool:
    """Return whether the plan has the step `inspect`."""
    return any(planned.step.name == "inspect" for planned in plan.steps)


def hidden_columns(plan: Plan) -> tuple[str, ...]:
    """Return the columns of candidates that cost time and are not packed."""
    return (*COLUMNS, *LINES) if is_inspected(plan) else COLUMNS


def names_answer_share(where: str) -> bool:
    """Return whether an expression needs the questions of a whole group."""
    return "answer_share" in where.lower()
