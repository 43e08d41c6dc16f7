"""Read auditors' answers into the manifest `audit` of a run: a part for each auditor of each sample.

Every sampled question leaves a row: `ok` with the answer, or `dropped` where the auditor gave none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from manifests.ledger import OK, Manifest
from manifests.records import AuditAnswer, Drop, Outcome
from pipeline.audit.sample import Sample, SampledQuestion, read_sample
from pipeline.errors import ConfigError

NUMBER, NAME = 99, "audit"  # of the folder `99-audit`, after all steps
NO_ANSWER = Drop("not answered", "the auditor left the question out")


class GivenAnswer(BaseModel):
    """A line of the page's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    audit: str
    auditor: str = Field(min_length=1, max_length=100)
    question: str
    right: bool
    without_sound: bool
    without_picture: bool


def audit_manifest(root: str) -> Manifest:
    """Return the manifest of a run's audits."""
    return Manifest(root, NUMBER, NAME, "", AuditAnswer)


def read_answers(root: str, file: Path) -> tuple[Sample, str, int]:
    """Store the answers of a file; those of the same auditor to the same sample are replaced.

    Returns the sample, the auditor and the number of answers. Raises ConfigError for a file that is not of this run.
    """
    given = _parse(file)
    audits, auditors = {each.audit for each in given}, {each.auditor for each in given}
    if len(audits) != 1 or len(auditors) != 1:
        counts = f"{len(given)} lines of {len(auditors)} auditors to {len(audits)} audits"
        raise ConfigError(f"--read: {file}: expected the answers of one auditor to one audit, got {counts}")
    (audit,), (auditor,) = audits, auditors
    sample = read_sample(root, audit)
    answers = {each.question: each for each in given}
    if strange := answers.keys() - {each.question for each in sample.questions}:
        raise ConfigError(f"--read: {file}: question {min(strange)} is not in the audit {audit}")
    outcomes = [_outcome(sample, auditor, each, answers.get(each.question)) for each in sample.questions]
    _commit(audit_manifest(root), outcomes, audit, auditor)
    return sample, auditor, len(answers)


def _parse(file: Path) -> list[GivenAnswer]:
    found = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--read: {file}: {error}") from error
    for n, line in enumerate(lines, start=1):
        try:
            found += [GivenAnswer.model_validate_json(line)] if line.strip() else []
        except ValidationError as error:
            raise ConfigError(
                f"--read: {file}, line {n}: expected an answer of the page: {error.errors()[0]['msg']}"
            ) from error
    return found


def _outcome(sample: Sample, auditor: str, asked: SampledQuestion, given: GivenAnswer | None) -> Outcome:
    name = f"{sample.name} {auditor} {asked.question}"
    if given is None:
        return Outcome(name, "dropped", 0.0, reason=NO_ANSWER.reason, detail=NO_ANSWER.detail)
    record = AuditAnswer(
        id=name,
        audit=sample.name,
        auditor=auditor,
        clip=asked.clip,
        question=asked.question,
        kind=asked.kind,
        needs=asked.needs,
        packed=asked.packed,
        stratum=asked.stratum,
        weight=asked.weight,
        right=given.right,
        without_sound=given.without_sound,
        without_picture=given.without_picture,
    )
    return Outcome(name, OK, 0.0, (record,))


def _commit(manifest: Manifest, outcomes: list[Outcome], audit: str, auditor: str) -> None:
    parts = manifest.committed()
    same = [part for part in parts if _whose(manifest, part) == (audit, auditor)]
    for part in same:
        manifest.remove(part)
    part = same[0] if same else max(parts, default=-1) + 1
    manifest.commit(part, [outcome.input for outcome in outcomes], outcomes)


def _whose(manifest: Manifest, part: int) -> tuple[str, str]:
    """Return the sample and the auditor of a part."""
    row: dict[str, Any] = manifest.read(part).slice(0, 1).to_pylist()[0]
    audit, _, rest = row["input"].partition(" ")
    return audit, rest.rpartition(" ")[0]


def read_audits(root: str) -> list[AuditAnswer]:
    """Return all answers of a run's audits."""
    manifest = audit_manifest(root)
    parts = sorted(manifest.committed())
    return [record for part in parts for outcome in manifest.outcomes(part) for record in outcome.records]  # type: ignore[misc]
