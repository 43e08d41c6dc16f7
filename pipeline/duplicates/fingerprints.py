"""Fingerprints of many clips in flat arrays, read from Parquet rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.duplicates import alignment
from pipeline.hashing.pictures import REGIONS, Hashes
from pipeline.hashing.sounds import TEMPOS

K = TypeVar("K", bound=np.signedinteger[Any])
TEXTURED = 16  # strong coefficients of 63 from which a frame's hashes can tell films apart
COLUMNS = ("id", "length", "frame_ms", "frames", "texture", "landmark_ms", "landmarks")


@dataclass(frozen=True)
class Fingerprints:
    """Clips with their hashes; the frames and landmarks of all clips lie one after the other.

    parts: number of each clip's part, for those of the run. sets: number of the root or file of each clip. frame_ends,
    landmark_ends: where each clip's end, with a 0 before.
    """

    ids: pa.Array
    parts: NDArray[np.int64]
    sets: NDArray[np.int32]
    seconds: NDArray[np.float64]
    frame_ends: NDArray[np.int64]
    frame_ms: NDArray[np.int32]
    picture_hashes: Hashes
    texture: NDArray[np.int8]
    landmark_ends: NDArray[np.int64]
    landmark_ms: NDArray[np.int32]
    sound_hashes: Hashes

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def textured(self) -> NDArray[np.bool_]:
        """Return for each frame whether it has enough texture."""
        return self.texture >= TEXTURED

    def frame_owners(self) -> NDArray[np.uint64]:
        """Return the number of each frame's clip."""
        return np.repeat(np.arange(len(self), dtype=np.uint64), np.diff(self.frame_ends))

    def landmark_owners(self) -> NDArray[np.uint64]:
        """Return the number of each landmark's clip."""
        return np.repeat(np.arange(len(self), dtype=np.uint64), np.diff(self.landmark_ends))

    def picture(self, clip: int) -> tuple[alignment.Track, NDArray[np.int8]]:
        """Return the frames of a clip, and the texture of each."""
        rows = slice(self.frame_ends[clip], self.frame_ends[clip + 1])
        track = alignment.Track(self.frame_ms[rows] / 1000, self.picture_hashes[rows], float(self.seconds[clip]))
        return track, self.texture[rows]

    def sound(self, clip: int) -> alignment.Track:
        """Return the landmarks of a clip."""
        rows = slice(self.landmark_ends[clip], self.landmark_ends[clip + 1])
        return alignment.Track(self.landmark_ms[rows] / 1000, self.sound_hashes[rows], float(self.seconds[clip]))


def from_tables(tables: Sequence[pa.Table]) -> Fingerprints:
    """Convert rows of fingerprints to arrays, one table per root or file, numbered in their order."""
    table = pa.concat_tables([_with_parts(each) for each in tables])
    frame_ends, frame_ms = _flat(table["frame_ms"], np.int32)
    landmark_ends, landmark_ms = _flat(table["landmark_ms"], np.int32)
    return Fingerprints(
        ids=table["id"].combine_chunks(),
        parts=table["part"].to_numpy(),
        sets=np.repeat(np.arange(len(tables), dtype=np.int32), [len(each) for each in tables]),
        seconds=table["length"].to_numpy(),
        frame_ends=frame_ends,
        frame_ms=frame_ms,
        picture_hashes=_hashes(table["frames"], len(REGIONS)),
        texture=_flat(table["texture"], np.int8)[1],
        landmark_ends=landmark_ends,
        landmark_ms=landmark_ms,
        sound_hashes=_hashes(table["landmarks"], len(TEMPOS)),
    )


def _with_parts(table: pa.Table) -> pa.Table:
    """Return the columns of fingerprints and their part; 0 for those of a file, which has no parts."""
    parts = table["part"] if "part" in table.column_names else pa.array([0] * len(table), pa.int64())
    return table.select(COLUMNS).append_column("part", parts).replace_schema_metadata()


def _flat(column: pa.ChunkedArray, kind: type[K]) -> tuple[NDArray[np.int64], NDArray[K]]:
    """Return where each row's values end, with a 0 before, and the values of all rows."""
    sizes = pc.list_value_length(column).to_numpy().astype(np.int64)
    values = np.empty(int(sizes.sum()), kind)
    end = 0
    for chunk in column.chunks:  # one at a time: lists of all clips are gigabytes
        flat = chunk.flatten().to_numpy(zero_copy_only=False)
        values[end : end + len(flat)] = flat
        end += len(flat)
    return np.append(0, np.cumsum(sizes)), values


def _hashes(column: pa.ChunkedArray, variants: int) -> Hashes:
    return _flat(column, np.int64)[1].view(np.uint64).reshape(-1, variants)
