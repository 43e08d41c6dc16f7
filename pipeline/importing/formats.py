"""Formats of external records (LLaVA, ShareGPT, OpenAI, …), each read into a `Conversation`.

FORMS says in which field of a record its turns stand. A turn says who speaks (`from` or `role`) and what (`value` or
`content`), as a text or as a list of parts. Media stand in parts, or in fields of the record in the order of the tags.
What is not as Ola-Data has it is mended, and named in `mends`; what cannot be mended is BadMedia with its reason.
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
NO_TURN = "a turn that is not {from: human or gpt, value: text}"
NO_FIT = "its tags do not fit its media"
ROLES = {
    **dict.fromkeys(("human", "user"), "human"),
    **dict.fromkeys(("gpt", "assistant", "model", "chatgpt", "bot"), "gpt"),
    **dict.fromkeys(("system", "developer"), "system"),
}
OURS = ("system", "human", "gpt")
# field of a record -> what it holds, one or a list
FIELDS = {f"{kind}{many}": kind for kind in (IMAGE, VIDEO, AUDIO) for many in ("", "s")}
# type of a part -> what it is
PARTS = {
    **dict.fromkeys(("text", "input_text", "output_text"), TEXT),
    **{
        f"{before}{kind}{after}": kind
        for kind in (IMAGE, VIDEO, AUDIO)
        for before, after in (("", ""), ("", "_url"), ("input_", ""))
    },
}
# tag -> what it can stand for, the first of these that is left
TAGS = {"<image>": (IMAGE, VIDEO), "<speech>": (AUDIO,), "<video>": (VIDEO,), "<audio>": (AUDIO,)}
NAMES = {IMAGE: "picture", VIDEO: "video", AUDIO: "sound"}


class Part(NamedTuple):
    """A text, or a medium as its record names it; None: the next one of the record's fields."""

    kind: str
    value: Any


@dataclass(frozen=True)
class Conversation:
    """Turns by `system` (the first at most), `human` and `gpt`. mends: kinds of what was mended, each once."""

    turns: tuple[tuple[str, tuple[Part, ...]], ...]
    mends: tuple[str, ...] = ()


def conversation(record: Mapping[str, Any]) -> Conversation:
    """The conversation of a record, every medium in its place. Raises BadMedia with the reason why it has none."""
    mends: dict[str, None] = {}  # in the order in which they come
    turns = [(_role(speaker, mends), content) for speaker, content in _turns(record, mends)]
    read = [(role, list(_parts(role, content, mends))) for role, content in turns]
    read = [(role, parts) for role, parts in read if role != "system" or _says(parts)]
    _check_order([role for role, _ in read])
    placed = _placed(read, _fields(record), mends)
    return Conversation(tuple((role, tuple(parts)) for role, parts in placed), tuple(mends))


def fields_of(record: Mapping[str, Any]) -> set[str]:
    """The fields of a record of which its conversation is made."""
    form = next((name for name in FORMS if record.get(name)), "conversations")
    return {
        form,
        "conversations",
        *FIELDS,
        *(BESIDE.get(form, ())),
        *(["system"] if isinstance(record.get("system"), str) else []),
    }


def _turns(record: Mapping[str, Any], mends: dict[str, None]) -> Iterator[tuple[Any, Any]]:
    """Who speaks and what, as the record has it."""
    form = next((name for name in FORMS if record.get(name)), None)
    if form is None:
        raise BadMedia("no conversations")
    if form != "conversations":
        mends[f"turns in `{form}`"] = None
    if isinstance(record.get("system"), str) and record["system"].strip():
        mends["system text beside the turns"] = None
        yield "system", record["system"]
    if form in LISTS and isinstance(record[form], str) and record[form].startswith("["):
        mends[f"`{form}` as JSON in a text"] = None
        record = {**record, form: _parsed(record[form])}
    yield from FORMS[form](record)


def _dialogue(record: Mapping[str, Any], field: str) -> Iterator[tuple[Any, Any]]:
    turns = record[field]
    if not isinstance(turns, list) or not turns:
        raise BadMedia("no conversations")
    for turn in turns:
        given = {key: value for key, value in turn.items() if value is not None} if isinstance(turn, dict) else {}
        speaker = given.get("from", given.get("role"))
        content = given.get("value", given.get("content"))
        if speaker is None or content is None:
            raise BadMedia(NO_TURN, repr(turn)[:200])
        yield speaker, content


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadMedia("no conversations", f"a text that is not JSON: {error}") from error


def _pairs(record: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    texts = record["texts"]
    if not isinstance(texts, list) or not all(isinstance(pair, dict) for pair in texts):
        raise BadMedia("no conversations")
    for pair in texts:
        yield "human", pair.get("user")
        yield "gpt", pair.get("assistant")


def _instruction(record: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    history = record.get("history") or []
    if not isinstance(history, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise BadMedia("a history that is not a list of questions and answers", repr(history)[:200])
    for asked, answer in history:
        yield "human", asked
        yield "gpt", answer
    given = [text for text in (record["instruction"], record.get("input")) if text]
    yield "human", "\n".join(given) if all(isinstance(text, str) for text in given) else None
    yield "gpt", record.get("output")


def _question(record: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    yield "human", record["question"]
    yield "gpt", record.get("answer")


FORMS: Mapping[str, Callable[[Mapping[str, Any]], Iterator[tuple[Any, Any]]]] = {
    "conversations": lambda record: _dialogue(record, "conversations"),
    "messages": lambda record: _dialogue(record, "messages"),
    "texts": _pairs,
    "instruction": _instruction,
    "question": _question,
}
"""Field that holds the turns -> who speaks and what; the first that a record has is its form."""
LISTS = ("conversations", "messages", "texts")  # forms whose field is a list
BESIDE = {"instruction": ("input", "output", "history"), "question": ("answer",)}


def _role(speaker: Any, mends: dict[str, None]) -> str:
    role = ROLES.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        raise BadMedia(NO_TURN, f"a turn by {speaker!r}"[:200])
    if speaker not in OURS:
        mends[f"role {speaker}"] = None
    return role


def _parts(role: str, content: Any, mends: dict[str, None]) -> Iterator[Part]:
    """What a turn says."""
    if isinstance(content, str):
        yield Part(TEXT, content)
    elif role == "gpt" and isinstance(content, int | float) and not isinstance(content, bool) and isfinite(content):
        mends["number as answer"] = None
        yield Part(TEXT, json.dumps(content))
    elif isinstance(content, dict | list):
        mends["turn in parts"] = None
        parts = [_part(part) for part in (content if isinstance(content, list) else [content])]
        if role != "human" and any(part.kind != TEXT for part in parts):
            raise BadMedia("a medium in a turn that is not by a human", f"in a turn by {role}")
        yield from parts
    else:
        raise BadMedia(NO_TURN, f"a turn by {role} of {type(content).__name__}")


def _part(part: Any) -> Part:
    if isinstance(part, str):
        return Part(TEXT, part)
    given = {key: value for key, value in part.items() if value is not None} if isinstance(part, dict) else {}
    name = given.get("type") or next((key for key in given if key in PARTS), None)
    kind = PARTS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise BadMedia("a part of a turn that is no text, image, video or audio", repr(part)[:200])
    if kind == TEXT:
        text = given.get("text", given.get("content"))
        if not isinstance(text, str):
            raise BadMedia("a part of a turn without its text", repr(part)[:200])
        return Part(TEXT, text)
    if "base64" in given:
        return Part(kind, {"data": given["base64"]})
    return Part(
        kind,
        next(
            (given[key] for key in (name, kind, f"{kind}_url", "url", "path", "source", "data") if key in given), None
        ),
    )


def _says(parts: Sequence[Part]) -> bool:
    return any(part.kind != TEXT or part.value.strip() for part in parts)


def _check_order(roles: Sequence[str]) -> None:
    asked = [role for n, role in enumerate(roles) if n or role != "system"]
    if "system" in asked:
        raise BadMedia("a system turn that is not the first")
    if asked[:1] != ["human"]:
        raise BadMedia("the conversation begins with an answer")
    if "gpt" not in asked:
        raise BadMedia("no answer to learn")


def _fields(record: Mapping[str, Any]) -> dict[str, deque[Any]]:
    """The media in fields of a record, by their kind."""
    found: dict[str, deque[Any]] = {kind: deque() for kind in (IMAGE, VIDEO, AUDIO)}
    for name, kind in FIELDS.items():
        if value := record.get(name):
            if found[kind]:
                raise BadMedia(f"media both in `{kind}` and in `{kind}s`")
            found[kind].extend(value if isinstance(value, list) else [value])
    return found


def _placed(
    turns: Sequence[tuple[str, list[Part]]], left: dict[str, deque[Any]], mends: dict[str, None]
) -> list[tuple[str, list[Part]]]:
    """Turns with the media that their tags stand for, and those without a tag; `left`: those of the record's fields."""
    tags = _tags(turns, left)
    placed = []
    for role, parts in turns:
        split = [piece for part in parts for piece in _split(part, tags)] if role == "human" else parts
        placed.append((role, [_taken(part, left, mends) for part in split]))
    for kind, rest in left.items():
        if rest:
            mends[f"{NAMES[kind]} without a tag: put before the first question"] = None
            _insert(placed, [Part(kind, value) for value in rest])
    return placed


def _tags(turns: Sequence[tuple[str, list[Part]]], left: Mapping[str, deque[Any]]) -> re.Pattern[str]:
    """The tags of a record. `<video>` and `<audio>` are words where `<image>` and `<speech>` do for all media."""
    asked = "".join(part.value for role, parts in turns if role == "human" for part in parts if part.kind == TEXT)
    tags = ["<image>", "<speech>"]
    if left[VIDEO] and asked.count("<image>") < len(left[IMAGE]) + len(left[VIDEO]):
        tags.append("<video>")
    if left[AUDIO] and asked.count("<speech>") < len(left[AUDIO]):
        tags.append("<audio>")
    return re.compile(f"({'|'.join(tags)})")


def _split(part: Part, tags: re.Pattern[str]) -> list[Part]:
    """A text cut at its tags, which become parts of the kind `<image>` and so on."""
    if part.kind != TEXT:
        return [part]
    return [Part(piece if piece in TAGS and n % 2 else TEXT, piece) for n, piece in enumerate(tags.split(part.value))]


def _taken(part: Part, left: dict[str, deque[Any]], mends: dict[str, None]) -> Part:
    """A part; where it stands for the next medium of a field, that medium."""
    if part.kind in TAGS:
        kind = next((kind for kind in TAGS[part.kind] if left[kind]), None)
        if kind is None:
            raise BadMedia(NO_FIT, f"no medium is left for a tag {part.kind}")
        if part.kind not in ("<image>", "<speech>"):
            mends[f"tag {part.kind}"] = None
        return Part(kind, left[kind].popleft())
    if part.kind != TEXT and part.value is None:
        if not left[part.kind]:
            raise BadMedia(NO_FIT, f"no medium is left for a part of type {part.kind}")
        return Part(part.kind, left[part.kind].popleft())
    return part


def _insert(turns: Sequence[tuple[str, list[Part]]], media: list[Part]) -> None:
    """Put media behind the last one of their kind, so that their order stays, or else before the first question."""
    for _, parts in reversed(turns):
        places = [n for n, part in enumerate(parts) if part.kind == media[0].kind]
        if places:
            parts[places[-1] + 1 : places[-1] + 1] = media
            return
    first = next(parts for role, parts in turns if role == "human")
    first[:0] = media
