"""Step `extract`: store frames and sound of all clips of a video, in one decode.

Frames are JPEGs at the trainer's pixel size with their times; sound is 16 kHz mono. Both go into the part's tar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from manifests.records import Clip, Drop, Footage, Video
from pipeline import step
from pipeline.errors import BadMedia
from pipeline.media.audio import wav
from pipeline.media.audio_extraction import ClipRequest, ExtractedClip
from pipeline.media.byte_range import Local
from pipeline.media.extraction import shots
from pipeline.media.libav_errors import damage_named
from pipeline.media.recordings import in_parts, parts
from pipeline.media.render import FrameRenderer
from pipeline.media.video_file import original


@dataclass(frozen=True)
class ExtractInput:
    """A clip and the video it lies in."""

    clip: Clip
    video: Video


class Frames(step.Settings):
    """Which frames of a clip are stored."""

    policy: Literal["fps", "count"] = "fps"
    """`fps`: so many frames a second, up to `cap`; `count`: a fixed number, evenly over the clip."""
    fps: float = Field(default=1.0, gt=0)
    """Frames a second, for the policy `fps`."""
    cap: int = Field(default=48, gt=0)
    """Most frames of a clip, for the policy `fps`; Ola trains on up to 48."""
    count: int = Field(default=48, gt=0)
    """Frames of a clip, for the policy `count`."""

    def times(self, start: float, end: float) -> tuple[float, ...]:
        """When to look, in seconds: the middles of equal stretches between `start` and `end`."""
        wanted = self.count if self.policy == "count" else min(self.cap, round((end - start) * self.fps))
        stretch = (end - start) / max(1, wanted)
        return tuple(start + (n + 0.5) * stretch for n in range(max(1, wanted)))


class ExtractSettings(step.Settings):
    """How frames and sound are stored."""

    frames: Frames = Frames()
    quality: int = Field(default=90, ge=1, le=95)
    """JPEG quality of the frames, 1..95."""
    sound: Literal["optional", "required"] = "optional"
    """`required` drops clips of videos without a sound track."""
    reader: Literal["libav", "decord"] = "libav"
    """Library that decodes the frames; `decord` is used where it can read the file."""


class Extract(step.Step[ExtractInput, Footage]):
    """Frames and sound of all clips of a video."""

    name, takes, gives = "extract", ExtractInput, Footage
    version = 2  # 1 mixed channels that cancel each other, and stored HDR and fields as they are coded
    settings_type = ExtractSettings
    settings: ExtractSettings
    together, keeps_media, signs = "video", True, True

    def allowance(self, record: ExtractInput) -> float:
        """Decoding 4K on a slow core runs at a quarter of play; a clip that runs alone takes the index on top."""
        return 4 * (record.clip.end_ms - record.clip.start_ms) / 1000 + record.video.duration / 100

    def originals(self, record: ExtractInput) -> str:
        """The video that the clip lies in."""
        return record.video.uri

    def run(self, batch: Sequence[ExtractInput]) -> list[list[Footage] | Drop | BadMedia]:
        """One Footage per clip; `batch` holds clips of one video. Raises BadMedia where it has no frame at all."""
        video = batch[0].video
        if video.sound is None and self.settings.sound == "required":
            hint = "set extract.sound: optional to keep silent clips"
            return [Drop("no sound track", f"in {video.uri}; {hint}") for _ in batch]
        answers = []
        with damage_named():
            for cutting, (shot, size) in zip(batch, self._shots(batch), strict=True):
                is_after = cutting.clip.start_ms >= video.duration * 1000
                after = Drop("begins after the end of the video", f"which lasts {video.duration:.3f} s")
                answers.append(after if is_after else self._kept(cutting.clip, shot, size))
                self.hand_over(answers[-1])
        return answers

    def _shots(self, batch: Sequence[ExtractInput]) -> Iterator[tuple[ExtractedClip, tuple[int, int]]]:
        """Shots and the size of their frames, recording after recording: the next may have another size."""
        found = parts(original(batch[0].video, self.scratch), batch[0].video)
        for part, cuts in in_parts(found, [self._cut(cutting.clip) for cutting in batch]):
            video: Video = part.video
            painter = FrameRenderer.of(video, self.settings.quality)
            for shot in self._reader()(part.local, video, cuts, painter):
                yield shot, painter.size

    def _reader(self) -> Callable[[Local, Video, Sequence[ClipRequest], FrameRenderer], Iterator[ExtractedClip]]:
        if self.settings.reader == "libav":
            return shots
        from pipeline.media.decord_reader import shots as decord_shots

        return decord_shots

    def _cut(self, clip: Clip) -> ClipRequest:
        times = self.settings.frames.times(clip.start_ms / 1000, clip.end_ms / 1000)
        return ClipRequest(clip.start_ms, clip.end_ms, times)

    def _kept(self, clip: Clip, shot: ExtractedClip, size: tuple[int, int]) -> list[Footage] | Drop | BadMedia:
        if not shot.frames:
            return BadMedia("no frame of this clip can be decoded")
        if shot.pcm is None and self.settings.sound == "required":
            return Drop("no sound can be decoded")
        jpegs = [jpeg for _, jpeg in shot.frames]
        return [
            Footage(
                id=clip.id,
                clip=clip.id,
                width=size[0],
                height=size[1],
                frames=self.media.keep(f"{clip.id}.mjpg", b"".join(jpegs)),
                frame_bytes=tuple(len(jpeg) for jpeg in jpegs),
                frame_ms=tuple(ms for ms, _ in shot.frames),
                sound=None if shot.pcm is None else self.media.keep(f"{clip.id}.wav", wav(shot.pcm)),
                cancelled=shot.cancelled,
                channel=shot.channel,
            )
        ]
