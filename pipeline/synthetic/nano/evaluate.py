"""Evaluate a model and a run over held-out films: share of right answers by kind of question.

What is asked are the lessons of these films, word for word as the pipeline's steps ask; answers are generated. An
answer to a question is right by its value, whichever part of the clip it names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pipeline.annotation.text_rules import parse_questions
from pipeline.media.audio import RATE, samples
from pipeline.media.media_store import Reader
from pipeline.pack.build import middle_frame
from pipeline.synthetic.nano.answers import UNKNOWN, asked_by_verify
from pipeline.synthetic.nano.judge_examples import agreeing
from pipeline.synthetic.nano.lessons import Lesson, lessons_of
from pipeline.synthetic.world.metrics import RIGHT, attributes, judged
from pipeline.synthetic.world.score import Score, Watched
from pipeline.synthetic.world.vocabulary import SOUNDS
from stages.text_metrics import exact, words

if TYPE_CHECKING:
    from ola.prompt import Request
    from stages.evaluation.questions import Answerer

BATCH = 256  # requests that are prepared and asked together
CAPTIONS = ("caption_image", "caption_video", "caption_sound", "caption_joint")
QUESTIONS = ("verify_both", "verify_video", "verify_audio", "strange_both", "undecided_both")
ASKED = (*CAPTIONS, "image_qa", *QUESTIONS, "transcribe", "ask", "judged")
JUDGEMENTS = 4  # a clip
LONGEST = 128  # tokens of an answer
MEDIA = ("both", "video", "audio")  # what questions need whose answers could be guessed by who knows what there is
Asked = TypeVar("Asked")


class Item(NamedTuple):
    """A lesson of a clip, as it is asked."""

    clip: Watched
    lesson: Lesson


class Marks:
    """Right ones and all, by what was asked."""

    def __init__(self) -> None:
        self.right, self.of, self.guessed = Counter[str](), Counter[str](), dict[str, float]()

    def add(self, name: str, right: int, of: int = 1, guessed: float | None = None) -> None:
        """Some more. guessed: how many would be right by guessing, where that is known."""
        self.right[name] += right
        self.of[name] += of
        if guessed is not None:
            self.guessed[name] = self.guessed.get(name, 0.0) + guessed

    def rows(self) -> dict[str, dict[str, float]]:
        """By name: `n`, how many there are; `right`, the share of right ones; `guessed`, that by guessing, if known."""
        return {
            name: {"right": self._share(self.right, name), "n": self.of[name]} | self._guess(name)
            for name in sorted(self.of)
        }

    def _share(self, some: Mapping[str, float], name: str) -> float:
        return round(some[name] / self.of[name], 4)

    def _guess(self, name: str) -> dict[str, float]:
        return {"guessed": self._share(self.guessed, name)} if name in self.guessed else {}


def examine(
    root: str,
    model: Answerer,
    limit: int = 0,
    asked: Collection[str] = ASKED,
    seed: int = 0,
    say: Callable[[str], object] = len,
) -> dict[str, dict[str, float]]:
    """Ask a model about the films of a run: the share of right answers and their number, by what was asked.

    limit: of clips; 0: all. asked: some of `ASKED`. Raises ConfigError where there is no such run, or no film of it has
    a truth.
    """
    clips = islice(Score(root).clips.values(), limit or None)
    items = [item for clip in clips for item in items_of(clip, seed) if item.lesson.name in asked]
    marks, shown = Marks(), Showing(root)
    for item, said in answered(model, items, shown.request, say):
        mark(marks, item, said)
    return marks.rows()


def answered(
    model: Answerer, items: Sequence[Asked], request: Callable[[Asked], Request], say: Callable[[str], object]
) -> Iterator[tuple[Asked, str]]:
    """Each item with what the model says to its request; many are asked together."""
    for start in range(0, len(items), BATCH):
        some = items[start : start + BATCH]
        answers = model.generate([request(item) for item in some])
        yield from ((item, answer.text.strip()) for item, answer in zip(some, answers, strict=True))
        say(f"{start + len(some)} of {len(items)} answers")


def items_of(clip: Watched, seed: int) -> Iterator[Item]:
    """What is asked about a clip, and what is judged without it."""
    lessons: dict[tuple[str, str], Lesson] = {}
    for lesson in lessons_of(clip, seed):
        lessons.setdefault((lesson.name, lesson.asked), lesson)  # of several that ask the same, the first
    yield from (Item(clip, lesson) for lesson in lessons.values() if lesson.name in ASKED)
    truth, chance = clip.truth, Random(f"judged {seed} {clip.truth.scene.name}")
    judgements = agreeing(truth.scene, truth.questions, JUDGEMENTS, chance)
    yield from (Item(clip, Lesson("text", "judged", *each)) for each in judgements)


class Showing:
    """Requests, with the media of the view that they are of; made once a clip."""

    def __init__(self, root: str) -> None:
        """root: of the run."""
        self.read, self.clip, self.made = Reader(root), "", dict[str, dict[str, Any]]()

    def request(self, item: Item) -> Request:
        """As the step asks it."""
        from ola.prompt import Request

        if self.clip != item.clip.clip:
            self.clip, self.made = item.clip.clip, self._views(item.clip)
        return Request(item.lesson.asked, max_new_tokens=LONGEST, **self.made[item.lesson.view])

    def _views(self, clip: Watched) -> dict[str, dict[str, Any]]:
        import io

        from PIL import Image

        from ola.prompt import Wave
        from stages.shards import split_frames

        whole = memoryview(self.read(clip.frames))
        frames = [Image.open(io.BytesIO(jpeg)) for jpeg in split_frames(whole, clip.frame_bytes)]
        begin, end = middle_frame(list(clip.frame_bytes))
        heard = {} if clip.sound is None else {"sounds": (Wave(samples(self.read(clip.sound)), RATE),)}
        image = Image.open(io.BytesIO(whole[begin:end]))
        return {
            "image": {"images": (image,)},
            "video": {"video": frames},
            "audio": heard,
            "both": {"video": frames, **heard},
            "text": {},
        }


def mark(marks: Marks, item: Item, said: str) -> None:
    """Add what an answer is worth."""
    name, truth = item.lesson.name, item.lesson.answer
    if name in CAPTIONS:
        _mark_caption(marks, name, truth, said)
    elif name == "transcribe":
        _mark_transcript(marks, truth, said)
    elif name == "ask":
        _mark_drafts(marks, item, said)
    elif name in ("judged", "image_qa"):
        marks.add(name, exact(said, truth), guessed=0.5 if name == "judged" else None)
    elif value_of(truth) == UNKNOWN:
        marks.add(f"{name}, unknown", exact(value_of(said), UNKNOWN))
    else:
        posed = next(each for each in item.clip.truth.questions if asked_by_verify(each.question) == item.lesson.asked)
        guessed = posed.chance if posed.needs in MEDIA else None
        marks.add(f"{name}, needs {posed.needs}", exact(value_of(said), value_of(truth)), guessed=guessed)


def value_of(answer: str) -> str:
    """An answer without the part of the clip that it names."""
    return answer.rpartition(": ")[2]


def _mark_caption(marks: Marks, name: str, truth: str, said: str) -> None:
    import jiwer

    wanted, told = attributes(truth), attributes(said)
    hits = jiwer.process_words(" ".join(wanted), " ".join(told)).hits if wanted else 0
    marks.add(f"{name}, attributes", hits, max(len(wanted), len(told)))
    marks.add(f"{name}, exact", exact(said, truth))
    if name == "caption_sound":
        events = [[word for word in some if word in SOUNDS] for some in (wanted, told)]
        if any(events):
            marks.add("sound events", sum(map(str.__eq__, *events)), max(map(len, events)))


def _mark_transcript(marks: Marks, truth: str, said: str) -> None:
    import jiwer

    marks.add("transcribe, exact", exact(said, truth))
    if not truth.startswith("["):
        wrong = jiwer.process_words(" ".join(words(truth)), " ".join(words(said)) or "-")
        errors = wrong.substitutions + wrong.deletions + wrong.insertions
        marks.add("transcribe, words", max(0, len(words(truth)) - errors), len(words(truth)))


def _mark_drafts(marks: Marks, item: Item, said: str) -> None:
    try:
        found = parse_questions(said, 3)
    except ValueError:
        marks.add("ask, in its form", 0)
        return
    marks.add("ask, in its form", 1)
    for draft in found:
        one = judged(item.clip.film, item.clip.truth, draft.question, draft.answer, None, packed=False)
        marks.add("ask, well-formed", one.verdict != "not well-formed")
        marks.add("ask, answer right", one.verdict == RIGHT)
        marks.add("ask, needs both", one.truth == "both")
