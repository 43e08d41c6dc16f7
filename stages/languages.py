"""Detect the script of a text, and its language if function words show it."""

from __future__ import annotations

import unicodedata
from collections import Counter

from stages.text_metrics import words

# Frequent function words of each language. Words of two languages cancel each other. Source: the most
# frequent words of each language (Wiktionary's frequency lists), for languages in Latin letters.
FUNCTION_WORDS = {
    "en": "the a an of and to is are what who why how does do with that this it in he she they was for on at from "
    "be by or but not we you i his her",
    "de": "der die das und ist was wer warum wie nicht ein eine mit den dem sie er es im in auf von zu ich",
    "fr": "le la les des du et est qui que pourquoi une un dans il elle pas ce avec pour sur en quoi je",
    "es": "el la los las de y es que qué quién por una un en no con se lo para cómo ella él su del",
    "it": "il lo la gli le di e è che chi perché una un in non con si per cosa come lei lui del nel",
    "pt": "o a os as de e é que quem por uma um em não com se para como ela ele do da no na",
    "nl": "de het een en is wat wie waarom hoe niet met van in op dat zijn hij zij ze te voor ik",
    "sv": "och att det är en ett som på inte jag han hon de var den med för till vad vem varför hur av om",
    "pl": "w na nie się jest że z jak kto dlaczego ale po za od jego jej ten ta był była oraz przez",
    "tr": "ve bir bu ne için de da çok ile mi mı değil kim neden nasıl var gibi daha olan ama ben",
    "id": "yang dan di ini itu dengan untuk tidak dari dalam ke adalah apa siapa mengapa bagaimana pada akan",
    "vi": "và là của có không một người trong cho được các này đó với những đã gì ai tại sao như",
    "ro": "și de la în cu pe nu este un care ce cine din mai să pentru că se lui ei sunt",
    "cs": "v se na je že z jak kdo proč ale po za od jeho její ten ta byl byla není který která",
}
SURE = 2  # function words by which a language must lead: a single word may be a name


def detect_script(text: str) -> str | None:
    """Return Unicode's name of the most frequent script in a text; `CJK` for both Japanese and Chinese."""
    letters = (letter for letter in unicodedata.normalize("NFKC", text) if letter.isalpha())
    names = (unicodedata.name(letter, "?").split(maxsplit=1)[0] for letter in letters)
    counts = Counter("CJK" if name in {"HIRAGANA", "KATAKANA"} else name for name in names)
    return counts.most_common(1)[0][0] if counts else None


def detect_language(text: str, sure: int = SURE) -> str | None:
    """Return a language of `FUNCTION_WORDS`, or None if none leads by `sure` words."""
    found_words = words(text)
    known = {code: set(listed.split()) for code, listed in FUNCTION_WORDS.items()}
    counts = Counter({code: sum(word in listed for word in found_words) for code, listed in known.items()})
    (first, most), (_, next_most) = counts.most_common(2)
    return first if most - next_most >= sure else None


def is_english(text: str, among: str | None = None) -> bool:
    """Return whether a text is English, judged by its letters and function words.

    among: the language of the texts around it, which decides for texts with few function words.
    """
    if not all(letter.isascii() for letter in text if letter.isalpha()):
        return False
    found = detect_language(text, SURE if among == "en" else 1)
    return found == "en" or (found is None and among in ("en", None))
