"""Join pairs to groups by union-find, and choose the best clip of each group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class UnionFind(Generic[T]):
    """Disjoint groups of items. The root of a group is its lowest item by `order`."""

    def __init__(self, order: Mapping[T, int]) -> None:
        self.order = order
        self.parents: dict[T, T] = {}

    def find(self, item: T) -> T:
        """Return the lowest item of an item's group; the item itself if it is in none."""
        root = item
        while (above := self.parents.get(root, root)) != root:
            root = above
        while self.parents.get(item, root) != root:
            self.parents[item], item = root, self.parents[item]
        return root

    def join(self, one: T, other: T) -> None:
        """Join the groups of two items."""
        low, high = sorted((self.find(one), self.find(other)), key=self.order.__getitem__)
        self.parents[low] = self.parents[high] = low

    def groups(self) -> dict[T, list[T]]:
        """Return the members of each group by its lowest item, in order."""
        found: dict[T, list[T]] = defaultdict(list)
        for item in sorted(self.parents, key=self.order.__getitem__):
            found[self.find(item)].append(item)
        return dict(found)


def best_of(members: Sequence[T], qualities: Mapping[T, Mapping[str, float]], prefer: Iterable[str]) -> T:
    """Return the member with the highest qualities, the most important first; the first of equal ones."""
    names = list(prefer)
    score: Any = lambda member: tuple(qualities[member][name] for name in names)  # noqa: E731
    return max(members, key=score)
