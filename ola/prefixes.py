"""Keys and values of what prompts begin with, so that a beginning that several prompts share is read once.

A prompt begins with a system turn and its media, the frames before the sound. The end of each medium is a place up to
which another prompt may be the same: its *prefix*, known by the digest of all that stands before. A prefix is kept as
the stretch behind the prefix before it, since frames alone and frames with sound have the frames in common.

Legend: h key heads, T positions of a stretch, d width of a head; n rows that go on from one prefix.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from torch import Tensor
from transformers import DynamicCache

Layers = list[tuple[Tensor, Tensor]]  # keys and values (1, h, T, d) of each layer


@dataclass(frozen=True)
class Prefix:
    """A beginning of a prompt: the digest of all that it holds, and its positions."""

    digest: str
    length: int


@dataclass
class _CachedSpan:
    start: int
    end: int
    layers: Layers


def length_of(prefixes: Sequence[Prefix]) -> int:
    """Return the positions that these prefixes of one prompt take together."""
    return prefixes[-1].length if prefixes else 0


def order_by_prefix(beginnings: Sequence[str], lengths: Sequence[int]) -> list[int]:
    """Numbers of prompts in an order in which those that begin alike are neighbours, longest first."""
    longest = dict.fromkeys(beginnings, 0)
    for beginning, length in zip(beginnings, lengths, strict=True):
        longest[beginning] = max(longest[beginning], length)
    return sorted(range(len(lengths)), key=lambda n: (-longest[beginnings[n]], beginnings[n], -lengths[n]))


class PrefixCache:
    """Prefixes that were read, the least recently used leave when they exceed `limit` positions.

    positions: of what is kept. asked, read: positions of all prompts, and those of them that had to be read.
    """

    def __init__(self, limit: int) -> None:
        """limit 0: nothing is kept."""
        self.limit, self.positions, self.asked, self.read = limit, 0, 0, 0
        self._kept: OrderedDict[str, _CachedSpan] = OrderedDict()

    def known(self, prefixes: Sequence[Prefix]) -> list[Prefix]:
        """Return those of a prompt's prefixes that are kept, up to the first that is not."""
        return list(takewhile(lambda prefix: prefix.digest in self._kept, prefixes))

    def new_digests(self, prefixes: Sequence[Prefix]) -> set[str]:
        """Return the digests of a prompt's prefixes that will be kept once the prompt is read."""
        new = prefixes[len(self.known(prefixes)) :]
        return {prefix.digest for prefix in new if prefix.length <= self.limit}

    def open(self, prefixes: Sequence[Prefix], rows: int) -> Any:
        """Return a `DynamicCache` whose n rows have all read these prefixes, which are kept; empty without any."""
        stretches = [self._kept[prefix.digest] for prefix in prefixes]
        self._use(prefixes)
        cache: Any = DynamicCache()
        for stretch in stretches:
            for number, parts in enumerate(stretch.layers):
                cache.update(*(part.expand(rows, -1, -1, -1) for part in parts), number)
        return cache

    def keep(self, prefixes: Sequence[Prefix], cache: Any, row: int) -> None:
        """Keep the prefixes that a row of a cache has read."""
        start = 0
        for prefix in prefixes:
            if prefix.digest not in self._kept and prefix.length <= self.limit:
                layers = [
                    tuple(part[row : row + 1, :, start : prefix.length].clone() for part in (layer.keys, layer.values))
                    for layer in cache.layers
                ]
                self._kept[prefix.digest] = _CachedSpan(start, prefix.length, layers)
                self.positions += prefix.length - start
            start = prefix.length
        self._use(prefixes)
        self._evict({prefix.digest for prefix in prefixes})

    def _use(self, prefixes: Sequence[Prefix]) -> None:
        """Note that these were used last, the shortest at the very last: without it the longer ones are of no use."""
        for prefix in reversed(prefixes):
            if prefix.digest in self._kept:
                self._kept.move_to_end(prefix.digest)

    def _evict(self, wanted: set[str]) -> None:
        while self.positions > self.limit:
            digest = next((digest for digest in self._kept if digest not in wanted), None)
            if digest is None:
                return
            stretch = self._kept.pop(digest)
            self.positions -= stretch.end - stretch.start
