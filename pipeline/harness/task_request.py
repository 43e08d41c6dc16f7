"""Make a request to the model of a task's chat messages and generation options.

Ola reads the media of a turn before its text, so the texts of a message are joined by line breaks after its media. A
video comes with its own sound unless the task gives a sound. A message with one sound and no text is a spoken question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ola.prompt import Request
from pipeline.errors import ConfigError
from pipeline.harness.task_media import TaskMedium

Message = Mapping[str, Any]
Load = Callable[[Any, str], Iterable[TaskMedium]]
NEW_TOKENS = 1024
ORDER = {"image": 0, "video": 1, "sound": 2, "track": 2}  # of media in a request
# What the harness adds where a task names no end: an answer of several paragraphs would be cut after the first.
FEWSHOT_END = "\n\n"


def make_request(messages: Sequence[Message], options: Mapping[str, Any], load: Load, seed: int = 0) -> Request:
    """Return the request of messages (`role`, `content`). load: returns the media of a content and its type.

    Raises ConfigError for two videos, beam search, and media that `load` does not know; what `load` raises else.
    """
    system = "\n".join(_text(message) for message in messages if message["role"] == "system")
    questions, answers, media = [""], list[str](), list[tuple[int, TaskMedium]]()
    for message in messages:
        if message["role"] == "user":
            questions[-1] = "\n".join(text for text in (questions[-1], _text(message)) if text)
            media += [(len(answers), medium) for medium in _media(message, load)]
        elif message["role"] == "assistant":
            answers.append(_text(message))
            questions.append("")
    history = tuple(zip(questions[:-1], answers, strict=True))
    placed = _placed(media)
    request = Request(
        questions[-1],
        **_by_kind(placed, questions[-1]),
        history=history,
        media_turns=[turn for turn, _ in placed] if history else (),
        **decoding_options(options),
        seed=seed,
    )
    return replace(request, system=system) if system else request


def _placed(media: Sequence[tuple[int, TaskMedium]]) -> list[tuple[int, TaskMedium]]:
    """Return the media with their turns, in the order of a request; without the tracks of videos beside sounds."""
    if sum(medium.kind == "video" for _, medium in media) > 1:
        raise ConfigError("expected at most one video in a question, got several; Ola takes one")
    tracks = not any(medium.kind == "sound" for _, medium in media)
    kept = [each for each in media if tracks or each[1].kind != "track"]
    return sorted(kept, key=lambda each: ORDER[each[1].kind])


def _by_kind(placed: Sequence[tuple[int, TaskMedium]], text: str) -> dict[str, Any]:
    def values(*kinds: str) -> list[Any]:
        return [medium.value for _, medium in placed if medium.kind in kinds]

    sounds = values("sound", "track")
    if not text and len(placed) == len(sounds) == 1:
        return {"spoken_question": sounds[0]}
    return {"images": values("image"), "video": next(iter(values("video")), None), "sounds": sounds}


def _content(message: Message) -> Sequence[Mapping[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _text(message: Message) -> str:
    parts = (str(part["text"]).strip() for part in _content(message) if part["type"] == "text")
    return "\n".join(text for text in parts if text)


def _media(message: Message, load: Load) -> list[TaskMedium]:
    return [
        medium
        for part in _content(message)
        if part["type"] != "text"
        for medium in load(part if isinstance(part.get("url", ""), str) else part["url"], str(part["type"]))
    ]


def decoding_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a Request for a task's `generation_kwargs`. Raises ConfigError for beam search."""
    if (options.get("num_beams") or 1) > 1:
        raise ConfigError(f"num_beams: expected 1, got {options['num_beams']}; do --gen_kwargs num_beams=1")
    temperature = float(options.get("temperature") or 0.0) if options.get("do_sample", True) else 0.0
    until = options.get("until") or ()
    stop = tuple(end for end in ([until] if isinstance(until, str) else until) if end and end != FEWSHOT_END)
    return {
        "max_new_tokens": int(options.get("max_new_tokens") or NEW_TOKENS),
        "temperature": temperature,
        "top_p": float(options.get("top_p") or 1.0) if temperature else 1.0,
        "stop": stop,
    }
