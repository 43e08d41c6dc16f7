"""Detect the language of a text, and whether it differs from the language that the file claims."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

LEAST = 20  # bytes of letters in UTF-8 for a detection: 20 Latin letters or 7 Chinese characters
LIKELY = 0.6  # least probability of a detected language
SURE, OUT = (
    0.85,
    0.1,
)  # of a mismatch: least probability of the language found, greatest of the claimed one, with their kin
# Languages that are confused in short texts, and dialects.
KIN = [
    set(kin.split())
    for kin in [
        "no nb nn da",
        "sv no nb nn da",
        "hr sr bs",
        "cs sk",
        "id ms",
        "zh yue wuu",
        "ar ary arz",
        "hi mr ne sa",
        "pt gl",
        "es ext an gl",
        "ca oc",
        "en pcm",
        "fr wa gcf gcr",
        "it vec lij",
        "ru uk be",
        "bg mk",
        "nl af fy",
        "de lb",
        "tr az crh tk",
        "lv ltg",
        "uz uzs",
        "ku sdh",
        "he hbo",
        "el grc",
    ]
]


# Languages of most videos, and dialects and small languages that short texts of their kin are taken for. Their
# probabilities are multiplied by these numbers: a few words of Russian look like Bulgarian, of Spanish like Aragonese.
FREQUENT = frozenset("ar de en es fr hi id it ja ko nl pl pt ru tr vi zh".split())  # noqa: SIM905
RARE = frozenset("an ary arz ext gcf gcr grc hbo lij ltg oc pcm sdh uzs vec wa wuu".split())  # noqa: SIM905
WEIGHTS = dict.fromkeys(FREQUENT, 4.0) | dict.fromkeys(RARE, 0.25)


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def language_of(text: str) -> tuple[str | None, float | None]:
    """Return the likeliest language of a text (ISO 639-1 if listed) and its probability, or (None, None)."""
    weighted = {language: WEIGHTS.get(language, 1.0) * value for language, value in _rank_languages(text).items()}
    best = max(weighted, key=weighted.__getitem__, default=None)
    if best is None or best == "zxx":
        return None, None
    probability = weighted[best] / math.fsum(weighted.values())
    return (best, round(probability, 4)) if probability >= LIKELY else (None, None)


def is_mismatch(text: str, claimed: str) -> bool:
    """Return whether a text is clearly not in the claimed language (two letters)."""
    ranked = _rank_languages(text)
    if claimed not in ranked:
        return False
    best = max(ranked, key=ranked.__getitem__)
    return _related_probability(best, ranked) >= SURE and _related_probability(claimed, ranked) <= OUT


def _related_probability(language: str, ranked: dict[str, float]) -> float:
    kin = {language}.union(*(group for group in KIN if language in group))
    return math.fsum(ranked.get(each, 0.0) for each in kin)


def _rank_languages(text: str) -> dict[str, float]:
    """Return the probability of each language; empty for a text that is too short."""
    if len("".join(filter(str.isalpha, text)).encode()) < LEAST:
        return {}
    return dict(_identifier().rank(text))
