"""Read benchmarks of yes-or-no questions about what is seen and heard: AVHBench and CMM.

    avhbench   QA.json beside the videos, or the folder of its first release (`json/<id>.json`, `video/<id>.mp4`). Rows:
               video_id, task, text, label (`Yes`, `No`; the task `AV Captioning` has texts and is left out). From the
               README of kaist-ami/AVHBench.
    cmm        all_data_final_reorg.json beside `reorg_raw_files/`. Rows: question, answer (`yes`, `no`), video_path and
               audio_path (a row about one sense has one of them), category, sub_category, modality, granularity,
               correlation_type. From the dataset DAMO-NLP-SG/CMM and its `calculate_score.py`.

With `views`, each question about a clip with picture and sound is also asked from each alone, in the same words.
Raises StagesError if a file does not have the expected layout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ola.prompt import Request
from stages.errors import StagesError
from stages.evaluation.benchmarks import CHOICE_TOKENS
from stages.evaluation.cross_modal import BATCH, VIEWS
from stages.evaluation.question_files import files_below, find_file, read_rows, texts_of
from stages.evaluation.questions import MediaReaders, Question, Suite, Unreadable
from stages.evaluation.scores import YES_NO, yes_or_no

ASK = "Answer with yes or no."  # the words of CMM's README
CAPTIONING = "AV Captioning"


@dataclass(frozen=True)
class YesNoQuestion:
    """A question with its answer. video, audio: paths, or empty. heard: whether the video's own sound is meant."""

    id: str
    question: str
    answer: str
    video: str = ""
    audio: str = ""
    heard: bool = False
    categories: tuple[str, ...] = ()

    @property
    def has_both(self) -> bool:
        """Whether there is a picture and a sound to leave out."""
        return bool(self.video) and (self.heard or bool(self.audio))


def avhbench(path: Path) -> list[YesNoQuestion]:
    """Read AVHBench's QA.json, the folder that has it, or the folder of its first release."""
    files = sorted((path / "json").glob("*.json")) if (path / "json").is_dir() else [find_file(path, "QA.json")]
    media = files_below(path if path.is_dir() else path.parent)
    return [
        _make_question(
            file,
            f"{row.get('video_id')}-{number}",
            row,
            {"question": "text", "answer": "label"},
            video=media(f"{row.get('video_id')}.mp4"),
            heard=True,
            categories=texts_of(row, "task"),
        )
        for file in files
        for number, row in enumerate(read_rows(file))
        if row.get("task") != CAPTIONING
    ]


def cmm(path: Path) -> list[YesNoQuestion]:
    """Read CMM's all_data_final_reorg.json, or the folder that has it."""
    file = find_file(path, "all_data_final_reorg.json")

    def place(row: Mapping[str, Any], name: str) -> str:
        return str(file.parent / str(row[name])) if row.get(name) else ""

    return [
        _make_question(
            file,
            str(number),
            row,
            {"question": "question", "answer": "answer"},
            video=place(row, "video_path"),
            audio=place(row, "audio_path"),
            categories=texts_of(row, "category", "sub_category", "granularity"),
        )
        for number, row in enumerate(read_rows(file))
    ]


def yes_no_suites(name: str, questions: Sequence[YesNoQuestion], readers: MediaReaders, views: bool) -> list[Suite]:
    """Return the suite of the questions; with `views` also `<name>-picture` and `<name>-sound`.

    Raises StagesError if the model has no speech encoder, or if there are no questions.
    """
    if not readers.has_speech:
        raise StagesError(f"{name}: the model has no speech encoder; leave the suite out or use another model")
    if not questions:
        raise StagesError(f"{name}: expected yes-or-no questions, got a file without any")
    single = [each for each in questions if each.has_both]
    return [
        Suite(
            name + f"-{view}" * (view != "both"),
            YES_NO,
            [_question(each, readers, view) for each in (questions if view == "both" else single)],
            BATCH,
        )
        for view in (VIEWS if views and single else VIEWS[:1])
    ]


def _question(asked: YesNoQuestion, readers: MediaReaders, view: str) -> Question:
    text = asked.question if asked.question.rstrip().endswith(ASK) else f"{asked.question.rstrip()} {ASK}"
    medium = f"{asked.video} {asked.audio} {readers.max_frames} {view}"
    request = _request(asked, readers, view, text)
    return Question(asked.id, text, asked.answer, request, categories=asked.categories, medium=medium)


def _request(asked: YesNoQuestion, readers: MediaReaders, view: str, text: str) -> Callable[[], Request]:
    def request() -> Request:
        frames, sound = readers.read_video(asked.video, readers.max_frames) if asked.video else (None, None)
        if asked.audio and view != "picture":
            sound = readers.read_sound(asked.audio)
        heard = view != "picture" and (asked.heard or bool(asked.audio))
        if heard and sound is None:
            raise Unreadable("the question has no sound")
        return Request(
            text,
            video=None if view == "sound" else frames,
            sounds=(sound,) if heard and sound is not None else (),
            max_new_tokens=CHOICE_TOKENS,
        )

    return request


def _make_question(
    file: Path, name: str, row: Mapping[str, Any], fields: Mapping[str, str], **media: Any
) -> YesNoQuestion:
    try:
        answer = yes_or_no(str(row[fields["answer"]]))
        if answer is None:
            raise StagesError(f"{file}: question {name}: expected the answer yes or no, got {row[fields['answer']]!r}")
        question = YesNoQuestion(name, str(row[fields["question"]]), answer, **media)
    except KeyError as error:
        raise StagesError(f"{file}: question {name}: no field {error} (fields: {', '.join(map(str, row))})") from error
    if not (question.video or question.audio):
        raise StagesError(f"{file}: question {name}: expected a video or a sound, got neither")
    return question
