"""Formats of external records (LLaVA, ShareGPT, OpenAI, …), each read into a `Conversation`.

FORMATS lists the fields that can hold the turns. A turn has a speaker (`from` or `role`) and a content (`value` or
`content`): a text or a list of parts. Media are named in parts, or in fields of the record in the order of the tags.
Deviations from Ola-Data's format are repaired and listed in `mended`; if a repair is impossible, BadMedia is raised.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

from pipeline.errors import BadMedia

TEXT, IMAGE, VIDEO, AUDIO = "text", "image", "video", "audio"
INVALID_TURN = "a turn that is not {from: human or gpt, value: text}"
TAG_MISMATCH = "the tags do not match the media"
ROLES = {
    **dict.fromkeys(("human", "user"), "human"),
    **dict.fromkeys(("gpt", "assistant", "model", "chatgpt", "bot"), "gpt"),
    **dict.fromkeys(("system", "developer"), "system"),
}
STANDARD_ROLES = ("system", "human", "gpt")
# field of a record -> kind of its media: one or a list
FIELDS = {f"{kind}{many}": kind for kind in (IMAGE, VIDEO, AUDIO) for many in ("", "s")}
# type of a part -> its kind
PARTS = {
    **dict.fromkeys(("text", "input_text", "output_text"), TEXT),
    **{
        f"{before}{kind}{after}": kind
        for kind in (IMAGE, VIDEO, AUDIO)
        for before, after in (("", ""), ("", "_url"), ("input_", ""))
    },
}
# tag -> kinds it can stand for: the first kind with an unplaced medium is taken
TAGS = {"<image>": (IMAGE, VIDEO), "<speech>": (AUDIO,), "<video>": (VIDEO,), "<audio>": (AUDIO,)}
NAMES = {IMAGE: "picture", VIDEO: "video", AUDIO: "sound"}


class Part(NamedTuple):
    """A text, or a medium as its record names it. value None: the next unplaced medium of the record's fields."""

    kind: str
    value: Any


@dataclass(frozen=True)
class Conversation:
    """Turns by `system` (only the first), `human` and `gpt`. mended: kinds of repairs made, each once."""

    turns: tuple[tuple[str, tuple[Part, ...]], ...]
    mended: tuple[str, ...] = ()


def parse_conversation(record: Mapping[str, Any]) -> Conversation:
    """Return a record's conversation with its media in the turns. Raises BadMedia with the reason if there is none."""
    mended: dict[str, None] = {}  # a dict keeps the order of the repairs
    turns = [(_normal_role(speaker, mended), content) for speaker, content in _read_turns(record, mended)]
    read = [(role, list(_parse_parts(role, content, mended))) for role, content in turns]
    read = [(role, parts) for role, parts in read if role != "system" or _has_content(parts)]
    _check_order([role for role, _ in read])
    placed = _place_media(read, _field_media(record), mended)
    return Conversation(tuple((role, tuple(parts)) for role, parts in placed), tuple(mended))


def used_fields(record: Mapping[str, Any]) -> set[str]:
    """Return the names of the fields from which `parse_conversation` reads."""
    format_name = next((name for name in FORMATS if record.get(name)), "conversations")
    return {
        format_name,
        "conversations",
        *FIELDS,
        *(EXTRA_FIELDS.get(format_name, ())),
        *(["system"] if isinstance(record.get("system"), str) else []),
    }


def _read_turns(record: Mapping[str, Any], mended: dict[str, None]) -> Iterator[tuple[Any, Any]]:
    """Yield speaker and content of each turn, unchecked."""
    format_name = next((name for name in FORMATS if record.get(name)), None)
    if format_name is None:
        raise BadMedia("no conversations")
    if format_name != "conversations":
        mended[f"turns in `{format_name}`"] = None
    if isinstance(record.get("system"), str) and record["system"].strip():
        mended["system text beside the turns"] = None
        yield "system", record["system"]
    if format_name in LIST_FORMATS and isinstance(record[format_name], str) and record[format_name].startswith("["):
        mended[f"`{format_name}` as JSON in a text"] = None
        record = {**record, format_name: _parse_json(record[format_name])}
    yield from FORMATS[format_name](record)


def _read_messages(record: Mapping[str, Any], field: str) -> Iterator[tuple[Any, Any]]:
    turns = record[field]
    if not isinstance(turns, list) or not turns:
        raise BadMedia("no conversations")
    for turn in turns:
        fields = {key: value for key, value in turn.items() if value is not None} if isinstance(turn, dict) else {}
        speaker = fields.get("from", fields.get("role"))
        content = fields.get("value", fields.get("content"))
        if speaker is None or content is None:
            raise BadMedia(INVALID_TURN, repr(turn)[:200])
        yield speaker, content


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadMedia("no conversations", f"the field is a text that is not JSON: {error}") from error


def _read_pairs(record: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    texts = record["texts"]
    if not isinstance(texts, list) or not all(isinstance(pair, dict) for pair in texts):
        raise BadMedia("no conversations")
    for pair in texts:
        yield "human", pair.get("user")
        yield "gpt", pair.get("assistant")


def _read_instruction(record: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    history = record.get("history") or []
    if not isinstance(history, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise BadMedia("a history that is not a list of questions and answers", repr(history)[:200])
    for question, answer in history:
        yield "human", question
        yield "gpt", answer
    texts = [text for text in (record["instruction"], record.get("input")) if text]
    yield "human", "\n".join(texts) if all(isinstance(text, str) for text in texts) else None
    yield "gpt", record.get("output")


def _read_question(record: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    yield "human", record["question"]
    yield "gpt", record.get("answer")


FORMATS: Mapping[str, Callable[[Mapping[str, Any]], Iterator[tuple[Any, Any]]]] = {
    "conversations": lambda record: _read_messages(record, "conversations"),
    "messages": lambda record: _read_messages(record, "messages"),
    "texts": _read_pairs,
    "instruction": _read_instruction,
    "question": _read_question,
}
"""Field that holds the turns -> reader of the turns; the first field that a record has decides its format."""
LIST_FORMATS = ("conversations", "messages", "texts")  # formats whose field is a list
EXTRA_FIELDS = {"instruction": ("input", "output", "history"), "question": ("answer",)}


def _normal_role(speaker: Any, mended: dict[str, None]) -> str:
    role = ROLES.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        raise BadMedia(INVALID_TURN, f"a turn by {speaker!r}"[:200])
    if speaker not in STANDARD_ROLES:
        mended[f"role {speaker}"] = None
    return role


def _parse_parts(role: str, content: Any, mended: dict[str, None]) -> Iterator[Part]:
    """Yield the parts of a turn's content. Raises BadMedia if the content is neither a text nor parts."""
    if isinstance(content, str):
        yield Part(TEXT, content)
    elif role == "gpt" and isinstance(content, int | float) and not isinstance(content, bool) and isfinite(content):
        mended["number as answer"] = None
        yield Part(TEXT, json.dumps(content))
    elif isinstance(content, dict | list):
        mended["turn in parts"] = None
        parts = [_parse_part(part) for part in (content if isinstance(content, list) else [content])]
        if role != "human" and any(part.kind != TEXT for part in parts):
            raise BadMedia("media in a turn that is not by a human", f"a turn by {role}")
        yield from parts
    else:
        raise BadMedia(INVALID_TURN, f"a turn by {role} of {type(content).__name__}")


def _parse_part(part: Any) -> Part:
    if isinstance(part, str):
        return Part(TEXT, part)
    fields = {key: value for key, value in part.items() if value is not None} if isinstance(part, dict) else {}
    name = fields.get("type") or next((key for key in fields if key in PARTS), None)
    kind = PARTS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise BadMedia("a part of a turn that is not text, image, video or audio", repr(part)[:200])
    if kind == TEXT:
        text = fields.get("text", fields.get("content"))
        if not isinstance(text, str):
            raise BadMedia("a text part without a text", repr(part)[:200])
        return Part(TEXT, text)
    if "base64" in fields:
        return Part(kind, {"data": fields["base64"]})
    return Part(
        kind,
        next(
            (fields[key] for key in (name, kind, f"{kind}_url", "url", "path", "source", "data") if key in fields), None
        ),
    )


def _has_content(parts: Sequence[Part]) -> bool:
    return any(part.kind != TEXT or part.value.strip() for part in parts)


def _check_order(roles: Sequence[str]) -> None:
    dialogue = [role for n, role in enumerate(roles) if n or role != "system"]
    if "system" in dialogue:
        raise BadMedia("a system turn after the first turn")
    if dialogue[:1] != ["human"]:
        raise BadMedia("the conversation begins with an answer")
    if "gpt" not in dialogue:
        raise BadMedia("no answer to learn")


def _field_media(record: Mapping[str, Any]) -> dict[str, deque[Any]]:
    """Return the media in the record's fields by kind."""
    found: dict[str, deque[Any]] = {kind: deque() for kind in (IMAGE, VIDEO, AUDIO)}
    for name, kind in FIELDS.items():
        if value := record.get(name):
            if found[kind]:
                raise BadMedia(f"media both in `{kind}` and in `{kind}s`")
            found[kind].extend(value if isinstance(value, list) else [value])
    return found


def _place_media(
    turns: Sequence[tuple[str, list[Part]]], unplaced: dict[str, deque[Any]], mended: dict[str, None]
) -> list[tuple[str, list[Part]]]:
    """Return the turns with each tag replaced by its medium, and with the untagged media inserted.

    unplaced: the media of the record's fields that are not placed yet; the function empties it.
    """
    tags = _tag_pattern(turns, unplaced)
    placed = []
    for role, parts in turns:
        split = [piece for part in parts for piece in _split_at_tags(part, tags)] if role == "human" else parts
        placed.append((role, [_resolve_part(part, unplaced, mended) for part in split]))
    for kind, rest in unplaced.items():
        if rest:
            mended[f"{NAMES[kind]} without a tag: put before the first question"] = None
            _insert_media(placed, [Part(kind, value) for value in rest])
    return placed


def _tag_pattern(turns: Sequence[tuple[str, list[Part]]], unplaced: Mapping[str, deque[Any]]) -> re.Pattern[str]:
    """Return a pattern for the record's tags. `<video>` and `<audio>` are tags only if other tags do not suffice."""
    text = "".join(part.value for role, parts in turns if role == "human" for part in parts if part.kind == TEXT)
    tags = ["<image>", "<speech>"]
    if unplaced[VIDEO] and text.count("<image>") < len(unplaced[IMAGE]) + len(unplaced[VIDEO]):
        tags.append("<video>")
    if unplaced[AUDIO] and text.count("<speech>") < len(unplaced[AUDIO]):
        tags.append("<audio>")
    return re.compile(f"({'|'.join(tags)})")


def _split_at_tags(part: Part, tags: re.Pattern[str]) -> list[Part]:
    """Split a text at its tags; a tag becomes a part whose kind is the tag."""
    if part.kind != TEXT:
        return [part]
    return [Part(piece if piece in TAGS and n % 2 else TEXT, piece) for n, piece in enumerate(tags.split(part.value))]


def _resolve_part(part: Part, unplaced: dict[str, deque[Any]], mended: dict[str, None]) -> Part:
    """Replace a tag, or a medium without a value, by the next unplaced medium of its kind; return others unchanged."""
    if part.kind in TAGS:
        kind = next((kind for kind in TAGS[part.kind] if unplaced[kind]), None)
        if kind is None:
            raise BadMedia(TAG_MISMATCH, f"more {part.kind} tags than media")
        if part.kind not in ("<image>", "<speech>"):
            mended[f"tag {part.kind}"] = None
        return Part(kind, unplaced[kind].popleft())
    if part.kind != TEXT and part.value is None:
        if not unplaced[part.kind]:
            raise BadMedia(TAG_MISMATCH, f"more parts of type {part.kind} than media")
        return Part(part.kind, unplaced[part.kind].popleft())
    return part


def _insert_media(turns: Sequence[tuple[str, list[Part]]], media: list[Part]) -> None:
    """Insert media after the last medium of their kind, or before the first question if there is none."""
    for _, parts in reversed(turns):
        places = [n for n, part in enumerate(parts) if part.kind == media[0].kind]
        if places:
            parts[places[-1] + 1 : places[-1] + 1] = media
            return
    first = next(parts for role, parts in turns if role == "human")
    first[:0] = media
