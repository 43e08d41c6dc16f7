"""Ask a model the questions of suites, and score its answers: `evaluate`.

    questions ─ chunks ─► requests with their media ─ Ola.generate ─► answers (Parquet) ─► results.json

One chunk is in memory at a time. What was answered before is not asked again; what cannot be asked is a row with its
reason and counts as wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from manifests import storage
from manifests.retries import StoreAway
from ola.prompt import Answer, Request
from stages.errors import StagesError
from stages.evaluation.answers import Answered, Answers
from stages.evaluation.questions import Answerer, Question, Suite, Unreadable
from stages.evaluation.scores import F1, Metric, exact_match

RESULTS = "results.json"
DIGITS = 6


class Result(TypedDict):
    """A suite's entry in results.json.

    value: by `metric`, of which less is better if it `falls`; by_category: likewise. n: questions. unparsed: answers
    in which the metric finds nothing to score; errors: questions that could not be asked; both count as wrong.
    model: names the weights. exact_match: a share of the answers, beside F1.
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
    """Ask the first `limit` questions of each suite, greedily; results by the suites' names, also in `out`.

    model: names the weights, and whatever else answers follow from; other models' answers in `out` are not used.
    on_answer: told (suite, questions done, of how many). Raises StagesError where `out` holds what cannot be read.
    """
    found = {}
    for suite in suites:
        questions = suite.questions[:limit]
        with Answers(out, suite, model) as answers:
            _ask_missing(ola, questions, answers, on_answer)
            found[suite.name] = result(suite.metric, answers.of(questions), model)
        _publish(out / RESULTS, found, model)
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
        _ask(ola, missing[start : start + suite.batch], keep)


def _ask(ola: Answerer, questions: Sequence[Question], keep: Callable[[Question, Answer | str], None]) -> None:
    opened = []
    for question in questions:
        try:
            opened.append((question, question.request()))
        except StoreAway:
            raise
        except (Unreadable, OSError, ValueError) as error:
            keep(question, str(error))
    _answer(ola, opened, keep)


def _answer(
    ola: Answerer, asked: Sequence[tuple[Question, Request]], keep: Callable[[Question, Answer | str], None]
) -> None:
    """All at once; where one of them cannot be answered, each alone, so that the others are."""
    try:
        ola.generate([request for _, request in asked], on_answer=lambda index, said: keep(asked[index][0], said))
    except ValueError as error:  # raised before any is answered
        if len(asked) == 1:
            keep(asked[0][0], str(error).removeprefix("request 0: "))
        else:
            for one in asked:
                _answer(ola, [one], keep)


def result(metric: Metric, rows: Sequence[Answered], model: str) -> Result:
    """What a suite's rows come to."""
    names = sorted({name for row in rows for name in row.categories})
    by_category = {name: [row for row in rows if name in row.categories] for name in names}
    return Result(
        metric=metric.name,
        falls=metric.falls,
        value=round(metric.total(rows), DIGITS),
        n=len(rows),
        unparsed=sum(row.parsed is None and row.error is None for row in rows),
        errors=sum(row.error is not None for row in rows),
        by_category={name: round(metric.total(some), DIGITS) for name, some in by_category.items()},
        model=model,
        exact_match=round(exact_match(rows), DIGITS) if metric is F1 else None,
    )


def _publish(path: Path, found: Mapping[str, Result], model: str) -> None:
    """Write the results, beside those of this model's other suites that are there already."""
    others = read_results(path) if path.is_file() else {}
    kept = {name: facts for name, facts in others.items() if facts["model"] == model}
    storage.write_bytes(str(path), json.dumps({**kept, **found}, ensure_ascii=False, indent=2).encode() + b"\n")


def read_results(path: Path) -> dict[str, Result]:
    """The results in a JSON file, or in the folder that `evaluate` wrote to. Raises StagesError."""
    file = path / RESULTS if path.is_dir() else path
    try:
        found: dict[str, Result] = json.loads(file.read_bytes())
        if not all(set(Result.__required_keys__) <= set(facts) for facts in found.values()):
            raise ValueError("a suite lacks what `ola evaluate` writes")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise StagesError(f"{file}: no results of `ola evaluate`: {error}") from error
    return found
