"""Evaluate a model on held-out films: share of right answers by kind of prompt.

The prompts are the lessons of these films, word for word those of the pipeline's steps. Answers are generated. An
answer is right if its value is right; intermediate steps are not compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pipeline.annotation.text_rules import KINDS, SOUND_KINDS, parse_questions
from pipeline.media.audio import RATE, read_samples
from pipeline.media.media_store import MediaReader
from pipeline.pack.build import middle_frame
from pipeline.synthetic.nano.answers import UNKNOWN, verify_prompt
from pipeline.synthetic.nano.judge_examples import agreement_examples
from pipeline.synthetic.nano.lessons import Lesson, make_lessons
from pipeline.synthetic.world.metrics import RIGHT, attribute_words, score_question
from pipeline.synthetic.world.score import RunScore, ScoredClip
from pipeline.synthetic.world.vocabulary import SOUNDS
from stages.text_metrics import exact, words

if TYPE_CHECKING:
    from ola.prompt import Request
    from stages.evaluation.questions import Answerer

BATCH_REQUESTS = 256  # requests that are prepared and sent together
CAPTIONS = ("caption_image", "caption_video", "caption_sound", "caption_joint")
QUESTIONS = ("verify_both", "verify_video", "verify_audio", "strange_both", "undecided_both")
EVALUATED = (*CAPTIONS, "image_qa", *QUESTIONS, "transcribe", "ask", "ask_sound", "judged")
JUDGEMENTS_PER_CLIP = 4
MAX_ANSWER_TOKENS = 128
GUESSABLE_NEEDS = ("both", "video", "audio")
"""Needs of questions whose share of right guesses is reported."""
Task = TypeVar("Task")


class ClipLesson(NamedTuple):
    """A clip with one of its lessons."""

    clip: ScoredClip
    lesson: Lesson


class AccuracyTable:
    """Counts of right answers and of all answers by name."""

    def __init__(self) -> None:
        self.right, self.total, self.guessed = Counter[str](), Counter[str](), dict[str, float]()

    def add(self, name: str, right: int, of: int = 1, guessed: float | None = None) -> None:
        """Add counts. guessed: expected number of right guesses, if known."""
        self.right[name] += right
        self.total[name] += of
        if guessed is not None:
            self.guessed[name] = self.guessed.get(name, 0.0) + guessed

    def rows(self) -> dict[str, dict[str, float]]:
        """Return by name `n` (number), `right` (share of right answers) and, if known, `guessed`."""
        return {
            name: {"right": self._share(self.right, name), "n": self.total[name]} | self._guess(name)
            for name in sorted(self.total)
        }

    def _share(self, counts: Mapping[str, float], name: str) -> float:
        return round(counts[name] / self.total[name], 4)

    def _guess(self, name: str) -> dict[str, float]:
        return {"guessed": self._share(self.guessed, name)} if name in self.guessed else {}


def evaluate_model(
    root: str,
    model: Answerer,
    limit: int = 0,
    names: Collection[str] = EVALUATED,
    seed: int = 0,
    report: Callable[[str], object] = len,
) -> dict[str, dict[str, float]]:
    """Evaluate a model on the films of a run; returns `AccuracyTable.rows`.

    limit: number of clips; 0: all. names: of the lessons, from `EVALUATED`. Raises ConfigError without a run, or if no
    film of it has a truth file.
    """
    clips = islice(RunScore(root).clips.values(), limit or None)
    tasks = [task for clip in clips for task in clip_lessons(clip, seed) if task.lesson.name in names]
    accuracy, requests = AccuracyTable(), RequestBuilder(root)
    for task, answer in generate_answers(model, tasks, requests.build, report):
        score_answer(accuracy, task, answer)
    return accuracy.rows()


def generate_answers(
    model: Answerer, tasks: Sequence[Task], request: Callable[[Task], Request], report: Callable[[str], object]
) -> Iterator[tuple[Task, str]]:
    """Yield each task with the model's answer; requests are generated in batches."""
    for start in range(0, len(tasks), BATCH_REQUESTS):
        batch = tasks[start : start + BATCH_REQUESTS]
        answers = model.generate([request(task) for task in batch])
        yield from ((task, answer.text.strip()) for task, answer in zip(batch, answers, strict=True))
        report(f"{start + len(batch)} of {len(tasks)} answers")


def clip_lessons(clip: ScoredClip, seed: int) -> Iterator[ClipLesson]:
    """Yield the evaluated lessons of a clip, and answers about it to be judged without media."""
    lessons: dict[tuple[str, str], Lesson] = {}
    for lesson in make_lessons(clip, seed):
        lessons.setdefault((lesson.name, lesson.prompt), lesson)  # keep the first of several with the same prompt
    yield from (ClipLesson(clip, lesson) for lesson in lessons.values() if lesson.name in EVALUATED)
    truth, rng = clip.truth, Random(f"judged {seed} {clip.truth.scene.name}")
    judgements = agreement_examples(truth.scene, truth.questions, JUDGEMENTS_PER_CLIP, rng)
    yield from (ClipLesson(clip, Lesson("text", "judged", *each)) for each in judgements)


class RequestBuilder:
    """Build requests with the media of a view. Media are read once for each clip."""

    def __init__(self, root: str) -> None:
        """Open the media of the run at `root`."""
        self.read, self.clip, self.media = MediaReader(root), "", dict[str, dict[str, Any]]()

    def build(self, clip_lesson: ClipLesson) -> Request:
        """Return the request of a lesson with the media of its view."""
        from ola.prompt import Request

        if self.clip != clip_lesson.clip.clip:
            self.clip, self.media = clip_lesson.clip.clip, self._load_views(clip_lesson.clip)
        return Request(
            clip_lesson.lesson.prompt, max_new_tokens=MAX_ANSWER_TOKENS, **self.media[clip_lesson.lesson.view]
        )

    def _load_views(self, clip: ScoredClip) -> dict[str, dict[str, Any]]:
        import io

        from PIL import Image

        from ola.prompt import Wave
        from stages.shards import split_frames

        whole = memoryview(self.read(clip.frames))
        frames = [Image.open(io.BytesIO(jpeg)) for jpeg in split_frames(whole, clip.frame_bytes)]
        begin, end = middle_frame(list(clip.frame_bytes))
        sound = {} if clip.sound is None else {"sounds": (Wave(read_samples(self.read(clip.sound)), RATE),)}
        image = Image.open(io.BytesIO(whole[begin:end]))
        return {
            "image": {"images": (image,)},
            "video": {"video": frames},
            "audio": sound,
            "both": {"video": frames, **sound},
            "text": {},
        }


def score_answer(accuracy: AccuracyTable, clip_lesson: ClipLesson, answer: str) -> None:
    """Compare an answer with the truth and add the result."""
    name, truth = clip_lesson.lesson.name, clip_lesson.lesson.answer
    if name in CAPTIONS:
        _score_caption(accuracy, name, truth, answer)
    elif name == "transcribe":
        _score_transcript(accuracy, truth, answer)
    elif name == "ask":
        _score_drafts(accuracy, clip_lesson, answer, KINDS)
    elif name == "ask_sound":
        _score_drafts(accuracy, clip_lesson, answer, SOUND_KINDS)
    elif name in ("judged", "image_qa"):
        accuracy.add(name, exact(answer, truth), guessed=0.5 if name == "judged" else None)
    elif answer_value(truth) == UNKNOWN:
        accuracy.add(f"{name}, unknown", exact(answer_value(answer), UNKNOWN))
    else:
        qa = next(
            each
            for each in clip_lesson.clip.truth.questions
            if verify_prompt(each.question) == clip_lesson.lesson.prompt
        )
        guessed = qa.chance if qa.needs in GUESSABLE_NEEDS else None
        accuracy.add(f"{name}, needs {qa.needs}", exact(answer_value(answer), answer_value(truth)), guessed=guessed)


def answer_value(answer: str) -> str:
    """Return the value of an answer, without intermediate steps."""
    return answer.rpartition(": ")[2]


def _score_caption(accuracy: AccuracyTable, name: str, truth: str, answer: str) -> None:
    import jiwer

    true_words, answer_words = attribute_words(truth), attribute_words(answer)
    hits = jiwer.process_words(" ".join(true_words), " ".join(answer_words)).hits if true_words else 0
    accuracy.add(f"{name}, attributes", hits, max(len(true_words), len(answer_words)))
    accuracy.add(f"{name}, exact", exact(answer, truth))
    if name == "caption_sound":
        events = [[word for word in found if word in SOUNDS] for found in (true_words, answer_words)]
        if any(events):
            accuracy.add("sound events", sum(map(str.__eq__, *events)), max(map(len, events)))


def _score_transcript(accuracy: AccuracyTable, truth: str, answer: str) -> None:
    import jiwer

    accuracy.add("transcribe, exact", exact(answer, truth))
    if not truth.startswith("["):
        wrong = jiwer.process_words(" ".join(words(truth)), " ".join(words(answer)) or "-")
        errors = wrong.substitutions + wrong.deletions + wrong.insertions
        accuracy.add("transcribe, words", max(0, len(words(truth)) - errors), len(words(truth)))


def _score_drafts(accuracy: AccuracyTable, clip_lesson: ClipLesson, answer: str, kinds: Sequence[str]) -> None:
    name = clip_lesson.lesson.name
    try:
        drafts = parse_questions(answer, 3, kinds=kinds)
    except ValueError:
        accuracy.add(f"{name}, in its form", 0)
        return
    accuracy.add(f"{name}, in its form", 1)
    for draft in drafts:
        scored = score_question(
            clip_lesson.clip.film, clip_lesson.clip.truth, draft.question, draft.answer, None, packed=False
        )
        accuracy.add(f"{name}, well-formed", scored.verdict != "not well-formed")
        accuracy.add(f"{name}, answer right", scored.verdict == RIGHT)
        accuracy.add(f"{name}, needs both", scored.true_needs == "both")
