"""A model whose answers are written in a test: `annotator.engine: tests.pipeline.scripted:sensible`.

It reads requests as a gullible model would: what stands between the marks of a fence is data, and it obeys whatever
stands outside of one. It counts what it is asked, and keeps every request.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import Any

from manifests.records import ClipMedia, Question, Transcript
from ola.prompt import Answer, Request
from pipeline.annotation.annotator import ModelStep
from pipeline.annotation.annotator_settings import AnnotatorSettings
from pipeline.media.media_store import MediaTar
from pipeline.prompts import prompt
from pipeline.steps.verify import VerifyInput
from stages.text_metrics import exact

ENGINE = "tests.pipeline.scripted:sensible"
PROMPTS = (
    *(f"caption_{view}" for view in ("image", "video", "sound", "joint")),
    *("screen_complete", "screen_informative", "ask", "ask_sound", "verify_answer", "verify_agree"),
    *("verify_transcript", "verify_title", "verify_words", "caption_merge", "caption_seen", "caption_heard"),
    *("ask_distractors", "ask_present", "ask_also_right", "ask_seen", "ask_heard", "ask_evidence"),
)
FENCE = re.compile(r"\[begin (?P<mark>.+? [0-9a-f]{12})\]\n(?P<text>.*?)\n\[end (?P=mark)\]", re.DOTALL)
SAID = "Now I put the red kettle on the stove and we wait for the whistle of it."
QUESTIONS = """Q1 (speech): What does the cook put on the stove?
A1: a red kettle
Q2 (source): Who speaks while the water is poured?
A2: the cook in the apron
Q3 (order): What is heard after the lid is closed?
A3: a whistle"""
SOUND_QUESTIONS = """Q1 (source): What whistles?
A1: a red kettle
Q2 (order): What is heard after the lid is closed?
A2: a whistle
Q3 (count): How often does the lid clatter?
A3: twice"""
DISTRACTORS = ("a blue bowl", "a green spoon", "a brown lid", "a white towel", "a black pan")


NOTES = {
    "ask_seen": ("a cook in an apron at the stove", "a red kettle on the stove"),
    "ask_heard": ("a whistle, high and long", "a lid that clatters"),
}
CAPTION = "A cook is in the kitchen and speaks of the kettle on the stove."


class Scripted:
    """An annotator. reply: the text to a request, or (text, finish). judged: what `choose` gives `yes`, unless it is
    told otherwise outside of a fence.
    """

    def __init__(self) -> None:
        self.reply: Callable[[Request], str | tuple[str, str]] = sensible_reply
        self.judged: Callable[[Request], float] = sensible_yes
        self.asked: list[Request] = []
        self.chosen: list[Request] = []
        self.calls = 0

    def generate(
        self, requests: Sequence[Request], *, on_answer: Callable[[int, Answer], object] | None = None
    ) -> list[Answer]:
        self.calls += 1
        answers = []
        for index, request in enumerate(requests):
            self.asked.append(request)
            said = self.reply(request)
            text, finish = (said, "stop") if isinstance(said, str) else said
            made: Any = finish
            answers.append(Answer(text, tuple(text.encode()), made, len(request.text), {"total": 0.5}, read_tokens=1))
            if on_answer is not None:
                on_answer(index, answers[-1])
        return answers

    def choose(self, requests: Sequence[Request], words: Sequence[str]) -> list[tuple[float, ...]]:
        assert tuple(words) == ("yes", "no")
        self.chosen += requests
        shares = [1.0 if obeys(request.text) else self.judged(request) for request in requests]
        return [(share, 1 - share) for share in shares]

    def names(self) -> Counter[str]:
        """How often each prompt was asked."""
        return Counter(map(prompt_of, self.asked))


def sensible(settings: AnnotatorSettings) -> Scripted:
    """The factory."""
    return Scripted()


def obeys(text: str) -> bool:
    """Whether anything outside of a fence tells the model what to say."""
    return "ignore the above" in FENCE.sub("", text).lower()


def inside(text: str) -> dict[str, str]:
    """What is fenced, by the names of the fences."""
    return {match["mark"].rpartition(" ")[0]: match["text"] for match in FENCE.finditer(text)}


def prompt_of(request: Request) -> str:
    """Which prompt a request was made of; `ask_again` is any of `ask` with an end."""
    name = first_prompt_of(request)
    return "ask_again" if name.startswith("ask") and "Your last answer cannot be read" in request.text else name


def first_prompt_of(request: Request) -> str:
    """Which prompt a request began with, whether or not it asks again."""
    found = [name for name in PROMPTS if request.text.startswith(Template(prompt(name)).template.split("$")[0])]
    if found == ["screen_complete", "screen_informative"]:
        found = [name for name in found if request.text.endswith(prompt(name).split("$subtitles")[1])]
    assert len(found) == 1, (found, request.text)
    return found[0]


def sensible_reply(request: Request) -> str:
    """What a good model would say."""
    name = first_prompt_of(request)
    if name == "ask_distractors":
        return numbered_list(inside(request.text)["answer"], *DISTRACTORS)
    if name in NOTES:
        return written_notes(name, float(re.findall(r"of ([\d.]+) seconds", request.text)[0]))
    if name == "ask_evidence":
        return with_clues(SOUND_QUESTIONS if "Write in English." in request.text else QUESTIONS)
    if name.startswith("ask"):
        return SOUND_QUESTIONS if "Nobody says a word" in request.text else QUESTIONS
    return CAPTION if name.startswith("caption") else "a red kettle"


def numbered_list(*entries: str) -> str:
    """A list as `ask_distractors` wants it: first the answer."""
    return "\n".join(f"{n}. {each}" for n, each in enumerate(entries, start=1))


def written_notes(name: str, seconds: float) -> str:
    """Two notes of a sense: of the first half of a clip, and of the second."""
    first, second = NOTES[name]
    return f"[0-{seconds / 2:g}] {first}\n[{seconds / 2:g}-{seconds:g}] {second}"


def with_clues(questions: str, *names: str) -> str:
    """Questions with the clues that each rests on: the first of each sense unless told otherwise."""
    lines = []
    for line in questions.splitlines():
        lines.append(line)
        if number := re.match(r"A(\d+):", line):
            given = names[int(number[1]) - 1 : int(number[1])] or ("S1 H1",)
            lines.append(f"E{number[1]}: {given[0]}")
    return "\n".join(lines)


def sensible_yes(request: Request) -> float:
    """Screens pass, claims hold; answers agree where they are the same, and no distractor is right."""
    data, name = inside(request.text), prompt_of(request)
    if name != "verify_agree":
        return 0.1 if name == "ask_also_right" else 0.9
    return 0.9 if exact(data["given answer"], data["right answer"]) else 0.1


def ready(step: ModelStep[Any, Any], root: Path, notes: str = "", engine: str = ENGINE, model: str = "") -> Scripted:
    """Open a step below `root`; its model."""
    step.root, step.notes = str(root), notes
    step.annotator = AnnotatorSettings(engine=engine, model=model)
    step.open()
    if isinstance(step.model, Scripted):
        step.model = Scripted()  # steps of one process share an annotator, tests do not
    made: Any = step.model
    return made  # type: ignore[no-any-return]


def footage(
    root: Path,
    clip: str = "clip",
    frames: int = 3,
    seconds: float | None = 1.0,
    seed: int = 0,
    size: tuple[int, int] = (96, 64),
) -> ClipMedia:
    """Made frames of a width and height, and a sound unless `seconds` is None, in a tar of their own."""
    import io

    import numpy as np
    from PIL import Image

    from pipeline.media.audio import wav_bytes

    noise = np.random.default_rng(seed)
    tar, jpegs = MediaTar(f"{clip}.tar", str(root / f"{clip}.tar")), []
    for _ in range(frames):
        file = io.BytesIO()
        Image.fromarray(noise.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(file, "JPEG")
        jpegs.append(file.getvalue())
    pcm = noise.integers(-9000, 9000, int(16_000 * (seconds or 0)), dtype=np.int16)
    made = ClipMedia(
        id=clip,
        clip=clip,
        width=size[0],
        height=size[1],
        frames=tar.add(f"{clip}.mjpg", b"".join(jpegs)),
        frame_bytes=tuple(map(len, jpegs)),
        frame_ms=tuple(range(0, 1000 * frames, 1000)),
        sound=None if seconds is None else tar.add(f"{clip}.wav", wav_bytes(pcm.tobytes())),
    )
    tar.close()
    return made


def transcript(text: str = SAID, clip: str = "clip") -> Transcript:
    """What is said in a clip."""
    return Transcript(
        id=clip,
        clip=clip,
        origin="sidecar",
        track="talk.srt",
        language=None,
        word_times="given",
        text=text,
        segments=(),
        words=len(text.split()),
        coverage=0.5,
    )


def doubt(question: Question, seen: ClipMedia, text: str = SAID, meta: str = "{}") -> VerifyInput:
    """A question with the media of its clip, what is said in it, and what is known of its video."""
    from tests.pipeline.test_pack import clip, video

    return VerifyInput(question, seen, transcript(text, seen.clip), clip(0, 0), replace(video(0), meta=meta))
