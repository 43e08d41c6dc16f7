"""The answers of a model to a suite, kept so that none is asked for twice.

<folder>/answers/<suite>.parquet    a row a question, in their order; written when a suite ends or fails
<folder>/answers/<suite>.jsonl      the answers since then, a line each as they come; what a kill leaves behind
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
class Answered:
    """A question with a model's answer, word for word, and what the metric made of it.

    key: names the model, the question and its medium. parsed: None where the answer cannot be read. seconds: from the
    beginning of its batch. error: why it could not be asked; it then counts as wrong.
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
    """What one model has answered to one suite, by key; use it as a context manager."""

    def __init__(self, folder: Path, suite: Suite, model: str) -> None:
        """Read what earlier calls left, scored by today's rules. Raises StagesError where it cannot be read."""
        self.suite, self.model = suite, model
        self.table = folder / "answers" / f"{suite.name}.parquet"
        self.lines = self.table.with_suffix(".jsonl")
        self.table.parent.mkdir(parents=True, exist_ok=True)
        rows = [*self._stored(), *self._noted()]
        self.rows = {row.key: row for row in rows if row.model == model}
        for key, question in {self.key(question): question for question in suite.questions}.items():
            if (row := self.rows.get(key)) is not None and row.error is None:
                self.rows[key] = replace(row, **self._scored(question, row.answer))

    def __enter__(self) -> Answers:
        self.file = open(self.lines, "ab")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.file.close()
        keys = dict.fromkeys(map(self.key, self.suite.questions))
        rows = [self.rows[key] for key in keys if key in self.rows]
        storage.write_bytes(str(self.table), parquet_bytes(records_table(Answered, rows)))
        self.lines.unlink()

    def key(self, question: Question) -> str:
        """Names a question, as this model is asked it."""
        return digest([self.model, self.suite.name, question.id, question.text, question.reference, question.medium])

    def missing(self, questions: Sequence[Question]) -> list[Question]:
        """The questions without an answer; those that could not be asked are among them."""
        rows = ((question, self.rows.get(self.key(question))) for question in questions)
        return [question for question, row in rows if row is None or row.error is not None]

    def of(self, questions: Sequence[Question]) -> list[Answered]:
        """The rows of questions that were all asked."""
        return [self.rows[self.key(question)] for question in questions]

    def add(self, question: Question, answer: Answer | str) -> None:
        """Score and keep an answer, or the reason why there is none."""
        said = answer if isinstance(answer, Answer) else Answer("", (), "stop", 0)
        row = Answered(
            key=self.key(question),
            model=self.model,
            suite=self.suite.name,
            id=question.id,
            group=question.group or question.id,
            categories=question.categories,
            question=question.text,
            reference=question.reference,
            answer=said.text,
            **self._scored(question, said.text),
            finish=said.finish,
            seconds=said.seconds.get("total", 0.0),
            prompt_tokens=said.prompt_tokens,
            tokens=len(said.tokens),
            notes=said.notes,
            error=answer if isinstance(answer, str) else None,
        )
        self.rows[row.key] = row
        self.file.write(json.dumps(asdict(row), ensure_ascii=False).encode(errors="replace") + b"\n")
        self.file.flush()

    def _scored(self, question: Question, answer: str) -> dict[str, Any]:
        """What the metric makes of an answer."""
        parsed = self.suite.metric.parse(answer, question.options)
        return {"parsed": parsed, "score": self.suite.metric.score(parsed, question.reference)}

    def _stored(self) -> list[Answered]:
        if not self.table.is_file():
            return []
        try:
            return from_rows(Answered, read_parquet(str(self.table)).to_pylist())
        except (OSError, ValueError, KeyError) as error:
            raise StagesError(f"{self.table}: not answers of this version; move it away: {error}") from error

    def _noted(self) -> list[Answered]:
        if not self.lines.is_file():
            return []
        with open(self.lines, "r+b") as file:
            whole = file.read().rpartition(b"\n")[0]
            file.truncate(len(whole) + 1 if whole else 0)  # a line that was torn by a kill
        return from_rows(Answered, (json.loads(line) for line in whole.splitlines()))
