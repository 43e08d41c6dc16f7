"""Check one record of an external data set and describe it as an `Entry`, without reading its media.

    for number, record in read_records("train.json"): entry = make_entry(number, record)

A record that cannot be used raises BadMedia: the reason is stored in the record's row.
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
from pipeline.importing.formats import (
    AUDIO,
    TAG_MISMATCH,
    TEXT,
    VIDEO,
    Conversation,
    Part,
    parse_conversation,
    used_fields,
)
from pipeline.importing.formats import IMAGE as PICTURE
from pipeline.importing.references import Reference, parse_reference
from pipeline.pack.rules import TAGS
from pipeline.pack.settings import PackSettings
from stages.samples import IMAGE, SPEECH, Pictures, sample_tokens, text_tokens

# number of images (2: several), of videos and of sounds -> kind
KIND_OF = {
    (0, 0, 0): "chat",
    (1, 0, 0): "image_chat",
    (2, 0, 0): "images_chat",
    (0, 1, 0): "video_chat",
    (0, 1, 1): "omni_chat",
    (0, 0, 1): "audio_chat",
}
THINNED = ("video_chat", "omni_chat", "audio_chat")  # kinds whose media the trainer thins to fit its context
SPOKEN_FIELDS = ("audio_q", "text_q")


@dataclass(frozen=True)
class Entry:
    """A record that can be trained on. turns: (`system`, `human` or `gpt`, text), tags at the beginning of each turn.

    visuals: the images in order, or one video. meta: all other fields of the record. mended: kinds of repairs made.
    """

    number: int
    name: str
    kind: str
    turns: tuple[tuple[str, str], ...]
    visuals: tuple[Reference, ...]
    sound: Reference | None
    meta: Mapping[str, Any]
    mended: tuple[str, ...] = ()

    @property
    def media(self) -> tuple[Reference, ...]:
        """All media, visual ones first. Records of the same kind with equal media can share a sample."""
        return (*self.visuals, *([] if self.sound is None else [self.sound]))

    @property
    def identity(self) -> str:
        """Digest of the first medium, or of the turns if there are no media. Train and val are split by this digest."""
        text = json.dumps(self.media[0].identity if self.media else self.turns)
        return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]

    @property
    def text_tokens(self) -> int:
        """Estimate the text tokens of all turns."""
        return text_tokens("".join(text for _, text in self.turns))

    def tokens(self, pictures: Pictures, seconds: float) -> int:
        """Estimate the task's tokens in Ola's context. Raises BadMedia if the trainer cannot thin the media to fit."""
        media = sample_tokens(self.kind, pictures, seconds)
        fixed = 0 if self.kind in THINNED else media
        if fixed + self.text_tokens > PackSettings().context:
            raise BadMedia("longer than Ola's context", f"{fixed} tokens of media and {self.text_tokens} of text")
        return media + self.text_tokens


def record_id(record: Any) -> str:
    """Return the record's own id, or an empty text if the record has none."""
    name = record.get("id", "") if isinstance(record, dict) else ""
    return str(name).encode("utf-8", "replace").decode()


def make_entry(number: int, record: Any) -> Entry:
    """Check a record and return its entry. Raises BadMedia with the reason if the record cannot be used."""
    if isinstance(record, BadMedia):
        raise record
    if not isinstance(record, dict):
        raise BadMedia("the record is not a JSON object", type(record).__name__)
    spoken = bool(record.get("audio_q"))
    conversation = parse_conversation(_write_out_question(record) if spoken else record)
    visuals, sound = _media_references(conversation)
    turns = tuple((role, _turn_text(parts)) for role, parts in conversation.turns)
    if spoken:
        _check_spoken(conversation)
        turns = (("human", record["text_q"]), *turns[1:])
    kind = "spoken_qa" if spoken else _task_kind(conversation)
    _check_text(conversation)
    used = used_fields(record).union(SPOKEN_FIELDS) - {"id"}
    meta = _make_meta({key: value for key, value in record.items() if key not in used}, turns)
    return Entry(number, record_id(record), kind, turns, visuals, sound, meta, conversation.mended)


def _make_meta(rest: Mapping[str, Any], turns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the remaining fields as JSON values. Raises BadMedia if they or the turns are not valid Unicode."""
    try:
        meta: dict[str, Any] = json_value(_replace_bytes(rest))
        json.dumps([meta, turns], ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise BadMedia("text that is not Unicode", f"unpaired surrogate: {error.object[error.start]!r}") from error
    except RecursionError as error:
        raise BadMedia("the record is nested too deep") from error
    return meta


def _replace_bytes(value: Any) -> Any:
    """Replace bytes by a text with their number, so that samples do not carry unused media."""
    if isinstance(value, Mapping):
        return {key: _replace_bytes(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_bytes(each) for each in value]
    return f"{len(value)} bytes" if isinstance(value, bytes) else value


def _media_references(conversation: Conversation) -> tuple[tuple[Reference, ...], Reference | None]:
    """Return the visual media and the sound. Raises BadMedia if there are too many, or if the sound comes first."""
    visuals = [parse_reference(part.kind, part.value) for part in _media_parts(conversation, PICTURE, VIDEO)]
    sound = [parse_reference(AUDIO, part.value) for part in _media_parts(conversation, AUDIO)]
    for kind in (VIDEO, AUDIO):
        if (count := len(list(_media_parts(conversation, kind)))) > 1:
            raise BadMedia(f"several media as {kind}: a sample holds only one", f"{count} of them")
    sound_turns = [
        number for number, (_, parts) in enumerate(conversation.turns) if any(part.kind == AUDIO for part in parts)
    ]
    visual_turns = [
        number
        for number, (_, parts) in enumerate(conversation.turns)
        if any(part.kind in (PICTURE, VIDEO) for part in parts)
    ]
    if sound_turns and visual_turns and sound_turns[0] < visual_turns[-1]:
        raise BadMedia(
            "a sound before the image or video that belongs to it", f"turns {sound_turns[0]} and {visual_turns[-1]}"
        )
    return tuple(visuals), sound[0] if sound else None


def _media_parts(conversation: Conversation, *kinds: str) -> Iterator[Part]:
    return (part for _, parts in conversation.turns for part in parts if part.kind in kinds)


def _task_kind(conversation: Conversation) -> str:
    counts = [len(list(_media_parts(conversation, kind))) for kind in (PICTURE, VIDEO, AUDIO)]
    kind = KIND_OF.get((min(counts[0], 2), counts[1], counts[2]))
    if kind is None:
        raise BadMedia("no task kind has this combination of media", "{} images, {} videos, {} sounds".format(*counts))
    return kind


def _turn_text(parts: Sequence[Part]) -> str:
    """Return a turn's text with its tags moved to the front, where the training layout has them."""
    text = "".join(part.value for part in parts if part.kind == TEXT)
    kinds = [part.kind for part in parts if part.kind != TEXT]
    tags = SPEECH * kinds.count(AUDIO) + "\n".join([IMAGE] * (len(kinds) - kinds.count(AUDIO)))
    return f"{tags}\n{text.strip()}" if tags else text


def _check_text(conversation: Conversation) -> None:
    for number, (speaker, parts) in enumerate(conversation.turns):
        text = "".join(part.value for part in parts if part.kind == TEXT)
        if not text.strip() and all(part.kind == TEXT for part in parts):
            raise BadMedia("an empty turn", f"turn {number}")
        if found := re.search(TAGS, text):
            raise BadMedia("a media tag in the text", f"{found.group()} in turn {number}, by {speaker}")
        if not text.isascii() and re.search("[\ud800-\udfff]", text):
            raise BadMedia("text that is not Unicode", f"turn {number}, by {speaker}")


def _write_out_question(record: Mapping[str, Any]) -> dict[str, Any]:
    """Rewrite a record with a spoken question: `text_q`, with the tags of image and sound, becomes the question."""
    if any(record.get(name) for name in ("images", "video", "videos", "audio", "audios")) or not record.get("image"):
        names = " and ".join(name for name in ("audio", "audio_q", "image", "video") if record.get(name))
        raise BadMedia("a spoken question needs one image and no other media", names)
    if not isinstance(record.get("text_q"), str) or not record["text_q"].strip():
        raise BadMedia("audio_q without text_q")
    turns = record.get("conversations")
    if not isinstance(turns, list) or not turns:
        raise BadMedia("no conversations")
    question = {"from": "human", "value": record["text_q"]}
    return {"image": record["image"], "audio": record["audio_q"], "conversations": [question, *turns[1:]]}


def _check_spoken(conversation: Conversation) -> None:
    first = sorted(part.kind for part in conversation.turns[0][1] if part.kind != TEXT)
    if conversation.mended or first != [AUDIO, PICTURE]:
        raise BadMedia(TAG_MISMATCH, f"{first} in text_q; expected one {SPEECH} and one {IMAGE}; {conversation.mended}")
