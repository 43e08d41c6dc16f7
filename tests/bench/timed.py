"""An annotator that times each call of Ola, to measure everything else: `tests.bench.timed:opened`.

Random weights write nothing that can be read, so each answer gets, once it has been generated, the words of a sensible
one: then the steps have as much to do as they would have. In a module of its own, since sandboxes import it by name.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ola.generation import Ola
from ola.processor import OlaProcessor
from ola.prompt import Answer, Picture, Prompt, Request, Visual
from pipeline.annotation.annotator_settings import AnnotatorSettings
from pipeline.annotation.media_loader import MediaLoader
from tests.pipeline.scripted import sensible_reply


class Timed(Ola):
    """Writes a line a call: the seconds it took, those among them before the first request is encoded, and when."""

    log: Path

    def generate(
        self,
        requests: Sequence[Request | Prompt],
        on_text: Callable[[int, str], object] | None = None,
        on_answer: Callable[[int, Answer], object] | None = None,
    ) -> list[Answer]:
        began, outside = time.monotonic(), 0.0

        def told(index: int, answer: Answer) -> None:
            nonlocal outside
            begun = time.monotonic()
            if on_answer is not None:
                on_answer(index, sensible(requests[index], answer))
            outside += time.monotonic() - begun  # the step's own work, in the midst of the model's

        answers = super().generate(requests, on_text, told)
        self._write(began, outside, len(requests))
        return [sensible(request, answer) for request, answer in zip(requests, answers, strict=True)]

    def choose(self, requests: Sequence[Request | Prompt], words: Sequence[str]) -> list[tuple[float, ...]]:
        began = time.monotonic()
        shares = super().choose(requests, words)
        self._write(began, 0.0, len(requests))
        return shares

    def _prepared(self, requests: Sequence[Request | Prompt]) -> Any:
        began = time.monotonic()
        made = super()._prepared(requests)
        self.preparing = time.monotonic() - began
        return made

    def _write(self, began: float, outside: float, requests: int) -> None:
        ended = time.monotonic()
        facts = {"inside": ended - began - outside, "preparing": self.preparing, "requests": requests, "at": ended}
        note(self.log, facts)


def sensible(request: Request | Prompt, answer: Answer) -> Answer:
    """The answer with words that a step can read."""
    assert isinstance(request, Request)
    said = sensible_reply(request)
    assert isinstance(said, str)
    return replace(answer, text=said, finish="stop")


class SlowProcessor(OlaProcessor):
    """Takes some seconds longer for each video."""

    seconds = 0.0

    def video(self, frames: Sequence[Picture], digest: str = "") -> Visual:
        time.sleep(self.seconds)
        return super().video(frames, digest)


def slow(settings: AnnotatorSettings) -> Timed:
    """An annotator whose processor takes longer."""
    ola = opened(settings)
    ola.processor = processor = SlowProcessor(ola.processor.tokenizer, ola.processor.config)
    processor.seconds = float(settings.device.split()[1])
    return ola


def slow_alone(settings: AnnotatorSettings) -> Timed:
    """The same, with nothing loaded ahead."""
    MediaLoader.expect = lambda *_: None  # type: ignore[method-assign]
    return slow(settings)


def opened(settings: AnnotatorSettings) -> Timed:
    """The factory. `device`: the file to write to, and the seconds that a video takes longer."""
    torch.set_num_threads(1)  # as the pipeline takes on a CPU
    ola: Any = Timed.from_pretrained(settings.model)
    ola.log = Path(settings.device.split()[0])
    note(ola.log, {"inside": 0.0, "preparing": 0.0, "requests": 0, "at": time.monotonic()})
    return ola  # type: ignore[no-any-return]


def note(log: Path, facts: dict[str, float]) -> None:
    """A line more."""
    with open(log, "a", encoding="utf-8") as file:
        file.write(json.dumps(facts) + "\n")
