"""Read published benchmarks from their original files, as suites.

MMBench is one TSV, Video-MME a Parquet file and a folder of videos, LibriSpeech folders of speakers and chapters. The
wording of each question is the benchmark's own. Raises StagesError if a file does not have the expected layout.
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
from stages.evaluation.questions import MediaReaders, Question, Suite, Unreadable, decode_picture
from stages.evaluation.scores import ACCURACY, word_error_metric

LETTERS = "ABCDE"
CHOICE_TOKENS, SPEECH_TOKENS = 64, 256  # limits of an answer: a letter or the words of an option; 35 s of speech
ROTATION = 1_000_000  # MMBench: indices that differ by this are one question with its options in another order
REFERENCE = 64  # characters: in MMBench a shorter `image` is the index of the row that has the picture
BLOCK = 64 << 20  # bytes: pyarrow needs a whole row in a block, and rows contain pictures
VIDEOS = (".mp4", ".mkv", ".webm", ".avi", ".mov")
SELECT = "Please select the correct answer from the options above."
NAMES, SORTS = ("videoID", "video_id"), ("duration", "task_type")  # columns of Video-MME
CHOOSE = (
    "Select the best answer to the following multiple-choice question based on the video. "
    "Respond with only the letter (A, B, C, or D) of the correct option."
)
TRANSCRIBE = "Write down everything that is said in this recording, word for word."


def mmbench(path: Path, readers: MediaReaders) -> Suite:
    """Image QA from MMBench's TSV, asked in VLMEvalKit's wording.

    Circular evaluation: if the file has copies of a question with rotated options (indices 10^6 apart), all copies must
    be answered right. A file without copies gives plain accuracy. Test splits have no answers and raise StagesError.
    """
    rows = _read_tsv(path)
    pictures = {row["index"]: row["image"] for row in rows}
    return Suite("mmbench", ACCURACY, [_image_question(path, row, pictures) for row in rows], batch=32)


def _read_tsv(path: Path) -> list[dict[str, str]]:
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
        raise StagesError(f"{path}: expected MMBench's TSV: {' '.join(str(error).split())}") from error
    missing = [name for name in ("index", "question", "A", "B", "answer", "image") if name not in names]
    if missing:
        hint = "; test splits have no answers: use the dev split" if missing == ["answer"] else ""
        raise StagesError(f"{path}: expected MMBench's TSV; missing columns: {', '.join(missing)}{hint}")
    rows: list[dict[str, str]] = table.to_pylist()
    return rows


def _image_question(path: Path, row: Mapping[str, str], pictures: Mapping[str, str]) -> Question:
    index, answer = row["index"], row["answer"].strip()
    options = {letter: row[letter] for letter in LETTERS if row.get(letter)}
    if answer not in options or not index.isdigit():
        raise StagesError(f"{path}: row {index!r}: answer: expected one of {', '.join(options)}, got {answer!r}")
    hint = f"Hint: {row['hint']}\n" if row.get("hint") else ""
    option_lines = "\n".join(f"{letter}. {text}" for letter, text in options.items())
    text = f"{hint}Question: {row['question']}\nOptions:\n{option_lines}\n{SELECT}"
    image = row["image"] if len(row["image"]) > REFERENCE else pictures.get(row["image"].strip(), row["image"])
    categories = tuple(row[name] for name in ("l2-category", "category") if row.get(name))
    request, group = partial(_image_request, text, image), str(int(index) % ROTATION)
    return Question(index, text, answer, request, options, categories, group, digest(image))


def _image_request(text: str, image: str) -> Request:
    return Request(text, images=[decode_picture(base64.b64decode(image))], max_new_tokens=CHOICE_TOKENS)


def videomme(path: Path, readers: MediaReaders) -> Suite:
    """Video QA from Video-MME, without subtitles; a model with a speech encoder also gets the sound, as in the paper.

    path: a folder, or the Parquet file; the videos (`<videoID>.mp4`) are searched below the folder. For a Parquet file
    in a folder `videomme` (the published layout) they are searched below that folder's parent.
    """
    rows = [row for file in _find_parquets(path) for row in pq.read_table(file).to_pylist()]
    if not rows:
        raise StagesError(f"{path}: expected Video-MME's Parquet file with the columns question, options and answer")
    # the three questions of a video are consecutive, so the last video is cached
    cached = readers._replace(read_video=lru_cache(maxsize=1)(readers.read_video))
    videos = _find_videos(path)
    questions = [_video_question(path, number, row, cached, videos) for number, row in enumerate(rows)]
    return Suite("videomme", ACCURACY, questions, batch=12)  # four videos: an hour of sound is 0.4 GB of features


def _video_question(
    path: Path, number: int, row: Mapping[str, Any], readers: MediaReaders, videos: Mapping[str, Path]
) -> Question:
    options, names = dict(split_options(row["options"])), [str(row[name]) for name in NAMES if row.get(name)]
    if row["answer"] not in options:
        raise StagesError(f"{path}: row {number}: answer: expected one of {', '.join(options)}, got {row['answer']!r}")
    text = "\n".join((CHOOSE, row["question"], *row["options"], "The best answer is:"))

    def request() -> Request:
        found = next((videos[name] for name in names if name in videos), None)
        if found is None:
            raise Unreadable(f"no video {' or '.join(names)} ({', '.join(VIDEOS)}) below {path}")
        frames, sound = readers.read_video(str(found), readers.max_frames)
        sounds = [sound] if sound is not None and readers.has_speech else []
        return Request(text, video=frames, sounds=sounds, max_new_tokens=CHOICE_TOKENS)

    name, categories = row.get("question_id") or number, [str(row[name]) for name in SORTS if row.get(name)]
    medium = f"{' '.join(names)} {readers.max_frames}"
    return Question(str(name), text, row["answer"], request, options, tuple(categories), medium=medium)


def _find_parquets(path: Path) -> list[Path]:
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    try:
        return [file for file in files if {"question", "options", "answer"} <= {*pq.read_schema(file).names}]
    except (OSError, ValueError) as error:
        raise StagesError(f"{path}: expected Video-MME's Parquet file: {' '.join(str(error).split())}") from error


def _find_videos(path: Path) -> dict[str, Path]:
    """Return the video files below a folder, by name without extension."""
    folder = path if path.is_dir() else path.absolute().parent
    folder = folder.parent if folder.name == "videomme" else folder  # the published layout
    return {file.stem: file for file in sorted(folder.rglob("*")) if file.suffix.lower() in VIDEOS}


def split_options(options: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Split options such as `A. a dog` into letter and text; options without a letter get one."""
    for letter, text in zip(LETTERS, options, strict=False):
        yield letter, re.sub(rf"^{letter}[.):]\s*", "", text)


def librispeech(path: Path, readers: MediaReaders) -> Suite:
    """Speech recognition from LibriSpeech; `path` is a subset or a folder of subsets, and each subset is a category.

    Layout: `<subset>/<speaker>/<chapter>/<s>-<c>.trans.txt` beside `.flac` or `.wav` files.
    """
    if not readers.has_speech:
        raise StagesError("librispeech: the model has no speech encoder; leave the suite out or use another model")
    questions = [
        _speech_question(file, line, readers)
        for file in sorted(path.rglob("*.trans.txt"))
        for line in _read_transcript(file)
    ]
    if not questions:
        raise StagesError(f"{path}: expected transcripts in LibriSpeech's layout, <speaker>/<chapter>/*.trans.txt")
    return Suite("librispeech", word_error_metric([each.reference for each in questions]), questions, batch=32)


def _read_transcript(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise StagesError(f"{file}: cannot be read: {error}") from error


def _speech_question(file: Path, line: str, readers: MediaReaders) -> Question:
    name, _, transcript = line.partition(" ")

    def request() -> Request:
        sounds = [file.with_name(name + suffix) for suffix in (".flac", ".wav")]
        found = next((sound for sound in sounds if sound.is_file()), None)
        if found is None:
            raise Unreadable(f"no {name}.flac or .wav in {file.parent}")
        return Request(TRANSCRIBE, sounds=[readers.read_sound(str(found))], max_new_tokens=SPEECH_TOKENS)

    return Question(name, TRANSCRIBE, transcript.strip(), request, categories=(file.absolute().parents[2].name,))
