"""Benchmark the steps that ask the model: a whole part at once against one by one, and the four views of `verify`.

The model has half a million random parameters and a vocabulary made of the prompts, which then take about as many
tokens as with Qwen2's. No question can be read from it: `ask` asks twice each time, and `verify` gets questions made by
hand. One thread, as the pipeline takes on a CPU. All sides read the same frames and sounds from a tar, and must come to
the same answers.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

import pipeline.prompts
from manifests.records import ModelCall, Question, Screening
from ola.generation import Ola
from ola.model import OlaForConditionalGeneration
from ola.processor import OlaProcessor
from ola.prompt import Answer, Prompt, Request
from pipeline.annotation.annotator import ModelStep
from pipeline.annotation.media_loader import MediaLoader
from pipeline.prompts import prompt
from pipeline.steps.ask import Ask, AskInput, AskSettings
from pipeline.steps.caption import Captioning, CaptionSettings
from pipeline.steps.verify import Verify, VerifySettings
from tests.bench.generation import SMALL
from tests.bench.measure import Figure, Target
from tests.bench.videos import Videos
from tests.ola import tiny
from tests.pipeline.scripted import doubt, footage, transcript

CLIPS, FRAMES, SOUND_S = 8, 4, 2.0
LONGEST = 32  # tokens of an answer, half of what `verify` takes; one by one gains from few
WORDS = 2048
ASKED = ("What does the cook put on the stove?", "Who speaks of the whistle?", "What is heard at the end?")
SCORES_APART = 2e-3  # what float32 in another order makes of a probability
ROUNDS = 3

Work = tuple[ModelStep[Any, Any], Sequence[Any]]


class Noted(Ola):
    """Keeps the tokens that it answers with, and the probabilities that it gives."""

    def __init__(self, model: OlaForConditionalGeneration, processor: OlaProcessor) -> None:
        super().__init__(model, processor)
        self.said: list[tuple[int, ...]] = []
        self.chosen: list[float] = []

    def generate(self, requests: Sequence[Request | Prompt], *rest: Any, **more: Any) -> list[Answer]:
        answers = super().generate(requests, *rest, **more)
        self.said += [answer.tokens for answer in answers]
        return answers

    def choose(self, requests: Sequence[Request | Prompt], words: Sequence[str]) -> list[tuple[float, ...]]:
        shares = super().choose(requests, words)
        self.chosen += [yes for yes, _no in shares]
        return shares

    @property
    def requests(self) -> int:
        return len(self.said) + len(self.chosen)


class Singly:
    """Each request by an Ola that has seen nothing yet."""

    def __init__(self, fresh: Callable[[], Noted]) -> None:
        self.fresh, self.used = fresh, list[Noted]()

    def generate(self, requests: Sequence[Request], on_answer: Callable[[int, Answer], object]) -> list[Answer]:
        answers = [self._one().generate([request])[0] for request in requests]
        for index, answer in enumerate(answers):
            on_answer(index, answer)
        return answers

    def choose(self, requests: Sequence[Request], words: Sequence[str]) -> list[tuple[float, ...]]:
        return [self._one().choose([request], words)[0] for request in requests]

    def _one(self) -> Noted:
        self.used.append(self.fresh())
        return self.used[-1]


class World:
    """A model, and clips with questions below a folder."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        self.root, self.model = root, tiny.model(limits=SMALL, vocab_size=WORDS)
        self.processor = OlaProcessor(tokenizer(), self.model.config)
        self.clips = [footage(root, f"clip-{n}", FRAMES, SOUND_S, seed=n) for n in range(CLIPS)]

    def ola(self) -> Noted:
        """One that has encoded nothing yet."""
        return Noted(self.model, self.processor)

    def work(self) -> list[Work]:
        """The steps, with all that they do."""
        askings = [
            AskInput(
                Screening(id=c.clip, clip=c.clip, footage=c.id, transcript=c.clip, complete=1.0, informative=1.0),
                c,
                transcript(clip=c.clip),
            )
            for c in self.clips
        ]
        return [
            (Captioning(CaptionSettings(longest=LONGEST)), self.clips),
            (Ask(AskSettings(longest=LONGEST)), askings),
            self.verifying(len(ASKED), LONGEST),
        ]

    def verifying(self, questions: int, longest: int) -> Work:
        """`verify`, with that many questions a clip; longest: answer, in tokens."""
        asked = ModelCall(prompt="", answer="", finish="stop", prompt_tokens=0, answer_tokens=0, latency=0.0)
        doubts = [
            doubt(
                Question(id=f"{c.clip}-{n}", clip=c.clip, footage=c.id, transcript=c.clip, number=n, kind="speech",
                         question=ASKED[n], answer="a red kettle", options=(), asked=asked),
                c,
            )
            for c in self.clips
            for n in range(questions)
        ]  # fmt: skip
        return Verify(VerifySettings(longest=longest)), doubts

    def at_once(self, work: Sequence[Work]) -> list[Noted]:
        """All records of a step in one batch, by one annotator."""
        ola = self.ola()
        for step, records in work:
            self.run_step(step, records, ola)
        return [ola]

    def by_record(self, work: Sequence[Work]) -> list[Noted]:
        """A batch and an annotator for each record."""
        used = []
        for step, records in work:
            for record in records:
                used.append(self.ola())
                self.run_step(step, [record], used[-1])
        return used

    def by_request(self, work: Sequence[Work]) -> list[Noted]:
        """A batch for each record, an annotator for each request."""
        singly = Singly(self.ola)
        for step, records in work:
            for record in records:
                self.run_step(step, [record], singly)
        return singly.used

    def run_step(self, step: ModelStep[Any, Any], records: Sequence[Any], model: Any) -> list[Any]:
        """What a step makes of its records."""
        step.root, step.notes, step.model, step.load = str(self.root), "", model, MediaLoader(str(self.root))
        answers = list(step.run(records))
        assert len(answers) == len(records)
        return answers


def tokenizer() -> PreTrainedTokenizerFast:
    texts = [prompt(file.stem) for file in sorted(Path(pipeline.prompts.__file__).parent.glob("*.md"))]
    made: PreTrainedTokenizerFast = tiny.tokenizer().train_new_from_iterator(texts, WORDS, show_progress=False)
    return made


def measure(videos: Videos) -> Iterator[Figure]:
    """The rows of parts at once, and of the four views."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        world = World(videos.folder / "annotate")
        yield from _throughput(world)
        yield _views(world, 1, "one question")
        yield _views(world, len(ASKED), f"{len(ASKED)} questions")
    finally:
        torch.set_num_threads(threads)


def _throughput(world: World) -> Iterator[Figure]:
    sides = {"once": world.at_once, "record": world.by_record, "request": world.by_request}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    world.at_once(world.work())
    for _ in range(ROUNDS):
        used = {}
        for name, side in sides.items():
            work, began = world.work(), time.perf_counter()
            used[name] = side(work)
            took = time.perf_counter() - began
            rates[name].append(sum(ola.requests for ola in used[name]) / took)
        _same(used["once"], used["record"])
        _same(used["once"], used["request"])
    what = f"{used['once'][0].requests} requests of caption, ask and verify over {CLIPS} clips: all records of a step"
    # A record's own requests share a batch and its media already: that row is for information.
    for name, target in (("request", Target("≥", 4.0)), ("record", None)):
        against = f"a {name} at a time, nothing kept between {name}s"
        yield Figure("annotate", what, against, "requests/s", rates["once"], rates[name], "speed", target)


def _views(world: World, questions: int, many: str) -> Figure:
    pairs = []
    for _ in range(1 + ROUNDS):
        together, alone = (side([world.verifying(questions, 2)]) for side in (world.at_once, world.by_request))
        _same(together, alone)
        pairs.append((_encoding(together), _encoding(alone)))
    ours, theirs = zip(*pairs[1:], strict=True)  # the first round warms up
    what = f"encoder seconds of verify's four views, {many} a clip, {CLIPS} clips: at once"
    return Figure("annotate", what, "encoding anew for each view", "s", ours, theirs, "time", Target("≤", 0.5))


def _encoding(used: Sequence[Noted]) -> float:
    return sum(ola.encodings.seconds for ola in used)


def _same(one: Sequence[Noted], other: Sequence[Noted]) -> None:
    """The same answers, in whatever order; AssertionError where they differ."""
    assert Counter(said for ola in one for said in ola.said) == Counter(said for ola in other for said in ola.said)
    scores, others = (sorted(score for ola in side for score in ola.chosen) for side in (one, other))
    np.testing.assert_allclose(scores, others, rtol=0, atol=SCORES_APART)
