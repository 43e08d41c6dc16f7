"""Shard sets, choices and rows of packs without the videos that are removed: the current set anew, old ones deleted."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests import storage
from manifests.ledger import Manifest
from pipeline.errors import ConfigError, RunError
from pipeline.pack.groups import FOLDER, GROUPS, groups_of
from pipeline.pack.old_sets import holds_any, imported_sets, old_sets
from pipeline.pack.publish import Write, current_manifest, own, pack
from pipeline.pack.selection import choice_uris
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from pipeline.removal.rows import PACK, is_about, manifests_at
from stages.catalogue import ROWS


def check_imported(root: str, videos: frozenset[str]) -> None:
    """Raise ConfigError where an imported set has samples of these videos: it cannot be made anew."""
    whole = [name for name in sorted(imported_sets(root)) if storage.exists(storage.join(root, name, ROWS))]
    if held := [name for name in whole if holds_any(storage.join(root, name), videos)]:
        raise ConfigError(
            f"remove: expected these videos in sets that this run packed, got {held[0]}, which was imported and holds "
            "some of them; take its name out of shards/current.json, delete its folder, then remove again"
        )


def stale_sets(root: str, videos: frozenset[str]) -> list[str]:
    """Return the folders of old sets that hold these videos, or that are not whole, and of the current ones that do."""
    mine = [*old_sets(root), *own(root).values()]
    return [folder for folder in mine if holds_any(storage.join(root, folder), videos)]


def repack(plan: Plan, settings: PackSettings, write: Write) -> Sequence[str]:
    """Pack again, if there was a pack, and delete choices that no pack needs. Returns what is wrong with parts."""
    damaged: Sequence[str] = ()
    needed: set[str] = set()
    if current_manifest(plan) is not None:
        damaged = pack(plan, settings, write)
        needed = set(choice_uris(plan, settings, groups_of(plan)))
    folder = storage.join(plan.root, FOLDER)
    for entry in storage.listing(folder):
        uri = storage.join(folder, entry.path)
        if uri not in needed and entry.path != GROUPS.rpartition("/")[2]:
            storage.remove(uri)
    return damaged


def delete_sets(plan: Plan, videos: frozenset[str]) -> None:
    """Delete the old sets that hold these videos, and the rows of such packs. Raises RunError where some stay."""
    for folder in old_sets(plan.root):
        if holds_any(storage.join(plan.root, folder), videos):
            delete_folder(storage.join(plan.root, folder))
    now = current_manifest(plan)
    for manifest in manifests_at(plan.root):
        if manifest.name == PACK and (now is None or manifest.folder != now.folder) and _holds(manifest, videos):
            delete_folder(manifest.folder_uri)


def delete_folder(uri: str) -> None:
    """Delete a folder with all that is in it. Raises RunError where something stays."""
    try:
        storage.remove_folder(uri)
        left = [entry.path for entry in storage.listing(uri, recursive=True)]
    except OSError as error:
        raise RunError(f"{uri} cannot be deleted: {' '.join(str(error).split())}") from error
    if left:
        raise RunError(f"{uri} cannot be deleted: {left[0]} is still there")


def _holds(manifest: Manifest, videos: frozenset[str]) -> bool:
    """Tell whether rows of a pack are about clips of these videos, or may be."""
    for name in manifest.file_names():
        try:
            with storage.open_random(storage.join(manifest.folder_uri, name)) as file:
                if pc.any(is_about(pq.read_table(file, columns=["input"]), videos)).as_py():
                    return True
        except (OSError, pa.ArrowException, ValueError, KeyError):
            return True
    return False
