"""Detect the language of a text, and whether it differs from the language that the file claims."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

LEAST = 20  # bytes of letters in UTF-8: 20 Latin letters or 7 Chinese signs; of less nothing is told
LIKELY = 0.6  # probability from which on a language is named
SURE, OUT = 0.85, 0.1  # a mismatch: so much for the language found and its kin, so little for the one claimed and its
# Languages that short texts do not tell apart, and dialects that are taken for the language.
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


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def language_of(text: str) -> tuple[str | None, float | None]:
    """The likeliest language of a text (ISO 639-1 where it has a code there) and its probability; None where unsure."""
    ranked = _ranked(text)
    best = max(ranked, key=ranked.__getitem__, default=None)
    if best is None or best == "zxx" or ranked[best] < LIKELY:
        return None, None
    return best, round(ranked[best], 4)


def is_mismatch(text: str, claimed: str) -> bool:
    """Whether a text is plainly not in the language (two letters) that it is claimed to be in."""
    ranked = _ranked(text)
    if claimed not in ranked:
        return False
    best = max(ranked, key=ranked.__getitem__)
    return _probability(best, ranked) >= SURE and _probability(claimed, ranked) <= OUT


def _probability(language: str, ranked: dict[str, float]) -> float:
    kin = {language}.union(*(group for group in KIN if language in group))
    return math.fsum(ranked.get(each, 0.0) for each in kin)


def _ranked(text: str) -> dict[str, float]:
    """Probability of each language; empty for a text too short to tell."""
    if len("".join(filter(str.isalpha, text)).encode()) < LEAST:
        return {}
    return dict(_identifier().rank(text))
