"""What a root holds that no plan and no reader needs: old keys, old shard sets, and what killed processes left.

Nothing that the current plan or `shards/current.json` names is listed, and no set that was imported. Old shard sets
may still be read by a training that began before the last pack.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests import drafts, storage
from pipeline.pack.groups import FOLDER, GROUPS, known_groups
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
    """Something to delete: its path below the root (a folder's ends with a slash), what it is, its files and bytes."""

    path: str
    kind: str
    files: int
    bytes: int


def leftovers(plan: Plan, settings: PackSettings) -> list[Leftover]:
    """Find all that can be deleted, sorted by path. Writes nothing."""
    found = [*_old_folders(plan), *_old_sets(plan.root), *_old_choices(plan, settings), *_left_files(plan)]
    return sorted(found, key=lambda each: each.path)


def delete(root: str, found: Iterable[Leftover]) -> None:
    """Delete what was found. Raises RunError or OSError where something cannot be deleted."""
    for each in found:
        uri = storage.join(root, each.path.rstrip("/"))
        if each.path.endswith("/"):
            delete_folder(uri)
        else:
            storage.remove(uri)


def _folder(root: str, path: str, kind: str) -> Leftover:
    sizes = [entry.size for entry in storage.listing(storage.join(root, path), recursive=True)]
    return Leftover(f"{path}/", kind, len(sizes), sum(sizes))


def _old_folders(plan: Plan) -> Iterator[Leftover]:
    """Folders of steps and packs that neither the plan nor the current sets belong to."""
    packed = current_manifest(plan)
    kept = {planned.manifest.folder for planned in plan.steps} | {packed.folder if packed is not None else ""}
    for manifest in manifests_at(plan.root):
        if manifest.folder not in kept:
            yield _folder(plan.root, manifest.folder, OLD_PACK if manifest.name == PACK else OLD_KEY)
    for name in storage.folders(plan.sources.folder_uri):
        if name.startswith("contents-"):
            yield _folder(plan.root, f"{plan.sources.folder}/{name}", CONTENTS)


def _old_sets(root: str) -> Iterator[Leftover]:
    """Sets of earlier packs. Where no current sets are known, none is old; one that a killed pack left is needed."""
    if storage.exists(storage.join(root, CURRENT)):
        open_sets = set(_packing(root).get("folders", {}).values())
        yield from (_folder(root, folder, OLD_SET) for folder in old_sets(root) if folder not in open_sets)


def _packing(root: str) -> dict[str, Any]:
    """What a pack that was killed has said of its sets: the next run goes on with them."""
    uri = storage.join(root, PACKING)
    facts: dict[str, Any] = json.loads(storage.read_bytes(uri)) if storage.exists(uri) else {}
    return facts


def _old_choices(plan: Plan, settings: PackSettings) -> Iterator[Leftover]:
    """Files in the folder of choices that neither the last pack nor one that was killed needs."""
    kept = set(choice_uris(plan, settings, known_groups(plan.root))) | {storage.join(plan.root, GROUPS)}
    kept |= {storage.join(plan.root, choice) for choice, _ in _packing(plan.root).get("choices", ())}
    for entry in storage.listing(storage.join(plan.root, FOLDER)):
        if storage.join(plan.root, FOLDER, entry.path) not in kept:
            yield Leftover(f"{FOLDER}/{entry.path}", OLD_CHOICE, 1, entry.size)


def _left_files(plan: Plan) -> Iterator[Leftover]:
    """Files that killed processes left: drafts, journals of committed parts, tars that no row refers to."""
    for planned in plan.steps:
        manifest, found = planned.manifest, list[Leftover]()
        committed, tars = manifest.committed(), part_tars(manifest)
        for entry in storage.listing(manifest.folder_uri):
            match = JOURNAL.fullmatch(entry.path) or DRAFT.fullmatch(entry.path)
            if match and int(match[1]) in committed:
                kind = LEFT_JOURNAL if JOURNAL.fullmatch(entry.path) else LEFT_DRAFT
                found.append(Leftover(f"{manifest.folder}/{entry.path}", kind, 1, entry.size))
        yield from found
        for part in [part for part, of in tars.items() if len(of) > 1 and part in committed]:
            for entry in PartMedia(manifest, part, tars[part]).unreferenced():
                yield Leftover(f"{manifest.folder}/{entry.path}", LEFT_TAR, 1, entry.size)
    if storage.is_local(plan.root):
        yield from _drafts(Path(storage.normal(plan.root)))


def _drafts(root: Path) -> Iterator[Leftover]:
    """Half-written files of processes that are gone. A run deletes them as well when it begins."""
    for path in root.glob(f"**/*{drafts.DRAFT}-*"):
        match, size = drafts.NAME.search(path.name), path.stat()
        if match and not drafts.lives(int(match[1]), size.st_mtime):
            yield Leftover(str(path.relative_to(root)), LEFT_DRAFT, 1, size.st_size)
