"""Make suites of the tasks that a run packed for validation: one suite per kind of task.

The last human turn of a conversation is the question, the gpt turn after it the reference, and earlier turns are the
history. Speech recognition and subtitles are scored by word error, other kinds by F1 and exact match.
"""

from __future__ import annotations

import io
import re
import wave
from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
from PIL import Image

from manifests import storage
from ola.geometry import frame_indices
from ola.prompt import Request, Wave
from stages.catalogue import read_catalogue
from stages.errors import StagesError
from stages.evaluation.questions import MediaReaders, Question, Suite, Unreadable, decode_picture
from stages.evaluation.scores import F1, word_error_metric
from stages.samples import IMAGE, PICTURES, SPEECH, Sample, Task
from stages.shards import RawSample, ShardReader, split_frames

SPOKEN = ("speech_recognition", "subtitle")
VIEWS = ("both", "video", "audio", "text")
MAX_TOKENS = 256  # of an answer
OPTION = re.compile(r"^([A-E])[.)] (.+)$", re.MULTILINE)  # an option in the pipeline's multiple-choice questions

SampleMedia = tuple[tuple[Image.Image, ...], Wave | None]


def held_out_suites(root: str, readers: MediaReaders, views: bool = False) -> list[Suite]:
    """Return a suite `shards-<kind>` for each kind of task in the split `val` of a run's shards or of a shard set.

    views: ask cross-modal questions also with only the frames, only the sound, and neither, as suites
    `shards-cross_modal_qa-<view>`. Raises StagesError if the shards are missing or damaged.
    """
    rows = read_catalogue([root], "val").table.select(["id", "kind", "uri", "offset"]).to_pylist()
    rows.sort(key=lambda row: (row["kind"], row["uri"], row["offset"]))
    reader, suites = _SampleReader(readers.max_frames), []
    for kind, of_kind in groupby(rows, key=lambda row: str(row["kind"])):
        tasks = [(row, *reader.read_task(row)) for row in of_kind]
        for view in VIEWS if views and kind == "cross_modal_qa" else VIEWS[:1]:
            questions = [_question(row, sample, task, reader, view) for row, sample, task in tasks]
            metric = word_error_metric([each.reference for each in questions]) if kind in SPOKEN else F1
            suites.append(Suite(f"shards-{kind}" + f"-{view}" * (view != "both"), metric, questions, batch=16))
    return suites


class _SampleReader:
    """Reads samples by catalogue rows; caches the last shard and the media of the last sample."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.reader = lru_cache(maxsize=1)(_open_shard)
        self.media: Callable[[str, int], SampleMedia] = lru_cache(maxsize=1)(self._read_media)

    def read_task(self, row: dict[str, Any]) -> tuple[Sample, Task]:
        """Return the sample and the task of a row. Raises StagesError if the shard does not have the task."""
        try:
            sample = Sample.model_validate_json(bytes(self._raw_sample(row["uri"], row["offset"]).members["json"]))
            return sample, next(task for task in sample.tasks if task.id == row["id"])
        except (OSError, ValueError, KeyError, StopIteration) as error:
            raise StagesError(f"{row['uri']}: no task {row['id']} at byte {row['offset']}: {error}") from error

    def _raw_sample(self, uri: str, offset: int) -> RawSample:
        reader = self.reader(uri)
        return reader[bisect_left(reader.offsets, offset)]

    def _read_media(self, uri: str, offset: int) -> SampleMedia:
        """Decode the pictures of a sample, at most `frames` of a video, and its sound."""
        members = self._raw_sample(uri, offset).members
        sample = Sample.model_validate_json(bytes(members["json"]))
        stored = next((members[name] for name in PICTURES if name in members), memoryview(b""))
        frames = split_frames(stored, sample.pictures.bytes)
        indices = frame_indices(len(frames), min(len(frames), self.frames)) if "mjpg" in members else range(len(frames))
        sound = _decode_wave(members["wav"]) if members.get("wav") else None
        return tuple(decode_picture(frames[n]) for n in indices), sound


def _open_shard(uri: str) -> ShardReader:
    return ShardReader(uri if storage.is_local(uri) else storage.read_bytes(uri))


def _decode_wave(data: memoryview) -> Wave:
    try:
        with wave.open(io.BytesIO(data)) as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                raise Unreadable(
                    f"sound: expected 1 channel of 16 bits, got {file.getnchannels()} of {8 * file.getsampwidth()}"
                )
            return Wave(np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate())
    except (wave.Error, EOFError) as error:
        raise Unreadable(f"sound cannot be decoded: {error}") from error


def _question(row: dict[str, Any], sample: Sample, task: Task, reader: _SampleReader, view: str) -> Question:
    system, turns = _split_turns(task)
    if not turns or len(turns) % 2:
        raise StagesError(
            f"{row['uri']}: task {task.id}: expected pairs of question and answer, got {len(turns)} turns"
        )
    *history, (question, reference) = zip(turns[::2], turns[1::2], strict=True)
    past = [(_remove_tags(text), answer) for text, answer in history]
    text, with_pictures, with_sound = _remove_tags(question), view in {"both", "video"}, view in {"both", "audio"}

    def request() -> Request:
        pictures, sound = reader.media(row["uri"], row["offset"])
        shown = pictures if with_pictures and IMAGE in task.tags else ()
        sounds = (sound,) if sound is not None and with_sound and SPEECH in task.tags else ()
        images, video = (shown, None) if sample.stage == "image" else ((), shown or None)
        media_turns = task.turns_with(IMAGE) * bool(shown) + task.turns_with(SPEECH) * bool(sounds)
        return Request(
            text, images, video, sounds, None, past, media_turns=media_turns, system=system, max_new_tokens=MAX_TOKENS
        )

    options = dict(OPTION.findall(text))
    options = options if reference in options else {}
    reference = options.get(reference, reference)
    categories = (sample.stage, *([task.needs] if task.needs else []))
    medium = f"{sample.key} {reader.frames}"
    return Question(task.id, text, reference, request, options, categories, medium=medium)


def _split_turns(task: Task) -> tuple[str, list[str]]:
    """Return the system text, and questions and answers in turn; a last question without an answer is left out."""
    turns = list(task.conversations)
    system = turns.pop(0).value if turns and turns[0].speaker == "system" else Request.system
    if turns and turns[-1].speaker == "human":
        turns.pop()
    return system, [turn.value for turn in turns]


def _remove_tags(text: str) -> str:
    return text.replace(SPEECH, "").replace(IMAGE, "").strip()
