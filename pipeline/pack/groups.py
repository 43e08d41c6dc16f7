"""Group parts for pack: one worker packs a group. A group keeps its parts for ever; new parts make new groups.

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


def update_groups(plan: Plan) -> list[Group]:
    """Return the groups of all parts of a run, in order. Parts without a group get new ones, which are stored."""
    uri = storage.join(plan.root, GROUPS)
    before, ends = _read_ends(uri), _plan_ends(plan)
    if ends != before:
        storage.write_bytes(uri, json.dumps(ends).encode())
    return _groups(ends)


def plan_groups(plan: Plan) -> list[Group]:
    """Return the groups that the next pack will have. Writes nothing."""
    return _groups(_plan_ends(plan))


def _plan_ends(plan: Plan) -> list[int]:
    before = _read_ends(storage.join(plan.root, GROUPS))
    sizes = {**dict.fromkeys(plan.find_step("ingest").manifest.committed(), 1), **plan.sources.committed()}
    return [*before, *_cut_groups({part: size for part, size in sizes.items() if part >= max(before, default=0)})]


def read_groups(root: str) -> list[Group]:
    """Return the stored groups of a root, in order, without those that its next pack will add. Writes nothing."""
    return _groups(_read_ends(storage.join(root, GROUPS)))


def _groups(ends: Sequence[int]) -> list[Group]:
    return [Group(number, first, end) for number, (first, end) in enumerate(pairwise([0, *ends]))]


def _read_ends(uri: str) -> list[int]:
    """Return where the stored groups end. An unreadable file counts as empty: its shards are then written anew."""
    try:
        ends = json.loads(storage.read_bytes(uri))
    except (FileNotFoundError, ValueError):
        return []
    return ends if isinstance(ends, list) and ends == sorted({int(end) for end in ends}) else []


def _cut_groups(sizes: Mapping[int, int]) -> Iterator[int]:
    """Cut parts into groups of at most LARGEST_GROUP videos; a larger part is a group alone."""
    parts: Sequence[int] = sorted(sizes)
    videos = 0
    for part, after in zip(parts, [*parts[1:], None], strict=False):
        videos += sizes[part]
        if after is None or videos + sizes[after] > LARGEST_GROUP:
            yield part + 1
            videos = 0
