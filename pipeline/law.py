"""The law of the ledger between steps: a step was given what the step before it made, no more and no less."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from manifests.ledger import Counts
from pipeline.plan import Plan

PartCounts = Mapping[str, Mapping[int, Counts]]  # by the name of the manifest, then by part


@dataclass(frozen=True)
class BrokenLaw:
    """A committed part of a step whose inputs are not the outputs of the step before."""

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


def part_counts(plan: Plan) -> PartCounts:
    """Counts of every committed part of every manifest of the plan, from the footers."""
    return {manifest.name: manifest.part_counts() for manifest in plan.manifests}


def broken_laws(plan: Plan, counts: PartCounts) -> Iterator[BrokenLaw]:
    """Every committed part whose inputs are not what the step before it has committed as outputs."""
    for planned in plan.steps:
        before = counts[planned.before.name]
        for part, of_part in counts[planned.step.name].items():
            outputs = before[part].outputs if part in before else 0
            if of_part.inputs != outputs:
                yield BrokenLaw(planned.step.name, part, of_part.inputs, planned.before.name, outputs)
