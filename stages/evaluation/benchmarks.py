"""Read published benchmarks from the files of their authors, as suites.

MMBench is one TSV, Video-MME a Parquet file and a folder of videos, LibriSpeech folders of speakers and chapters. The
wording of each question is the benchmark's own. Raises StagesError where a file is not of its layout.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from manifests.ledger import digest
from ola.prompt import Request
from stages.errors import StagesError
from stages.evaluation.questions import Question, Senses, Suite, Unreadable, picture
from stages.evaluation.scores import ACCURACY, word_error_metric

LETTERS = "ABCDE"
CHOSEN, SAID = 64, 256  # tokens of an answer: a letter, or the words of its option; 35 s of speech
ROTATION = 1_000_000  # rows of MMBench whose indices differ by it are one question with its options in another order
REFERENCE = 64  # characters: MMBench names the row that has the picture, where two share one
BLOCK = 64 << 20  # bytes: pyarrow wants a whole row in a block, and the pictures stand in the rows
VIDEOS = (".mp4", ".mkv", ".webm", ".avi", ".mov")
SELECT = "Please select the correct answer from the options above."
NAMES, SORTS = ("videoID", "video_id"), ("duration", "task_type")  # columns of Video-MME
CHOOSE = (
    "Select the best answer to the following multiple-choice question based on the video. "
    "Respond with only the letter (A, B, C, or D) of the correct option."
)
TRANSCRIBE = "Write down everything that is said in this recording, word for word."


def mmbench(path: Path, senses: Senses) -> Suite:
    """Image QA from MMBench's TSV, asked in VLMEvalKit's wording.

    Circular evaluation follows the file: of the copies of a question with rotated options that it holds (indices 10^6
    apart), all must be right. None are made: a file without copies gives plain accuracy. Test splits have no answers.
    """
    rows = _tsv(path)
    pictures = {row["index"]: row["image"] for row in rows}
    return Suite("mmbench", ACCURACY, [_image_question(path, row, pictures) for row in rows], batch=32)


def _tsv(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            names = file.readline().rstrip("\r\n").split("\t")
        table = pacsv.read_csv(
            path,
            pacsv.ReadOptions(block_size=BLOCK),
            pacsv.ParseOptions(delimiter="\t", newlines_in_values=True),
            pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
    except (OSError, ValueError) as error:
        raise StagesError(f"{path}: not MMBench's TSV: {' '.join(str(error).split())}") from error
    missing = [name for name in ("index", "question", "A", "B", "answer", "image") if name not in names]
    if missing:
        hint = "; the answers of test splits are not given out: take dev" if missing == ["answer"] else ""
        raise StagesError(f"{path}: not MMBench's TSV: no column {', '.join(missing)}{hint}")
    rows: list[dict[str, str]] = table.to_pylist()
    return rows


def _image_question(path: Path, row: Mapping[str, str], pictures: Mapping[str, str]) -> Question:
    index, answer = row["index"], row["answer"].strip()
    options = {letter: row[letter] for letter in LETTERS if row.get(letter)}
    if answer not in options or not index.isdigit():
        raise StagesError(f"{path}: row {index!r}: the answer {answer!r} is none of its options {', '.join(options)}")
    hint = f"Hint: {row['hint']}\n" if row.get("hint") else ""
    listed = "\n".join(f"{letter}. {text}" for letter, text in options.items())
    text = f"{hint}Question: {row['question']}\nOptions:\n{listed}\n{SELECT}"
    image = row["image"] if len(row["image"]) > REFERENCE else pictures.get(row["image"].strip(), row["image"])
    categories = tuple(row[name] for name in ("l2-category", "category") if row.get(name))
    request, group = partial(_look, text, image), str(int(index) % ROTATION)
    return Question(index, text, answer, request, options, categories, group, digest(image))


def _look(text: str, image: str) -> Request:
    return Request(text, images=[picture(base64.b64decode(image))], max_new_tokens=CHOSEN)


def videomme(path: Path, senses: Senses) -> Suite:
    """Video QA from Video-MME: its folder, or its Parquet file, with the videos (`<videoID>.mp4`) anywhere below it; a
    Parquet file in a folder `videomme`, as published, has them below the folder above. Without subtitles; a model that
    hears is given the sound, as in the paper.
    """
    rows = [row for file in _parquets(path) for row in pq.read_table(file).to_pylist()]
    if not rows:
        raise StagesError(f"{path}: no Parquet file with Video-MME's columns question, options and answer")
    # the three questions of a video follow one another
    watched = senses._replace(watch=lru_cache(maxsize=1)(senses.watch))
    videos = _videos(path)
    questions = [_video_question(path, number, row, watched, videos) for number, row in enumerate(rows)]
    return Suite("videomme", ACCURACY, questions, batch=12)  # four videos: an hour of sound is 0.4 GB of features


def _video_question(
    path: Path, number: int, row: Mapping[str, Any], senses: Senses, videos: Mapping[str, Path]
) -> Question:
    options, names = dict(_lettered(row["options"])), [str(row[name]) for name in NAMES if row.get(name)]
    if row["answer"] not in options:
        raise StagesError(f"{path}: row {number}: the answer {row['answer']!r} is none of its options")
    text = "\n".join((CHOOSE, row["question"], *row["options"], "The best answer is:"))

    def request() -> Request:
        found = next((videos[name] for name in names if name in videos), None)
        if found is None:
            raise Unreadable(f"no video {' or '.join(names)} ({', '.join(VIDEOS)}) at {path}")
        frames, sound = senses.watch(str(found), senses.frames)
        sounds = [sound] if sound is not None and senses.hears else []
        return Request(text, video=frames, sounds=sounds, max_new_tokens=CHOSEN)

    name, categories = row.get("question_id") or number, [str(row[name]) for name in SORTS if row.get(name)]
    medium = f"{' '.join(names)} {senses.frames}"
    return Question(str(name), text, row["answer"], request, options, tuple(categories), medium=medium)


def _parquets(path: Path) -> list[Path]:
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    try:
        return [file for file in files if {"question", "options", "answer"} <= {*pq.read_schema(file).names}]
    except (OSError, ValueError) as error:
        raise StagesError(f"{path}: not Video-MME's Parquet file: {' '.join(str(error).split())}") from error


def _videos(path: Path) -> dict[str, Path]:
    """Video files by their names without extension."""
    folder = path if path.is_dir() else path.absolute().parent
    folder = folder.parent if folder.name == "videomme" else folder  # as it is published
    return {file.stem: file for file in sorted(folder.rglob("*")) if file.suffix.lower() in VIDEOS}


def _lettered(options: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Options as they stand in Video-MME, `A. a dog`, by letter and text."""
    for letter, text in zip(LETTERS, options, strict=False):
        yield letter, re.sub(rf"^{letter}[.):]\s*", "", text)


def librispeech(path: Path, senses: Senses) -> Suite:
    """Speech recognition in LibriSpeech: `<subset>/<speaker>/<chapter>/<s>-<c>.trans.txt` beside `.flac` or
    `.wav` files; `path` is a subset or a folder of several, each of which is a category.
    """
    if not senses.hears:
        raise StagesError("librispeech: the model has no speech encoder: leave the suite out, or take one that hears")
    questions = [_dictation(file, line, senses) for file in sorted(path.rglob("*.trans.txt")) for line in _lines(file)]
    if not questions:
        raise StagesError(f"{path}: no transcripts in LibriSpeech's layout, <speaker>/<chapter>/*.trans.txt")
    return Suite("librispeech", word_error_metric([each.reference for each in questions]), questions, batch=32)


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise StagesError(f"{file}: cannot be read: {error}") from error


def _dictation(file: Path, line: str, senses: Senses) -> Question:
    name, _, said = line.partition(" ")

    def request() -> Request:
        sounds = [file.with_name(name + suffix) for suffix in (".flac", ".wav")]
        found = next((sound for sound in sounds if sound.is_file()), None)
        if found is None:
            raise Unreadable(f"no {name}.flac or .wav in {file.parent}")
        return Request(TRANSCRIBE, sounds=[senses.hear(str(found))], max_new_tokens=SAID)

    return Question(name, TRANSCRIBE, said.strip(), request, categories=(file.absolute().parents[2].name,))
