"""What a sample says: the one form of `<key>.json`, and which stage and members each kind of task has.

A sample is one clip in one stage; its tasks share the pictures and the sound. Conversations are in Ola's layout: the
first human turn begins with `<speech><image>`, `<speech>` or `<image>`, as the members are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ola.geometry import sound_tokens, video_tokens

# alignment stage -> members of its samples, in the order they lie in the tar
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "image": ("json", "jpg"),
    "video": ("json", "mjpg"),
    "omni": ("json", "mjpg", "wav"),
}

# kind of task -> the alignment stage it belongs to
KINDS: Mapping[str, str] = {"subtitle": "omni"}

BYTES_A_TOKEN = 3  # of UTF-8 text: Qwen's tokenizer makes 3.5-4.5 of English and 2.5-3.5 of Chinese


class Shape(BaseModel):
    """Base of all parts of a sample: unknown fields are an error, so that old readers do not misread new shards."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Turn(Shape):
    """One turn of a conversation."""

    speaker: Literal["human", "gpt"] = Field(validation_alias="from", serialization_alias="from")
    value: str


def turn(speaker: str, value: str) -> Turn:
    """A turn by `human` or `gpt`."""
    return Turn.model_validate({"from": speaker, "value": value})


class Said(Shape):
    """A word or segment with its times, in seconds on the clip's own clock."""

    start: float
    end: float
    text: str


class Task(Shape):
    """One thing to learn. `times`: when the answer's segments are said, `words` likewise for its words."""

    id: str
    kind: str
    conversations: tuple[Turn, ...]
    times: tuple[Said, ...] = ()
    words: tuple[Said, ...] = ()


class Pictures(Shape):
    """The JPEGs, end to end: size in pixels, bytes of each, and when each is shown, in ms on the clip's clock."""

    width: int
    height: int
    bytes: tuple[int, ...]
    ms: tuple[int, ...]


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


def media_tokens(width: int, height: int, frames: int, seconds: float | None) -> int:
    """Positions that frames and sound (None: without) take in Ola's context."""
    return video_tokens(width, height, frames) + (sound_tokens(seconds) if seconds else 0)


def text_tokens(text: str) -> int:
    """Estimated tokens of a text, on the high side."""
    return -(-len(text.encode()) // BYTES_A_TOKEN)
