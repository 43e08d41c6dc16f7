"""Load the pictures and sounds of clips for a model, ahead of its requests.

    slice k     the model answers            slice k + 1
    slice k + 1 a thread reads, decodes, resizes, computes features

All steps of a process share one loader, so that a clip is decoded once for its caption, questions and answers.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from manifests.records import ClipMedia
from pipeline.media.audio import RATE, read_samples
from pipeline.media.media_store import MediaReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

    from ola.prompt import Picture, Sound, Visual, Wave

T = TypeVar("T")


class Processor(Protocol):
    """Prepares raw media for the encoders of a model, as `OlaProcessor` does. Called from one thread at a time."""

    def image(self, picture: Picture) -> Visual:
        """Prepare an image."""
        ...

    def video(self, frames: Sequence[Picture]) -> Visual:
        """Prepare the frames of a video."""
        ...

    def sound(self, wave: Wave) -> Sound:
        """Compute the features of a sound."""
        ...


@dataclass(frozen=True)
class LoadedClip:
    """The media of a clip as a `Request` takes them: prepared if the annotator has a processor, else raw.

    video: all frames. image: the middle frame. sound: None if the clip has none.
    """

    video: Visual | list[Image]
    image: Visual | Image
    sound: Sound | Wave | None


@dataclass(frozen=True)
class ClipPart:
    """Some frames and some sound of a clip, as a `Request` takes them; None where there is none."""

    video: Visual | list[Image] | None
    sound: Sound | Wave | None


class MediaLoader:
    """Loads clips, one after the other, in a thread of its own. It keeps those that `expect` named last."""

    def __init__(self, root: str, processor: Processor | None = None) -> None:
        """root: of the run. processor: of the annotator; None: clips keep their raw media."""
        self.read, self.processor = MediaReader(root), processor
        self.thread = ThreadPoolExecutor(1, "media") if processor is None else _torch_thread()
        self._clips: dict[str, Future[LoadedClip]] = {}

    def __call__(self, footage: ClipMedia) -> LoadedClip:
        """Return the media of a clip. Raises OSError for bytes that are missing, ValueError for damaged media."""
        return (self._clips.get(footage.id) or self._begin(footage)).result()

    def expect(self, clips: Iterable[ClipMedia]) -> None:
        """Begin to load these clips, in order, and forget all others."""
        wanted = {footage.id: footage for footage in clips}
        for name in self._clips.keys() - wanted.keys():
            self._clips.pop(name).cancel()
        for name, footage in wanted.items():
            if name not in self._clips or _has_failed(self._clips[name]):
                self._clips[name] = self._begin(footage)

    def part(self, footage: ClipMedia, frames: Sequence[int], cut: Callable[[Wave], Wave | None]) -> ClipPart:
        """Return some frames of a clip by their numbers, and its sound as `cut` returns it. Raises as a call does."""
        return self.thread.submit(self._load_part, footage, frames, cut).result()

    def sound(self, footage: ClipMedia) -> Wave | None:
        """Return the raw sound of a clip; None if it has none."""
        if footage.sound is None:
            return None
        from ola.prompt import Wave

        return Wave(read_samples(self.read(footage.sound)), RATE)

    def _begin(self, footage: ClipMedia) -> Future[LoadedClip]:
        return self.thread.submit(self._load, footage)

    def _load(self, footage: ClipMedia) -> LoadedClip:
        frames, wave = self._decode_frames(footage), self.sound(footage)
        middle = frames[len(frames) // 2]
        if self.processor is None:
            return LoadedClip(frames, middle, wave)
        sound = None if wave is None else self.processor.sound(wave)
        return LoadedClip(self.processor.video(frames), self.processor.image(middle), sound)

    def _load_part(self, footage: ClipMedia, numbers: Sequence[int], cut: Callable[[Wave], Wave | None]) -> ClipPart:
        frames, wave = self._decode_frames(footage, numbers), self.sound(footage)
        wave = None if wave is None else cut(wave)
        if self.processor is None:
            return ClipPart(frames or None, wave)
        sound = None if wave is None else self.processor.sound(wave)
        return ClipPart(self.processor.video(frames) if frames else None, sound)

    def _decode_frames(self, footage: ClipMedia, numbers: Sequence[int] | None = None) -> list[Image]:
        """Decode the frames of a clip, or those with these numbers."""
        from PIL import Image

        jpegs = self.read.frames(footage)
        chosen = jpegs if numbers is None else [jpegs[n] for n in numbers]
        frames = [Image.open(io.BytesIO(jpeg)) for jpeg in chosen]
        for frame in frames:
            frame.load()
        return list(frames)


def _has_failed(clip: Future[T]) -> bool:
    return clip.done() and clip.exception() is not None


def _torch_thread() -> ThreadPoolExecutor:
    """Return a thread in which torch uses as many cores as here, not all of them: the order of sums depends on it."""
    import torch

    return ThreadPoolExecutor(1, "media", torch.set_num_threads, (torch.get_num_threads(),))
