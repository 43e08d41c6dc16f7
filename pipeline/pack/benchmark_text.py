"""Find word sequences of benchmarks in transcripts, questions and answers.

Texts are compared by n-grams of 13 words, in lower case and without punctuation. A text of 8 to 12 words is compared as
a whole; shorter ones are not, since phrases of that length are common. `near_text` finds near-copies from 13 words on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests import storage
from manifests.ledger import digest
from pipeline.errors import ConfigError
from pipeline.pack.near_text import NearHit, NearTexts
from stages.text_metrics import words

LENGTH, SHORTEST = 13, 8  # words of an n-gram, and of a text that is compared as a whole
Grams = frozenset[bytes]


def grams(text: str) -> Iterator[str]:
    """Yield the n-grams of a text: all runs of LENGTH words, or a shorter text as a whole."""
    spoken = words(text)
    if len(spoken) >= SHORTEST:
        for start in range(max(1, len(spoken) - LENGTH + 1)):
            yield " ".join(spoken[start : start + LENGTH])


def find_leaked(known: Grams, text: str) -> str:
    """Return the first n-gram of a text that a benchmark has, too; "" if there is none."""
    return next((gram for gram in grams(text) if _hash(gram) in known), "")


def _hash(gram: str) -> bytes:
    return blake2b(gram.encode(), digest_size=8).digest()


@lru_cache(maxsize=4)
def read_benchmarks(files: Sequence[str]) -> Grams:
    """Read the n-grams of the texts in some files (.txt: a text per line; .json, .jsonl, .parquet).

    Raises ConfigError for a file that cannot be read.
    """
    return frozenset(_hash(gram) for file in files for text in _texts(file) for gram in grams(text))


@lru_cache(maxsize=4)
def read_near_texts(files: Sequence[str]) -> NearTexts:
    """Read the texts of some files, to find near-copies. Raises ConfigError for a file that cannot be read."""
    return NearTexts(text for file in files for text in _texts(file))


class NearFinder:
    """Finds the near-copy of a benchmark text among the texts of a task.

    Reads the files when it is first called. Remembers what it found, since the tasks of a clip share a transcript.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self.files = files

    @cached_property
    def find(self) -> Callable[[str], NearHit | None]:
        """Return the function that finds the near-copy in one text."""
        return lru_cache(maxsize=4096)(read_near_texts(self.files).find)

    def find_in_task(
        self, transcript: str | None, question: str | None, options: str | None, answer: str | None
    ) -> dict[str, str | float] | None:
        """Return the field, the benchmark's words and the similarity of the nearest text; None without a near-copy."""
        texts = {"transcript": transcript, "question": question, "options": options, "answer": answer}
        hits = [(field, self.find(text)) for field, text in texts.items() if text]
        found = [(hit.similarity, field, hit.words) for field, hit in hits if hit is not None]
        if not found:
            return None
        similarity, field, words_of_benchmark = max(found, key=lambda hit: hit[0])
        return {"field": field, "text": words_of_benchmark, "similarity": similarity}


def benchmarks_digest(files: Sequence[str]) -> str:
    """Return the digest of the n-grams of some files. Raises ConfigError."""
    return digest(sorted(gram.hex() for gram in read_benchmarks(files)))


def _texts(file: str) -> Iterator[str]:
    try:
        yield from _parse(file, storage.read_bytes(file))
    except (OSError, ValueError, pa.ArrowException) as error:
        what = " ".join(str(error).split())
        raise ConfigError(f"pack.benchmarks: {file}: expected texts (.txt, .json, .jsonl, .parquet): {what}") from error


def _parse(file: str, data: bytes) -> Iterator[str]:
    if file.endswith(".parquet"):
        yield from _strings(pq.read_table(pa.BufferReader(data)).to_pylist())
    elif file.endswith(".json"):
        yield from _strings(json.loads(data))
    elif file.endswith(".jsonl"):
        yield from _strings([json.loads(line) for line in data.decode().splitlines() if line.strip()])
    else:
        yield from data.decode().splitlines()


def _strings(value: Any) -> Iterator[str]:
    """Yield all strings in nested lists and objects."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)
