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
from pipeline.synthetic.world.audio import RATE, render_sound
from pipeline.synthetic.world.captions import describe_jointly
from pipeline.synthetic.world.frames import draw_frame
from pipeline.synthetic.world.planted_questions import answer_kinds, find_question, without_plant
from pipeline.synthetic.world.plants import SOURCES
from pipeline.synthetic.world.questions import ALWAYS, QAPair
from pipeline.synthetic.world.scenes import RATE as FRAME_RATE
from pipeline.synthetic.world.scenes import Scene
from pipeline.synthetic.world.shortcuts import giving_views
from pipeline.synthetic.world.truth import TRUTH_SUFFIX, Truth, read_truth
from stages.text_metrics import words
from tests.pipeline.scripted import CAPTION, Scripted, inside, prompt_of
from tests.pipeline.world.scripted_writer import one_sided_pairs, write_questions

SIDE = 12  # pixels of the small copies
BANDS = np.geomspace(80, 7000, 17)  # Hz
WINDOW_S = 0.05
BLIND = 0.6  # share of the questions that a blinded model does not answer from pictures alone
UNKNOWN = "unknown"
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


def frames_of(scene: Scene) -> list[Any]:
    """The frames of a film, small whatever it has."""
    return [draw_frame(scene, n / FRAME_RATE) for n in range(round(scene.seconds * FRAME_RATE))]


@dataclass
class Films:
    """The films of a folder."""

    truths: list[Truth]
    known: dict[str, int] = field(default_factory=dict)

    @cached_property
    def pictures(self) -> Numbers:
        """(films, frames, numbers)."""
        return np.stack([np.stack([small(each) for each in frames_of(t.scene)]) for t in self.truths])

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


def plain(text: str) -> str:
    """A question without case and punctuation."""
    return " ".join(words(text))


@dataclass
class Oracle:
    """Answers by the truth. blind: share of questions that it does not answer from pictures alone; above 0, it also
    answers its own questions as it wrote them.
    """

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
            assert seen is not None
            return write_questions(seen.scene, request.text)
        if name.startswith("caption"):
            return CAPTION
        question, *options = request.text.rpartition("\n\n")[2].splitlines()
        if name in ("verify_transcript", "verify_title"):
            answer = self._read(question, inside(request.text), name)
        else:
            answer = self._answer(question, seen, heard, bool(request.images))
        return choose_option(answer, options) if options else answer

    def _find(self, question: str, truth: Truth | None) -> QAPair | None:
        return find_question(without_plant(truth.scene), question) if truth else None

    def _answer(self, question: str, seen: Truth | None, heard: Truth | None, frame: bool) -> str:
        by_sight, by_sound = self._find(question, seen), self._find(question, heard)
        if seen is None and heard is None:
            by_text = self._find(question, self.films.truths[0])  # questions without a clip are known of any clip
            return by_text.answer if by_text and by_text.needs == "text" else UNKNOWN
        if by_sight and seen and suffices("video", seen, by_sight):
            cut = frame and by_sight.part != ALWAYS
            blind = heard is None and self._is_blind(question, seen)
            return UNKNOWN if cut or blind else by_sight.answer
        if by_sound and heard and suffices("audio", heard, by_sound):
            return by_sound.answer
        known = by_sight or by_sound
        if known and known.needs == "text":
            return known.answer
        if seen is None or seen is not heard:
            return UNKNOWN
        return by_sight.answer if by_sight else self._repeat(question, seen)

    def _repeat(self, question: str, film: Truth) -> str:
        """A weak annotator gives to its own question about a sound with two sources the answer that it wrote."""
        written = one_sided_pairs(film.scene) if self.blind and film.scene.plant == SOURCES else []
        return next((pair.answer for pair in written if plain(pair.question) == plain(question)), UNKNOWN)

    def _is_blind(self, question: str, seen: Truth) -> bool:
        return Random(f"{seen.scene.name} {question}").random() < self.blind

    def _read(self, question: str, texts: dict[str, str], name: str) -> str:
        """An answer from the transcript, or from title and description."""
        if name == "verify_title":
            titled = (truth for truth in self.films.truths if describe_jointly(truth.scene) in texts["title"])
            film = next(titled, None)
            qa = self._find(question, film)
            return qa.answer if qa and film and "title" in giving_views(film.scene, qa) else UNKNOWN
        same = (truth for truth in self.films.truths if truth.transcript == texts["subtitles"])
        qa = self._find(question, next(same, None))
        return qa.answer if qa and qa.needs == "audio" and qa.kind in ("speech", "count") else UNKNOWN


def suffices(view: str, truth: Truth, qa: QAPair) -> bool:
    """Whether a view answers a question, by itself or by what is planted in the film."""
    return qa.needs == view or view in giving_views(truth.scene, qa)


def choose_option(answer: str, options: Sequence[str]) -> str:
    """The letter of an option: of the answer if it is known, of the only one that can be an answer, else a guess."""
    texts = {option[0]: option[3:] for option in options}
    likely = [letter for letter, text in texts.items() if answer_kinds(text)]
    known = [letter for letter, text in texts.items() if plain(text) == plain(answer)]
    return known[0] if known else likely[0] if len(likely) == 1 else "A"


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
