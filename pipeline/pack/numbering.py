"""Number a set's shards without gaps over all groups, and store what the last pack was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from manifests import storage
from pipeline.pack.selection import Choice

PACKED = "packed.json"  # below the root
Counts = Mapping[str, int]  # of shards, by "<stage>/<split>"


@dataclass(frozen=True)
class Shard:
    """One shard of a set.

    number: among the shards of its stage and split. group: number of its group; place: its number in the group.
    equal_shard: a shard with the same bytes in the set before, as (folder below the root, name), or None.
    """

    stage: str
    split: str
    number: int
    group: int
    place: int
    equal_shard: tuple[str, str] | None = None

    @property
    def name(self) -> str:
        """File name without its ending."""
        return f"{self.split}-{self.number:06d}"


def number_shards(counts: Sequence[Counts]) -> list[Shard]:
    """Number the shards of groups, those of each stage and split without gaps. counts: of each group."""
    shards = []
    for name in sorted({name for count in counts for name in count}):
        stage, _, split = name.partition("/")
        places = [(group, place) for group, count in enumerate(counts) for place in range(count.get(name, 0))]
        shards += [Shard(stage, split, number, *place) for number, place in enumerate(places)]
    return shards


@dataclass(frozen=True)
class LastPack:
    """What the last pack was made from.

    identity: digest of its inputs; "" where parts were damaged. tars, shards: of each group, as in its `Choice`.
    """

    key: str = ""
    identity: str = ""
    tars: Sequence[str] = ()
    shards: Sequence[Counts] = ()

    @classmethod
    def read(cls, root: str) -> LastPack:
        """Read `packed.json`; empty where the file is missing or unreadable."""
        try:
            return cls(**json.loads(storage.read_bytes(storage.join(root, PACKED))))
        except (FileNotFoundError, ValueError, TypeError):
            return cls()

    def write(self, root: str) -> None:
        """Write `packed.json`."""
        storage.write_bytes(storage.join(root, PACKED), json.dumps(asdict(self)).encode())

    def reuse_shards(self, choices: Sequence[Choice], folders: Mapping[str, str]) -> list[Shard]:
        """Number the shards of all groups, with `equal_shard` for those of groups with unchanged tars.

        folders: below the root, of each stage's set in the last pack.
        """
        old = {(each.stage, each.split, each.group, each.place): each.name for each in number_shards(self.shards)}
        equal = {n for n, (tars, choice) in enumerate(zip(self.tars, choices, strict=False)) if tars == choice.tars}
        found = []
        for each in number_shards([choice.shards for choice in choices]):
            name = old.get((each.stage, each.split, each.group, each.place))
            can = name is not None and each.group in equal and each.stage in folders
            found.append(replace(each, equal_shard=(folders[each.stage], str(name))) if can else each)
        return found
