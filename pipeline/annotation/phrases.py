"""Tell refusals, and texts that name the clip's subtitles, by the tables of `phrases.yaml`.

A phrase counts where the text begins with it; what a model says of itself, where a sentence does. So who reports that
somebody said "I cannot help you" does not refuse.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

import yaml

Table = Mapping[str, Sequence[str]]
BEFORE = r"[\s*_>#\-–—.…]*"  # what may stand before the first word; no quotation mark: who quotes does not refuse
COMMA = r"[\s,،，、.。;:!！;—–-]*"


def refuses(text: str) -> bool:
    """Whether a model says that it will not or cannot, or speaks of itself."""
    plain = _plain(text)
    return any(pattern.search(plain) for pattern in _refusals())


def names_subtitles(text: str) -> bool:
    """Whether a text speaks of the clip's subtitles as of what it is taken from."""
    return _subtitles().search(_plain(text)) is not None


@cache
def tables() -> Mapping[str, Table]:
    """The tables of phrases, by name: patterns by language."""
    text = resources.files("pipeline.annotation").joinpath("phrases.yaml").read_text(encoding="utf-8")
    found: Mapping[str, Table] = yaml.safe_load(text)
    return found


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _any(phrases: Sequence[str]) -> str:
    return f"(?:{'|'.join(phrases)})"


def _of_all_languages(name: str) -> str:
    return _any([_any(phrases) for phrases in tables()[name].values()])


@cache
def _refusals() -> tuple[re.Pattern[str], ...]:
    declined = tables()["declined"]
    regretted = [f"{_any(words)}{COMMA}{_any(declined[code])}" for code, words in tables()["regrets"].items()]
    itself, regrets = _of_all_languages("itself"), _of_all_languages("regrets")
    starts = _any([*regretted, _of_all_languages("plain"), f"{regrets}{COMMA}{itself}"])
    anchored = (f"^{BEFORE}{starts}", rf"(?:^|[.!?。！？]){BEFORE}{itself}")
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in anchored)


@cache
def _subtitles() -> re.Pattern[str]:
    return re.compile(_of_all_languages("subtitles"), re.IGNORECASE)
