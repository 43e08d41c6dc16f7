"""Read tasks from shards and decode them into `Prompt`s; runs in the loader's worker processes.

In: places, each a task and the byte range of its sample in a shard, which is local (mapped) or in an object store (a
ranged read). Out: the prompts of a pack, and an error line for each task that cannot be read.
"""

from __future__ import annotations

import io
import struct
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from blake3 import blake3
from PIL import Image
from pydantic import ValidationError
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from manifests import retries, storage
from ola.geometry import frame_indices
from ola.processor import OlaProcessor
from ola.prompt import Prompt, Sound, Visual, Wave
from stages.catalogue import Place
from stages.errors import StagesError
from stages.samples import IMAGE, SPEECH, Sample
from stages.shards import RawSample, sample_at, split_frames

PICTURES = ("JPEG", "PNG", "WEBP")  # formats that a `.jpg` of external shards may have
OPEN_SHARDS = 256  # per worker: each holds a file descriptor, and many machines allow 1024
PCM16 = 2  # bytes per sample

# The errors of json, PIL, wave and the processor for invalid data.
FAULTS = (ValueError, OSError, EOFError, SyntaxError, struct.error, wave.Error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Pack:
    """Tasks packed into one sequence. rows: their numbers in the catalogue.

    counts: False for a filler that gives every rank the same number of packs; a filler does not contribute to the loss.
    """

    rows: tuple[int, ...]
    prompts: tuple[Prompt, ...]
    counts: bool = True

    def pin_memory(self) -> Pack:
        """Return the pack with its media in pinned memory; torch's `DataLoader` calls this method by name."""
        return self._with_media(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device | str) -> Pack:
        """Return the pack with its media on a device; pinned media are copied while the caller goes on."""
        return self._with_media(lambda tensor: tensor.to(device, non_blocking=True))

    def _with_media(self, change: Callable[[Tensor], Tensor]) -> Pack:
        """Change all tensors of media; a medium that several prompts share is changed once."""
        media = {id(medium): medium for prompt in self.prompts for medium in prompt.media}
        changed: dict[int, Any] = {
            name: replace(medium, views=tuple(map(change, medium.views)))
            if isinstance(medium, Visual)
            else replace(medium, mel=change(medium.mel), fbank=change(medium.fbank))
            for name, medium in media.items()
        }
        prompts = (
            replace(
                prompt,
                visuals=tuple(changed[id(each)] for each in prompt.visuals),
                sounds=tuple(changed[id(each)] for each in prompt.sounds),
            )
            for prompt in self.prompts
        )
        return replace(self, prompts=tuple(prompts))


class LoadedPack(NamedTuple):
    """A pack with the tasks that could be read, and an error line for each of the others.

    tried_again: requests to stores that the worker repeated since its previous pack.
    """

    pack: Pack
    faults: tuple[str, ...]
    tried_again: int = 0


class Decoder(Dataset[LoadedPack | StagesError]):
    """A dataset whose index is a list of places and whose item is their pack. Each worker has its own copy."""

    def __init__(self, processor: OlaProcessor, frames: int) -> None:
        """frames: limit per video; 0: no limit."""
        self.processor, self.frames = processor, frames

    def __getitem__(self, places: list[Place]) -> LoadedPack | StagesError:
        """Return a pack. A StagesError is returned, not raised: torch would add the worker's traceback to its text."""
        try:
            return self._load(places)
        except StagesError as error:
            return error

    def _load(self, places: list[Place]) -> LoadedPack:
        opened: dict[tuple[str, int], OpenSample] = {}
        rows, prompts, faults = [], [], []
        for place in places:
            where = f"sample at byte {place.offset}"
            span = self._span(place)
            try:
                raw = sample_at(span, 0, place.size)
                where = f"sample {raw.key}"
                sample = opened.setdefault((place.uri, place.offset), OpenSample(raw, self.processor, self.frames))
                prompts.append(sample.prompt(place.task))
                rows.append(place.row)
            except FAULTS as error:
                faults.append(f"{place.uri}: {where}, task {place.task}: {error_line(error)}")
        in_worker = get_worker_info() is not None  # without workers this process has counted them
        return LoadedPack(Pack(tuple(rows), tuple(prompts)), tuple(faults), retries.tally.take() if in_worker else 0)

    def _span(self, place: Place) -> memoryview:
        """Return the bytes of a sample. A local shard is mapped, not read. Raises StagesError if that fails."""
        try:
            shard = self._shards(place.uri)
            shard.seek(place.offset)
            return memoryview(shard.read_buffer(place.size))
        except OSError as error:
            raise StagesError(f"{place.uri}: cannot be read: {error_line(error)}") from error

    @cached_property
    def _shards(self) -> Any:
        return lru_cache(OPEN_SHARDS)(storage.open_random)


class OpenSample:
    """A sample whose media are decoded once, when a task first uses them. Raises `FAULTS` if the data are invalid."""

    def __init__(self, raw: RawSample, processor: OlaProcessor, frames: int) -> None:
        self.members, self.processor, self.frames = raw.members, processor, frames

    def prompt(self, name: str) -> Prompt:
        """Return the prompt of a task. Raises ValueError if the sample does not have the task."""
        task = next((task for task in self.sample.tasks if task.id == name), None)
        if task is None:
            raise ValueError("the sample does not have this task; the shard and shards.parquet do not match")
        visuals = self.visuals if IMAGE in task.tags else []
        sounds = [self.sound] if SPEECH in task.tags else []
        turns = [(turn.speaker, turn.value) for turn in task.conversations]
        return self.processor.sample(turns, visuals, sounds, task.spoken)

    @cached_property
    def sample(self) -> Sample:
        """The parsed json of the sample."""
        return Sample.model_validate_json(bytes(self._member("json")))

    @cached_property
    def visuals(self) -> list[Visual]:
        """The images of the sample, or its video."""
        if "mjpg" in self.members:
            return [self._video(split_frames(self._member("mjpg"), self.sample.pictures.bytes))]
        if "jpgs" in self.members:
            return [self._image(jpeg) for jpeg in split_frames(self._member("jpgs"), self.sample.pictures.bytes)]
        return [self._image(self._member("jpg"))]

    def _image(self, data: memoryview) -> Visual:
        return self.processor.image(Image.open(io.BytesIO(data), formats=PICTURES))

    def _video(self, stored: list[memoryview]) -> Visual:
        most = min(self.frames or len(stored), self.processor.config.max_frames, len(stored))
        frames = LazyFrames([stored[index] for index in frame_indices(len(stored), most)])
        return self.processor.video(frames, frames.digest())

    @cached_property
    def sound(self) -> Sound:
        """The sound of the sample."""
        with wave.open(io.BytesIO(self._member("wav"))) as file:
            if file.getsampwidth() != PCM16:
                raise ValueError(f"wav: expected 16 bits per sample, got {8 * file.getsampwidth()}")
            pcm = file.readframes(file.getnframes())
            samples = np.frombuffer(pcm, np.int16).reshape(-1, file.getnchannels()).T
        stated = self.sample.sound
        if stated is not None and stated.samples != samples.shape[1]:
            raise ValueError(f"wav: expected {stated.samples} samples, as in the json, got {samples.shape[1]}")
        return self.processor.sound(Wave(samples, file.getframerate()))

    def _member(self, extension: str) -> memoryview:
        if extension not in self.members:
            raise ValueError(f"the task needs a .{extension}; the sample has only {', '.join(self.members)}")
        return self.members[extension]


class LazyFrames(Sequence[Image.Image]):
    """JPEGs that are decoded on access, so that the pixels of only one frame are in memory."""

    def __init__(self, jpegs: Sequence[memoryview]) -> None:
        self.jpegs = jpegs

    def __len__(self) -> int:
        return len(self.jpegs)

    def __getitem__(self, index: Any) -> Any:
        return Image.open(io.BytesIO(self.jpegs[index]), formats=("JPEG",))

    def digest(self) -> str:
        """Return a digest of the JPEGs: they have a twentieth of the bytes of the pixels."""
        hasher = blake3(b"jpegs")
        for jpeg in self.jpegs:
            hasher.update(len(jpeg).to_bytes(8, "little")).update(jpeg)
        return hasher.hexdigest()


def error_line(error: BaseException) -> str:
    """Return the error's message in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"json: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(str(error).split()) or type(error).__name__
