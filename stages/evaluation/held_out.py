"""Tasks that a run packed for validation, turned into suites: one a kind of task.

The conversation asks: its last human turn is the question, the gpt turn after it the reference, and earlier turns are
the history. Recognised speech and subtitles are scored by word error, all else by F1 and exact match of words.
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
from stages.catalogue import catalogue
from stages.errors import StagesError
from stages.evaluation.questions import Question, Senses, Suite, Unreadable, picture
from stages.evaluation.scores import F1, word_error_metric
from stages.samples import IMAGE, PICTURES, SPEECH, Sample, Task
from stages.shards import RawSample, ShardReader, split_frames

SPOKEN = ("speech_recognition", "subtitle")
VIEWS = ("both", "video", "audio", "text")
SAID = 256  # tokens of an answer
OPTION = re.compile(r"^([A-E])[.)] (.+)$", re.MULTILINE)  # as the pipeline puts a multiple choice

Seen = tuple[tuple[Image.Image, ...], Wave | None]


def held_out(root: str, senses: Senses, views: bool = False) -> list[Suite]:
    """A suite `shards-<kind>` for each kind of task in the split `val` of a run's shards, or of one shard set.

    views: cross-modal questions are also asked with the frames alone, the sound alone and neither, as suites
    `shards-cross_modal_qa-<view>`. Raises StagesError where there are no such shards, or they are damaged.
    """
    rows = catalogue([root], "val").table.select(["id", "kind", "uri", "offset"]).to_pylist()
    rows.sort(key=lambda row: (row["kind"], row["uri"], row["offset"]))
    shards, suites = _Shards(senses.frames), []
    for kind, of_kind in groupby(rows, key=lambda row: str(row["kind"])):
        tasks = [(row, *shards.task(row)) for row in of_kind]
        for view in VIEWS if views and kind == "cross_modal_qa" else VIEWS[:1]:
            questions = [_question(row, sample, task, shards, view) for row, sample, task in tasks]
            metric = word_error_metric([each.reference for each in questions]) if kind in SPOKEN else F1
            suites.append(Suite(f"shards-{kind}" + f"-{view}" * (view != "both"), metric, questions, batch=16))
    return suites


class _Shards:
    """Samples by the rows of a catalogue; the last shard and the last sample's media are kept at hand."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.reader = lru_cache(maxsize=1)(_opened)
        self.seen: Callable[[str, int], Seen] = lru_cache(maxsize=1)(self._seen)

    def task(self, row: dict[str, Any]) -> tuple[Sample, Task]:
        """The sample of a task, and the task. Raises StagesError."""
        try:
            sample = Sample.model_validate_json(bytes(self._raw(row["uri"], row["offset"]).members["json"]))
            return sample, next(task for task in sample.tasks if task.id == row["id"])
        except (OSError, ValueError, KeyError, StopIteration) as error:
            raise StagesError(f"{row['uri']}: no task {row['id']} at byte {row['offset']}: {error}") from error

    def _raw(self, uri: str, offset: int) -> RawSample:
        reader = self.reader(uri)
        return reader[bisect_left(reader.offsets, offset)]

    def _seen(self, uri: str, offset: int) -> Seen:
        """The pictures of a sample, of a video at most `frames`, and its sound."""
        members = self._raw(uri, offset).members
        sample = Sample.model_validate_json(bytes(members["json"]))
        whole = next((members[name] for name in PICTURES if name in members), memoryview(b""))
        frames = split_frames(whole, sample.pictures.bytes)
        kept = frame_indices(len(frames), min(len(frames), self.frames)) if "mjpg" in members else range(len(frames))
        sound = _wave(members["wav"]) if members.get("wav") else None
        return tuple(picture(frames[n]) for n in kept), sound


def _opened(uri: str) -> ShardReader:
    return ShardReader(uri if storage.is_local(uri) else storage.read_bytes(uri))


def _wave(data: memoryview) -> Wave:
    try:
        with wave.open(io.BytesIO(data)) as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                raise Unreadable(f"a sound of {file.getnchannels()} channels, {8 * file.getsampwidth()} bits")
            return Wave(np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate())
    except (wave.Error, EOFError) as error:
        raise Unreadable(f"not a sound: {error}") from error


def _question(row: dict[str, Any], sample: Sample, task: Task, shards: _Shards, view: str) -> Question:
    system, turns = _turns(task)
    if not turns or len(turns) % 2:
        raise StagesError(f"{row['uri']}: task {task.id}: {len(turns)} turns are not questions and their answers")
    *history, (asked, reference) = zip(turns[::2], turns[1::2], strict=True)
    plain = [(_untagged(text), answer) for text, answer in history]
    text, seeing, hearing = _untagged(asked), view in {"both", "video"}, view in {"both", "audio"}

    def request() -> Request:
        pictures, sound = shards.seen(row["uri"], row["offset"])
        shown = pictures if seeing and IMAGE in task.tags else ()
        heard = (sound,) if sound is not None and hearing and SPEECH in task.tags else ()
        images, video = (shown, None) if sample.stage == "image" else ((), shown or None)
        media_turns = task.turns_with(IMAGE) * bool(shown) + task.turns_with(SPEECH) * bool(heard)
        return Request(
            text, images, video, heard, None, plain, media_turns=media_turns, system=system, max_new_tokens=SAID
        )

    options = dict(OPTION.findall(text))
    options = options if reference in options else {}
    reference = options.get(reference, reference)
    categories = (sample.stage, *([task.needs] if task.needs else []))
    medium = f"{sample.key} {shards.frames}"
    return Question(task.id, text, reference, request, options, categories, medium=medium)


def _turns(task: Task) -> tuple[str, list[str]]:
    """What the system says, and the questions with their answers in turn; a last question without one is left out."""
    turns = list(task.conversations)
    system = turns.pop(0).value if turns and turns[0].speaker == "system" else Request.system
    if turns and turns[-1].speaker == "human":
        turns.pop()
    return system, [turn.value for turn in turns]


def _untagged(text: str) -> str:
    return text.replace(SPEECH, "").replace(IMAGE, "").strip()
