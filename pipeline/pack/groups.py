"""Groups of parts: what one worker packs. A group keeps its parts for ever; new parts make new groups.

<root>/pack/groups.json        where each group ends: numbers of parts
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from manifests import storage
from pipeline.plan import Plan

FOLDER = "pack"  # below the root
GROUPS = f"{FOLDER}/groups.json"
LARGEST_GROUP = 512  # videos: 10 to 100 GB of shards, some minutes of work


@dataclass(frozen=True)
class Group:
    """Parts `first` to `end` - 1, and the group's place among all groups."""

    number: int
    first: int
    end: int

    @property
    def parts(self) -> range:
        """Numbers of its parts."""
        return range(self.first, self.end)


def groups_of(plan: Plan) -> list[Group]:
    """Return the groups of all parts of a run, in order. Parts that are in none yet get new ones, which are kept."""
    uri = storage.join(plan.root, GROUPS)
    before = _stored(uri)
    sizes = {**dict.fromkeys(plan.find_step("ingest").manifest.committed(), 1), **plan.sources.committed()}
    ends = [*before, *_ends({part: size for part, size in sizes.items() if part >= max(before, default=0)})]
    if ends != before:
        storage.write_bytes(uri, json.dumps(ends).encode())
    return _groups(ends)


def known_groups(root: str) -> list[Group]:
    """Return the groups that a root has, in order, without those that its next pack will add. Writes nothing."""
    return _groups(_stored(storage.join(root, GROUPS)))


def _groups(ends: Sequence[int]) -> list[Group]:
    return [Group(number, first, end) for number, (first, end) in enumerate(pairwise([0, *ends]))]


def _stored(uri: str) -> list[int]:
    """Where the groups end that a root has; none where that cannot be told: shards are then written anew."""
    try:
        ends = json.loads(storage.read_bytes(uri))
    except (FileNotFoundError, ValueError):
        return []
    return ends if isinstance(ends, list) and ends == sorted({int(end) for end in ends}) else []


def _ends(sizes: Mapping[int, int]) -> Iterator[int]:
    """Cut parts into groups of at most LARGEST_GROUP videos; a part that has more is a group alone."""
    parts: Sequence[int] = sorted(sizes)
    held = 0
    for part, after in zip(parts, [*parts[1:], None], strict=False):
        held += sizes[part]
        if after is None or held + sizes[after] > LARGEST_GROUP:
            yield part + 1
            held = 0
