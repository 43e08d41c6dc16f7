"""Step `extract`: store frames and sound of all clips of a video, in one decode.

Frames are JPEGs at the trainer's pixel size with their times; sound is 16 kHz mono. Both go into the part's tar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from manifests.records import Clip, ClipMedia, Drop, Video
from pipeline import step
from pipeline.errors import BadMedia
from pipeline.media.audio import wav_bytes
from pipeline.media.audio_extraction import ClipRequest, ExtractedClip
from pipeline.media.byte_range import Local
from pipeline.media.extraction import extract_clips
from pipeline.media.libav_errors import translate_libav_errors
from pipeline.media.recordings import group_by_recording, list_recordings
from pipeline.media.render import FrameRenderer
from pipeline.media.video_file import fetch_original


@dataclass(frozen=True)
class ExtractInput:
    """A clip and its video."""

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
        """Return the times of the frames in seconds: the middles of equal intervals between `start` and `end`."""
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


class Extract(step.Step[ExtractInput, ClipMedia]):
    """Frames and sound of all clips of a video."""

    name, takes, gives = "extract", ExtractInput, ClipMedia
    version = 2  # 1 mixed channels that cancel each other, and stored HDR and fields as they are coded
    settings_type = ExtractSettings
    settings: ExtractSettings
    together, keeps_media, hands_over = "video", True, True

    def allowance(self, record: ExtractInput) -> float:
        """Return seconds for decoding 4K on a slow core, at a quarter of play speed, and for indexing the video."""
        return 4 * (record.clip.end_ms - record.clip.start_ms) / 1000 + record.video.duration / 100

    def original_uri(self, record: ExtractInput) -> str:
        """Return the URI of the clip's video."""
        return record.video.uri

    def run(self, batch: Sequence[ExtractInput]) -> list[list[ClipMedia] | Drop | BadMedia]:
        """Return one ClipMedia per clip; `batch` holds clips of one video. Raises BadMedia if it has no frames."""
        video = batch[0].video
        if video.sound is None and self.settings.sound == "required":
            hint = "set extract.sound: optional to keep silent clips"
            return [Drop("no sound track", f"in {video.uri}; {hint}") for _ in batch]
        answers = []
        with translate_libav_errors():
            for entry, (extracted, size) in zip(batch, self._extract_clips(batch), strict=True):
                is_after = entry.clip.start_ms >= video.duration * 1000
                after = Drop("begins after the end of the video", f"which lasts {video.duration:.3f} s")
                answers.append(after if is_after else self._store_clip(entry.clip, extracted, size))
                self.hand_over(answers[-1])
        return answers

    def _extract_clips(self, batch: Sequence[ExtractInput]) -> Iterator[tuple[ExtractedClip, tuple[int, int]]]:
        """Yield clips and the size of their frames, recording by recording; sizes differ between recordings."""
        found = list_recordings(fetch_original(batch[0].video, self.scratch), batch[0].video)
        for part, requests in group_by_recording(found, [self._request(entry.clip) for entry in batch]):
            video: Video = part.video
            renderer = FrameRenderer.for_video(video, self.settings.quality)
            for extracted in self._reader()(part.local, video, requests, renderer):
                yield extracted, renderer.size

    def _reader(self) -> Callable[[Local, Video, Sequence[ClipRequest], FrameRenderer], Iterator[ExtractedClip]]:
        if self.settings.reader == "libav":
            return extract_clips
        from pipeline.media.decord_reader import extract_clips as extract_by_decord

        return extract_by_decord

    def _request(self, clip: Clip) -> ClipRequest:
        times = self.settings.frames.times(clip.start_ms / 1000, clip.end_ms / 1000)
        return ClipRequest(clip.start_ms, clip.end_ms, times)

    def _store_clip(
        self, clip: Clip, extracted: ExtractedClip, size: tuple[int, int]
    ) -> list[ClipMedia] | Drop | BadMedia:
        if not extracted.frames:
            return BadMedia("no frame of this clip can be decoded")
        if extracted.pcm is None and self.settings.sound == "required":
            return Drop("no sound can be decoded")
        jpegs = [jpeg for _, jpeg in extracted.frames]
        return [
            ClipMedia(
                id=clip.id,
                clip=clip.id,
                width=size[0],
                height=size[1],
                frames=self.media.add(f"{clip.id}.mjpg", b"".join(jpegs)),
                frame_bytes=tuple(len(jpeg) for jpeg in jpegs),
                frame_ms=tuple(ms for ms, _ in extracted.frames),
                sound=None if extracted.pcm is None else self.media.add(f"{clip.id}.wav", wav_bytes(extracted.pcm)),
                cancelled=extracted.cancelled,
                channel=extracted.channel,
            )
        ]
