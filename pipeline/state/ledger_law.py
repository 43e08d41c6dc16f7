"""Check the law of the ledger between steps: the inputs of a step are exactly the outputs of the step before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from manifests.ledger import Counts, Damaged
from pipeline.plan import Plan

PartCounts = Mapping[str, Mapping[int, Counts]]  # by manifest name, then by part


@dataclass(frozen=True)
class CommittedCounts:
    """The counts of all committed parts, and the damage of unreadable files by manifest name and part."""

    counts: PartCounts
    damaged: Mapping[tuple[str, int], Damaged]


@dataclass(frozen=True)
class LawViolation:
    """A committed part whose number of inputs differs from the number of outputs of the step before."""

    step: str
    part: int
    inputs: int
    before: str
    outputs: int

    def __str__(self) -> str:
        return (
            f"step '{self.step}', part {self.part}: it has {self.inputs} inputs, but '{self.before}' gives "
            f"{self.outputs}: `ola run --retry` does the part again"
        )


def read_counts(plan: Plan) -> CommittedCounts:
    """Read the footers of all committed parts of the plan."""
    found = {manifest.name: manifest.part_counts() for manifest in plan.manifests}
    counts = {
        name: {part: counts for part, counts in of.items() if isinstance(counts, Counts)} for name, of in found.items()
    }
    pairs = [((name, part), damage) for name, of in found.items() for part, damage in of.items()]
    return CommittedCounts(counts, {place: damage for place, damage in pairs if isinstance(damage, Damaged)})


def law_violations(plan: Plan, books: CommittedCounts) -> Iterator[LawViolation]:
    """Yield every committed part whose number of inputs differs from the outputs of the step before.

    Parts whose inputs cannot be read are left out, since nothing is known about them.
    """
    for planned in plan.steps:
        name = planned.before.name
        for part, counts in books.counts[planned.step.name].items():
            before = books.counts[name].get(part, Counts())
            if counts.inputs != before.outputs and (name, part) not in books.damaged:
                yield LawViolation(planned.step.name, part, counts.inputs, name, before.outputs)
