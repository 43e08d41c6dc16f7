"""Making committed parts pending again: for failed records, and for sources that changed. What still holds is kept.

Always from the last step backwards: a kill in between leaves later steps open, which a run completes, and never an
earlier step that was done anew under later ones that were not.
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
from pipeline.plan import Plan, Planned
from pipeline.state.ledger_law import law_violations, read_counts

STEP_FOLDER = re.compile(r"\d\d-\w+-[0-9a-f]+")

Keep = Callable[[Outcome], bool]


def has_not_failed(outcome: Outcome) -> bool:
    """Whether an outcome is worth keeping when failed records run again."""
    return outcome.status != FAILED


def reopen_failed(plan: Plan, only: str | None) -> None:
    """Make every part with a failed record pending again, from the failed step on; so, too, where the law is broken.

    only: a step; failed records of all others stay as they are.
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


def _reopen_from(plan: Plan, first: Planned, part: int, keep: Keep) -> None:
    later = plan.steps[plan.steps.index(first) :]
    for planned in reversed(later):
        reopen_part(planned, part, keep)


def reopen_part(planned: Planned, part: int, keep: Keep = has_not_failed) -> None:
    """Back from manifest to journal, with the outcomes to keep: their media stay in the tar that they lie in.

    A part that is under way keeps what its journal has of these outcomes.
    """
    manifest = planned.manifest
    rewrite_journal(manifest, part, [outcome for outcome in known_outcomes(planned, part) if keep(outcome)])
    manifest.remove(part)


def known_outcomes(planned: Planned, part: int) -> list[Outcome]:
    """The outcomes of a part that is committed, or those that its journal has."""
    manifest = planned.manifest
    return list(manifest.outcomes(part)) if manifest.has(part) else journal_outcomes(manifest, part)


@dataclass(frozen=True)
class PartChange:
    """Sources of one part that others replace, and the videos that were made of the part's sources.

    changes: the old and the new source by the id of the old one. videos: ids of videos by the ids of their sources.
    """

    changes: Mapping[str, tuple[Source, Source]]
    videos: Mapping[str, str]

    def spares(self, outcome: Outcome) -> bool:
        """Whether an outcome of a step after `ingest` still holds.

        A video that only moved keeps what was made of it, but for failures, which may be due to its old place, and
        for what names a sidecar by its old place. With other companions or spans nothing is kept of it.
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
    """Make the parts of changed sources pending, in the manifests of all keys that this root has."""
    by_part: dict[int, dict[str, tuple[Source, Source]]] = defaultdict(dict)
    for old, new in changes:
        by_part[old.part][old.source.id] = old.source, new.source
    others = _other_folders(plan) if by_part else []
    for part, of_part in sorted(by_part.items()):
        change = PartChange(of_part, _videos(plan.steps[0], part))
        for folder in others:
            blocks.remove_part(storage.join(plan.root, folder), part)
        for planned in reversed(plan.steps[1:]):
            reopen_part(planned, part, change.spares)
        reopen_part(plan.steps[0], part, partial(_is_ingested, change))


def _is_ingested(change: PartChange, outcome: Outcome) -> bool:
    """Whether an outcome of `ingest` holds: a changed source has another id, but one that was removed."""
    return outcome.input not in change.changes or not change.changes[outcome.input][1].removed


def _videos(ingest: Planned, part: int) -> dict[str, str]:
    """Ids of the videos of a part, by the ids of their sources, as far as they are known."""
    outcomes = known_outcomes(ingest, part)
    return {outcome.input: str(cast(Video, outcome.records[0]).id) for outcome in outcomes if outcome.records}


def _other_folders(plan: Plan) -> list[str]:
    """Folders of steps under other keys than this plan's, the last step first."""
    ours = {planned.manifest.folder for planned in plan.steps}
    found = [name for name in storage.folders(plan.root) if STEP_FOLDER.fullmatch(name) and name not in ours]
    return sorted(found, reverse=True)
