"""Models that know the films of a world: `annotator.engine=tests.pipeline.world.oracle:blinded`, the folder of the
films as `annotator.model`.

They find a film by what they are shown: the frames by small copies of them, the sound by its spectrum. They answer what
a view allows, by the truth file, and `unknown` else. `blinded` answers nothing from pictures alone for most questions,
as a weak annotator does; with the sound beside them it sees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ola.prompt import Request
from pipeline.annotation.annotator_settings import AnnotatorSettings
from pipeline.annotation.text_rules import SOUND_KINDS, QuestionDraft, question_flaws
from pipeline.synthetic.world.audio import RATE, render_sound
from pipeline.synthetic.world.frames import draw_frames
from pipeline.synthetic.world.questions import ALWAYS, QAPair, answerable_questions
from pipeline.synthetic.world.truth import TRUTH_SUFFIX, Truth, read_truth
from stages.text_metrics import words
from tests.pipeline.scripted import CAPTION, Scripted, inside, prompt_of

SIDE = 12  # pixels of the small copies
BANDS = np.geomspace(80, 7000, 17)  # Hz
WINDOW_S = 0.05
BLIND = 0.6  # share of the questions that a blinded model does not answer from pictures alone
UNKNOWN = "unknown"
ASKED = 3
Numbers = NDArray[Any]


def small(picture: Any) -> Numbers:
    """A picture as a few numbers."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX), float).ravel()


def spectrum(samples: Numbers, rate: int) -> Numbers:
    """The loudness of some bands over four seconds, in dB above a floor."""
    whole = np.zeros(4 * rate)
    whole[: min(len(samples), len(whole))] = samples[: len(whole)]
    parts = whole[: len(whole) // int(WINDOW_S * rate) * int(WINDOW_S * rate)].reshape(-1, int(WINDOW_S * rate))
    power = np.abs(np.fft.rfft(parts, axis=1)) ** 2 / parts.shape[1] ** 2
    at = np.searchsorted(np.fft.rfftfreq(parts.shape[1], 1 / rate), BANDS)
    bands = np.stack([power[:, a : max(a + 1, b)].sum(axis=1) for a, b in pairwise(at)], axis=1)
    return np.asarray(10 * np.log10(np.maximum(bands, 1e-7))).ravel()


@dataclass
class Films:
    """The films of a folder."""

    truths: list[Truth]
    known: dict[str, int] = field(default_factory=dict)

    @cached_property
    def pictures(self) -> Numbers:
        """(films, frames, numbers)."""
        return np.stack([np.stack([small(each) for each in draw_frames(t.scene)]) for t in self.truths])

    @cached_property
    def sounds(self) -> Numbers:
        """(films, numbers)."""
        return np.stack([spectrum(render_sound(t.scene)[0] / 32768, RATE) for t in self.truths])

    def seen(self, frames: Sequence[Any]) -> Truth:
        """The film of these frames."""
        some = [small(frame) for frame in (frames[0], frames[len(frames) // 2], frames[-1])]
        key = hashlib.sha256(np.stack(some).tobytes()).hexdigest()
        if key not in self.known:
            far = sum(((self.pictures - each) ** 2).sum(axis=2).min(axis=1) for each in some)
            self.known[key] = int(np.argmin(far))
        return self.truths[self.known[key]]

    def heard(self, wave: Any) -> Truth:
        """The film of this sound."""
        samples = np.asarray(wave.samples, float)
        key = hashlib.sha256(samples.tobytes()).hexdigest()
        if key not in self.known:
            loud = samples / 32768 if np.abs(samples).max() > 1 else samples
            self.known[key] = int(np.argmin(((self.sounds - spectrum(loud, wave.rate)) ** 2).sum(axis=1)))
        return self.truths[self.known[key]]


@lru_cache(maxsize=2)
def films_of(folder: str) -> Films:
    """The films of a folder, in order."""
    found = [read_truth(str(path)) for path in sorted(Path(folder).glob(f"*{TRUTH_SUFFIX}"))]
    return Films(found)


def asked_of(truth: Truth, kinds: Sequence[str]) -> list[QAPair]:
    """Three questions about a film, as a good annotator writes them: of any needs, none against the rules of `ask`."""
    pairs = [qa for qa in answerable_questions(truth.scene) if not kinds or qa.kind in kinds]
    Random(truth.scene.name).shuffle(pairs)
    chosen: list[QAPair] = []
    for qa in pairs:
        drafts = [QuestionDraft(each.kind, each.question, each.answer) for each in (*chosen, qa)]
        if len(chosen) < ASKED and question_flaws(drafts, "")[-1] is None:
            chosen.append(qa)
    return chosen


def plain(text: str) -> str:
    """A question without case and punctuation."""
    return " ".join(words(text))


@dataclass
class Oracle:
    """Answers by the truth. blind: share of questions that it does not answer from pictures alone."""

    films: Films
    blind: float = 0.0

    def reply(self, request: Request) -> str:
        """The answer to a request of any step."""
        name = prompt_of(request) if "Please recognize" not in request.text else "transcribe"
        video: Any = request.video or request.images
        seen = self.films.seen(list(video)) if video else None
        heard = self.films.heard(request.sounds[0]) if request.sounds else None
        if name == "transcribe":
            return heard.transcript if heard else ""
        if name.startswith("ask"):
            return self._questions(seen, SOUND_KINDS if "Nobody says a word" in request.text else ())
        if name.startswith("caption"):
            return CAPTION
        if name == "verify_transcript":
            return self._from_words(request.text.splitlines()[-1], inside(request.text)["subtitles"])
        return self._answer(request.text.splitlines()[-1], seen, heard, bool(request.images))

    def _questions(self, seen: Truth | None, kinds: Sequence[str]) -> str:
        assert seen is not None
        pairs = enumerate(asked_of(seen, kinds), start=1)
        return "\n".join(f"Q{n} ({qa.kind}): {qa.question}\nA{n}: {qa.answer}" for n, qa in pairs)

    def _find(self, question: str, truth: Truth | None) -> QAPair | None:
        pairs = answerable_questions(truth.scene) if truth else []
        return next((qa for qa in pairs if plain(qa.question) == plain(question)), None)

    def _answer(self, question: str, seen: Truth | None, heard: Truth | None, frame: bool) -> str:
        by_sight, by_sound = self._find(question, seen), self._find(question, heard)
        if seen is None and heard is None:
            by_text = self._find(question, self.films.truths[0])  # questions without a clip are known of any clip
            return by_text.answer if by_text and by_text.needs == "text" else UNKNOWN
        for qa, needs in ((by_sight, "video"), (by_sound, "audio"), (by_sight or by_sound, "text")):
            if qa and qa.needs == needs:
                cut = frame and qa.part != ALWAYS
                blind = heard is None and self._is_blind(question, seen)
                return UNKNOWN if needs == "video" and (cut or blind) else qa.answer
        return by_sight.answer if by_sight and seen is heard else UNKNOWN

    def _is_blind(self, question: str, seen: Truth | None) -> bool:
        assert seen is not None
        return Random(f"{seen.scene.name} {question}").random() < self.blind

    def _from_words(self, question: str, said: str) -> str:
        same = (truth for truth in self.films.truths if truth.transcript == said)
        qa = self._find(question, next(same, None))
        return qa.answer if qa and qa.needs == "audio" and qa.kind in ("speech", "count") else UNKNOWN


def made(settings: AnnotatorSettings, blind: float) -> Scripted:
    """A model for the films in the folder of the settings."""
    model = Scripted()
    model.reply = Oracle(films_of(settings.model), blind).reply
    return model


def seeing(settings: AnnotatorSettings) -> Scripted:
    """The oracle."""
    return made(settings, 0.0)


def blinded(settings: AnnotatorSettings) -> Scripted:
    """The oracle that needs its ears to see."""
    return made(settings, BLIND)
