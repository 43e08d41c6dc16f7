"""The order of a removal. Each of its parts may be done twice, so the same command completes one that was killed.

1. `removed.jsonl` and `removing.json` name the sources: from here on no run begins until the removal has ended.
2. The sources are marked as removed, so that no later run takes them in.
3. In the folder of every step and key, the last step first: journals, then rows and tars of the parts, part by part.
4. The shards are packed again, and old sets that hold the videos are deleted.
5. `run.yaml` and the views lose their names; `removing.json` is deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import yaml

from manifests import storage, views
from manifests.sources import Registered, SourceManifest
from pipeline import config as configuration
from pipeline.errors import RunError
from pipeline.pack.publish import Write, current_manifest
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from pipeline.removal import record
from pipeline.removal.rows import RemovedIds, remove_rows, step_manifests
from pipeline.removal.sets import check_imported, delete_sets, repack
from pipeline.removal.targets import KnownSources, Targets
from stages.catalogue import current


@dataclass(frozen=True)
class Request:
    """What a user asks for. names: of videos; none to finish a removal that was cut off."""

    names: Sequence[str]
    note: str = ""


def targets_of(plan: Plan, names: Sequence[str]) -> Targets:
    """Find what a removal of these names takes out, with all whose removal was cut off.

    Raises ConfigError for names that cannot be removed, RunError where the root cannot be read.
    """
    with errors_named():
        known = KnownSources(plan.sources, record.removed_videos(plan.root))
        found = known.targets([*names, *record.unfinished_sources(plan.root)])
        check_imported(plan.root, found.videos)
    return found


def remove_videos(plan: Plan, settings: PackSettings, write: Write, request: Request) -> Sequence[str]:
    """Take every trace of some videos out of a root, which this process holds. Returns what is wrong with parts.

    Raises ConfigError before anything is changed, RunError where the removal cannot go on; it may then be repeated.
    """
    targets = targets_of(plan, request.names)
    with errors_named():
        record.begin_removal(plan.root, targets)
        record.record_removal(plan.root, targets, list(request.names), request.note)
        mark(plan.sources, targets)
        removed = RemovedIds(targets.sources, targets.videos, frozenset(targets.parts))
        for manifest in step_manifests(plan.root):
            remove_rows(manifest, removed)
        damaged = repack(plan, settings, write)
        delete_sets(plan, targets.videos)
        forget_names(plan, targets.uris)
        record.end_removal(plan.root)
    return damaged


@contextmanager
def errors_named() -> Iterator[None]:
    """Raise RunError in the place of an OSError, as of a file that is damaged or a store that does not answer."""
    try:
        yield
    except OSError as error:
        raise RunError(f"remove: {' '.join(str(error).split())}; then do `ola remove` again to finish it") from error


def mark(manifest: SourceManifest, targets: Targets) -> None:
    """Mark the sources as removed, and delete the older files of sources, which tell more of them."""
    marked: dict[str, Registered] = {each.source.uri: each for each in targets.registered}
    number, before = manifest.next, manifest.registered()
    after = [
        replace(each, source=marked[each.source.uri].source) if each.source.uri in marked else each for each in before
    ]
    if after != before and not manifest.write(number, after):
        raise RunError(f"another run registered sources at {manifest.root} meanwhile: do `ola remove` again")
    manifest.remove_older()


def forget_names(plan: Plan, uris: frozenset[str]) -> None:
    """Take these uris out of `run.yaml`, and write the views anew, which name the file of sources."""
    _forget_inputs(plan.root, uris)
    packed = current_manifest(plan)
    views.write(plan.root, plan.manifests + ([packed] if packed is not None else []), current(plan.root))


def _forget_inputs(root: str, uris: frozenset[str]) -> None:
    """Take these uris out of the inputs in `run.yaml`: where they were named one by one."""
    uri = storage.join(root, configuration.RUN)
    if not storage.exists(uri):
        return
    facts = yaml.safe_load(storage.read_bytes(uri))
    inputs = [name for name in facts.get("inputs") or () if storage.normal(name) not in uris]
    if inputs != list(facts.get("inputs") or ()):
        text = yaml.safe_dump({**facts, "inputs": inputs}, sort_keys=False, allow_unicode=True)
        storage.write_bytes(uri, text.encode())
