"""Making committed parts pending again: for failed records, and for sources that changed. What still holds is kept.

Always from the last step backwards: a kill in between leaves later steps open, which a run completes, and never an
earlier step that was done anew under later ones that were not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from manifests import storage
from manifests.journal import Journal, journal_path
from manifests.ledger import FAILED, OK, Manifest
from manifests.records import Outcome
from manifests.schema import from_rows
from manifests.sources import Registered
from pipeline.law import broken_laws, part_counts
from pipeline.plan import Plan, Planned

STEP_FOLDER = re.compile(r"\d\d-\w+-[0-9a-f]+")

Keep = Callable[[Outcome], bool]


def has_not_failed(outcome: Outcome) -> bool:
    """Whether an outcome is worth keeping when failed records run again."""
    return outcome.status != FAILED


def reopen_failed(plan: Plan, only: str | None) -> None:
    """Make every part with a failed record pending again, from the failed step on; so, too, where the law is broken.

    only: a step; failed records of all others stay as they are.
    """
    counts = part_counts(plan)
    wrong = {(fault.step, fault.part) for fault in broken_laws(plan, counts)}
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
        if planned.manifest.has(part):
            reopen_part(planned, part, keep)


def reopen_part(planned: Planned, part: int, keep: Keep = has_not_failed) -> None:
    """Back from manifest to journal, with the outcomes to keep. A step that keeps media does its part anew."""
    manifest = planned.manifest
    if not planned.step.keeps_media:
        path = journal_path(manifest.root, manifest.path(part, "journal"))
        path.unlink(missing_ok=True)
        journal = Journal(path, manifest.record, session="", life="")
        for outcome in filter(keep, stored_outcomes(manifest, part)):
            journal.done(outcome)
        journal.close(delete=False)
    storage.remove(manifest.uri(part))


def stored_outcomes(manifest: Manifest, part: int) -> Iterator[Outcome]:
    """The outcomes that a part was committed with."""
    for name, group in groupby(manifest.read(part).to_pylist(), key=lambda row: str(row["input"])):
        rows = list(group)
        status, seconds = rows[0]["status"], sum(row["seconds"] for row in rows)
        records = tuple(from_rows(manifest.record, rows)) if status == OK else ()
        yield Outcome(name, status, seconds, records, rows[0]["reason"], rows[0]["detail"])


@dataclass(frozen=True)
class Changed:
    """A source that another one replaces, and the id of the video that was made of it ("" if there is none)."""

    old: Registered
    new: Registered
    video: str

    def spares(self, outcome: Outcome) -> bool:
        """Whether an outcome of a later step still holds: it is of another video, or of this one and not touched.

        A video that only moved keeps what was made of it, but for failures, which may be due to its old place, and
        for what names a sidecar by its old place. With other companions nothing of it is kept.
        """
        if not self.video or not outcome.input.startswith(self.video):
            return True
        sidecars = self.old.source.sidecars
        named = any(getattr(record, "track", None) in sidecars for record in outcome.records)
        moved = named and sidecars != self.new.source.sidecars
        return not self._has_other_companions() and outcome.status != FAILED and not moved

    def _has_other_companions(self) -> bool:
        old, new = self.old.source, self.new.source
        return old.companions != new.companions if old.stamp else old.sidecars != new.sidecars


def reopen_changed(plan: Plan, changes: Sequence[tuple[Registered, Registered]]) -> None:
    """Make the parts of changed sources pending, in the manifests of all keys that this root has."""
    for part, pairs in groupby(sorted(changes, key=lambda pair: pair[0].part), key=lambda pair: pair[0].part):
        videos = _videos(plan, part)
        changed = [Changed(old, new, videos.get(old.source.id, "")) for old, new in pairs]
        for folder in _other_folders(plan):
            storage.remove(storage.join(plan.root, folder, f"part-{part:06d}.parquet"))
        _reopen_from(plan, plan.steps[0], part, partial(_is_spared, changed))


def _is_spared(changed: Sequence[Changed], outcome: Outcome) -> bool:
    return all(each.spares(outcome) for each in changed)


def _videos(plan: Plan, part: int) -> dict[str, str]:
    """Ids of the videos of a part, by the ids of their sources, as far as they are ingested."""
    first = plan.steps[0].manifest
    outcomes = stored_outcomes(first, part) if first.has(part) else ()
    return {outcome.input: outcome.records[0].id for outcome in outcomes if outcome.records}  # type: ignore[attr-defined]


def _other_folders(plan: Plan) -> list[str]:
    """Folders of steps under other keys than this plan's, the last step first."""
    ours = {planned.manifest.folder for planned in plan.steps}
    found = [name for name in storage.folders(plan.root) if STEP_FOLDER.fullmatch(name) and name not in ours]
    return sorted(found, reverse=True)
