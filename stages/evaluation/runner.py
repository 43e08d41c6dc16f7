"""Ask a model the questions of suites and score its answers: `evaluate`.

    questions ─ chunks ─► requests with their media ─ Ola.generate ─► answers (Parquet) ─► results.json

Only one chunk is in memory at a time. Questions with a stored answer are not asked again. A question that cannot be
asked becomes a row with its error and counts as wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from manifests import storage
from manifests.retries import StoreUnreachable
from ola.prompt import Answer, Request
from stages.errors import StagesError
from stages.evaluation.answers import Answers, ScoredAnswer
from stages.evaluation.questions import Answerer, Question, Suite, Unreadable
from stages.evaluation.scores import F1, Metric, exact_match

RESULTS = "results.json"
DIGITS = 6


class ResultDetails(TypedDict, total=False):
    """The part of a result that only some metrics have."""

    details: dict[str, dict[str, float]]


class Result(ResultDetails):
    """The entry of a suite in results.json.

    value: score by `metric`; falls: lower is better. by_category: score per category. n: number of questions. unparsed:
    answers in which the metric finds nothing to score; errors: questions that could not be asked; both count as wrong.
    model: identifies the weights. exact_match: share of the answers; only with the metric F1. details: by category
    (`all` for all questions), only of yes-or-no questions: precision, recall and share of yes.
    """

    metric: str
    falls: bool
    value: float
    n: int
    unparsed: int
    errors: int
    by_category: dict[str, float]
    model: str
    exact_match: float | None


def evaluate(
    ola: Answerer,
    suites: Sequence[Suite],
    out: Path,
    model: str,
    limit: int | None = None,
    on_answer: Callable[[str, int, int], object] = lambda suite, done, of: None,
) -> dict[str, Result]:
    """Ask the first `limit` questions of each suite by greedy decoding; return and store the results by suite name.

    model: identifies the weights and the settings that affect answers; `out` may hold answers of other models, which
    are not used. on_answer: called with suite, number of answered questions, number of all. Raises StagesError if the
    files in `out` cannot be read.
    """
    found = {}
    for suite in suites:
        questions = suite.questions[:limit]
        with Answers(out, suite, model) as answers:
            _ask_missing(ola, questions, answers, on_answer)
            found[suite.name] = summarize(suite.metric, answers.rows_of(questions), model)
        _write_results(out / RESULTS, found, model)
    return found


def _ask_missing(
    ola: Answerer, questions: Sequence[Question], answers: Answers, on_answer: Callable[[str, int, int], object]
) -> None:
    suite, missing = answers.suite, answers.missing(questions)
    done = len(questions) - len(missing)
    on_answer(suite.name, done, len(questions))

    def keep(question: Question, answer: Answer | str) -> None:
        nonlocal done
        answers.add(question, answer)
        done += 1
        on_answer(suite.name, done, len(questions))

    for start in range(0, len(missing), suite.batch):
        _open_and_ask(ola, missing[start : start + suite.batch], keep)


def _open_and_ask(ola: Answerer, questions: Sequence[Question], keep: Callable[[Question, Answer | str], None]) -> None:
    pairs = []
    for question in questions:
        try:
            pairs.append((question, question.request()))
        except StoreUnreachable:
            raise
        except (Unreadable, OSError, ValueError) as error:
            keep(question, str(error))
    _ask_batch(ola, pairs, keep)


def _ask_batch(
    ola: Answerer, pairs: Sequence[tuple[Question, Request]], keep: Callable[[Question, Answer | str], None]
) -> None:
    """Ask all requests in one batch; if one of them is invalid, ask each alone so that the others are answered."""
    try:
        ola.generate([request for _, request in pairs], on_answer=lambda index, given: keep(pairs[index][0], given))
    except ValueError as error:  # raised before the first answer
        if len(pairs) == 1:
            keep(pairs[0][0], str(error).removeprefix("request 0: "))
        else:
            for pair in pairs:
                _ask_batch(ola, [pair], keep)


def summarize(metric: Metric, rows: Sequence[ScoredAnswer], model: str) -> Result:
    """Compute the result of a suite from its rows."""
    names = sorted({name for row in rows for name in row.categories})
    by_category = {name: [row for row in rows if name in row.categories] for name in names}
    result = Result(
        metric=metric.name,
        falls=metric.falls,
        value=round(metric.total(rows), DIGITS),
        n=len(rows),
        unparsed=sum(row.parsed is None and row.error is None for row in rows),
        errors=sum(row.error is not None for row in rows),
        by_category={name: round(metric.total(category_rows), DIGITS) for name, category_rows in by_category.items()},
        model=model,
        exact_match=round(exact_match(rows), DIGITS) if metric is F1 else None,
    )
    if metric.details is not None and rows:
        sets = {"all": rows, **by_category}
        result["details"] = {name: _rounded(metric.details(some)) for name, some in sets.items()}
    return result


def _rounded(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in scores.items()}


def _write_results(path: Path, found: Mapping[str, Result], model: str) -> None:
    """Write the results, and keep the stored results of this model's other suites."""
    results = read_results(path) if path.is_file() else {}
    kept = {name: facts for name, facts in results.items() if facts["model"] == model}
    storage.write_bytes(str(path), json.dumps({**kept, **found}, ensure_ascii=False, indent=2).encode() + b"\n")


def read_results(path: Path) -> dict[str, Result]:
    """Read results from a JSON file or from a folder of `evaluate`. Raises StagesError if they cannot be read."""
    file = path / RESULTS if path.is_dir() else path
    try:
        found: dict[str, Result] = json.loads(file.read_bytes())
        if not all(set(Result.__required_keys__) <= set(facts) for facts in found.values()):
            raise ValueError("a suite lacks keys that `ola evaluate` writes")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise StagesError(f"{file}: expected results of `ola evaluate`: {error}") from error
    return found
