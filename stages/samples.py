"""Define the fields of `<key>.json`, and the alignment stage and tar members of each kind of task.

A sample is one clip in one stage; its tasks share the pictures and the sound. Conversations have Ola's layout: human
turns begin with tags `<speech>` and `<image>`, one per medium of that turn, in the order of the media. The tags define
which of the sample's media a task uses: a sample of the stage `omni` has pictures and sound, but its task
`speech_recognition` uses only the sound.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from ola.geometry import image_tokens, sound_tokens, video_tokens

# alignment stage -> members of its samples, in their order in the tar
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "image": ("json", "jpg"),
    "video": ("json", "mjpg"),
    "omni": ("json", "mjpg", "wav"),
}

IMAGE, SPEECH = "<image>", "<speech>"
LEADING_TAGS = re.compile(f"(?:{SPEECH}\\s*)*(?:{IMAGE}\\s*)*")  # the tags at the beginning of a turn, possibly none


class Kind(NamedTuple):
    """A kind of task: its alignment stage and the tags of its media."""

    stage: str
    tags: str


MADE: Mapping[str, Kind] = {
    "image_caption": Kind("image", IMAGE),
    "video_caption": Kind("video", IMAGE),
    "video_qa": Kind("video", IMAGE),
    "cross_modal_qa": Kind("omni", SPEECH + IMAGE),
    "joint_caption": Kind("omni", SPEECH + IMAGE),
    "subtitle": Kind("omni", SPEECH + IMAGE),
    "sound_caption": Kind("omni", SPEECH),
    "speech_recognition": Kind("omni", SPEECH),
}
"""Kinds of tasks that the pipeline makes."""

GIVEN: Mapping[str, Kind] = {"given_caption": Kind("video", IMAGE), "given_qa": Kind("video", IMAGE)}
"""Kinds of tasks with the data set's own texts, separate from kinds with generated texts."""

IMPORTED: Mapping[str, Kind] = {
    "chat": Kind("image", ""),
    "image_chat": Kind("image", IMAGE),
    "images_chat": Kind("image", IMAGE),
    "video_chat": Kind("video", IMAGE),
    "omni_chat": Kind("omni", SPEECH + IMAGE),
    "audio_chat": Kind("omni", SPEECH),
    "spoken_qa": Kind("omni", SPEECH + IMAGE),
}
"""Kinds of imported conversations, by their media; `images_chat` has several pictures."""

KINDS: Mapping[str, Kind] = {**MADE, **GIVEN, **IMPORTED}

# kinds whose samples have other members than their stage's, and therefore separate sets -> members
SEPARATE_SETS: Mapping[str, tuple[str, ...]] = {
    "chat": ("json",),
    "images_chat": ("json", "jpgs"),
    "audio_chat": ("json", "wav"),
    "spoken_qa": ("json", "jpg", "wav"),
}

PICTURES = ("mjpg", "jpgs", "jpg")  # members with pictures; a sample has one of them, or none

BYTES_A_TOKEN = 3  # of UTF-8 text: with Qwen's tokenizer 3.5-4.5 for English and 2.5-3.5 for Chinese


def members_of(kind: str) -> tuple[str, ...]:
    """Return the members of samples with tasks of this kind, in their order in the tar."""
    return SEPARATE_SETS.get(kind, FAMILIES[KINDS[kind].stage])


class SampleModel(BaseModel):
    """Base of all parts of a sample. Unknown fields are an error, so that old readers do not misread new shards."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Turn(SampleModel):
    """One turn of a conversation; only the first turn can be by `system`."""

    speaker: Literal["system", "human", "gpt"] = Field(validation_alias="from", serialization_alias="from")
    value: str


def turn(speaker: str, value: str) -> Turn:
    """Make a turn by `system`, `human` or `gpt`."""
    return Turn.model_validate({"from": speaker, "value": value})


class TimedText(SampleModel):
    """A word or segment with its times, in seconds from the start of the clip."""

    start: float
    end: float
    text: str


UNSAID = (TimedText(start=0, end=0, text=""),)
"""The `times` and `words` of an answer without speech. Not an empty list: readers cannot infer its type."""


class Task(SampleModel):
    """One conversation to learn from a sample.

    times: of the answer's spoken segments; of a question with evidence, the spans that it rests on, with `seen` or
    `heard` as their text. words: of the answer's spoken words.
    needs: media needed to answer a verified question (`both`, `video`, `audio`, ...), else empty. origin: in sets with
    `pack.given`, the source of the answer (`given`, `model` or `transcript`), else empty. field: path of a given text
    in `meta`.
    """

    id: str
    kind: str
    conversations: tuple[Turn, ...]
    times: tuple[TimedText, ...] = UNSAID
    words: tuple[TimedText, ...] = UNSAID
    needs: str = ""
    origin: str = ""
    field: str = ""

    @model_serializer(mode="wrap")
    def _omit_empty_origin(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit an empty origin and field, so that the json of sets without `pack.given` stays unchanged."""
        fields: dict[str, Any] = write(self)
        left_out = () if self.origin else ("origin", "field")
        return {name: value for name, value in fields.items() if name not in left_out}

    @property
    def spoken(self) -> bool:
        """Whether the question is spoken: tags then stay at any place of the human turns."""
        return self.kind == "spoken_qa"

    @property
    def tags(self) -> str:
        """The tags of the task's human turns, each once: `<speech><image>`, `<speech>`, `<image>`, or nothing."""
        return "".join(tag for tag in (SPEECH, IMAGE) if self.turns_with(tag))

    def turns_with(self, tag: str) -> tuple[int, ...]:
        """Return, for each medium of this tag, the number of its question (from 0)."""
        questions = [turn.value for turn in self.conversations if turn.speaker == "human"]
        tags = questions if self.spoken else [leading_tags(text) for text in questions]
        return tuple(number for number, text in enumerate(tags) for _ in range(text.count(tag)))


def leading_tags(text: str) -> str:
    """Return the tags at the beginning of a text."""
    found = LEADING_TAGS.match(text)
    return found.group() if found else ""


class Pictures(SampleModel):
    """The concatenated JPEGs of a sample: size in pixels; bytes of each; ms of each, from the start of the clip.

    sizes: width and height of each picture, only in `images_chat`; `width` and `height` are then those of the first.
    """

    width: int
    height: int
    bytes: tuple[int, ...]
    ms: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...] = ()

    @property
    def each(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each picture."""
        return self.sizes or ((self.width, self.height),) * len(self.bytes)

    @model_serializer(mode="wrap")
    def _omit_empty_sizes(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit empty `sizes`, so that the json of samples without them stays unchanged."""
        fields: dict[str, Any] = write(self)
        return fields if self.sizes else {name: value for name, value in fields.items() if name != "sizes"}


class Sound(SampleModel):
    """The `.wav` of a sample: samples per second, and their number."""

    rate: int
    samples: int


class Sample(SampleModel):
    """The content of `<key>.json`.

    All samples have the same fields with the same types, since Hugging Face datasets infers types from the first
    samples: absent texts are "", never null. meta: JSON of the source's other columns.
    """

    key: str
    stage: str
    clip: str
    video: str
    start_ms: int
    end_ms: int
    pictures: Pictures
    sound: Sound | None
    tasks: tuple[Task, ...]
    scores: Mapping[str, float]
    provenance: Mapping[str, str]
    meta: str


def key_of(clip: str, stage: str) -> str:
    """Return the key of a sample: unique over the shards of all stages, without a dot."""
    return f"{clip}-{stage}"


def sample_tokens(kind: str, pictures: Pictures, seconds: float) -> int:
    """Return the positions in Ola's context of the media that a kind of task uses. seconds 0: no sound."""
    if kind == "images_chat":
        return sum(image_tokens(width, height) for width, height in pictures.each)
    return media_tokens(kind, pictures.width, pictures.height, len(pictures.bytes), seconds)


def media_tokens(kind: str, width: int, height: int, frames: int, seconds: float) -> int:
    """Return the positions in Ola's context of one picture or video and of the sound. seconds 0: no sound."""
    tags = KINDS[kind].tags
    sound_positions = sound_tokens(seconds) if SPEECH in tags and seconds else 0
    if IMAGE not in tags:
        return sound_positions
    return sound_positions + (
        video_tokens(width, height, frames) if "mjpg" in members_of(kind) else image_tokens(width, height)
    )


def text_tokens(text: str) -> int:
    """Estimate the tokens of a text, rather too many than too few."""
    return -(-len(text.encode()) // BYTES_A_TOKEN)
