"""Split work into batches and passes that fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

# A pass over a hundred tokens takes as long as one over a single token, on a GPU (the weights must be read) as on a CPU
# (the calls must be made), so fewer tokens of padding are cheaper than another pass.
PADDING = 128
# Enough for a pass to keep any device busy, few enough for its activations: 2.3 GB at 7B sizes in bfloat16.
PASS_TOKENS = 16_384
# On a GPU lengths are multiples of this: cuDNN's attention makes a plan for each new length, some 30 ms on the host.
LENGTH_STEP = 64


def padding_to_step(length: int, device: str) -> int:
    """Return the positions to add to a length on this kind of device, so that few different lengths occur."""
    return -length % LENGTH_STEP if device == "cuda" else 0


def runs(count: int, fits: Callable[[int, int], bool]) -> Iterator[slice]:
    """Yield slices of `count` items: the longest runs for which fits(start, end); an item that never fits is alone."""
    start = 0
    for end in range(1, count + 1):
        if end == count or not fits(start, end + 1):
            yield slice(start, end)
            start = end


def read_passes(lengths: Sequence[int], begun: int = 0) -> Iterator[slice]:
    """Yield slices of prompts, longest first, that waste little if read in one pass.

    begun: positions that all of them go on from, whose keys and values are copied for each row.
    """

    def fits(start: int, end: int) -> bool:
        rests = [length - begun for length in lengths[start:end]]
        area, copied = rests[0] * len(rests), begun * len(rests)
        return max(area, copied // 2) <= PASS_TOKENS and area - sum(rests) <= PADDING

    yield from runs(len(lengths), fits)
