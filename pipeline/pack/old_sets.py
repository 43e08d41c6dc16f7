"""List the shard sets below a root: current, imported and old ones, and the videos that they hold.

<root>/shards/<stage>/<key>/    a set of this run or of an import; <root>/NN-pack-<key>/ has the rows of a run's own
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests import storage
from stages.catalogue import CLOSED, ROWS, current
from stages.samples import FAMILIES

SHARDS = "shards"
FATES = ".fates.parquet"  # ending of files of an unfinished import


def list_sets(root: str) -> list[str]:
    """Return the folders of all sets below the root, whole or not."""
    stages = storage.folders(storage.join(root, SHARDS))
    return [f"{SHARDS}/{stage}/{key}" for stage in stages for key in storage.folders(storage.join(root, SHARDS, stage))]


def imported_sets(root: str) -> set[str]:
    """Return the folders of sets that were imported, or that an import was writing."""
    named = {folder for name, folder in current(root).items() if name not in FAMILIES}
    return named | {folder for folder in list_sets(root) if _is_imported(root, folder)}


def _is_imported(root: str, folder: str) -> bool:
    key = folder.rsplit("/", 1)[-1].partition("-")[0]
    if storage.exists(storage.join(root, f"import-{key}.parquet")):
        return True
    return any(entry.path.endswith(FATES) for entry in storage.listing(storage.join(root, folder, CLOSED)))


def old_sets(root: str) -> list[str]:
    """Return the folders of the run's own sets that are not current: of earlier packs, or of packs that were killed."""
    kept = {*current(root).values(), *imported_sets(root)}
    return [folder for folder in list_sets(root) if not any(f"{name}/".startswith(f"{folder}/") for name in kept)]


def holds_any(folder: str, videos: Iterable[str]) -> bool:
    """Return whether a set has samples of these videos; also true for a set that is not whole."""
    try:
        with storage.open_random(storage.join(folder, ROWS)) as file:
            stored = pq.read_table(file, columns=["video"])["video"]
    except (OSError, pa.ArrowException, ValueError, KeyError):
        return True
    return bool(pc.any(pc.is_in(stored, pa.array(sorted(videos), pa.string()))).as_py())
