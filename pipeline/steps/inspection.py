"""Step `inspect`: score the stored frames and sound of a clip, for `pack.where`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from manifests.inspection_records import Inspection
from manifests.records import ClipMedia, Media
from pipeline import step
from pipeline.errors import BadMedia
from pipeline.inspection import picture, sound
from pipeline.inspection.changes import measure_changes
from pipeline.inspection.nudity import open_nudity_detector
from pipeline.inspection.packages import FAMILIES
from pipeline.inspection.screen_text import score_text
from pipeline.inspection.text_reader import Frame, open_text_reader
from pipeline.inspection.voice import open_quality_meter, open_voice_detector
from pipeline.media.audio import WAV_HEAD
from pipeline.media.media_store import MediaReader

BLOCK = 8  # pixels: JPEGs are decoded to the means of their blocks
SLOW = 10.0  # seconds that a clip may take longer with a model: the models take up to 0.8 s on an idle core


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
    text: bool = False
    """Text in the picture: its area, its words and their kinds. Needs the extra `inspect-text`."""
    speech: bool = False
    """Share of the sound with a voice. Needs the extra `inspect-speech`."""
    quality: bool = False
    """Quality of speech as listeners would rate it. Needs the extra `inspect-quality`."""
    nudity: bool = False
    """Uncovered bodies. Needs the extra `inspect-nudity`, whose package is licensed under the AGPL-3.0."""
    read_frames: int = Field(default=6, gt=0)
    """Most frames of a clip that `text` reads and `nudity` examines, evenly spread."""

    @property
    def families(self) -> tuple[str, ...]:
        """Return the families with packages of their own that are switched on."""
        return tuple(name for name in FAMILIES if getattr(self, name))


class Inspect(step.Step[ClipMedia, Inspection]):
    """Score the stored frames and sound of a clip."""

    name, takes, gives = "inspect", ClipMedia, Inspection
    settings_type = InspectSettings
    settings: InspectSettings
    beside = True
    # A clip of 48 frames and 48 s of sound takes 0.09 s, with `text` 0.6 s.
    resources = step.Resources(batch=16)

    def open(self) -> None:
        """Load the models of the families that are switched on. Raises ConfigError without their packages."""
        self.read = MediaReader(self.root)
        self.text_reader = open_text_reader() if self.settings.text else None
        self.voice_detector = open_voice_detector() if self.settings.speech else None
        self.quality_meter = open_quality_meter() if self.settings.quality else None
        self.nudity_detector = open_nudity_detector() if self.settings.nudity else None

    def facts(self) -> dict[str, Any]:
        """Return the facts of the step; without families that need packages those of a version that knew none."""
        facts, families = super().facts(), self.settings.families
        unused = set(FAMILIES) - set(families)
        if not {"text", "nudity"} & set(families):
            unused.add("read_frames")
        settings = {name: value for name, value in facts["settings"].items() if name not in unused}
        versions = {"families": {name: FAMILIES[name].version for name in families}} if families else {}
        return {**facts, "settings": settings, **versions}

    def allowance(self, record: ClipMedia) -> float:
        """Return the seconds that the models may take."""
        return SLOW if self.settings.families else 0.0

    def run(self, batch: Sequence[ClipMedia]) -> list[list[Inspection] | BadMedia]:
        """Return the scores of each clip, or BadMedia for stored media that cannot be decoded."""
        return [self._inspect(media) for media in batch]

    def _inspect(self, media: ClipMedia) -> list[Inspection] | BadMedia:
        try:
            jpegs = self.read.frames(media) if self._needs_frames() else []
            scores: dict[str, Any] = {**self._score_picture(jpegs), **self._score_changes(jpegs)}
            scores |= self._examine_frames(jpegs, media.frame_ms) | self._score_sound(media.sound)
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

    def _needs_frames(self) -> bool:
        chosen = self.settings
        return chosen.picture or chosen.changes or chosen.text or chosen.nudity

    def _examine_frames(self, jpegs: Sequence[memoryview], frame_ms: Sequence[int]) -> dict[str, Any]:
        """Return the scores of the models that see whole frames."""
        if self.text_reader is None and self.nudity_detector is None:
            return {}
        chosen = choose_frames(len(jpegs), self.settings.read_frames)
        frames = {frame_ms[n] / 1000: decode_frame(jpegs[n]) for n in chosen}
        scores: dict[str, Any] = {}
        if self.text_reader is not None:
            scores |= score_text({time: self.text_reader.read(frame) for time, frame in frames.items()})
        if self.nudity_detector is not None:
            scores["nudity"] = max(map(self.nudity_detector.score, frames.values()))
        return scores

    def _score_sound(self, media: Media | None) -> dict[str, float | None]:
        if media is None or not (self.settings.sound or self.settings.speech or self.settings.quality):
            return {}
        wav = self.read(media)
        if bytes(wav[:4]) != b"RIFF" or len(wav) < WAV_HEAD or len(wav) % 2:
            raise BadMedia("the stored sound is no WAV of 16 bits")
        samples = np.frombuffer(wav[WAV_HEAD:], "<i2")
        if not len(samples):
            return {}
        scores = score_sound(samples) if self.settings.sound else {}
        if self.voice_detector is not None:
            scores["speech_share"] = self.voice_detector.share(samples)
        return scores if self.quality_meter is None else scores | self.quality_meter.scores(samples)


def choose_frames(count: int, most: int) -> list[int]:
    """Return the indices of up to `most` frames of `count`, evenly spread."""
    return sorted({int((n + 0.5) * count / min(most, count)) for n in range(min(most, count))})


def decode_luma(jpeg: memoryview, smaller: int = 1) -> NDArray[np.float32]:
    """Decode a JPEG to its luma, (height, width), at 1/`smaller` of its size. Raises BadMedia."""
    return _decode(jpeg, "L", smaller).astype(np.float32)


def decode_frame(jpeg: memoryview) -> Frame:
    """Decode a JPEG to RGB, (height, width, 3). Raises BadMedia."""
    return _decode(jpeg, "RGB", 1)


def _decode(jpeg: memoryview, mode: str, smaller: int) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(jpeg)) as image:
            image.draft(mode, (max(1, image.width // smaller), max(1, image.height // smaller)))
            return np.asarray(image.convert(mode))
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
