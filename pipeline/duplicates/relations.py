"""Decide how two clips are related: align their pictures and their sounds, and name the relation.

What one of the two cannot tell alone (few frames, little texture, speech between long pauses) is asked once more along
the line that the other one gave, with a looser limit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.duplicates.alignment import NONE, Alignment, Track, align, distances, neighbours
from pipeline.duplicates.fingerprints import TEXTURED, Fingerprints
from pipeline.hashing.pictures import mirrored

COPY, PART, OVERLAP = "copy", "part of", "overlap"
OTHER_SOUND, OTHER_PICTURE = "same picture, other sound", "same sound, other picture"
NEAR_PICTURE, NEAR_SOUND = 8, 12  # bits that may differ: of 63, of 64
LOOSE_PICTURE, LOOSE_SOUND = 14, 17  # along a known line
PICTURE_SLACK = 0.6  # seconds: a frame a second is stored
SOUND_SLACK, SOUND_DRIFT = 0.15, 0.008  # seconds, and more per second of the clip, by the steps of slopes
LEAST_FRAMES, LEAST_LANDMARKS = 3, 6
LEAST_ALONE = 4  # frames that agree in a part of both clips whose sounds do not
LEAST_SHARE = 0.5  # of the overlap's hashes
STILL_SHARE = 0.8  # where the matched frames are all alike
LOOSE_SHARE = 0.3  # of the overlap's hashes along a known line
SEEN = 4  # strong coefficients under which a frame shows nothing
WHOLE = 0.85  # share of a clip's length that counts as all of it


@dataclass(frozen=True)
class Relation:
    """How clip a is related to clip b, see `DuplicatePair`. part: 0 for a, 1 for b, which then lies in the other."""

    name: str
    tempo: float
    offset: float
    share: float
    other_share: float
    picture: float
    sound: float
    is_mirrored: bool


@dataclass(frozen=True)
class _Clip:
    frames: Track
    textured: Track
    seen: Track
    sound: Track


def relate(prints: Fingerprints, a: int, b: int) -> Relation | None:
    """Return how clip a is related to clip b; None if they are not alike."""
    first, second = _clip(prints, a), _clip(prints, b)
    picture, is_mirrored = _align_pictures(first, second)
    drift = SOUND_SLACK + SOUND_DRIFT * max(first.sound.seconds, second.sound.seconds)
    sound = align(first.sound, second.sound, NEAR_SOUND, drift, LEAST_LANDMARKS)
    sees, hears = _is_picture(picture), _is_sound(sound)
    if not sees and not hears:
        return None
    line = sound if hears else picture
    if not sees:
        picture, is_mirrored = _pictures_along(first, second, line)
        sees = picture.expected == 0 or picture.share >= LOOSE_SHARE
    if not hears:
        sound = _along(first.sound, second.sound, line, LOOSE_SOUND, PICTURE_SLACK + drift)
        hears = _are_both_silent(first, second, line) or (sound.matched > 0 and sound.share >= LOOSE_SHARE)
    share, other_share = _shares(first, second, line)
    if not hears and max(share, other_share) < WHOLE and (picture.changes == 1 or picture.matched < LEAST_ALONE):
        return None
    name = name_overlap(share, other_share) if sees and hears else OTHER_SOUND if sees else OTHER_PICTURE
    return Relation(name, line.slope, line.offset, share, other_share, picture.share, sound.share, is_mirrored)


def _clip(prints: Fingerprints, clip: int) -> _Clip:
    frames, texture = prints.picture(clip)
    return _Clip(frames, _only(frames, texture >= TEXTURED), _only(frames, texture >= SEEN), prints.sound(clip))


def _only(track: Track, mask: np.ndarray) -> Track:
    return replace(track, times=track.times[mask], hashes=track.hashes[mask])


def _mirror(track: Track) -> Track:
    return replace(track, hashes=mirrored(track.hashes))


def _align_pictures(a: _Clip, b: _Clip) -> tuple[Alignment, bool]:
    plain = align(a.textured, b.textured, NEAR_PICTURE, PICTURE_SLACK, LEAST_FRAMES)
    if _is_picture(plain):
        return plain, False
    flipped = align(a.textured, _mirror(b.textured), NEAR_PICTURE, PICTURE_SLACK, LEAST_FRAMES)
    return (flipped, True) if _is_picture(flipped) else (plain, False)


def _is_picture(found: Alignment) -> bool:
    least = LEAST_SHARE if found.changes > 1 else STILL_SHARE
    return found.matched >= LEAST_FRAMES and found.share >= least


def _is_sound(found: Alignment) -> bool:
    return found.matched >= LEAST_LANDMARKS and found.share >= LEAST_SHARE


def _along(a: Track, b: Track, line: Alignment, near: int, slack: float) -> Alignment:
    """Count the agreeing hashes along a known line."""
    if not len(a.times) or not len(b.times):
        return replace(NONE, slope=line.slope, offset=line.offset)
    close, inside = neighbours(a, b, line.slope, line.offset, slack)
    agree = ((distances(a.hashes, b.hashes) <= near) & close).any(1) & inside
    return Alignment(line.slope, line.offset, int(agree.sum()), int((close.any(1) & inside).sum()), 1)


def _pictures_along(a: _Clip, b: _Clip, line: Alignment) -> tuple[Alignment, bool]:
    """Count the agreeing frames along the line of the sound, plain or mirrored; frames that show nothing count not."""
    if not len(a.seen.times) and not len(b.seen.times):
        return replace(NONE, slope=line.slope, offset=line.offset), False
    found = _along(a.seen, b.seen, line, LOOSE_PICTURE, PICTURE_SLACK)
    flipped = _along(a.seen, _mirror(b.seen), line, LOOSE_PICTURE, PICTURE_SLACK)
    best, is_mirrored = (flipped, True) if flipped.matched > found.matched else (found, False)
    return (best if best.expected else replace(best, expected=1)), is_mirrored  # one shows something, the other nothing


def _are_both_silent(a: _Clip, b: _Clip, line: Alignment) -> bool:
    """Return whether neither clip has a landmark where they overlap."""
    places = line.slope * a.sound.times + line.offset
    back = (b.sound.times - line.offset) / line.slope
    inner = ((places > 0) & (places < b.sound.seconds)).any() or ((back > 0) & (back < a.sound.seconds)).any()
    return not inner


def _shares(a: _Clip, b: _Clip, line: Alignment) -> tuple[float, float]:
    """Return the shares of both clips' lengths that lie in the other one."""
    start, end = -line.offset / line.slope, (b.frames.seconds - line.offset) / line.slope
    seconds = max(0.0, min(a.frames.seconds, end) - max(0.0, start))
    return seconds / a.frames.seconds, seconds * line.slope / b.frames.seconds


def name_overlap(share: float, other_share: float) -> str:
    """Return the relation of two spans that agree in picture and sound, by the share of each that lies in the other."""
    if share >= WHOLE and other_share >= WHOLE:
        return COPY
    return PART if max(share, other_share) >= WHOLE else OVERLAP
