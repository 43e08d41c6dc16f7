"""Check one record of an external data set and describe it as an `Entry`, without reading a medium.

    for number, record in records("train.json"): entry = entry_of(number, record)

What cannot be used raises BadMedia: its reason becomes the record's row.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manifests.json_values import json_value
from manifests.records import ID_DIGITS
from pipeline.errors import BadMedia
from pipeline.importing.formats import AUDIO, NO_FIT, TEXT, VIDEO, Conversation, Part, conversation, fields_of
from pipeline.importing.formats import IMAGE as PICTURE
from pipeline.importing.references import Reference, reference
from pipeline.pack.rules import TAGS
from pipeline.pack.settings import PackSettings
from stages.samples import IMAGE, SPEECH, Pictures, sample_tokens, text_tokens

# what is seen, how much of it (2: several), and whether something is heard -> kind
KIND_OF = {
    (0, 0, 0): "chat",
    (1, 0, 0): "image_chat",
    (2, 0, 0): "images_chat",
    (0, 1, 0): "video_chat",
    (0, 1, 1): "omni_chat",
    (0, 0, 1): "audio_chat",
}
THINNED = ("video_chat", "omni_chat", "audio_chat")  # by the trainer, where they do not fit its context
SPOKEN = ("audio_q", "text_q")


@dataclass(frozen=True)
class Entry:
    """A record that says something to learn. turns: (`system`, `human` or `gpt`, text), with tags first in their turns.

    seen: the pictures in their order, or the one video. mends: kinds of what had to be mended.
    """

    number: int
    name: str
    kind: str
    turns: tuple[tuple[str, str], ...]
    seen: tuple[Reference, ...]
    heard: Reference | None
    meta: Mapping[str, Any]
    mends: tuple[str, ...] = ()

    @property
    def media(self) -> tuple[Reference, ...]:
        """What is seen and what is heard: records of one kind that agree in this can share a sample."""
        return (*self.seen, *([] if self.heard is None else [self.heard]))

    @property
    def identity(self) -> str:
        """What train and val are told apart by: the first medium, or the words where there is none."""
        text = json.dumps(self.media[0].identity if self.media else self.turns)
        return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]

    @property
    def text_tokens(self) -> int:
        """Estimated tokens of all turns."""
        return text_tokens("".join(text for _, text in self.turns))

    def tokens(self, pictures: Pictures, seconds: float) -> int:
        """What the task takes in Ola's context. Raises BadMedia where the trainer could not thin it to fit."""
        media = sample_tokens(self.kind, pictures, seconds)
        fixed = 0 if self.kind in THINNED else media
        if fixed + self.text_tokens > PackSettings().context:
            raise BadMedia("longer than Ola's context", f"{fixed} tokens of media and {self.text_tokens} of text")
        return media + self.text_tokens


def name_of(record: Any) -> str:
    """The record's own id, as far as it has one."""
    name = record.get("id", "") if isinstance(record, dict) else ""
    return str(name).encode("utf-8", "replace").decode()


def entry_of(number: int, record: Any) -> Entry:
    """A record, checked. Raises BadMedia with the reason why it cannot be used."""
    if isinstance(record, BadMedia):
        raise record
    if not isinstance(record, dict):
        raise BadMedia("not an object", type(record).__name__)
    spoken = bool(record.get("audio_q"))
    talk = conversation(_asked_aloud(record) if spoken else record)
    seen, heard = _media(talk)
    turns = tuple((role, _text(parts)) for role, parts in talk.turns)
    if spoken:
        _check_spoken(talk)
        turns = (("human", record["text_q"]), *turns[1:])
    kind = "spoken_qa" if spoken else _kind(talk)
    _check_text(talk)
    used = fields_of(record).union(SPOKEN) - {"id"}
    meta = _meta({key: value for key, value in record.items() if key not in used}, turns)
    return Entry(number, name_of(record), kind, turns, seen, heard, meta, talk.mends)


def _meta(rest: Mapping[str, Any], turns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The further columns of a record, as JSON holds them. Raises BadMedia where they, or its words, are no text."""
    try:
        meta: dict[str, Any] = json_value(_in_words(rest))
        json.dumps([meta, turns], ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise BadMedia("a text that is not Unicode", f"half a character: {error.object[error.start]!r}") from error
    except RecursionError as error:
        raise BadMedia("nested too deep") from error
    return meta


def _in_words(value: Any) -> Any:
    """The value with how many bytes there are for bytes: media that are not used would fill the samples."""
    if isinstance(value, Mapping):
        return {key: _in_words(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_in_words(each) for each in value]
    return f"{len(value)} bytes" if isinstance(value, bytes) else value


def _media(talk: Conversation) -> tuple[tuple[Reference, ...], Reference | None]:
    """What is seen and what is heard. BadMedia where that is too much, or not in the order in which the model reads."""
    seen = [reference(part.kind, part.value) for part in _of(talk, PICTURE, VIDEO)]
    heard = [reference(AUDIO, part.value) for part in _of(talk, AUDIO)]
    for kind in (VIDEO, AUDIO):
        if (count := len(list(_of(talk, kind)))) > 1:
            raise BadMedia(f"several media as {kind}: a sample holds one", f"{count} of them")
    hears = [number for number, (_, parts) in enumerate(talk.turns) if any(part.kind == AUDIO for part in parts)]
    sees = [
        number for number, (_, parts) in enumerate(talk.turns) if any(part.kind in (PICTURE, VIDEO) for part in parts)
    ]
    if hears and sees and hears[0] < sees[-1]:
        raise BadMedia("a sound in an earlier turn than what is seen with it", f"turns {hears[0]} and {sees[-1]}")
    return tuple(seen), heard[0] if heard else None


def _of(talk: Conversation, *kinds: str) -> Iterator[Part]:
    return (part for _, parts in talk.turns for part in parts if part.kind in kinds)


def _kind(talk: Conversation) -> str:
    counts = [len(list(_of(talk, kind))) for kind in (PICTURE, VIDEO, AUDIO)]
    kind = KIND_OF.get((min(counts[0], 2), counts[1], counts[2]))
    if kind is None:
        raise BadMedia("no kind of task has these media together", "{} images, {} videos, {} sounds".format(*counts))
    return kind


def _text(parts: Sequence[Part]) -> str:
    """A turn with its tags in front: the training layout puts them there wherever they stand."""
    text = "".join(part.value for part in parts if part.kind == TEXT)
    kinds = [part.kind for part in parts if part.kind != TEXT]
    tags = SPEECH * kinds.count(AUDIO) + "\n".join([IMAGE] * (len(kinds) - kinds.count(AUDIO)))
    return f"{tags}\n{text.strip()}" if tags else text


def _check_text(talk: Conversation) -> None:
    for number, (speaker, parts) in enumerate(talk.turns):
        text = "".join(part.value for part in parts if part.kind == TEXT)
        if not text.strip() and all(part.kind == TEXT for part in parts):
            raise BadMedia("an empty turn", f"number {number}")
        if found := re.search(TAGS, text):
            raise BadMedia("a tag in its text", f"{found.group()} in turn {number}, by {speaker}")
        if not text.isascii() and re.search("[\ud800-\udfff]", text):
            raise BadMedia("a text that is not Unicode", f"turn {number}, by {speaker}")


def _asked_aloud(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with a spoken question as one that is written: `text_q` has the tags of the image and of the sound."""
    if any(record.get(name) for name in ("images", "video", "videos", "audio", "audios")) or not record.get("image"):
        what = " and ".join(name for name in ("audio", "audio_q", "image", "video") if record.get(name))
        raise BadMedia("a spoken question goes with one image and no other sound", what)
    if not isinstance(record.get("text_q"), str) or not record["text_q"].strip():
        raise BadMedia("audio_q without text_q")
    turns = record.get("conversations")
    if not isinstance(turns, list) or not turns:
        raise BadMedia("no conversations")
    asked = {"from": "human", "value": record["text_q"]}
    return {"image": record["image"], "audio": record["audio_q"], "conversations": [asked, *turns[1:]]}


def _check_spoken(talk: Conversation) -> None:
    first = sorted(part.kind for part in talk.turns[0][1] if part.kind != TEXT)
    if talk.mends or first != [AUDIO, PICTURE]:
        raise BadMedia(NO_FIT, f"{first} in text_q, its media need one {SPEECH} and one {IMAGE}; {talk.mends}")
