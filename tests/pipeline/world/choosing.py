"""A model that writes multiple choices about clips of the world as models do, with habits that give answers away.

It writes the right option with a detail in `WORDY` of the questions. Asked for options together with the question, it
writes wrong ones without. Asked for a list of one form, it begins with the answer in `ALIKE` of the cases, and names
what is true of other parts, most in the same form, and between them things that are not in the clip, the answer in
other words, and too long ones. A slanted model makes every answer a little longer than what it lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from ola.prompt import Request
from pipeline.annotation.text_rules import QuestionDraft, question_flaws
from pipeline.synthetic.world.questions import FORMS, QAPair, answerable_questions
from pipeline.synthetic.world.scenes import Scene
from pipeline.synthetic.world.vocabulary import COLOURS, MEETS, MOTIONS, NOUNS, NUMBERS, SHAPES, VOICE
from tests.pipeline.scripted import Scripted, first_prompt_of, inside, numbered_list, prompt_of
from tests.pipeline.world.media import media_digest

WORDY = 0.5
ALIKE = 0.75  # share of the lists that restate the answer, and of the things in a list that have its form
SLANT = " too"  # within the length that an option may differ by
DETAIL = " in the middle"  # a dozen letters: twice as long as most answers
ASKED = 3
# Forms whose answers are of one kind and differ between parts of a clip.
ASKED_FORMS = ("seen while", "colour while", "motion while", "said while", "counted while", "seen after", "said")
ELSEWHERE: Mapping[str, Sequence[str]] = {
    "colour while": tuple(COLOURS),
    "motion while": MOTIONS,
    "counted while": NUMBERS,
    "said while": tuple(f"{number} {noun}" for number in NUMBERS for noun in NOUNS),
    "said": tuple(f"{number} {noun}" for number in NUMBERS for noun in NOUNS),
    "seen while": tuple(f"a {colour} {shape}" for colour in COLOURS if colour != "orange" for shape in SHAPES),
    "seen after": tuple(f"a {colour} {shape}" for colour in COLOURS if colour != "orange" for shape in SHAPES),
}


@dataclass(frozen=True)
class Written:
    """A question as the model writes it. answer: with a detail, or as it is."""

    qa: QAPair
    answer: str


@lru_cache(maxsize=1024)
def questions_about(scene: Scene) -> list[Written]:
    """Three questions of a clip, of any needs."""
    pairs, rng = [qa for qa in answerable_questions(scene) if qa.form in ASKED_FORMS], Random(scene.name)
    rng.shuffle(pairs)
    chosen: list[QAPair] = []
    for qa in pairs:
        drafts = [QuestionDraft(each.kind, each.question, each.answer) for each in (*chosen, qa)]
        if len(chosen) < ASKED and question_flaws(drafts, "")[-1] is None:
            chosen.append(qa)
    return [Written(qa, qa.answer + (DETAIL if rng.random() < WORDY else "")) for qa in chosen]


def other_answers(scene: Scene, qa: QAPair) -> list[str]:
    """What is true of other parts of the clip, of the kind of an answer."""
    spoken = [sound.text for sound in scene.sounds if sound.name == VOICE]
    figures = [figure for sight in scene.sights for figure in sight.figures]
    found = {
        "colour while": [figure.colour for figure in figures],
        "motion while": [sight.motion for sight in scene.sights if sight.motion != MEETS],
        "counted while": [text.split()[0] for text in spoken],
        "said while": spoken,
        "said": spoken,
    }.get(qa.form, [f"{'an' if figure.name[0] == 'o' else 'a'} {figure.name}" for figure in figures])
    return [each for each in dict.fromkeys(found) if each != qa.answer]


def plain(answer: str) -> str:
    """An answer without its detail, in lower case."""
    return answer.lower().removesuffix(SLANT).removesuffix(DETAIL)


class Choosing:
    """The model. clips: scenes by the digests of their frames. slanted: every answer is a little longer."""

    def __init__(self, clips: Mapping[str, Scene], slanted: bool) -> None:
        self.clips, self.slant = clips, SLANT if slanted else ""

    def reply(self, request: Request) -> str:
        """The answer to a request of `ask`."""
        scene = self._scene(request)
        if first_prompt_of(request) == "ask_distractors":
            data = inside(request.text)
            written = self._find(scene, data["question"])
            return numbered_list(*self._propose(scene, written, "cannot be read" in request.text))
        lines, with_options = [], "A) option" in request.text
        for n, each in enumerate(questions_about(scene), start=1):
            lines.append(f"Q{n} ({each.qa.kind}): {each.qa.question}")
            lines += self._options(scene, each, n) if with_options else [f"A{n}: {each.answer}{self.slant}"]
        return "\n".join(lines)

    def _propose(self, scene: Scene, written: Written, again: bool) -> list[str]:
        """The answer, if it is restated, and up to six things, good and bad ones in any order, most of one form."""
        rng = Random(f"propose {again} {scene.name} {written.qa.question}")
        good, restates = other_answers(scene, written.qa), rng.random() < ALIKE
        is_wordy = rng.random() < WORDY if restates else written.answer.endswith(DETAIL)
        bad = [rng.choice(ELSEWHERE[written.qa.form]), f"the {plain(written.answer)} that was asked for"]
        some = [*good[:5], rng.choice(bad)]
        rng.shuffle(some)
        listed = [each + (DETAIL if (rng.random() < ALIKE) is is_wordy else "") for each in some]
        return [written.qa.answer + (DETAIL if is_wordy else ""), *listed] if restates else listed

    def _options(self, scene: Scene, written: Written, number: int) -> list[str]:
        """Four options as models write them with a question: wrong ones are short, and the right one often first."""
        rng = Random(f"options {scene.name} {written.qa.question}")
        wrong = [each for each in ELSEWHERE[written.qa.form] if each != plain(written.answer)]
        options, place = rng.sample(wrong, 3), rng.choice((0, 0, 1, 1, 2, 3))
        options.insert(place, written.answer)
        lines = [f"{letter}) {option}" for letter, option in zip("ABCD", options, strict=True)]
        return [*lines, f"A{number}: {'ABCD'[place]}"]

    def judged(self, request: Request) -> float:
        """Whether words are in the clip, or answer a question."""
        scene, data = self._scene(request), inside(request.text)
        if prompt_of(request) == "ask_present":
            there = (
                answer for each in questions_about(scene) for answer in (*other_answers(scene, each.qa), each.qa.answer)
            )
            return 0.9 if plain(data["words"]) in there else 0.1
        return 0.9 if plain(data["other answer"]) == plain(data["answer"]) else 0.1

    def _find(self, scene: Scene, question: str) -> Written:
        return next(each for each in questions_about(scene) if each.qa.question == question)

    def _scene(self, request: Request) -> Scene:
        return self.clips[media_digest(request.video)]


def choosing(clips: Mapping[str, Scene], slanted: bool = False) -> Scripted:
    """A model that knows these clips."""
    model, inner = Scripted(), Choosing(clips, slanted)
    model.reply, model.judged = inner.reply, inner.judged
    assert set(ASKED_FORMS) <= set(FORMS)
    return model
