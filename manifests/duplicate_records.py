"""Records about near-duplicates: the fingerprint of a clip, pairs of alike clips, and the group of each clip."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Hashes of a clip's frames and of its sound, by which copies are found without its media."""

    id: str
    """Id of the clip."""
    clip: str
    """Id of the clip."""
    length: float
    """Length of the clip, in seconds."""
    frame_ms: tuple[int, ...]
    """Time of each frame on the clip's clock, in ms."""
    frames: tuple[int, ...]
    """Six hashes of 63 bits per frame, one per region."""
    texture: tuple[int, ...]
    """Number of strong coefficients of each frame, 0..63; hashes of frames with few of them tell little."""
    landmark_ms: tuple[int, ...]
    """Moments at which the spectrum of the sound rises most, on the clip's clock, in ms."""
    landmarks: tuple[int, ...]
    """Three hashes of 64 bits per moment, one per tempo, as signed numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicatePair:
    """Two clips that are alike. The view `duplicate_pairs`."""

    clip: str
    """Id of a clip of this run; of `part of`, the part."""
    other: str
    """Id of the other clip."""
    relation: str
    """`copy`, `part of`, `contains`, `overlap`, `same picture, other sound` or `same sound, other picture`."""
    against: str
    """Root or hash file that the other clip belongs to; empty for this run."""
    tempo: float
    """Seconds of the other clip that pass in a second of this one, as far as frames and sound tell."""
    offset: float
    """Time of the other clip at the start of this one, in seconds."""
    share: float
    """Share of this clip's length that lies in the other one, 0..1."""
    other_share: float
    """Share of the other clip's length that lies in this one, 0..1."""
    picture: float
    """Share of the frames in the overlap that agree, 0..1."""
    sound: float
    """Share of the moments of sound in the overlap that agree, 0..1."""
    mirrored: bool
    """Whether left and right are swapped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateClip:
    """A clip of a video that has near-duplicates. The view `duplicates`."""

    clip: str
    """Id of the clip."""
    video: str
    """Id of the video."""
    part: int
    """Number of the video's part."""
    first: str | None
    """Id of the first of the clips that are copies or parts of each other; null for a clip without such."""
    best: str | None
    """Id of the one of them to keep, by `dedup.prefer`; null for a clip without such."""
    relations: tuple[str, ...]
    """Relations of the clip to other clips."""
    family: str
    """Id of the first of the videos that have clips alike: all of them are on its side of the split."""
    known_in: tuple[str, ...]
    """Entries of `dedup.against` that have a clip alike."""
    leaked_from: tuple[str, ...]
    """Entries of `decontaminate` that have a clip alike."""
