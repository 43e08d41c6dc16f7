"""Find files in a root that no plan and no reader needs: old keys, old shard sets, files of killed processes.

Nothing that the current plan or `shards/current.json` names is listed, and no imported set. A training that began
before the last pack may still read old shard sets.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests import drafts, storage
from pipeline.pack.groups import FOLDER, GROUPS, read_groups
from pipeline.pack.old_sets import old_sets
from pipeline.pack.publish import current_manifest
from pipeline.pack.selection import choice_uris
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from pipeline.removal.media import PartMedia, part_tars
from pipeline.removal.rows import DRAFT, JOURNAL, PACK, manifests_at
from pipeline.removal.sets import delete_folder
from stages.catalogue import CURRENT, PACKING

OLD_KEY, OLD_SET, OLD_PACK = "folder of an old key", "old shard set", "rows of an old pack"
OLD_CHOICE, CONTENTS = "old choice of a pack", "left list of contents"
LEFT_JOURNAL, LEFT_DRAFT, LEFT_TAR = "left journal", "left draft", "tar that no row refers to"


@dataclass(frozen=True)
class Leftover:
    """Something to delete: its path below the root (a folder's ends with a slash), kind, number of files, and bytes."""

    path: str
    kind: str
    files: int
    bytes: int


def find_leftovers(plan: Plan, settings: PackSettings) -> list[Leftover]:
    """Find all that can be deleted, sorted by path. Writes nothing."""
    found = [
        *_find_old_folders(plan),
        *_find_old_sets(plan.root),
        *_find_old_choices(plan, settings),
        *_find_left_files(plan),
    ]
    return sorted(found, key=lambda each: each.path)


def delete_leftovers(root: str, found: Iterable[Leftover]) -> None:
    """Delete what was found. Raises RunError or OSError where something cannot be deleted."""
    for each in found:
        uri = storage.join(root, each.path.rstrip("/"))
        if each.path.endswith("/"):
            delete_folder(uri)
        else:
            storage.remove(uri)


def _leftover_folder(root: str, path: str, kind: str) -> Leftover:
    sizes = [entry.size for entry in storage.listing(storage.join(root, path), recursive=True)]
    return Leftover(f"{path}/", kind, len(sizes), sum(sizes))


def _find_old_folders(plan: Plan) -> Iterator[Leftover]:
    """Yield folders of steps and packs that neither the plan nor the current sets use."""
    packed = current_manifest(plan)
    kept = {planned.manifest.folder for planned in plan.steps} | {packed.folder if packed is not None else ""}
    for manifest in manifests_at(plan.root):
        if manifest.folder not in kept:
            yield _leftover_folder(plan.root, manifest.folder, OLD_PACK if manifest.name == PACK else OLD_KEY)
    for name in storage.folders(plan.sources.folder_uri):
        if name.startswith("contents-"):
            yield _leftover_folder(plan.root, f"{plan.sources.folder}/{name}", CONTENTS)


def _find_old_sets(root: str) -> Iterator[Leftover]:
    """Yield sets of earlier packs; none where no current sets are known. Sets of a killed pack are needed."""
    if storage.exists(storage.join(root, CURRENT)):
        open_sets = set(_read_packing(root).get("folders", {}).values())
        yield from (_leftover_folder(root, folder, OLD_SET) for folder in old_sets(root) if folder not in open_sets)


def _read_packing(root: str) -> dict[str, Any]:
    """Read the `packing.json` of a killed pack, which the next run continues."""
    uri = storage.join(root, PACKING)
    facts: dict[str, Any] = json.loads(storage.read_bytes(uri)) if storage.exists(uri) else {}
    return facts


def _find_old_choices(plan: Plan, settings: PackSettings) -> Iterator[Leftover]:
    """Yield files in the folder of choices that neither the last pack nor a killed one needs."""
    kept = set(choice_uris(plan, settings, read_groups(plan.root))) | {storage.join(plan.root, GROUPS)}
    kept |= {storage.join(plan.root, choice) for choice, _ in _read_packing(plan.root).get("choices", ())}
    for entry in storage.listing(storage.join(plan.root, FOLDER)):
        if storage.join(plan.root, FOLDER, entry.path) not in kept:
            yield Leftover(f"{FOLDER}/{entry.path}", OLD_CHOICE, 1, entry.size)


def _find_left_files(plan: Plan) -> Iterator[Leftover]:
    """Yield files that killed processes left: drafts, journals of committed parts, tars that no row refers to."""
    for planned in plan.steps:
        manifest, found = planned.manifest, list[Leftover]()
        committed, tars = manifest.committed(), part_tars(manifest)
        for entry in storage.listing(manifest.folder_uri):
            match = JOURNAL.fullmatch(entry.path) or DRAFT.fullmatch(entry.path)
            if match and int(match[1]) in committed:
                kind = LEFT_JOURNAL if JOURNAL.fullmatch(entry.path) else LEFT_DRAFT
                found.append(Leftover(f"{manifest.folder}/{entry.path}", kind, 1, entry.size))
        yield from found
        for part in [part for part, entries in tars.items() if len(entries) > 1 and part in committed]:
            for entry in PartMedia(manifest, part, tars[part]).unreferenced():
                yield Leftover(f"{manifest.folder}/{entry.path}", LEFT_TAR, 1, entry.size)
    if storage.is_local(plan.root):
        yield from _find_drafts(Path(storage.normal(plan.root)))


def _find_drafts(root: Path) -> Iterator[Leftover]:
    """Yield half-written files of processes that have ended. A run deletes them as well when it begins."""
    for path in root.glob(f"**/*{drafts.DRAFT}-*"):
        match, size = drafts.NAME.search(path.name), path.stat()
        if match and not drafts.is_alive(int(match[1]), size.st_mtime):
            yield Leftover(str(path.relative_to(root)), LEFT_DRAFT, 1, size.st_size)
