"""The order of a removal. Each step may be repeated, so the same command completes a removal that was killed.

1. `removed.jsonl` and `removing.json` name the sources: from here on no run begins until the removal has ended.
2. The sources are marked as removed, so that later runs leave them out.
3. In the folder of every step and key, the last step first: journals, then rows and tars of the parts, part by part.
4. The shards are packed again, and old sets that hold the videos are deleted.
5. The names are deleted from `run.yaml` and the views; `removing.json` is deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import yaml

from manifests import storage, views
from manifests.sources import Registered, SourceManifest
from pipeline import config as configuration
from pipeline.duplicates.grouping import has_fingerprints, update_duplicates
from pipeline.errors import RunError
from pipeline.pack.publish import RunLanes, current_manifest
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from pipeline.removal import record
from pipeline.removal.card_copies import delete_card
from pipeline.removal.report_copies import delete_report_copies
from pipeline.removal.rows import RemovedIds, remove_rows, step_manifests
from pipeline.removal.sets import check_imported, delete_sets, repack
from pipeline.removal.targets import KnownSources, Targets
from stages.catalogue import current


@dataclass(frozen=True)
class Request:
    """A user's request.

    names: of videos; none to finish a removal that was cut off. like: files whose copies are among the names. learned:
    checkpoints that have learned from the videos; None where nobody asked for them.
    """

    names: Sequence[str]
    note: str = ""
    like: Sequence[str] = ()
    learned: Sequence[str] | None = None

    def facts(self) -> dict[str, Any]:
        """Return what the record keeps of the request."""
        facts: dict[str, Any] = {"note": self.note, "asked": list(self.names)}
        facts |= {"like": list(self.like)} if self.like else {}
        return facts | ({"learned": list(self.learned)} if self.learned is not None else {})


def find_targets(plan: Plan, names: Sequence[str]) -> Targets:
    """Find what these names remove, together with removals that were cut off.

    Raises ConfigError for names that cannot be removed, RunError where the root cannot be read.
    """
    with translate_os_errors():
        known = KnownSources(plan.sources, record.removed_videos(plan.root))
        found = known.targets([*names, *record.unfinished_sources(plan.root)])
        check_imported(plan.root, found.videos)
    return found


def remove_videos(plan: Plan, settings: PackSettings, run_lanes: RunLanes, request: Request) -> Sequence[str]:
    """Delete every trace of some videos from a root that this process holds. Returns the faults of damaged parts.

    Raises ConfigError before anything is changed, RunError where the removal cannot go on and may be repeated.
    """
    targets = find_targets(plan, request.names)
    with translate_os_errors():
        record.begin_removal(plan.root, targets)
        record.record_removal(plan.root, targets, request.facts())
        mark_sources(plan.sources, targets)
        removed = RemovedIds(targets.sources, targets.videos, frozenset(targets.parts))
        for manifest in step_manifests(plan.root):
            remove_rows(manifest, removed)
        if has_fingerprints(plan):  # the groups name videos
            config = configuration.load_run(plan.root)
            update_duplicates(plan, config.dedup, config.decontaminate, run_lanes)
        damaged = repack(plan, settings, run_lanes)
        delete_sets(plan, targets.videos)
        delete_report_copies(plan.root, removed.sources | removed.videos)
        delete_card(plan.root)
        forget_names(plan, targets.uris)
        record.end_removal(plan.root)
    return damaged


@contextmanager
def translate_os_errors() -> Iterator[None]:
    """Raise RunError in the place of an OSError, such as that of a damaged file or a store that does not answer."""
    try:
        yield
    except OSError as error:
        raise RunError(f"remove: {' '.join(str(error).split())}; then do `ola remove` again to finish it") from error


def mark_sources(manifest: SourceManifest, targets: Targets) -> None:
    """Mark the sources as removed, and delete the older files of sources, which have their details."""
    marked: dict[str, Registered] = {each.source.uri: each for each in targets.registered}
    number, before = manifest.next, manifest.registered()
    after = [
        replace(each, source=marked[each.source.uri].source) if each.source.uri in marked else each for each in before
    ]
    if after != before and not manifest.write(number, after):
        raise RunError(f"another run registered sources at {manifest.root} meanwhile: do `ola remove` again")
    manifest.remove_older()


def forget_names(plan: Plan, uris: frozenset[str]) -> None:
    """Delete these uris from `run.yaml`, and write the views anew, which name the file of sources."""
    _forget_inputs(plan.root, uris)
    packed = current_manifest(plan)
    views.write(plan.root, plan.manifests + ([packed] if packed is not None else []), current(plan.root))


def _forget_inputs(root: str, uris: frozenset[str]) -> None:
    """Delete these uris from the inputs in `run.yaml` that name them one by one."""
    uri = storage.join(root, configuration.RUN)
    if not storage.exists(uri):
        return
    facts = yaml.safe_load(storage.read_bytes(uri))
    inputs = [name for name in facts.get("inputs") or () if storage.normal(name) not in uris]
    if inputs != list(facts.get("inputs") or ()):
        text = yaml.safe_dump({**facts, "inputs": inputs}, sort_keys=False, allow_unicode=True)
        storage.write_bytes(uri, text.encode())
