"""Reopen committed parts, for failed records and for changed sources. Outcomes that are still valid are kept.

Parts are reopened from the last step backwards. A kill in between leaves only later steps open, which the next run
completes; no committed part of a later step ever refers to a reopened part.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from manifests import blocks, storage
from manifests.ledger import FAILED
from manifests.records import Outcome, Source, Video
from manifests.sources import Registered
from pipeline.engine.part_journals import journal_outcomes, rewrite_journal
from pipeline.plan import Plan, PlannedStep
from pipeline.state.ledger_law import law_violations, read_counts

STEP_FOLDER = re.compile(r"\d\d-\w+-[0-9a-f]+")

Keep = Callable[[Outcome], bool]


def has_not_failed(outcome: Outcome) -> bool:
    """Return whether an outcome is kept when failed records run again."""
    return outcome.status != FAILED


def reopen_failed(plan: Plan, only: str | None) -> None:
    """Reopen every part with a failed record or a broken law of the ledger, from the failed step on.

    only: the one step whose failed records run again; None for all.
    """
    books = read_counts(plan)
    counts = books.counts
    wrong = {(fault.step, fault.part) for fault in law_violations(plan, books)}
    for part in counts[plan.sources.name]:
        for planned in plan.steps:
            name = planned.step.name
            committed = counts[name].get(part)
            failed = committed is not None and committed.failed > 0 and only in (None, name)
            if failed or (name, part) in wrong:
                _reopen_from(plan, planned, part, has_not_failed)
                break


def _reopen_from(plan: Plan, first: PlannedStep, part: int, keep: Keep) -> None:
    later = plan.steps[plan.steps.index(first) :]
    for planned in reversed(later):
        reopen_part(planned, part, keep)


def reopen_part(planned: PlannedStep, part: int, keep: Keep = has_not_failed) -> None:
    """Replace a part's committed file by a journal with the outcomes to keep. Their media stay in the part's tar.

    An open part keeps those of these outcomes that its journal has.
    """
    manifest = planned.manifest
    rewrite_journal(manifest, part, [outcome for outcome in known_outcomes(planned, part) if keep(outcome)])
    manifest.remove(part)


def known_outcomes(planned: PlannedStep, part: int) -> list[Outcome]:
    """Return the outcomes of a committed part, or those in an open part's journal."""
    manifest = planned.manifest
    return list(manifest.outcomes(part)) if manifest.has(part) else journal_outcomes(manifest, part)


@dataclass(frozen=True)
class PartChange:
    """The changed sources of one part, and the videos made of the part's sources.

    changes: old and new source, by the id of the old one. videos: ids of videos, by source id.
    """

    changes: Mapping[str, tuple[Source, Source]]
    videos: Mapping[str, str]

    def still_holds(self, outcome: Outcome) -> bool:
        """Return whether an outcome of a step after `ingest` is still valid.

        A video that only moved keeps its outcomes, except failures (which its old place may have caused) and
        transcripts that name a sidecar at its old place. With other companions or spans, no outcome is kept.
        """
        owner = next((source for source, video in self.videos.items() if outcome.input.startswith(video)), None)
        if owner is None or owner not in self.changes:
            return owner is not None
        old, new = self.changes[owner]
        tracks = {getattr(record, "track", None) for record in outcome.records}
        names_old_place = old.sidecars != new.sidecars and not tracks.isdisjoint(old.sidecars)
        return not (
            new.removed
            or _has_other_companions(old, new)
            or old.spans != new.spans
            or outcome.status == FAILED
            or names_old_place
        )


def _has_other_companions(old: Source, new: Source) -> bool:
    return old.companions != new.companions if old.stamp else old.sidecars != new.sidecars


def reopen_changed(plan: Plan, changes: Sequence[tuple[Registered, Registered]]) -> None:
    """Reopen the parts of changed sources, in the manifests of all keys of this root."""
    by_part: dict[int, dict[str, tuple[Source, Source]]] = defaultdict(dict)
    for old, new in changes:
        by_part[old.part][old.source.id] = old.source, new.source
    others = _other_folders(plan) if by_part else []
    for part, of_part in sorted(by_part.items()):
        change = PartChange(of_part, _read_video_ids(plan.steps[0], part))
        for folder in others:
            blocks.remove_part(storage.join(plan.root, folder), part)
        for planned in reversed(plan.steps[1:]):
            reopen_part(planned, part, change.still_holds)
        reopen_part(plan.steps[0], part, partial(_is_kept, change))


def _is_kept(change: PartChange, outcome: Outcome) -> bool:
    """Return whether an outcome of `ingest` is kept: a changed source has a new id, except a removed source."""
    return outcome.input not in change.changes or not change.changes[outcome.input][1].removed


def _read_video_ids(ingest: PlannedStep, part: int) -> dict[str, str]:
    """Return the known video ids of a part, by source id."""
    outcomes = known_outcomes(ingest, part)
    return {outcome.input: str(cast(Video, outcome.records[0]).id) for outcome in outcomes if outcome.records}


def _other_folders(plan: Plan) -> list[str]:
    """Return the step folders of keys that this plan does not use, the last step first."""
    ours = {planned.manifest.folder for planned in plan.steps}
    found = [name for name in storage.folders(plan.root) if STEP_FOLDER.fullmatch(name) and name not in ours]
    return sorted(found, reverse=True)
