"""Make all questions about a scene, each with its answer and its needs (the senses that an answer takes).

Needs are computed from the scene. A question may mention a sound although all sights give the same answer: then the
picture alone suffices, and its needs are `video`. Questions of this kind are shortcuts, which verification must find.
Other questions are made only where their answers differ between parts of the clip.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from pipeline.annotation.text_rules import leaks_answer
from pipeline.synthetic.world.captions import sight_clause, sound_clause
from pipeline.synthetic.world.scenes import CUTS, SEGMENT_S, Scene, SceneSound, Sight
from pipeline.synthetic.world.shortcuts import least_needs
from pipeline.synthetic.world.vocabulary import COLOURS, MEETS, MOTIONS, MUSIC, NOUNS, NUMBERS, SHAPES, SOUNDS, VOICE
from stages.text_metrics import words

ORDINALS = ("first", "second", "third", "fourth", "fifth")
ALWAYS = "always"
CORNERS = {"square": "four", "triangle": "three", "diamond": "four"}

# Name of a form: the question's kind as in `ask`, and its text with slots.
FORMS: dict[str, tuple[str, str]] = {
    "seen while": ("source", "What is seen while {sound}?"),
    "colour while": ("source", "What colour is the shape while {sound}?"),
    "shape while": ("source", "Which shape is seen while {sound}?"),
    "motion while": ("order", "What does the shape do while {sound}?"),
    "size while": ("source", "How large is the shape while {sound}?"),
    "said while": ("speech", "What does the voice say while {sight}?"),
    "counted while": ("count", "How many things does the voice count while {sight}?"),
    "heard while": ("source", "What is heard while {sight}?"),
    "colour of": ("order", "What colour is the {ordinal} shape?"),
    "shape of": ("order", "Which shape is the {ordinal} one?"),
    "motion of": ("order", "What does the {figure} do?"),
    "seen after": ("order", "What is seen after the {figure}?"),
    "meets": ("source", "What does the {figure} meet?"),
    "said": ("speech", "What does the voice say {ordinal}?"),
    "counted": ("count", "How many {noun} does the voice count?"),
    "heard after": ("order", "What is heard after {what}?"),
    "colour named": ("speech", "What colour does the voice name {ordinal}?"),
    "corners": ("count", "How many corners does a {cornered} have?"),
    "next number": ("reason", "Which number comes after {number}?"),
}


def _alternatives(options: Sequence[str]) -> str:
    return f"(?:{'|'.join(options)})"


_FIGURE = f"{_alternatives(tuple(COLOURS))} {_alternatives(SHAPES)}"
_TEXT = f"(?:{_alternatives(NUMBERS)} {_alternatives(NOUNS)}|{_FIGURE})"
SLOT_PATTERNS = {
    "sound": f"(?:the voice says {_TEXT}|the {_alternatives((*SOUNDS, *MUSIC))} is heard)",
    "sight": f"(?:the {_FIGURE} is seen|the {_FIGURE} and the {_FIGURE} meet|something {_alternatives(MOTIONS)})",
    "figure": _FIGURE,
    "ordinal": _alternatives(ORDINALS),
    "noun": _alternatives(NOUNS),
    "number": _alternatives(NUMBERS),
    "cornered": _alternatives(tuple(CORNERS)),
    "what": f"(?:the {_alternatives((*SOUNDS, *MUSIC))}|the words {_TEXT})",
}


@dataclass(frozen=True)
class QAPair:
    """A question about a scene with its answer. needs: `both`, `video`, `audio` or `text`, as in `verify`.

    form: key of `FORMS`. chance: probability of a right guess among the answers that occur in the clip.
    part: the part of the clip that the question is about, one of `ORDINALS`; `ALWAYS` if all parts have the same
    answer; empty if the question is not about a part.
    """

    form: str
    kind: str
    question: str
    answer: str
    needs: str
    chance: float
    part: str


def make_questions(scene: Scene) -> list[QAPair]:
    """Make all questions of a scene. No question contains its answer or has two answers."""
    return _make_all(scene, simple=False)


def answerable_questions(scene: Scene) -> list[QAPair]:
    """Make all questions and simpler ones, which models ask: with one answer for all parts, or about no clip."""
    return _make_all(scene, simple=True)


def _make_all(scene: Scene, simple: bool) -> list[QAPair]:
    if scene.kind == CUTS:  # too many parts for questions about one of them
        return []
    while_pairs = (*_questions_by_sound(scene), *_questions_by_sight(scene))
    pairs = (
        *while_pairs,
        *_picture_questions(scene, simple),
        *_sound_questions(scene, simple),
        *_text_questions(scene, simple),
    )
    kept = [qa for qa in pairs if not leaks_answer(qa.question, qa.answer)]
    return [replace(qa, needs=least_needs(scene, qa)) for qa in kept] if scene.plant else kept


def ambiguous_questions(scene: Scene) -> dict[str, str]:
    """Return questions with different answers in several parts, and these parts: `first and second`."""
    if scene.kind == CUTS:
        return {}
    found = (*_ambiguous_sights(scene), *_ambiguous_sounds(scene), *_ambiguous_counts(scene))
    return {question: " and ".join(parts) for question, parts in found}


def _ambiguous_sights(scene: Scene) -> Iterator[tuple[str, list[str]]]:
    """Yield questions about what is seen during a sound that spans a cut."""
    for sound in scene.sounds:
        first, *others = [_sight_answers(sight) for sight in scene.sights_during(sound)] or [{}]
        for form, answer in first.items():
            if any(other.get(form, answer) != answer for other in others):
                yield FORMS[form][1].format(sound=sound_clause(sound)), sound_parts(sound)


def _ambiguous_sounds(scene: Scene) -> Iterator[tuple[str, list[str]]]:
    """Yield questions about what is heard during a sight with several sounds."""
    for sight in scene.sights if scene.kind != "named" else ():
        heard = scene.sounds_during(sight)
        spoken = [sound.text for sound in heard if sound.name == VOICE]
        answers = {
            "heard while": list(map(_sound_name, heard)),
            "said while": spoken,
            "counted while": _spoken_numbers(spoken),
        }
        parts = list(dict.fromkeys(part for sound in heard for part in sound_parts(sound)))
        for form, several in answers.items():
            if len(set(several)) > 1:
                yield from ((FORMS[form][1].format(sight=anchor), parts) for anchor in _sight_phrases(scene, sight))


def _spoken_numbers(texts: Sequence[str]) -> list[str]:
    return [text.split()[0] for text in texts]


def _ambiguous_counts(scene: Scene) -> Iterator[tuple[str, list[str]]]:
    spoken = [sound for sound in scene.sounds if sound.name == VOICE and scene.kind != "named"]
    for noun in dict.fromkeys(sound.text.split()[1] for sound in spoken):
        counts = [sound for sound in spoken if sound.text.split()[1] == noun]
        if len({sound.text for sound in counts}) > 1:
            yield FORMS["counted"][1].format(noun=noun), list(map(first_part, counts))


def is_well_formed(question: str) -> bool:
    """Return whether `make_questions` could make a question for some clip. Case and punctuation are ignored."""
    return _grammar().fullmatch(" ".join(words(question))) is not None


@cache
def _grammar() -> re.Pattern[str]:
    parts = [re.split(r"\{(\w+)\}", form) for _, form in FORMS.values()]  # texts and slot names alternate
    return re.compile("|".join(" ".join(_fill_slots(split)) for split in parts))


def _fill_slots(parts: Sequence[str]) -> Iterator[str]:
    for n, part in enumerate(parts):
        yield from [SLOT_PATTERNS[part]] if n % 2 else words(part)


def first_part(sound: SceneSound) -> str:
    """Return the part of the clip in which a sound begins, one of `ORDINALS`."""
    return sound_parts(sound)[0]


def sound_parts(sound: SceneSound) -> list[str]:
    """Return the parts of the clip in which a sound is heard: two if the sound spans a cut."""
    return list(ORDINALS[int(sound.start // SEGMENT_S) : math.ceil(sound.end / SEGMENT_S)])


def _make_pair(form: str, answer: str, needs: str, options: Sequence[str], part: str, **slots: str) -> QAPair:
    (kind, text), count = FORMS[form], len(set(options))
    return QAPair(form, kind, text.format(**slots), answer, needs, 1 / count, ALWAYS if part and count == 1 else part)


def _sight_answers(sight: Sight) -> dict[str, str]:
    """Return the answer of a sight to each `while` form that fits it (two figures have no single colour or shape)."""
    names = " and ".join(f"a {figure.name}" for figure in sight.figures)
    figure = sight.figures[0]
    if len(sight.figures) > 1:
        return {"seen while": names}
    sized = {"size while": figure.size} if figure.size else {}
    answers = {"colour while": figure.colour, "shape while": figure.shape, "motion while": sight.motion}
    return {"seen while": names} | answers | sized


def _questions_by_sound(scene: Scene) -> Iterator[QAPair]:
    """Yield questions about what is seen during a sound. They need both senses unless all sights give one answer."""
    all_answers = {sight: _sight_answers(sight) for sight in scene.sights}
    for sound in scene.sounds:
        sights = scene.sights_during(sound)
        for form, answer in all_answers[sights[0]].items() if len(sights) == 1 else ():
            options = [answers.get(form, "") for answers in all_answers.values()]
            # In a named clip the question itself says which sight is meant, so the picture suffices.
            picture_suffices = len(set(options)) == 1 or scene.kind == "named"
            needs = "video" if picture_suffices else "both"
            yield _make_pair(form, answer, needs, options, first_part(sound), sound=sound_clause(sound))


def _questions_by_sight(scene: Scene) -> Iterator[QAPair]:
    """Yield questions about what is heard during a sight. They need both senses unless all sounds give one answer."""
    if scene.kind == "named":  # the picture alone tells what the voice says
        return
    voices = [sound for sound in scene.sounds if sound.name == VOICE]
    for part, sight in zip(ORDINALS, scene.sights, strict=False):
        heard = scene.sounds_during(sight)
        for anchor in _sight_phrases(scene, sight) if len(heard) == 1 else ():
            kinds, texts = [_sound_name(each) for each in scene.sounds], [voice.text for voice in voices]
            needs = "both" if len(set(kinds)) > 1 else "audio"
            yield _make_pair("heard while", _sound_name(heard[0]), needs, kinds, part, sight=anchor)
            if heard[0] in voices:
                needs, counts = "both" if len(voices) > 1 else "audio", _spoken_numbers(texts)
                yield _make_pair("said while", heard[0].text, needs, texts, part, sight=anchor)
                needs = "both" if len(set(counts)) > 1 else "audio"
                yield _make_pair("counted while", heard[0].text.split()[0], needs, counts, part, sight=anchor)


def _sight_phrases(scene: Scene, sight: Sight) -> list[str]:
    """Return clauses that name a sight: its figures, and its motion if no other sight has the same."""
    alike = [other for other in scene.sights if other.motion == sight.motion]
    by_motion = [f"something {sight.motion}"] if len(alike) == 1 and sight.motion != MEETS else []
    return [sight_clause(sight), *by_motion]


def _sound_name(sound: SceneSound) -> str:
    return f"a {sound.name}"


def _picture_questions(scene: Scene, simple: bool) -> Iterator[QAPair]:
    """Yield questions that the picture answers. simple: also those with the same answer for all sights."""
    all_answers = [_sight_answers(sight) for sight in scene.sights]
    single = all(len(sight.figures) == 1 for sight in scene.sights)
    for n, (sight, answers) in enumerate(zip(scene.sights, all_answers, strict=True)):
        part = ORDINALS[n]
        if single:
            for name, form in (("colour while", "colour of"), ("shape while", "shape of")):
                options = [other[name] for other in all_answers]
                if simple or len(set(options)) > 1:
                    yield _make_pair(form, answers[name], "video", options, part, ordinal=part)
        if simple or len({other.motion for other in scene.sights}) > 1:
            for figure in sight.figures if len(sight.figures) == 1 else ():
                options = [other.motion for other in scene.sights]
                yield _make_pair("motion of", sight.motion, "video", options, part, figure=figure.name)
        if n + 1 < len(all_answers) and len(sight.figures) == 1:
            options = [other["seen while"] for other in all_answers[1:]] + ["nothing"]
            yield _make_pair("seen after", all_answers[n + 1]["seen while"], "video", options, part, figure=sight.name)
        for figure, other in zip(sight.figures, sight.figures[::-1], strict=True):
            if other is not figure:
                yield _make_pair("meets", f"the {other.name}", "video", (other.name, ""), part, figure=figure.name)


def _sound_questions(scene: Scene, simple: bool) -> Iterator[QAPair]:
    """Yield questions that the sound answers. simple: also those with the same answer for all sounds."""
    spoken = [sound for sound in scene.sounds if sound.name == VOICE]
    voices = [sound.text for sound in spoken]
    for ordinal, sound in zip(ORDINALS, spoken if len(spoken) > 1 else (), strict=False):
        first, second = sound.text.split()
        if scene.kind == "named":
            # The voice names the figures that are shown, in the same order: the picture suffices.
            options = [each.split()[0] for each in voices]
            if simple or len(set(options)) > 1:
                yield _make_pair("colour named", first, "video", options, ordinal, ordinal=ordinal)
            continue
        yield _make_pair("said", sound.text, "audio", voices, ordinal, ordinal=ordinal)
        counts = _spoken_numbers(voices)
        if (simple or len(set(counts)) > 1) and sum(each.split()[1] == second for each in voices) == 1:
            yield _make_pair("counted", first, "audio", counts, first_part(sound), noun=second)
    for sound, after in zip(scene.sounds, scene.sounds[1:], strict=False):
        if scene.kind != "named" and _sound_name(sound) != _sound_name(after):
            noun = f"the words {sound.text}" if sound.name == VOICE else f"the {sound.name}"
            kinds = [_sound_name(each) for each in scene.sounds]
            yield _make_pair("heard after", _sound_name(after), "audio", kinds, first_part(sound), what=noun)


def _text_questions(scene: Scene, simple: bool) -> Iterator[QAPair]:
    """Yield questions that need no clip. They are about shapes and numbers of the scene; with simple, about all."""
    shapes = SHAPES if simple else dict.fromkeys(figure.shape for sight in scene.sights for figure in sight.figures)
    for shape in shapes:
        if shape in CORNERS:
            yield _make_pair("corners", CORNERS[shape], "text", (CORNERS[shape],), "", cornered=shape)
    for number in NUMBERS if simple else dict.fromkeys(sound.text.split()[0] for sound in scene.sounds):
        if number in NUMBERS[:-1]:
            after = NUMBERS[NUMBERS.index(number) + 1]
            yield _make_pair("next number", after, "text", (after,), "", number=number)
