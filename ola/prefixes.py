"""Cache of keys and values of prompt prefixes, so that a prefix that several prompts share is read once.

A prompt begins with a system turn and its media, frames before sound. A *prefix* is a beginning that ends with a
medium; its digest covers all tokens and media in it. Only the positions after the next shorter prefix are stored, since
"frames" and "frames with sound" share the frames.

Legend: h key heads, T positions of a cached span, d width of a head; n rows that continue from one prefix.
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
    """A beginning of a prompt: the digest of its tokens and media, and its number of positions."""

    digest: str
    length: int


@dataclass
class _CachedSpan:
    start: int
    end: int
    layers: Layers


def length_of(prefixes: Sequence[Prefix]) -> int:
    """Return the positions of the longest of these prefixes of one prompt; 0 without any."""
    return prefixes[-1].length if prefixes else 0


def order_by_prefix(beginnings: Sequence[str], lengths: Sequence[int]) -> list[int]:
    """Return the prompts' numbers, longest first, with prompts of the same beginning as neighbours."""
    longest = dict.fromkeys(beginnings, 0)
    for beginning, length in zip(beginnings, lengths, strict=True):
        longest[beginning] = max(longest[beginning], length)
    return sorted(range(len(lengths)), key=lambda n: (-longest[beginnings[n]], beginnings[n], -lengths[n]))


class PrefixCache:
    """LRU cache of prefixes with at most `limit` positions.

    positions: cached positions. asked, read: positions of all prompts, and the part of them that was read.
    """

    def __init__(self, limit: int) -> None:
        """limit: 0 caches nothing."""
        self.limit, self.positions, self.asked, self.read = limit, 0, 0, 0
        self._kept: OrderedDict[str, _CachedSpan] = OrderedDict()

    def known(self, prefixes: Sequence[Prefix]) -> list[Prefix]:
        """Return the cached prefixes of a prompt, up to the first that is not cached."""
        return list(takewhile(lambda prefix: prefix.digest in self._kept, prefixes))

    def new_digests(self, prefixes: Sequence[Prefix]) -> set[str]:
        """Return the digests of the prefixes that reading this prompt adds to the cache."""
        new = prefixes[len(self.known(prefixes)) :]
        return {prefix.digest for prefix in new if prefix.length <= self.limit}

    def open(self, prefixes: Sequence[Prefix], rows: int) -> Any:
        """Return a `DynamicCache` of n rows filled with these cached prefixes; empty without prefixes."""
        stretches = [self._kept[prefix.digest] for prefix in prefixes]
        self._use(prefixes)
        cache: Any = DynamicCache()
        for stretch in stretches:
            for number, parts in enumerate(stretch.layers):
                cache.update(*(part.expand(rows, -1, -1, -1) for part in parts), number)
        return cache

    def keep(self, prefixes: Sequence[Prefix], cache: Any, row: int) -> None:
        """Cache the prefixes that a row of a `DynamicCache` has read."""
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
        """Mark prefixes as used, the shortest last: longer prefixes cannot be used without it."""
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
