"""Read the captions and questions of a data set from the `meta` of a video, by the table in `given.yaml`.

They become tasks of their own kinds (`stages.samples.GIVEN`), which name the field of `meta` that they come from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from importlib import resources
from itertools import pairwise
from typing import Any

import yaml

from pipeline.sources.clip_spans import END, START, Times, Unusable, times_of

Rule = Mapping[str, Any]  # a line of the table
MEDIA_TAG = r"<(?:image|video|audio|sound|speech)>"
TAGS_AT_ENDS = re.compile(rf"^(?:\s*{MEDIA_TAG})+|(?:{MEDIA_TAG}\s*)+$")


@dataclass(frozen=True)
class GivenText:
    """A caption, or a question with its answer, in a `meta`. field: its path in `meta`. times: in ms, if given."""

    kind: str
    question: str | None
    answer: str
    field: str
    times: Times | None = None


@dataclass(frozen=True)
class GivenTask:
    """A task of a clip. number: from 0 within the clip and kind."""

    kind: str
    number: int
    question: str | None
    answer: str
    field: str


@cache
def table() -> Mapping[str, Any]:
    """Return the content of `given.yaml`: `caption`, `qa` and `covers`."""
    text = resources.files("pipeline.sources").joinpath("given.yaml").read_text(encoding="utf-8")
    found: Mapping[str, Any] = yaml.safe_load(text)
    return found


@cache
def kept_fields() -> frozenset[str]:
    """Return the top-level keys of `meta` that the table names."""
    rules = (rule for sort in ("caption", "qa") for rule in table()[sort])
    return frozenset(rule["at"].split(".")[0].removesuffix("[]") for rule in rules)


def given_tasks(
    sorts: Sequence[str], video: str, clip: str, start_ms: int, end_ms: int, is_whole: bool
) -> list[dict[str, Any]]:
    """Return the tasks of a clip as rows. sorts: `caption`, `qa`. video, clip: the `meta` of both.

    is_whole: whether texts without times are about this clip, see `is_about_whole`.
    """
    found = [text for text in _texts(video, tuple(sorts)) if _belongs(text.times, start_ms, end_ms, is_whole)]
    found += _texts(clip, tuple(sorts))  # of the clip's own row in a list, so about all of it
    distinct = {(text.kind, text.question, text.answer): text for text in reversed(found)}
    counts: dict[str, int] = {}
    tasks = []
    for text in reversed(distinct.values()):
        counts[text.kind] = counts.get(text.kind, -1) + 1
        tasks.append(asdict(GivenTask(text.kind, counts[text.kind], text.question, text.answer, text.field)))
    return tasks


def is_about_whole() -> str:
    """Return the SQL condition, over videos `v` and clips `c`, that texts without times are about the clip.

    A list that names spans has the texts of each span in its own row.
    """
    return f"(len(v.spans) > 0 OR c.end_ms - c.start_ms >= {table()['covers']} * v.duration * 1000)"


def _belongs(times: Times | None, start_ms: int, end_ms: int, is_whole: bool) -> bool:
    if times is None:
        return is_whole
    covered = min(end_ms, times[1]) - max(start_ms, times[0])
    return covered >= float(table()["covers"]) * (end_ms - start_ms)


@lru_cache(maxsize=4)  # the clips of a video come one after the other
def _texts(meta: str, sorts: tuple[str, ...]) -> tuple[GivenText, ...]:
    facts = json.loads(meta) if meta != "{}" else {}
    return tuple(text for sort in sorts for rule in table()[sort] for text in _of_rule(facts, f"given_{sort}", rule))


def _of_rule(facts: Any, kind: str, rule: Rule) -> Iterator[GivenText]:
    for path, value in _found(facts, rule["at"].split(".")):
        if "turns" in rule:
            pairs = _turns(value, rule["turns"])
        else:
            pairs = [(_text(value, rule.get("question")), _text(value, rule.get("answer", rule.get("text"))))]
        for number, (question, answer) in enumerate(pairs):
            if answer and (question or kind == "given_caption"):
                field = f"{path}[{number}]" if "turns" in rule else path
                prompt = question if kind != "given_caption" else None
                try:
                    yield GivenText(kind, prompt, answer, field, _times(value, rule))
                except Unusable:  # times that cannot be read: whose clip it is cannot be told
                    continue


def _found(value: Any, pieces: Sequence[str], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values at a path, each with its actual path."""
    if not pieces:
        yield path, value
        return
    name, is_list = pieces[0].removesuffix("[]"), pieces[0].endswith("[]")
    facts = _parsed(value)
    held = facts.get(name) if isinstance(facts, dict) else None
    path = f"{path}.{name}" if path else name
    if not is_list and held is not None:
        yield from _found(held, pieces[1:], path)
    elif is_list and isinstance(items := _parsed(held), list):
        for number, item in enumerate(items):
            yield from _found(item, pieces[1:], f"{path}[{number}]")


def _parsed(value: Any) -> Any:
    """Return the parsed value of a JSON text; any other value unchanged."""
    try:
        return json.loads(value) if isinstance(value, str) and value[:1] in ("{", "[") else value
    except (ValueError, RecursionError):
        return value


def _text(value: Any, name: str | None) -> str:
    """Return the text at a key, or the value itself without a key; "" if there is none."""
    held = value if name is None else next((held for _, held in _found(value, name.split("."))), None)
    if isinstance(held, bool) or not isinstance(held, str | int | float):
        return ""
    return TAGS_AT_ENDS.sub("", str(held)).strip()


def _turns(value: Any, rule: Rule) -> list[tuple[str, str]]:
    """Return each question of a conversation with the answer that directly follows it."""
    items = _parsed(value)
    turns = [
        (each.get(rule["speaker"]), _text(each, rule["text"]))
        for each in (items if isinstance(items, list) else ())
        if isinstance(each, dict)
    ]
    return [
        (question, answer)
        for (asker, question), (answerer, answer) in pairwise(turns)
        if asker in rule["asks"] and answerer in rule["answers"]
    ]


def _times(value: Any, rule: Rule) -> Times | None:
    """Return the times of a text; None if the table names no fields for them. Raises Unusable."""
    if "start" not in rule:
        return None
    times = times_of({START: _text(value, rule["start"]), END: _text(value, rule["end"])})
    if times is None:
        raise Unusable("has no times")
    return times
