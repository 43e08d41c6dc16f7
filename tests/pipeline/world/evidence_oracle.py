"""The oracle of `ask.style: evidence`: `annotator.engine=tests.pipeline.world.evidence_oracle:pointing`.

It notes what is seen and heard in a film with times that are off by up to `JITTER_S`, and asks of each film what needs
both senses. For `WRONG` of its questions it names a clue of another part of the film. It answers from a part of a film
if the sight and the sound that the question is about are in it: the sight by a frame, the sound by at least half of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np

from ola.prompt import Request
from pipeline.annotation.annotator_settings import AnnotatorSettings
from pipeline.annotation.text_rules import SOUND_KINDS, QuestionDraft, question_flaws
from pipeline.media.audio import RATE
from pipeline.synthetic.world.audio import RATE as RENDERED
from pipeline.synthetic.world.audio import RenderedSound, render_sound
from pipeline.synthetic.world.captions import sound_clause
from pipeline.synthetic.world.frames import draw_frames
from pipeline.synthetic.world.questions import FORMS, ORDINALS, QAPair, answerable_questions
from pipeline.synthetic.world.scenes import RATE as FRAME_RATE
from pipeline.synthetic.world.scenes import Scene
from pipeline.synthetic.world.truth import Truth
from tests.pipeline.scripted import Scripted, first_prompt_of, inside
from tests.pipeline.world.oracle import UNKNOWN, Numbers, Oracle, films_of, plain, small

JITTER_S = 0.2
WRONG = 0.4
LEAST_HEARD = 0.5  # share of a sound
DELAY = RATE // 10  # samples


@dataclass(frozen=True)
class Pointed:
    """A question, and the numbers of the sight and of the sound that it is about."""

    qa: QAPair
    sight: int
    sound: int


@lru_cache(maxsize=1000)
def rendered(scene: Scene) -> tuple[Numbers, list[RenderedSound]]:
    """The sound track of a film at the rate of clips, and its sounds with their times."""
    track, sounds = render_sound(scene)
    size = round(len(track) * RATE / RENDERED)
    return np.fft.irfft(np.fft.rfft(track / 32768)[: size // 2 + 1], size) * size / len(track), sounds


@lru_cache(maxsize=1000)
def drawn(scene: Scene) -> Numbers:
    """Small copies of the frames of a film."""
    return np.stack([small(frame) for frame in draw_frames(scene)])


def pointed_questions(scene: Scene) -> list[Pointed]:
    """All questions of a film that need both senses, of which sight and sound are known."""
    found = []
    for qa in answerable_questions(scene):
        if qa.needs != "both" or not qa.form.endswith("while") or qa.part not in ORDINALS:
            continue
        if qa.form.startswith(("said", "counted", "heard")):
            sight = scene.sights[ORDINALS.index(qa.part)]
            sound = scene.sounds_during(sight)[0]
        else:
            sound = next(s for s in scene.sounds if FORMS[qa.form][1].format(sound=sound_clause(s)) == qa.question)
            sight = scene.sights_during(sound)[0]
        found.append(Pointed(qa, scene.sights.index(sight), scene.sounds.index(sound)))
    return found


def true_spans(scene: Scene, each: Pointed) -> tuple[tuple[float, float], tuple[float, float]]:
    """The spans of a question's sight and sound in the film."""
    sight, sound = scene.sights[each.sight], rendered(scene)[1][each.sound]
    return (sight.start, sight.end), (sound.start, sound.end)


def is_wrong(scene: Scene, each: Pointed) -> bool:
    """Whether the oracle names a clue of another part of the film."""
    others = (len(scene.sights) > 1) + (len(scene.sounds) > 1)
    return bool(others) and Random(f"wrong {scene.name} {each.qa.question}").random() < WRONG


def named_clues(scene: Scene, each: Pointed) -> tuple[int, int]:
    """The numbers of the sight and of the sound that the oracle names."""
    if not is_wrong(scene, each):
        return each.sight, each.sound
    if len(scene.sights) > 1:
        return (each.sight + 1) % len(scene.sights), each.sound
    return each.sight, (each.sound + 1) % len(scene.sounds)


class PointingOracle(Oracle):
    """Plays all calls of the style; other calls are those of the oracle."""

    def reply(self, request: Request) -> str:
        name = first_prompt_of(request) if "Please recognize" not in request.text else "transcribe"
        if name == "ask_seen":
            return self._notes_seen(self.films.seen(frames_of(request)).scene)
        if name == "ask_heard":
            return self._notes_heard(self.films.heard(request.sounds[0]).scene)
        if name == "ask_evidence":
            return self._write(request)
        if name == "verify_answer" and request.video is not None and request.sounds:
            return self._answer_from_part(request)
        return super().reply(request)

    def _notes_seen(self, scene: Scene) -> str:
        spans = [(sight.start, sight.end) for sight in scene.sights]
        return self._lines(scene, "sight", spans) or "nothing"

    def _notes_heard(self, scene: Scene) -> str:
        spans = [(sound.start, sound.end) for sound in rendered(scene)[1]]
        return self._lines(scene, "sound", spans) or "nothing"

    def _lines(self, scene: Scene, what: str, spans: list[tuple[float, float]]) -> str:
        noise = Random(f"{what} {scene.name}")
        return "\n".join(
            f"[{max(0.0, start + noise.uniform(-JITTER_S, JITTER_S)):.2f}-"
            f"{min(scene.seconds, end + noise.uniform(-JITTER_S, JITTER_S)):.2f}] {what} {number} of {scene.name}"
            for number, (start, end) in enumerate(spans)
        )

    def _write(self, request: Request) -> str:
        clues = {text: line.partition(" ")[0] for some in inside(request.text).values() for line in some.splitlines()
                 for text in [line.partition("] ")[2]]}  # fmt: skip
        name = next(text.rpartition(" ")[2] for text in clues if text.startswith("sight "))
        scene = next(truth.scene for truth in self.films.truths if truth.scene.name == name)
        kinds = SOUND_KINDS if "Write in English." in request.text else ()
        lines = []
        count = int(re.findall(r"Write (\d+) questions", request.text)[0])
        for number, each in enumerate(self._choose(scene, kinds, count), start=1):
            sight, sound = named_clues(scene, each)
            evidence = f"{clues[f'sight {sight} of {name}']} {clues[f'sound {sound} of {name}']}"
            lines.append(f"Q{number} ({each.qa.kind}): {each.qa.question}\nA{number}: {each.qa.answer}")
            lines.append(f"E{number}: {evidence}")
        return "\n".join(lines)

    def _choose(self, scene: Scene, kinds: Sequence[str], count: int) -> list[Pointed]:
        """At most so many questions that pass the rules; fewer make an answer that cannot be read."""
        chosen: list[Pointed] = []
        pairs = pointed_questions(scene)
        Random(scene.name).shuffle(pairs)
        for each in pairs:
            drafts = [QuestionDraft(one.qa.kind, one.qa.question, one.qa.answer) for one in (*chosen, each)]
            fits = not kinds or each.qa.kind in kinds
            if fits and len(chosen) < count and question_flaws(drafts, "")[-1] is None:
                chosen.append(each)
        return chosen

    def _answer_from_part(self, request: Request) -> str:
        frames = frames_of(request)
        truth = self.films.seen(frames)
        question = plain(request.text.splitlines()[-1])
        each = next((one for one in pointed_questions(truth.scene) if plain(one.qa.question) == question), None)
        if each is None:
            return super().reply(request)
        wave: Any = request.sounds[0]
        seen, heard = self._sees(truth, each.sight, frames), self._hears(truth, each.sound, np.asarray(wave.samples))
        return each.qa.answer if seen and heard else UNKNOWN

    def _sees(self, truth: Truth, number: int, frames: list[Any]) -> bool:
        sight, copies = truth.scene.sights[number], drawn(truth.scene)
        nearest = [int(((copies - small(frame)) ** 2).sum(axis=1).argmin()) / FRAME_RATE for frame in frames]
        return any(sight.start <= time < sight.end for time in nearest)

    def _hears(self, truth: Truth, number: int, samples: Numbers) -> bool:
        track, sounds = rendered(truth.scene)
        sound = sounds[number]
        first, last = round(sound.start * RATE), round(sound.end * RATE)
        wanted = track[first:last]
        if len(samples) > 0.95 * len(track):  # the whole clip, perhaps with a hole; codecs delay the sound a little
            samples = samples[max(0, first - DELAY) : last + DELAY]
        size = len(samples) + len(wanted)
        matched = np.fft.irfft(np.fft.rfft(samples, size) * np.conj(np.fft.rfft(wanted, size)), size)
        return bool(matched.max() > LEAST_HEARD * (wanted @ wanted))


def frames_of(request: Request) -> list[Any]:
    """The frames of a request: a model without a processor gets them as they are."""
    video: Any = request.video
    return list(video)


def pointing(settings: AnnotatorSettings) -> Scripted:
    """The factory."""
    model = Scripted()
    model.reply = PointingOracle(films_of(settings.model)).reply
    return model
