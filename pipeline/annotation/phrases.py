"""Detect refusals, texts that mention the clip's subtitles, and joined clauses, by the tables of `phrases.yaml`.

A phrase of a refusal counts at the beginning of the text; a statement of a model about itself, at the beginning of a
sentence. So a report that somebody said "I cannot help you" is no refusal.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

import yaml

from stages.text_metrics import UNSPACED

Table = Mapping[str, Sequence[str]]
BEFORE = r"[\s*_>#\-–—.…]*"  # allowed before the first word; no quotation mark, since a quotation is no refusal
COMMA = r"[\s,،，、.。;:!！;—–-]*"


def is_refusal(text: str) -> bool:
    """Return whether the text says that a model will not or cannot answer, or is about the model itself."""
    plain = _normalize(text)
    return any(pattern.search(plain) for pattern in _refusal_patterns())


def names_subtitles(text: str) -> bool:
    """Return whether a text mentions the clip's subtitles as its source."""
    return _subtitles_pattern().search(_normalize(text)) is not None


@cache
def joiner_pattern() -> str:
    """Return a pattern, without groups, of words that join two clauses: `while`, `然后`; whole words where words have
    spaces between them."""
    listed = [phrase for phrases in load_tables()["joiners"].values() for phrase in phrases]
    unspaced = [phrase for phrase in listed if UNSPACED.search(phrase)]
    spaced = [phrase for phrase in listed if not UNSPACED.search(phrase)]
    return rf"(?:(?<!\w){_any_of(spaced)}(?!\w)|{_any_of(unspaced)})"


@cache
def load_tables() -> Mapping[str, Table]:
    """Return the tables of phrases, by name: patterns by language."""
    text = resources.files("pipeline.annotation").joinpath("phrases.yaml").read_text(encoding="utf-8")
    found: Mapping[str, Table] = yaml.safe_load(text)
    return found


def _normalize(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _any_of(phrases: Sequence[str]) -> str:
    return f"(?:{'|'.join(phrases)})"


def _any_language(name: str) -> str:
    return _any_of([_any_of(phrases) for phrases in load_tables()[name].values()])


@cache
def _refusal_patterns() -> tuple[re.Pattern[str], ...]:
    declined = load_tables()["declined"]
    regretted = [
        f"{_any_of(words)}{COMMA}{_any_of(declined[code])}" for code, words in load_tables()["regrets"].items()
    ]
    itself, regrets = _any_language("itself"), _any_language("regrets")
    starts = _any_of([*regretted, _any_language("plain"), f"{regrets}{COMMA}{itself}"])
    anchored = (f"^{BEFORE}{starts}", rf"(?:^|[.!?。！？]){BEFORE}{itself}")
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in anchored)


@cache
def _subtitles_pattern() -> re.Pattern[str]:
    return re.compile(_any_language("subtitles"), re.IGNORECASE)
