"""From where tasks lie in shards to `Prompt`s: what a worker of the loader does.

In: places, each a task and the span of its sample in a shard, local (mapped) or in an object store (a ranged read).
Out: the prompts of a pack, and a line for each task whose sample is not what it should be.
"""

from __future__ import annotations

import io
import struct
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from blake3 import blake3
from PIL import Image
from pydantic import ValidationError
from torch.utils.data import Dataset, get_worker_info

from manifests import retries, storage
from ola.geometry import frame_indices
from ola.processor import OlaProcessor
from ola.prompt import Prompt, Sound, Visual, Wave
from stages.catalogue import Place
from stages.errors import StagesError
from stages.samples import IMAGE, SPEECH, Sample
from stages.shards import RawSample, sample_at, split_frames

PICTURES = ("JPEG", "PNG", "WEBP")  # what a `.jpg` of other people's data may be
OPEN_SHARDS = 256  # a worker; each holds a file descriptor, of which many machines allow 1024
PCM16 = 2  # bytes a sample

# What json, PIL, wave and the processor raise for bytes that are not what they should be.
FAULTS = (ValueError, OSError, EOFError, SyntaxError, struct.error, wave.Error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Pack:
    """Tasks that share one sequence. rows: their numbers in the catalogue.

    counts: False for one that stands in, so that every rank has the same number of packs; it contributes nothing.
    """

    rows: tuple[int, ...]
    prompts: tuple[Prompt, ...]
    counts: bool = True


class Loaded(NamedTuple):
    """What became of the tasks of one pack: those that could be read, and a line for each that could not.

    tried_again: requests to stores that a worker had to make again since it loaded the pack before.
    """

    pack: Pack
    faults: tuple[str, ...]
    tried_again: int = 0


class Decoder(Dataset[Loaded | StagesError]):
    """From places to prompts; every worker has its own, with its own shards open."""

    def __init__(self, processor: OlaProcessor, frames: int) -> None:
        """frames: of a video at most; 0: all."""
        self.processor, self.frames = processor, frames

    def __getitem__(self, places: list[Place]) -> Loaded | StagesError:
        """A pack. An error is handed over, since torch would raise it with the worker's traceback as its text."""
        try:
            return self._loaded(places)
        except StagesError as error:
            return error

    def _loaded(self, places: list[Place]) -> Loaded:
        opened: dict[tuple[str, int], Opened] = {}
        rows, prompts, faults = [], [], []
        for place in places:
            where = f"sample at byte {place.offset}"
            span = self._span(place)
            try:
                raw = sample_at(span, 0, place.size)
                where = f"sample {raw.key}"
                sample = opened.setdefault((place.uri, place.offset), Opened(raw, self.processor, self.frames))
                prompts.append(sample.prompt(place.task))
                rows.append(place.row)
            except FAULTS as error:
                faults.append(f"{place.uri}: {where}, task {place.task}: {reason(error)}")
        in_worker = get_worker_info() is not None  # else they are counted in this process already
        return Loaded(Pack(tuple(rows), tuple(prompts)), tuple(faults), retries.tally.take() if in_worker else 0)

    def _span(self, place: Place) -> memoryview:
        """The bytes of a sample; of a local shard they are mapped, not read."""
        try:
            shard = self._shards(place.uri)
            shard.seek(place.offset)
            return memoryview(shard.read_buffer(place.size))
        except OSError as error:
            raise StagesError(f"{place.uri}: cannot be read: {reason(error)}") from error

    @cached_property
    def _shards(self) -> Any:
        return lru_cache(OPEN_SHARDS)(storage.open_random)


class Opened:
    """A sample out of its shard, whose media are decoded once, when a task first uses them. ValueError and the like."""

    def __init__(self, raw: RawSample, processor: OlaProcessor, frames: int) -> None:
        self.members, self.processor, self.frames = raw.members, processor, frames

    def prompt(self, name: str) -> Prompt:
        """A task of the sample as the model reads it."""
        task = next((task for task in self.sample.tasks if task.id == name), None)
        if task is None:
            raise ValueError("the sample has no such task; the shard is not the one that shards.parquet tells of")
        visuals = self.visuals if IMAGE in task.tags else []
        sounds = [self.sound] if SPEECH in task.tags else []
        turns = [(turn.speaker, turn.value) for turn in task.conversations]
        return self.processor.sample(turns, visuals, sounds, task.spoken)

    @cached_property
    def sample(self) -> Sample:
        """What the sample says."""
        return Sample.model_validate_json(bytes(self._member("json")))

    @cached_property
    def visuals(self) -> list[Visual]:
        """Its images, or its video."""
        if "mjpg" in self.members:
            return [self._video(split_frames(self._member("mjpg"), self.sample.pictures.bytes))]
        if "jpgs" in self.members:
            return [self._image(jpeg) for jpeg in split_frames(self._member("jpgs"), self.sample.pictures.bytes)]
        return [self._image(self._member("jpg"))]

    def _image(self, data: memoryview) -> Visual:
        return self.processor.image(Image.open(io.BytesIO(data), formats=PICTURES))

    def _video(self, stored: list[memoryview]) -> Visual:
        most = min(self.frames or len(stored), self.processor.config.max_frames, len(stored))
        frames = Frames([stored[index] for index in frame_indices(len(stored), most)])
        return self.processor.video(frames, frames.digest())

    @cached_property
    def sound(self) -> Sound:
        """Its sound."""
        with wave.open(io.BytesIO(self._member("wav"))) as file:
            if file.getsampwidth() != PCM16:
                raise ValueError(f"a .wav of {8 * file.getsampwidth()} bits; it must have 16")
            pcm = file.readframes(file.getnframes())
            samples = np.frombuffer(pcm, np.int16).reshape(-1, file.getnchannels()).T
        said = self.sample.sound
        if said is not None and said.samples != samples.shape[1]:
            raise ValueError(f"the .wav has {samples.shape[1]} samples, the json says {said.samples}")
        return self.processor.sound(Wave(samples, file.getframerate()))

    def _member(self, extension: str) -> memoryview:
        if extension not in self.members:
            raise ValueError(f"there is no .{extension} (but {', '.join(self.members)}), which the task needs")
        return self.members[extension]


class Frames(Sequence[Image.Image]):
    """JPEGs that are decoded when they are asked for, one at a time, so that their pixels are in memory once."""

    def __init__(self, jpegs: Sequence[memoryview]) -> None:
        self.jpegs = jpegs

    def __len__(self) -> int:
        return len(self.jpegs)

    def __getitem__(self, index: Any) -> Any:
        return Image.open(io.BytesIO(self.jpegs[index]), formats=("JPEG",))

    def digest(self) -> str:
        """Names the video by its JPEGs, which are a twentieth of its pixels."""
        hasher = blake3(b"jpegs")
        for jpeg in self.jpegs:
            hasher.update(len(jpeg).to_bytes(8, "little")).update(jpeg)
        return hasher.hexdigest()


def reason(error: BaseException) -> str:
    """Why, in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"json: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(str(error).split()) or type(error).__name__
