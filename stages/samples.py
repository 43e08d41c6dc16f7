"""What a sample says: the one form of `<key>.json`, and which stage and members each kind of task has.

A sample is one clip in one stage; its tasks share the pictures and the sound. Conversations are in Ola's layout: the
first human turn begins with `<speech><image>`, `<speech>` or `<image>`, and these tags alone say which of the sample's
media the task uses: a sample of the `omni` stage has pictures and sound, its `speech_recognition` only listens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from ola.geometry import image_tokens, sound_tokens, video_tokens

# alignment stage -> members of its samples, in the order they lie in the tar
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "image": ("json", "jpg"),
    "video": ("json", "mjpg"),
    "omni": ("json", "mjpg", "wav"),
}

IMAGE, SPEECH = "<image>", "<speech>"


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

IMPORTED: Mapping[str, Kind] = {
    "chat": Kind("image", ""),
    "image_chat": Kind("image", IMAGE),
    "video_chat": Kind("video", IMAGE),
    "omni_chat": Kind("omni", SPEECH + IMAGE),
    "audio_chat": Kind("omni", SPEECH),
    "spoken_qa": Kind("omni", SPEECH + IMAGE),
}
"""The kinds that conversations of others come as, by their media."""

KINDS: Mapping[str, Kind] = {**MADE, **IMPORTED}

# kinds whose samples are not like those of their stage, and so lie in sets of their own -> members
APART: Mapping[str, tuple[str, ...]] = {
    "chat": ("json",),
    "audio_chat": ("json", "wav"),
    "spoken_qa": ("json", "jpg", "wav"),
}

BYTES_A_TOKEN = 3  # of UTF-8 text: Qwen's tokenizer makes 3.5-4.5 of English and 2.5-3.5 of Chinese


def members_of(kind: str) -> tuple[str, ...]:
    """The members of the samples that hold tasks of this kind, in the order they lie in the tar."""
    return APART.get(kind, FAMILIES[KINDS[kind].stage])


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


UNSAID = (Said(start=0, end=0, text=""),)
"""The `times` and `words` of an answer that nobody says: not an empty list, which has no type for a reader."""


class Task(Shape):
    """One thing to learn. `times`: when the answer's segments are said, `words` likewise for its words.

    needs: of a verified question, which media it takes to answer it (`both`, `video`, `audio`, ...), else empty.
    """

    id: str
    kind: str
    conversations: tuple[Turn, ...]
    times: tuple[Said, ...] = UNSAID
    words: tuple[Said, ...] = UNSAID
    needs: str = ""

    @property
    def spoken(self) -> bool:
        """Whether the question is heard: its human turns are kept as they stand, their tags where they are."""
        return self.kind == "spoken_qa"

    @property
    def tags(self) -> str:
        """The tags that the conversation begins with: `<speech><image>`, `<speech>`, `<image>`, or nothing."""
        first = self.conversations[0].value if self.conversations else ""
        if self.spoken:
            return "".join(tag for tag in (SPEECH, IMAGE) if tag in first)
        speech = SPEECH if first.startswith(SPEECH) else ""
        return speech + (IMAGE if first.startswith(speech + IMAGE) else "")


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


def media_tokens(kind: str, width: int, height: int, frames: int, seconds: float) -> int:
    """Positions in Ola's context of what a kind of task uses: of the frames, and of the sound (0 s: there is none)."""
    tags = KINDS[kind].tags
    heard = sound_tokens(seconds) if SPEECH in tags and seconds else 0
    if IMAGE not in tags:
        return heard
    return heard + (image_tokens(width, height) if "jpg" in members_of(kind) else video_tokens(width, height, frames))


def text_tokens(text: str) -> int:
    """Estimated tokens of a text, on the high side."""
    return -(-len(text.encode()) // BYTES_A_TOKEN)
