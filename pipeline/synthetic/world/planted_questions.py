"""Find the questions of a run that a plant made easier or wrong, and count those that were packed all the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from pipeline.audit.agreement import wilson
from pipeline.synthetic.world.plants import NARRATION, SOURCES, SWAPPED, unplanted
from pipeline.synthetic.world.questions import QAPair, ambiguous_questions, answerable_questions
from pipeline.synthetic.world.scenes import Scene
from pipeline.synthetic.world.vocabulary import (
    COLOURS,
    MEETS,
    MOTIONS,
    MUSIC,
    NOUNS,
    NUMBERS,
    SHAPES,
    SIZES,
    SOUNDS,
    VOICE,
)
from stages.text_metrics import words

TELLING_OPTIONS = "options"
"""Name of the shortcut in which no wrong option is of the kind of the right one. It is in questions, not in films."""
BOTH = "both"

_COLOUR, _SHAPE = "|".join(COLOURS), "|".join(SHAPES)
ANSWER_KINDS: Mapping[str, str] = {
    "figures": rf"(?:an? (?:{_COLOUR}) (?:{_SHAPE})(?: and )?)+|the (?:{_COLOUR}) (?:{_SHAPE})",
    "colour": _COLOUR,
    "shape": _SHAPE,
    "motion": "|".join((*MOTIONS, MEETS)),
    "size": "|".join(SIZES),
    "sound": rf"an? (?:{'|'.join((VOICE, *SOUNDS, *MUSIC))})",
    "phrase": rf"(?:{'|'.join(NUMBERS)}) (?:{'|'.join(NOUNS)})|(?:{_COLOUR}) (?:{_SHAPE})",
    "number": "|".join(NUMBERS),
}
"""Patterns of the answers of the world by their kind."""


@dataclass(frozen=True)
class PlantedQuestion:
    """A question of a film with a plant, or with telling options.

    planted: whether the plant makes it easier or wrong. needs_both: whether it needs both senses all the same.
    packed: whether it was packed as `both`. veto: witness and view that found it out; empty if none did.
    """

    plant: str
    planted: bool
    needs_both: bool
    packed: bool
    veto: str = ""


def without_plant(scene: Scene) -> Scene:
    """Return a scene as it is, but with nothing in it that gives answers away: a swapped sound stays swapped."""
    return replace(scene, plant="", texts=())


def is_planted(scene: Scene, question: str, answer: str) -> bool:
    """Return whether a question about both senses is easier, or wrong, because of what is planted in its film."""
    text = _plain(question)
    if scene.plant == SOURCES:
        return text in set(map(_plain, ambiguous_questions(scene)))
    found = find_question(scene, text)
    if scene.plant == SWAPPED:
        own = find_question(unplanted(scene), text)
        return (
            own is not None and _plain(own.answer) == _plain(answer) and (found is None or found.answer != own.answer)
        )
    if found is None:
        return False
    if scene.plant == NARRATION:
        return found.form.endswith(" while")
    plain = find_question(without_plant(scene), text)
    return plain is not None and plain.needs == BOTH != found.needs


def find_question(scene: Scene, question: str) -> QAPair | None:
    """Return the question of a scene with the same words; None if there is none."""
    return _pairs_by_text(scene).get(_plain(question))


@lru_cache(maxsize=256)  # questions are looked up clip by clip
def _pairs_by_text(scene: Scene) -> Mapping[str, QAPair]:
    return {_plain(pair.question): pair for pair in answerable_questions(scene)}


def _plain(text: str) -> str:
    return " ".join(words(text))


def answer_kinds(text: str) -> set[str]:
    """Return the kinds of answers of the world that a text can be; none for others."""
    return {kind for kind, pattern in ANSWER_KINDS.items() if re.fullmatch(pattern, _plain(text))}


def are_telling(answer: str, options: Sequence[str]) -> bool:
    """Return whether no wrong option is of the kind of the right one. answer: the text of the right option."""
    others = [option for option in options if _plain(option) != _plain(answer)]
    return bool(options) and all(answer_kinds(option).isdisjoint(answer_kinds(answer)) for option in others)


def count_plants(clips: Mapping[str, str], questions: Iterable[PlantedQuestion]) -> dict[str, dict[str, Any]]:
    """Return what became of the questions of each plant. clips: plant of each film, empty for none.

    questions: those that the plant makes easier or wrong. let_through: those of them that were packed as `both`, with
    the share and its interval. vetoes: those that a witness found out, by witness and view. need_both, kept: other
    questions, which need both senses with the plant, and those of them that were packed as `both`.
    """
    by_plant: dict[str, list[PlantedQuestion]] = {}
    for each in questions:
        by_plant.setdefault(each.plant, []).append(each)
    films = Counter(plant for plant in clips.values() if plant)
    return {plant: {"clips": films[plant], **_count(by_plant.get(plant, []))} for plant in sorted({*films, *by_plant})}


def _count(questions: Sequence[PlantedQuestion]) -> dict[str, Any]:
    planted = [each for each in questions if each.planted]
    others = [each for each in questions if each.needs_both and not each.planted]
    vetoes = Counter(each.veto for each in planted if each.veto)
    return {
        "questions": len(planted),
        "let_through": share_of(sum(each.packed for each in planted), len(planted)),
        "vetoes": dict(vetoes.most_common()),
        "need_both": len(others),
        "kept": sum(each.packed for each in others),
    }


def share_of(part: int, whole: int) -> dict[str, Any]:
    """Return a count with its share and the Wilson interval of 95 %, as `count`, `share`, `low` and `high`."""
    if not whole:
        return {"count": part, "share": None, "low": None, "high": None}
    low, high = wilson(part / whole, whole)
    return {"count": part, "share": round(part / whole, 4), "low": round(low, 4), "high": round(high, 4)}
