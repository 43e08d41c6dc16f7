"""Compute what people's answers say about `needs`: precision and recall of "both" with intervals, and kappa.

A question truly needs both if its answer is right, and if it can be answered neither without the sound nor without the
picture. Of several auditors more than half must say so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from manifests.records import AuditAnswer

BOTH = "both"
Z = 1.959964  # of a two-sided interval of 95 %


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval (Wilson). count: questions it is a share of; None where there are none."""

    value: float | None
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        """Return `82.0% [72.1%, 89.0%] of 78`."""
        if self.value is None:
            return "- of 0"
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}] of {self.count}"


@dataclass(frozen=True)
class AuditedQuestion:
    """A question with the auditors' majority."""

    kind: str
    needs: str
    weight: float
    both: bool


def needs_both(answer: AuditAnswer) -> bool:
    """Return whether an auditor says that a question needs both senses."""
    return answer.right and not answer.without_sound and not answer.without_picture


def merge_auditors(answers: Iterable[AuditAnswer]) -> list[AuditedQuestion]:
    """Return each audited question once. In several samples it counts once, with its first weight."""
    groups: dict[str, list[AuditAnswer]] = {}
    for answer in answers:
        groups.setdefault(answer.question, []).append(answer)
    return [
        AuditedQuestion(some[0].kind, some[0].needs, some[0].weight, 2 * sum(map(needs_both, some)) > len(some))
        for some in groups.values()
    ]


def wilson(value: float, count: float) -> tuple[float, float]:
    """Return the Wilson interval of a share of `count` trials, which may be an effective number."""
    centre = (value + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * math.sqrt(value * (1 - value) / count + Z**2 / (4 * count**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def weighted_share(pairs: Sequence[tuple[bool, float]]) -> Share:
    """Return the weighted share of what holds. The interval is that of the effective sample size (Kish)."""
    total = sum(weight for _, weight in pairs)
    if not total:
        return Share(None, 0.0, 1.0, 0)
    value = sum(weight for holds, weight in pairs if holds) / total
    effective = total**2 / sum(weight**2 for _, weight in pairs)
    return Share(value, *wilson(value, effective), len(pairs))


def precision(questions: Iterable[AuditedQuestion]) -> Share:
    """Return the share of those measured to need both that truly do."""
    return weighted_share([(each.both, each.weight) for each in questions if each.needs == BOTH])


def recall(questions: Iterable[AuditedQuestion]) -> Share:
    """Return the share of those that truly need both that were measured so."""
    return weighted_share([(each.needs == BOTH, each.weight) for each in questions if each.both])


def kappas(answers: Sequence[AuditAnswer]) -> dict[str, tuple[float | None, int]]:
    """Return Cohen's kappa and the number of shared questions of each pair of auditors."""
    by_auditor: dict[str, dict[str, bool]] = {}
    for answer in answers:
        by_auditor.setdefault(answer.auditor, {})[answer.question] = needs_both(answer)
    found = {}
    for (first, one), (second, other) in combinations(sorted(by_auditor.items()), 2):
        shared = [(one[name], other[name]) for name in one.keys() & other.keys()]
        if shared:
            found[f"{first}, {second}"] = cohen_kappa(shared), len(shared)
    return found


def cohen_kappa(pairs: Sequence[tuple[bool, bool]]) -> float | None:
    """Return the agreement beyond chance, -1 to 1; None if both always say the same, since chance then agrees too."""
    count = len(pairs)
    first, second = (sum(pair[n] for pair in pairs) / count for n in (0, 1))
    agreed, expected = sum(a == b for a, b in pairs) / count, first * second + (1 - first) * (1 - second)
    return None if expected == 1 else (agreed - expected) / (1 - expected)


def audit_facts(answers: Sequence[AuditAnswer]) -> dict[str, Any]:
    """Return all figures, for JSON; empty without answers."""
    if not answers:
        return {}
    questions = merge_auditors(answers)
    kinds = {kind: [each for each in questions if each.kind == kind] for kind in sorted({q.kind for q in questions})}
    return {
        "questions": len(questions),
        "auditors": sorted({answer.auditor for answer in answers}),
        "precision": vars(precision(questions)),
        "recall": vars(recall(questions)),
        "by_kind": {
            kind: {"precision": vars(precision(some)), "recall": vars(recall(some))} for kind, some in kinds.items()
        },
        "kappa": {pair: {"kappa": value, "questions": count} for pair, (value, count) in kappas(answers).items()},
    }


def audit_lines(facts: Mapping[str, Any], by_kind: bool = False) -> list[str]:
    """Return the figures as text lines."""
    if not facts:
        return []
    lines = [f"audit: {facts['questions']} questions by {', '.join(facts['auditors'])}"]
    lines += [f"  needs both, {name}: {Share(**facts[name])}" for name in ("precision", "recall")]
    if by_kind:
        for kind, shares in facts["by_kind"].items():
            lines.append(f"  {kind}: " + ", ".join(f"{name} {Share(**shares[name])}" for name in shares))
    for pair, found in facts["kappa"].items():
        value = "-" if found["kappa"] is None else f"{found['kappa']:.2f}"
        lines.append(f"  kappa of {pair}: {value} ({found['questions']} questions)")
    return lines
