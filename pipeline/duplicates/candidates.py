"""Find pairs of clips that may be alike: clips with two equal halves of hashes (banded hashing).

A half of a hash is equal in two frames whose hashes differ in few bits, with some probability; a clip has hundreds of
halves. Halves are sorted together with the numbers of their clips, so time and memory are nearly linear in clips.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.duplicates.fingerprints import Fingerprints
from pipeline.hashing.pictures import MIRROR, Hashes

HALF = np.uint64(0xFFFFFFFF)
EVIDENCE = 2  # equal halves that make a pair a candidate
CROWD = 24  # clips that share a half: of more, only neighbours are paired, which still connects them
Codes = NDArray[np.uint64]  # of pairs: the lower clip's number in the upper half


def find_candidates(prints: Fingerprints) -> NDArray[np.int64]:
    """Return the pairs of clips with at least EVIDENCE equal halves, (pairs, 2), the lower number first, in order."""
    return _with_evidence(np.concatenate([_crowds(half) for half in _halves(prints)]))


def find_matches(prints: Fingerprints, asked: int) -> NDArray[np.int64]:
    """Return the pairs of one of the first `asked` clips and a later clip with at least EVIDENCE equal halves.

    (pairs, 2), in order. A half that many clips share pairs all of them, so that each of many copies is found.
    """
    return _with_evidence(np.concatenate([_across(half, np.uint64(asked)) for half in _halves(prints)]))


def _with_evidence(codes: Codes) -> NDArray[np.int64]:
    """Return the pairs of clips that stand at least EVIDENCE times among these codes, (pairs, 2), in order."""
    codes.sort()
    first = _first_of_runs(codes)
    counts = np.diff(np.append(first, len(codes)))
    found = codes[first[counts >= EVIDENCE]]
    return np.stack([found >> np.uint64(32), found & HALF], axis=1).astype(np.int64)


def _across(codes: Codes, asked: np.uint64) -> Codes:
    """Return the pairs of a clip below the number `asked` and another clip that share a half."""
    is_asked = (codes & HALF) < asked
    ours, others = codes[is_asked], codes[~is_asked]
    halves, shift = others >> np.uint64(32), np.uint64(32)
    begin, end = (np.searchsorted(ours >> shift, halves, side=side) for side in ("left", "right"))
    counts = end - begin
    places = np.repeat(begin - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    return np.asarray(((ours[places] & HALF) << shift) | np.repeat(others & HALF, counts))


def _halves(prints: Fingerprints) -> Iterator[Codes]:
    """Yield arrays of (half of a hash, clip), packed into one number: frames without texture are left out."""
    for shift in (0, 31):
        yield _pack(prints.picture_hashes, prints.frame_owners(), np.uint64(shift), prints.textured)
    for shift in (0, 32):
        yield _pack(prints.sound_hashes, prints.landmark_owners(), np.uint64(shift), None)


def _pack(hashes: Hashes, owners: NDArray[np.uint64], shift: np.uint64, is_textured: NDArray[np.bool_] | None) -> Codes:
    """Return the sorted numbers of (half, clip), each once. is_textured: of the frames of pictures; None for sounds."""
    if is_textured is not None:
        owners = owners[is_textured]
    codes = np.empty((hashes.shape[1], len(owners)), np.uint64)
    for variant in range(len(codes)):  # one at a time: all at once would take three times the memory
        column = hashes[:, variant]
        halves = (column >> shift) & HALF if is_textured is None else _halves_of_pictures(column[is_textured], shift)
        codes[variant] = (halves << np.uint64(32)) | owners
    flat = codes.ravel()
    flat.sort()
    shared = _keep_shared(flat)
    return np.asarray(shared[_first_of_runs(shared)])


def _keep_shared(codes: Codes) -> Codes:
    """Return the sorted codes whose half another code has, too: few of a large set."""
    is_equal = (codes[1:] ^ codes[:-1]) <= HALF
    keep = np.zeros(len(codes), np.bool_)
    keep[1:] |= is_equal
    keep[:-1] |= is_equal
    return np.asarray(codes[keep])


def _halves_of_pictures(hashes: Hashes, shift: np.uint64) -> Hashes:
    """Return halves that are equal for a frame and its mirror image."""
    return np.asarray(np.minimum((hashes >> shift) & HALF, ((hashes ^ MIRROR) >> shift) & HALF))


def _first_of_runs(codes: Codes) -> NDArray[np.int64]:
    """Return where runs of equal numbers begin."""
    if not len(codes):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))


def _crowds(codes: Codes) -> Codes:
    """Return the pairs of clips that share a half."""
    begin = _first_of_runs(codes >> np.uint64(32))
    sizes = np.diff(np.append(begin, len(codes)))
    clips = codes & HALF
    found = [np.zeros(0, np.uint64)]
    for size in range(2, CROWD + 1):
        members = clips[begin[sizes == size][:, None] + np.arange(size)]
        low, high = np.triu_indices(size, 1)
        found.append(((members[:, low] << np.uint64(32)) | members[:, high]).ravel())
    crowded = np.repeat(sizes > CROWD, sizes)
    follows = crowded[1:] & (codes[1:] >> np.uint64(32) == codes[:-1] >> np.uint64(32)) if len(codes) else crowded
    found.append((clips[:-1][follows] << np.uint64(32)) | clips[1:][follows])
    return np.concatenate(found)
