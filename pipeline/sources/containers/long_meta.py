"""Keep long metadata of members in the container's index, since the driver holds all sources in memory.

The source has a reference to the index; `ingest` replaces it by the metadata.
"""

from __future__ import annotations

import json
from functools import lru_cache

import pyarrow.parquet as pq

from manifests import storage
from manifests.ledger import digest
from pipeline.errors import Unavailable

FOLDER = "00-source/containers"  # of the indexes, below the root of a run
KEY = "@index"
LONGEST = 2000  # characters that a source carries itself: captions and licences, and no transcripts
ROW_GROUP = 64  # rows of an index that are read for one of them


def shorten(meta: str, index: str, row: int) -> str:
    """Return a row's metadata as JSON; long metadata are replaced by a reference to the row of the index."""
    return meta if len(meta) <= LONGEST else json.dumps({KEY: [index, row, digest(meta)]})


def read_whole(meta: str, root: str) -> str:
    """Return the metadata of a source, also if they are in the index. Raises Unavailable if the index has changed."""
    if KEY not in meta:
        return meta
    facts = json.loads(meta)
    index, row, known = facts.pop(KEY)
    try:
        found = _read_metadata(storage.join(root, FOLDER, index), row // ROW_GROUP)[row % ROW_GROUP]
    except (OSError, IndexError) as error:
        raise Unavailable(f"{FOLDER}/{index} is gone: run again") from error
    if digest(found) != known:
        raise Unavailable(f"{FOLDER}/{index} is another one: run again")
    return found if not facts else json.dumps(json.loads(found) | facts, sort_keys=True, ensure_ascii=False)


@lru_cache(maxsize=1)
def _read_metadata(uri: str, group: int) -> list[str]:
    with storage.open_random(uri) as file:
        found: list[str] = pq.ParquetFile(file).read_row_group(group, columns=["meta"])["meta"].to_pylist()
    return found
