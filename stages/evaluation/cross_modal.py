"""Read cross-modal multiple-choice benchmarks: Daily-Omni, WorldSense, OmniBench, or a file of one's own.

    daily-omni   qa.json beside the videos (`<id>_video.mp4` or `<id>.mp4`, at any depth)
    worldsense   worldsense_qa.json beside the videos (`<id>.mp4`)
    omnibench    a .jsonl file; pictures and sounds lie at any depth below the parent of its folder
    mcq          .json, .jsonl, .csv or .parquet, whose fields `--map` names

With `views`, each question is asked from both senses, from the picture alone and from the sound alone. All are asked in
the same words, so that views can be compared. Raises StagesError if a file does not have the expected layout.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ola.prompt import Request
from stages.errors import StagesError
from stages.evaluation.benchmarks import CHOICE_TOKENS, split_options
from stages.evaluation.question_files import files_below, find_file, read_json, read_rows, texts_of
from stages.evaluation.questions import MediaReaders, Question, Suite, Unreadable, decode_picture
from stages.evaluation.scores import ACCURACY

VIEWS = ("both", "picture", "sound")
MAPPED = ("id", "question", "options", "answer", "video", "audio", "image", "category")
CHOOSE = "Answer the multiple-choice question. Respond with only the letter of the correct option."
BATCH = 8  # questions with their media: eight videos of five minutes are 2 GB of frames and features


@dataclass(frozen=True)
class ChoiceQuestion:
    """A question of a file. answer: a letter. video, audio, image: paths, or empty; without audio, the video's own."""

    id: str
    question: str
    options: Mapping[str, str]
    answer: str
    video: str = ""
    audio: str = ""
    image: str = ""
    categories: tuple[str, ...] = ()


def daily_omni(path: Path) -> list[ChoiceQuestion]:
    """Read Daily-Omni's qa.json, or the folder that has it."""
    file = find_file(path, "qa.json")
    files = files_below(file.parent)
    return [
        _make_question(
            file,
            str(number),
            row,
            {"question": "Question", "options": "Choice", "answer": "Answer"},
            video=files(f"{row.get('video_id')}_video.mp4", f"{row.get('video_id')}.mp4"),
            categories=texts_of(row, "Type", "video_category", "video_duration"),
        )
        for number, row in enumerate(read_rows(file))
    ]


def worldsense(path: Path) -> list[ChoiceQuestion]:
    """Read WorldSense's worldsense_qa.json, or the folder that has it."""
    file = find_file(path, "worldsense_qa.json")
    files, videos = files_below(file.parent), read_json(file)
    if not isinstance(videos, dict):
        raise StagesError(f"{file}: expected WorldSense's object of videos, got {type(videos).__name__}")
    return [
        _make_question(
            file,
            f"{name}-{key}",
            task,
            {"question": "question", "options": "candidates", "answer": "answer"},
            video=files(f"{name}.mp4"),
            categories=(*texts_of(task, "task_domain", "task_type"), *texts_of(video, "domain")),
        )
        for name, video in videos.items()
        for key, task in video.items()
        if key.startswith("task") and isinstance(task, dict)
    ]


def omnibench(path: Path) -> list[ChoiceQuestion]:
    """Read OmniBench's .jsonl file; the answer is the text of an option."""
    files = files_below(path.absolute().parent.parent)
    return [
        _make_question(
            path,
            str(row.get("index", number)),
            row,
            {"question": "question", "options": "options", "answer": "answer"},
            audio=files(Path(str(row.get("audio_path"))).name),
            image=files(Path(str(row.get("image_path"))).name),
            categories=texts_of(row, "task type", "audio type"),
        )
        for number, row in enumerate(read_rows(path))
    ]


def own_file(path: Path, names: Mapping[str, str]) -> list[ChoiceQuestion]:
    """Read a file of one's own. names: the file's field for each of `MAPPED`; media are relative to the file."""
    fields = {name: name for name in ("question", "options", "answer")} | dict(names)
    found = []
    for number, row in enumerate(read_rows(path)):
        media = {
            name: str(path.parent / str(row[fields[name]]))
            for name in ("video", "audio", "image")
            if name in fields and row.get(fields[name])
        }
        categories = texts_of(row, fields["category"]) if "category" in fields else ()
        name = str(row.get(fields.get("id", ""), number))
        found.append(_make_question(path, name, row, fields, categories=categories, **media))
    return found


def cross_modal_suites(
    name: str, questions: Sequence[ChoiceQuestion], readers: MediaReaders, views: bool
) -> list[Suite]:
    """Return the suite of the questions; with `views` also `<name>-picture` and `<name>-sound`.

    Raises StagesError if the model has no speech encoder, or if there are no questions.
    """
    if not readers.has_speech:
        raise StagesError(f"{name}: the model has no speech encoder; leave the suite out or use another model")
    if not questions:
        raise StagesError(f"{name}: expected questions, got a file without any")
    return [
        Suite(
            name + f"-{view}" * (view != "both"),
            ACCURACY,
            [_question(each, readers, view) for each in questions],
            BATCH,
        )
        for view in (VIEWS if views else VIEWS[:1])
    ]


def _question(asked: ChoiceQuestion, readers: MediaReaders, view: str) -> Question:
    lines = (f"{letter}. {text}" for letter, text in asked.options.items())
    text = "\n".join((CHOOSE, f"Question: {asked.question}", *lines))
    medium = f"{asked.video} {asked.audio} {asked.image} {readers.max_frames} {view}"
    return Question(
        asked.id,
        text,
        asked.answer,
        _request(asked, readers, view, text),
        asked.options,
        asked.categories,
        medium=medium,
    )


def _request(asked: ChoiceQuestion, readers: MediaReaders, view: str, text: str) -> Callable[[], Request]:
    def request() -> Request:
        frames, sound = readers.read_video(asked.video, readers.max_frames) if asked.video else (None, None)
        sound = readers.read_sound(asked.audio) if asked.audio and view != "picture" else sound
        images = [decode_picture(Path(asked.image).read_bytes())] if asked.image and view != "sound" else []
        if view != "picture" and sound is None:
            raise Unreadable("the question has no sound")
        return Request(
            text,
            images=images,
            video=None if view == "sound" else frames,
            sounds=() if sound is None or view == "picture" else (sound,),
            max_new_tokens=CHOICE_TOKENS,
        )

    return request


def _make_question(
    file: Path, name: str, row: Mapping[str, Any], fields: Mapping[str, str], **media: Any
) -> ChoiceQuestion:
    try:
        given = row[fields["options"]]
        given = json.loads(given) if isinstance(given, str) else given
        options = dict(split_options([str(option) for option in given]))
        answer = str(row[fields["answer"]]).strip()
        letters = [letter for letter, text in options.items() if answer in (letter, text, f"{letter}. {text}")]
        if not letters:
            raise ValueError(f"answer: expected one of {', '.join(options)} or an option's text, got {answer!r}")
        return ChoiceQuestion(name, str(row[fields["question"]]), options, letters[0], **media)
    except KeyError as error:
        raise StagesError(f"{file}: question {name}: no field {error} (fields: {', '.join(map(str, row))})") from error
    except (TypeError, ValueError) as error:
        raise StagesError(f"{file}: question {name}: {error}") from error
