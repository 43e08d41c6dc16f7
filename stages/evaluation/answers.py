"""Store a model's answers to a suite, so that no question is asked twice.

<folder>/answers/<suite>.parquet    one row per question, in order; written when the suite ends or fails
<folder>/answers/<suite>.jsonl      the answers since then, one per line; a killed evaluation leaves this file
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from manifests import storage
from manifests.ledger import digest, parquet_bytes, read_parquet
from manifests.schema import from_rows, records_table
from ola.prompt import Answer
from stages.errors import StagesError
from stages.evaluation.questions import Question, Suite


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredAnswer:
    """A question with a model's verbatim answer and its score.

    key: digest of the model, the question and its medium. parsed: None if the metric finds no answer in the text.
    seconds: since the beginning of the batch. error: why the question could not be asked; it counts as wrong.
    """

    key: str
    model: str
    suite: str
    id: str
    group: str
    categories: tuple[str, ...]
    question: str
    reference: str
    answer: str
    parsed: str | None
    score: float
    finish: str
    seconds: float
    prompt_tokens: int
    tokens: int
    notes: tuple[str, ...] = ()
    error: str | None = None


class Answers:
    """The answers of one model to one suite, by key; a context manager that writes them at its end."""

    def __init__(self, folder: Path, suite: Suite, model: str) -> None:
        """Read the answers of earlier calls and score them again. Raises StagesError if they cannot be read."""
        self.suite, self.model = suite, model
        self.table = folder / "answers" / f"{suite.name}.parquet"
        self.lines = self.table.with_suffix(".jsonl")
        self.table.parent.mkdir(parents=True, exist_ok=True)
        rows = [*self._read_table(), *self._read_lines()]
        self.rows = {row.key: row for row in rows if row.model == model}
        for key, question in {self.key(question): question for question in suite.questions}.items():
            if (row := self.rows.get(key)) is not None and row.error is None:
                self.rows[key] = replace(row, **self._score(question, row.answer))

    def __enter__(self) -> Answers:
        self.file = open(self.lines, "ab")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.file.close()
        keys = dict.fromkeys(map(self.key, self.suite.questions))
        rows = [self.rows[key] for key in keys if key in self.rows]
        storage.write_bytes(str(self.table), parquet_bytes(records_table(ScoredAnswer, rows)))
        self.lines.unlink()

    def key(self, question: Question) -> str:
        """Return the digest of this model and a question."""
        return digest([self.model, self.suite.name, question.id, question.text, question.reference, question.medium])

    def missing(self, questions: Sequence[Question]) -> list[Question]:
        """Return the questions without an answer, with those that could not be asked."""
        rows = ((question, self.rows.get(self.key(question))) for question in questions)
        return [question for question, row in rows if row is None or row.error is not None]

    def rows_of(self, questions: Sequence[Question]) -> list[ScoredAnswer]:
        """Return the rows of questions. Raises KeyError for a question without a row."""
        return [self.rows[self.key(question)] for question in questions]

    def add(self, question: Question, answer: Answer | str) -> None:
        """Score and store an answer, or the reason why the question could not be asked."""
        reply = answer if isinstance(answer, Answer) else Answer("", (), "stop", 0)
        row = ScoredAnswer(
            key=self.key(question),
            model=self.model,
            suite=self.suite.name,
            id=question.id,
            group=question.group or question.id,
            categories=question.categories,
            question=question.text,
            reference=question.reference,
            answer=reply.text,
            **self._score(question, reply.text),
            finish=reply.finish,
            seconds=reply.seconds.get("total", 0.0),
            prompt_tokens=reply.prompt_tokens,
            tokens=len(reply.tokens),
            notes=reply.notes,
            error=answer if isinstance(answer, str) else None,
        )
        self.rows[row.key] = row
        self.file.write(json.dumps(asdict(row), ensure_ascii=False).encode(errors="replace") + b"\n")
        self.file.flush()

    def _score(self, question: Question, answer: str) -> dict[str, Any]:
        """Return `parsed` and `score` of an answer."""
        parsed = self.suite.metric.parse(answer, question.options)
        return {"parsed": parsed, "score": self.suite.metric.score(parsed, question.reference)}

    def _read_table(self) -> list[ScoredAnswer]:
        if not self.table.is_file():
            return []
        try:
            return from_rows(ScoredAnswer, read_parquet(str(self.table)).to_pylist())
        except (OSError, ValueError, KeyError) as error:
            raise StagesError(f"{self.table}: expected answers of this version; move the file away: {error}") from error

    def _read_lines(self) -> list[ScoredAnswer]:
        if not self.lines.is_file():
            return []
        with open(self.lines, "r+b") as file:
            complete = file.read().rpartition(b"\n")[0]
            file.truncate(len(complete) + 1 if complete else 0)  # drop a line that a kill left incomplete
        return from_rows(ScoredAnswer, (json.loads(line) for line in complete.splitlines()))
