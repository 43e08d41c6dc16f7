"""What a sample says: the one form of `<key>.json`, and which stage and members each kind of task has.

A sample is one clip in one stage; its tasks share the pictures and the sound. Conversations are in Ola's layout: human
turns begin with the tags `<speech>` and `<image>`, one for each medium shown in that turn, in the order of the media.
These tags alone say which of the sample's media the task uses: a sample of the `omni` stage has pictures and sound, its
`speech_recognition` only listens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from ola.geometry import image_tokens, sound_tokens, video_tokens

# alignment stage -> members of its samples, in the order they lie in the tar
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "image": ("json", "jpg"),
    "video": ("json", "mjpg"),
    "omni": ("json", "mjpg", "wav"),
}

IMAGE, SPEECH = "<image>", "<speech>"
OPENING = re.compile(f"(?:{SPEECH}\\s*)*(?:{IMAGE}\\s*)*")  # the tags that a turn begins with; it always matches


class Kind(NamedTuple):
    """A kind of task: the alignment stage it belongs to, and the tags of the media that it uses."""

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
"""The kinds of task that the pipeline makes."""

GIVEN: Mapping[str, Kind] = {"given_caption": Kind("video", IMAGE), "given_qa": Kind("video", IMAGE)}
"""The kinds of what came with a data set, which is never mixed up with what a model made."""

IMPORTED: Mapping[str, Kind] = {
    "chat": Kind("image", ""),
    "image_chat": Kind("image", IMAGE),
    "images_chat": Kind("image", IMAGE),
    "video_chat": Kind("video", IMAGE),
    "omni_chat": Kind("omni", SPEECH + IMAGE),
    "audio_chat": Kind("omni", SPEECH),
    "spoken_qa": Kind("omni", SPEECH + IMAGE),
}
"""The kinds that conversations of others come as, by their media; `images_chat` is about several pictures."""

KINDS: Mapping[str, Kind] = {**MADE, **GIVEN, **IMPORTED}

# kinds whose samples are not like those of their stage, and so lie in sets of their own -> members
APART: Mapping[str, tuple[str, ...]] = {
    "chat": ("json",),
    "images_chat": ("json", "jpgs"),
    "audio_chat": ("json", "wav"),
    "spoken_qa": ("json", "jpg", "wav"),
}

PICTURES = ("mjpg", "jpgs", "jpg")  # members that hold what is seen; a sample has one of them, or none

BYTES_A_TOKEN = 3  # of UTF-8 text: Qwen's tokenizer makes 3.5-4.5 of English and 2.5-3.5 of Chinese


def members_of(kind: str) -> tuple[str, ...]:
    """The members of the samples that hold tasks of this kind, in the order they lie in the tar."""
    return APART.get(kind, FAMILIES[KINDS[kind].stage])


class Shape(BaseModel):
    """Base of all parts of a sample: unknown fields are an error, so that old readers do not misread new shards."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Turn(Shape):
    """One turn of a conversation; only the first may be by `system`."""

    speaker: Literal["system", "human", "gpt"] = Field(validation_alias="from", serialization_alias="from")
    value: str


def turn(speaker: str, value: str) -> Turn:
    """A turn by `system`, `human` or `gpt`."""
    return Turn.model_validate({"from": speaker, "value": value})


class TimedText(Shape):
    """A word or segment with its times, in seconds on the clip's own clock."""

    start: float
    end: float
    text: str


UNSAID = (TimedText(start=0, end=0, text=""),)
"""The `times` and `words` of an answer that nobody says: not an empty list, which has no type for a reader."""


class Task(Shape):
    """One thing to learn. `times`: when the answer's segments are said, `words` likewise for its words.

    needs: of a verified question, which media it takes to answer it (`both`, `video`, `audio`, ...), else empty.
    origin: in sets with `pack.given`, whose words the answer is (`given`, `model` or `transcript`), else empty; field:
    of what is given, its path in `meta`.
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
    def _without_empty_origin(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave origin and field out of sets without `pack.given`: their json is as it was before there was any."""
        fields: dict[str, Any] = write(self)
        left_out = () if self.origin else ("origin", "field")
        return {name: value for name, value in fields.items() if name not in left_out}

    @property
    def spoken(self) -> bool:
        """Whether the question is heard: its human turns are kept as they stand, their tags where they are."""
        return self.kind == "spoken_qa"

    @property
    def tags(self) -> str:
        """Which tags its human turns begin with, each once: `<speech><image>`, `<speech>`, `<image>`, or nothing."""
        return "".join(tag for tag in (SPEECH, IMAGE) if self.turns_with(tag))

    def turns_with(self, tag: str) -> tuple[int, ...]:
        """The question (from 0) in which each medium of this tag is shown, in the order of the media."""
        asked = [turn.value for turn in self.conversations if turn.speaker == "human"]
        tags = asked if self.spoken else [opening(text) for text in asked]
        return tuple(number for number, text in enumerate(tags) for _ in range(text.count(tag)))


def opening(text: str) -> str:
    """The tags that a text begins with."""
    found = OPENING.match(text)
    return found.group() if found else ""


class Pictures(Shape):
    """The JPEGs, end to end: size in pixels, bytes of each, and when each is shown, in ms on the clip's clock.

    sizes: width and height of each picture, of `images_chat` alone; then `width` and `height` are those of the first.
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
    def _without_empty_sizes(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave `sizes` out where all are the same: the json of such samples is then as it was before there was any."""
        fields: dict[str, Any] = write(self)
        return fields if self.sizes else {name: value for name, value in fields.items() if name != "sizes"}


class Sound(Shape):
    """The `.wav`: samples a second, and how many."""

    rate: int
    samples: int


class Sample(Shape):
    """All of `<key>.json`.

    The same fields with the same types in every sample, since Hugging Face datasets take the types of the first ones:
    what is absent is "" or the value of silence, never null; `meta` is the JSON of the source's further columns.
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
    """Key of a sample: unique over the shards of all stages, and without a dot."""
    return f"{clip}-{stage}"


def sample_tokens(kind: str, pictures: Pictures, seconds: float) -> int:
    """Positions in Ola's context of the media of a sample that a kind of task uses (0 s: there is no sound)."""
    if kind == "images_chat":
        return sum(image_tokens(width, height) for width, height in pictures.each)
    return media_tokens(kind, pictures.width, pictures.height, len(pictures.bytes), seconds)


def media_tokens(kind: str, width: int, height: int, frames: int, seconds: float) -> int:
    """Positions in Ola's context of one picture or video, and of the sound (0 s: there is none), for a kind of task."""
    tags = KINDS[kind].tags
    heard = sound_tokens(seconds) if SPEECH in tags and seconds else 0
    if IMAGE not in tags:
        return heard
    return heard + (video_tokens(width, height, frames) if "mjpg" in members_of(kind) else image_tokens(width, height))


def text_tokens(text: str) -> int:
    """Estimated tokens of a text, on the high side."""
    return -(-len(text.encode()) // BYTES_A_TOKEN)
