"""Positions that `caption`, `ask` and `verify` read for a clip, by `ask.style` and number of witnesses.

All positions are read by the model of the bench; what it says is scripted, so that each clip gets three questions that
need both senses and rest on a quarter of the clip. That is the most that `verify` asks of witnesses: all their views of
a question, since none gives it away. The annotator and each witness keep prefixes of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from manifests.records import ClipMedia, Question, Screening
from ola.decoding import TorchDecoder
from ola.prompt import Answer, Prompt, Request
from pipeline.annotation.media_loader import MediaLoader
from pipeline.annotation.witnesses import ANNOTATOR, Witness
from pipeline.steps.ask import Ask, AskInput, AskSettings
from pipeline.steps.caption import Captioning
from pipeline.steps.verify import Verify, VerifySettings
from tests.bench import annotate
from tests.bench.measure import Figure
from tests.pipeline.scripted import QUESTIONS, doubt, prompt_of, sensible_reply, sensible_yes, transcript, with_clues

if TYPE_CHECKING:
    from tests.bench.prefixes import LongClips

STYLES = ("direct", "evidence")
NAMES = ("tests.bench:first", "tests.bench:second")  # of witnesses
QUARTERS = "[0-7.5] a cook\n[7.5-15] a red kettle\n[15-22.5] a lid\n[22.5-30] a cup"
WRONG = "a blue pot"
HOLE = 16_000  # samples of silence in a row: the view `rest`
ANSWERS = dict(zip(QUESTIONS.splitlines()[::2], QUESTIONS.splitlines()[1::2], strict=True))


class Reading(annotate.Noted):
    """Reads whole requests, and says what a test says."""

    def generate(self, requests: Sequence[Request | Prompt], *rest: Any, **more: Any) -> list[Answer]:
        on_answer: Callable[[int, Answer], object] = more.pop("on_answer", None) or (lambda index, answer: None)
        asked = [replace(each, max_new_tokens=1) for each in requests if isinstance(each, Request)]
        answers = [
            replace(answer, text=scripted_reply(request), finish="stop")
            for answer, request in zip(super().generate(asked), asked, strict=True)
        ]
        for index, answer in enumerate(answers):
            on_answer(index, answer)
        return answers

    def choose(self, requests: Sequence[Request | Prompt], words: Sequence[str]) -> list[tuple[float, ...]]:
        super().choose(requests, words)
        shares = [sensible_yes(each) for each in requests if isinstance(each, Request)]
        return [(share, 1 - share) for share in shares]


def scripted_reply(request: Request) -> str:
    """Questions that need both senses, and answers to them from both, but not from the rest of a clip."""
    name = prompt_of(request)
    if name in ("ask_seen", "ask_heard"):
        return QUARTERS
    if name == "ask_evidence":
        return with_clues(QUESTIONS, "S1 H1", "S2 H2", "S4 H4")
    if name != "verify_answer":
        return sensible_reply(request)
    wave: Any = request.sounds[0] if request.sounds else None
    if wave is None or request.video is None:
        return WRONG
    gaps = np.diff(np.flatnonzero(wave.samples), prepend=-1, append=len(wave.samples))
    asked = request.text.splitlines()[-1]
    return WRONG if gaps.max() > HOLE else next(text[4:] for label, text in ANSWERS.items() if label.endswith(asked))


def measure_styles(world: LongClips) -> Iterator[Figure]:
    """Positions read for a clip against those of the defaults."""
    against = "ask.style=direct without witnesses"
    plain = 0.0
    for style in STYLES:
        for witnesses in range(len(NAMES) + 1):
            read, asked = positions(world, style, witnesses)
            plain = plain or read
            what = f"ask.style={style}, {witnesses} witnesses, 3 questions a clip of 30 s: positions read for a clip"
            note = f"of {asked:,.0f} that are asked for"
            yield Figure("prefixes", what, against, "positions", [read], [plain], "speed", None, note)


def positions(world: LongClips, style: str, witnesses: int) -> tuple[float, float]:
    """Positions read and asked for, by all models, for a clip."""
    models = [Reading(world.model, world.processor) for _ in range(1 + witnesses)]
    run_steps(world, style, models)
    caches = [model.decoder.prefixes for model in models if isinstance(model.decoder, TorchDecoder)]
    clips = len(world.clips)
    return sum(cache.read for cache in caches) / clips, sum(cache.asked for cache in caches) / clips


def run_steps(world: LongClips, style: Any, models: Sequence[Reading]) -> None:
    """Bring all clips through the three steps. models: the annotator, then the witnesses."""
    annotator, names = models[0], NAMES[: len(models) - 1]
    world.run_step(Captioning(), world.clips, annotator)
    asked = world.run_step(Ask(AskSettings(style=style)), [asking(clip) for clip in world.clips], annotator)
    clips = {clip.clip: clip for clip in world.clips}
    questions: list[Question] = [question for some in asked for question in some]
    assert len(questions) == 3 * len(clips), asked
    verify = Verify(VerifySettings(witnesses=names))
    verify.witnesses = [
        *((Witness(name), model) for name, model in zip(names, models[1:], strict=True)),
        (Witness(ANNOTATOR), annotator),
    ]
    raw = MediaLoader(str(world.root))
    verify.loaders = {witness.label: raw for witness, _ in verify.witnesses}
    world.run_step(verify, [doubt(each, clips[each.clip]) for each in questions], annotator)


def asking(clip: ClipMedia) -> AskInput:
    """The input of `ask` about a clip."""
    screening = Screening(
        id=clip.clip, clip=clip.clip, footage=clip.id, transcript=clip.clip, complete=1.0, informative=1.0
    )
    return AskInput(screening, clip, transcript(clip=clip.clip))
