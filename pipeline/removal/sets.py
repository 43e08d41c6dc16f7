"""Remove videos from shard sets, choices and rows of packs: pack the current set again, delete old ones."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests import storage
from manifests.ledger import Manifest
from pipeline.errors import ConfigError, RunError
from pipeline.pack.groups import FOLDER, GROUPS, update_groups
from pipeline.pack.old_sets import holds_any, imported_sets, old_sets
from pipeline.pack.publish import RunLanes, current_manifest, own_sets, pack
from pipeline.pack.selection import choice_uris
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from pipeline.removal.rows import PACK, manifests_at, mask_of_videos
from stages.catalogue import ROWS


def check_imported(root: str, videos: frozenset[str]) -> None:
    """Raise ConfigError where an imported set has samples of these videos, since it cannot be packed again."""
    whole = [name for name in sorted(imported_sets(root)) if storage.exists(storage.join(root, name, ROWS))]
    if found := [name for name in whole if holds_any(storage.join(root, name), videos)]:
        raise ConfigError(
            f"remove: expected these videos in sets that this run packed, got {found[0]}, which was imported and holds "
            "some of them; take its name out of shards/current.json, delete its folder, then remove again"
        )


def stale_sets(root: str, videos: frozenset[str]) -> list[str]:
    """Return the folders of the run's sets, old or current, that hold these videos or are not whole."""
    folders = [*old_sets(root), *own_sets(root).values()]
    return [folder for folder in folders if holds_any(storage.join(root, folder), videos)]


def repack(plan: Plan, settings: PackSettings, run_lanes: RunLanes) -> Sequence[str]:
    """Pack again, if there was a pack, and delete choices that no pack needs. Returns the faults of damaged parts."""
    damaged: Sequence[str] = ()
    needed: set[str] = set()
    if current_manifest(plan) is not None:
        damaged = pack(plan, settings, run_lanes)
        needed = set(choice_uris(plan, settings, update_groups(plan)))
    folder = storage.join(plan.root, FOLDER)
    for entry in storage.listing(folder):
        uri = storage.join(folder, entry.path)
        if uri not in needed and entry.path != GROUPS.rpartition("/")[2]:
            storage.remove(uri)
    return damaged


def delete_sets(plan: Plan, videos: frozenset[str]) -> None:
    """Delete the old sets with these videos, and the rows of such packs. Raises RunError where a file stays."""
    for folder in old_sets(plan.root):
        if holds_any(storage.join(plan.root, folder), videos):
            delete_folder(storage.join(plan.root, folder))
    current = current_manifest(plan)
    for manifest in manifests_at(plan.root):
        if (
            manifest.name == PACK
            and (current is None or manifest.folder != current.folder)
            and _holds_videos(manifest, videos)
        ):
            delete_folder(manifest.folder_uri)


def delete_folder(uri: str) -> None:
    """Delete a folder and its contents. Raises RunError where a file stays."""
    try:
        storage.remove_folder(uri)
        remaining = [entry.path for entry in storage.listing(uri, recursive=True)]
    except OSError as error:
        raise RunError(f"{uri} cannot be deleted: {' '.join(str(error).split())}") from error
    if remaining:
        raise RunError(f"{uri} cannot be deleted: {remaining[0]} is still there")


def _holds_videos(manifest: Manifest, videos: frozenset[str]) -> bool:
    """Return whether rows of a pack are about clips of these videos; also true if they cannot be read."""
    for name in manifest.file_names():
        try:
            with storage.open_random(storage.join(manifest.folder_uri, name)) as file:
                if pc.any(mask_of_videos(pq.read_table(file, columns=["input"]), videos)).as_py():
                    return True
        except (OSError, pa.ArrowException, ValueError, KeyError):
            return True
    return False
