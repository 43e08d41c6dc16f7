"""Step `inspect`: score the stored frames and sound of a clip, for `pack.where`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from manifests.inspection_records import Inspection
from manifests.records import ClipMedia, Media
from pipeline import step
from pipeline.errors import BadMedia
from pipeline.inspection import picture, sound
from pipeline.inspection.changes import measure_changes
from pipeline.media.audio import WAV_HEAD
from pipeline.media.media_store import MediaReader

BLOCK = 8  # pixels: JPEGs are decoded to the means of their blocks


class InspectSettings(step.Settings):
    """Which scores the extra step `inspect` computes."""

    picture: bool = True
    """Sharpness, spatial and temporal information, black bars, combing."""
    changes: bool = True
    """Still picture, slideshow, area that stays the same."""
    sound: bool = True
    """Clipping, bandwidth, hum, DC offset, noise floor, dropouts."""
    frames: int = Field(default=12, gt=0)
    """Most frames of a clip that `picture` examines, evenly spread; it compares each with the next stored frame."""


class Inspect(step.Step[ClipMedia, Inspection]):
    """Score the stored frames and sound of a clip."""

    name, takes, gives = "inspect", ClipMedia, Inspection
    settings_type = InspectSettings
    settings: InspectSettings
    beside = True
    # A clip of 48 frames and 48 s of sound takes 0.09 s.
    resources = step.Resources(batch=16)

    def open(self) -> None:
        """Open no file yet: media are read by reference."""
        self.read = MediaReader(self.root)

    def run(self, batch: Sequence[ClipMedia]) -> list[list[Inspection] | BadMedia]:
        """Return the scores of each clip, or BadMedia for stored media that cannot be decoded."""
        return [self._inspect(media) for media in batch]

    def _inspect(self, media: ClipMedia) -> list[Inspection] | BadMedia:
        try:
            jpegs = self.read.frames(media) if self.settings.picture or self.settings.changes else []
            scores = {**self._score_picture(jpegs), **self._score_changes(jpegs), **self._score_sound(media.sound)}
        except BadMedia as error:
            return error
        return [Inspection(id=media.clip, clip=media.clip, **scores)]

    def _score_picture(self, jpegs: Sequence[memoryview]) -> dict[str, float | None]:
        if not self.settings.picture:
            return {}
        chosen = choose_frames(len(jpegs), self.settings.frames)
        both = sorted({n for first in chosen for n in (first, first + 1) if n < len(jpegs)})
        stack = picture.cut_padding(np.stack([decode_luma(jpegs[n]) for n in both]))
        frames = dict(zip(both, stack, strict=True))
        return score_frames(
            np.stack([frames[n] for n in chosen]), [(frames[n], frames[n + 1]) for n in chosen if n + 1 in frames]
        )

    def _score_changes(self, jpegs: Sequence[memoryview]) -> dict[str, float | None]:
        if not self.settings.changes:
            return {}
        changes = measure_changes(np.stack([decode_luma(jpeg, BLOCK) for jpeg in jpegs]))
        return {} if changes is None else asdict(changes)

    def _score_sound(self, media: Media | None) -> dict[str, float | None]:
        if media is None or not self.settings.sound:
            return {}
        wav = self.read(media)
        if bytes(wav[:4]) != b"RIFF" or len(wav) < WAV_HEAD or len(wav) % 2:
            raise BadMedia("the stored sound is no WAV of 16 bits")
        samples = np.frombuffer(wav[WAV_HEAD:], "<i2")
        return score_sound(samples) if len(samples) else {}


def choose_frames(count: int, most: int) -> list[int]:
    """Return the indices of up to `most` frames of `count`, evenly spread."""
    return sorted({int((n + 0.5) * count / min(most, count)) for n in range(min(most, count))})


def decode_luma(jpeg: memoryview, smaller: int = 1) -> NDArray[np.float32]:
    """Decode a JPEG to its luma, (height, width), at 1/`smaller` of its size. Raises BadMedia."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(jpeg)) as image:
            image.draft("L", (max(1, image.width // smaller), max(1, image.height // smaller)))
            return np.asarray(image.convert("L"), dtype=np.float32)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise BadMedia("a stored frame cannot be decoded", str(error)) from error


def score_frames(frames: picture.Luma, pairs: Sequence[tuple[picture.Luma, picture.Luma]]) -> dict[str, float | None]:
    """Return the scores of frames, and of pairs of neighbours; bars are cut off first."""
    rows, columns = picture.find_bars(frames)
    inner = [np.ascontiguousarray(frame[rows, columns]) for frame in frames]
    pairs = [(before[rows, columns], after[rows, columns]) for before, after in pairs]
    return {
        "sharpness": picture.median_of([picture.measure_sharpness(frame) for frame in inner]),
        "spatial_information": _mean(picture.measure_spatial_information(frame) for frame in inner),
        "temporal_information": _mean(picture.measure_temporal_information(*pair) for pair in pairs),
        "bars": picture.measure_bars(frames),
        "combing": _mean(picture.measure_combing(frame) for frame in inner),
    }


def _mean(values: Iterator[float]) -> float | None:
    known = list(values)
    return float(np.mean(known)) if known else None


def score_sound(samples: sound.Samples) -> dict[str, float | None]:
    """Return the scores of the sound."""
    floor, dynamic_range = sound.measure_levels(samples)
    return {
        "clipping": sound.measure_clipping(samples),
        "bandwidth": sound.measure_bandwidth(samples),
        "hum": sound.measure_hum(samples),
        "dc_offset": sound.measure_dc_offset(samples),
        "noise_floor": floor,
        "dynamic_range": dynamic_range,
        "dropouts": sound.count_dropouts(samples),
    }
