"""Conversations of others: Ola-Data or LLaVA JSON in, one checked `Entry` a record out, without a medium being read.

    for number, record in records("train.json"): entry = entry_of(number, record)

Files of hundreds of megabytes are read a piece at a time. What cannot be used raises BadMedia: its reason becomes the
record's row.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from manifests.json_values import json_value
from manifests.records import ID_DIGITS
from pipeline.errors import BadMedia, ConfigError
from pipeline.pack.export import SWAPPED
from pipeline.pack.rules import TAGS
from pipeline.pack.settings import PackSettings
from stages.samples import IMAGE, IMPORTED, SPEECH, media_tokens, text_tokens

PIECE = 1 << 20  # characters read at a time; a record of the released files has two thousand
OURS = frozenset({"id", "image", "video", "audio", "audio_q", "text_q", "conversations"})
# `image_encoing` is how released files have it
PATCH = frozenset({"patch", "start_num", "size", "image_encoding", "image_encoing", "img_path"})
# what is seen, and whether something is heard -> kind
KIND_OF = {
    (None, False): "chat",
    ("image", False): "image_chat",
    ("video", False): "video_chat",
    ("video", True): "omni_chat",
    (None, True): "audio_chat",
}
THINNED = ("video_chat", "omni_chat", "audio_chat")  # by the trainer, where they do not fit its context
SPACE = re.compile(r"[ \t\r\n]*")
MEDIA_TAG = re.compile(f"{IMAGE}|{SPEECH}")


@dataclass(frozen=True)
class Reference:
    """A medium: a file, or `sizes` bytes each from `start` of one, end to end; swapped: its red and blue are."""

    path: str
    start: int = 0
    sizes: tuple[int, ...] = ()
    base64: bool = False
    swapped: bool = False

    def __str__(self) -> str:
        return f"{self.path}@{self.start}+{sum(self.sizes)}" if self.sizes else self.path


@dataclass(frozen=True)
class Entry:
    """A record that says something to learn. turns: (`human` or `gpt`, text), the tags first in the first one."""

    number: int
    name: str
    kind: str
    turns: tuple[tuple[str, str], ...]
    seen: Reference | None
    heard: Reference | None
    meta: Mapping[str, Any]

    @property
    def media(self) -> tuple[Reference | None, Reference | None]:
        """What is seen and what is heard: records that agree in both can share a sample."""
        return self.seen, self.heard

    @property
    def identity(self) -> str:
        """What train and val are told apart by: the first medium, or the words where there is none."""
        what = self.seen or self.heard
        text = json.dumps(self.turns) if what is None else json.dumps(f"{what.path}@{what.start}")
        return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]

    @property
    def text_tokens(self) -> int:
        """Estimated tokens of all turns."""
        return text_tokens("".join(text for _, text in self.turns))

    def tokens(self, width: int, height: int, frames: int, seconds: float) -> int:
        """What the task takes in Ola's context. Raises BadMedia where the trainer could not thin it to fit."""
        media = media_tokens(self.kind, width, height, frames, seconds)
        fixed = 0 if self.kind in THINNED else media
        if fixed + self.text_tokens > PackSettings().context:
            raise BadMedia("longer than Ola's context", f"{fixed} tokens of media and {self.text_tokens} of text")
        return media + self.text_tokens


def records(path: str) -> Iterator[tuple[int, Any]]:
    """Number and content of every record of a JSON list or of JSONL; a broken line of the latter comes as BadMedia.

    Raises ConfigError for a list that breaks off or is none, OSError where the file cannot be read.
    """
    try:
        # bytes that are no UTF-8 become halves of characters, which cost their record alone
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            first = file.read(1)
            while first.isspace():
                first = file.read(1)
            if first not in ("[", "{"):
                raise ConfigError(f"{path}: neither a JSON list of records nor JSONL")
            yield from enumerate(_listed(file) if first == "[" else _lines(first, file))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: broken JSON: {' '.join(str(error).split())}") from error


def _listed(file: TextIO) -> Iterator[Any]:
    """The values of a list whose bracket was read; pieces double while a value does not fit in them."""
    decode, text, at, piece = json.JSONDecoder(parse_constant=_null).raw_decode, "", 0, PIECE
    while True:
        try:
            at = _after_space(text, at)
            if text.startswith("]", at):
                break
            value, end = decode(text, at)
            end = _after_space(text, end)
            if text[end : end + 1] not in (",", "]"):
                raise json.JSONDecodeError("expected , or ]", text[end : end + 80], 0)
        except json.JSONDecodeError:
            read = file.read(piece)
            if not read:
                raise
            text, at, piece = text[at:] + read, 0, piece * 2
            continue
        yield value
        at, piece = end + (text[end] == ","), PIECE
    if text[at + 1 :].strip() or file.read(PIECE).strip():
        raise json.JSONDecodeError("there is more after the end of the list", text[at : at + 80], 0)


def _after_space(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    return found.end() if found else at


def _lines(first: str, file: TextIO) -> Iterator[Any]:
    for number, line in enumerate(file):
        whole = first + line if number == 0 else line
        if not whole.strip():
            continue
        try:
            yield json.loads(whole, parse_constant=_null)
        except (json.JSONDecodeError, RecursionError) as error:
            yield BadMedia("not JSON", str(error))


def _null(_: str) -> None:
    """NaN and Infinity, which Python writes and JSON does not have."""


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
    found = {key: _reference(key, record[key]) for key in ("image", "video", "audio", "audio_q") if record.get(key)}
    kind = _kind(found)
    turns = _turns(record.get("conversations"))
    _check_text(turns)
    if kind == "spoken_qa":
        turns = (("human", _asked(record.get("text_q"))), *turns[1:])
    else:
        turns = (("human", _opened(turns[0][1], kind)), *turns[1:])
    _check_tags(turns, kind)
    meta = _meta(record)
    seen, heard = found.get("image") or found.get("video"), found.get("audio_q") or found.get("audio")
    return Entry(number, name_of(record), kind, turns, seen, heard, meta)


def _meta(record: Mapping[str, Any]) -> dict[str, Any]:
    """The further columns of a record, as JSON holds them. Raises BadMedia where it cannot."""
    try:
        meta = {key: json_value(value) for key, value in record.items() if key not in OURS or key == "id"}
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadMedia("a text that is not Unicode", f"half a character: {error.object[error.start]!r}") from error
    except RecursionError as error:
        raise BadMedia("nested too deep") from error
    return meta


def _kind(found: Mapping[str, Reference]) -> str:
    what = " and ".join(sorted(found))
    if "audio_q" in found:
        if set(found) != {"audio_q", "image"}:
            raise BadMedia("a spoken question goes with one image and no other sound", what)
        return "spoken_qa"
    seen = [name for name in ("image", "video") if name in found]
    kind = KIND_OF.get((seen[0] if seen else None, "audio" in found))
    if kind is None or len(seen) > 1:
        raise BadMedia("no kind of task has these media together", what)
    return kind


def _reference(key: str, value: Any) -> Reference:
    if isinstance(value, list):
        if len(value) != 1:
            raise BadMedia(f"several media as {key}: a sample holds one", f"{len(value)} of them")
        return _reference(key, value[0])
    if isinstance(value, str):
        return Reference(value)
    if not isinstance(value, dict):
        raise BadMedia(f"{key} is neither a path nor a patch", type(value).__name__)
    if unknown := sorted(set(value) - PATCH):
        raise BadMedia(f"unknown keys in {key}", ", ".join(unknown)[:200])
    if "img_path" in value:
        return _reference(key, str(value["img_path"]))
    encoding = value.get("image_encoding", value.get("image_encoing"))
    if encoding not in (None, "", "base64"):
        raise BadMedia(f"{key} has an unknown image_encoding", repr(encoding)[:200])
    try:
        size = value["size"]
        sizes = tuple(int(one) for one in (size if isinstance(size, list) else [size]))
        reference = Reference(str(value["patch"]), int(value["start_num"]), sizes, encoding == "base64")
    except (KeyError, TypeError, ValueError) as error:
        raise BadMedia(f"{key} is no whole patch: patch, start_num and size", repr(error)[:200]) from error
    return _checked(key, reference)


def _checked(key: str, patch: Reference) -> Reference:
    if patch.start < 0 or not patch.sizes or min(patch.sizes) < 1:
        raise BadMedia(f"{key} is no whole patch: patch, start_num and size", str(patch))
    if key != "video" and len(patch.sizes) > 1:
        raise BadMedia(f"several media as {key}: a sample holds one", f"{len(patch.sizes)} of them")
    # the frames of these sources were stored so, and the original trainer swaps them back
    swapped = key == "video" and not patch.base64 and any(word in patch.path for word in SWAPPED)
    return Reference(patch.path, patch.start, patch.sizes, patch.base64, swapped)


def _turns(conversations: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(conversations, list) or not conversations:
        raise BadMedia("no conversations")
    turns = list[tuple[str, str]]()
    for turn in conversations:
        speaker, text = (turn.get("from"), turn.get("value")) if isinstance(turn, dict) else (None, None)
        if speaker not in ("human", "gpt") or not isinstance(text, str):
            raise BadMedia("a turn that is not {from: human or gpt, value: text}", repr(turn)[:200])
        if not text.strip():
            raise BadMedia("an empty turn", f"number {len(turns)}")
        turns.append((speaker, text))
    if turns[0][0] != "human":
        raise BadMedia("the conversation begins with an answer")
    if all(speaker == "human" for speaker, _ in turns):
        raise BadMedia("no answer to learn")
    return tuple(turns)


def _check_text(turns: Sequence[tuple[str, str]]) -> None:
    for number, (speaker, text) in enumerate(turns):
        plain = text if number else MEDIA_TAG.sub("", text)
        if found := re.search(TAGS, plain):
            raise BadMedia("a tag in its text", f"{found.group()} in turn {number}, by {speaker}")
        if not text.isascii() and re.search("[\ud800-\udfff]", text):
            raise BadMedia("a text that is not Unicode", f"turn {number}, by {speaker}")


def _asked(text: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        raise BadMedia("audio_q without text_q")
    _check_text([("human", text)])
    return text


def _opened(text: str, kind: str) -> str:
    """The first question with its tags in front: the training layout puts them there wherever they stand."""
    tags = IMPORTED[kind].tags
    if not tags or sorted(MEDIA_TAG.findall(text)) != _each(tags):
        return text
    return f"{tags}\n{MEDIA_TAG.sub('', text).strip()}"


def _check_tags(turns: Sequence[tuple[str, str]], kind: str) -> None:
    found, expected = sorted(MEDIA_TAG.findall(turns[0][1])), _each(IMPORTED[kind].tags)
    if found != expected:
        raise BadMedia("its tags do not fit its media", f"{found} in the first question, its media need {expected}")


def _each(tags: str) -> list[str]:
    return sorted(MEDIA_TAG.findall(tags))
