"""Parse the chosen option of a multiple-choice answer by its letter or its text.

The pipeline's verification and the evaluation of models use these rules. `choices.yaml` has the phrases of each
language that announce an answer; for a new language, add a line to that file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources

import yaml

from stages.text_metrics import exact, significant_words

Options = Mapping[str, str]

UNSPACED = ("zh", "ja", "ko")  # languages without a space between phrase and letter
NEGATED = re.compile(
    r"(?:不(?:应该|應該|应|應)?|没有?|\b(?:not|no|nicht|pas|non|não|niet|не)\s*|n['’]t\s*)$", re.IGNORECASE
)
RIGHT = r"is\s+(?:the\s+)?(?:right|correct|best|answer)"
AS_CHOSEN = rf"(?:选项|選項|项|項)?是?(?:正确|正確|对的|對的)|\s+{RIGHT}"  # after a letter
BETWEEN = r"[,/&、]|\b(?:and|or|und|oder|et|ou|y|o|e|en|of|и|или)\b|和|与|與|或|及"  # "A or B" is no choice
VOWELS = "AEIOUY"  # letters that are words in some language: the article "A", "e", "I", "o", "y"
MARK = r"[.):\]}、】]"  # ends the label of an option
# Text that must follow one of `VOWELS` to make it a label; other letters may be followed by any word.
IS = r"选项|選項|项|是(?!错|錯|不)|对|正|입니다|です|だ"
CLOSED = rf"(?=\s*(?:{MARK}|[;,*\"'’”!?。<]|\n|$)|\s+(?:is|because)\b|\s*(?:{IS}))"
WRITTEN_ON = r"(?!['’]?[A-Za-zÀ-ɏͰ-ӿ0-9_+#])"  # allows scripts without spaces: 答案是B因为…
CLAUSE = re.compile(rf"[.,;:!?\n。、]|\s+(?:because|since|{RIGHT}|is\s+(?:heard|seen|shown))\b")
WRAPPERS = re.compile(r"\\(?:boxed|text)\{|(?<=\w)\}+\$?|</?\w+>|```\w*|\*\*|__|`|\$(?=\\)|^\s*[>#]+\s", re.MULTILINE)


def chosen_letter(answer: str, options: Options) -> str | None:
    """Return the letter of the option that an answer chooses, or None if the answer chooses none or several.

    The first rule that matches decides: a letter alone, in any case; the text of an option; a letter at the beginning
    (`B`, `(B)`, `b) a dog`, but not the article of `A dog`); a letter after an announcing phrase (`The best answer is:
    B`, `答案是B`, `It is B.`); the text of an option after such a phrase or before the first punctuation mark.
    """
    text = unicodedata.normalize("NFKC", WRAPPERS.sub("", answer)).strip()
    letters = "".join(options)
    if not letters:
        return None
    if alone := re.fullmatch(rf"[\W_]*([{letters}{letters.lower()}])(?:[^\w+#-]|_)*", text):
        return alone[1].upper()
    rules = (_match_option, _match_first_letter, _match_announced_letter, _match_option_part)
    found = next((found for rule in rules if (found := rule(text, options))), set())
    return found.pop() if len(found) == 1 else None


def _match_option(text: str, options: Options) -> set[str]:
    """Return the letters of the options whose text equals the answer."""
    return {letter for letter, words in options.items() if exact(words, text)}


def _match_first_letter(text: str, options: Options) -> set[str]:
    """Return the letters at the beginning of the answer."""
    letters = "".join(options)
    label = re.match(rf"[\W_]*(?:([{letters.lower()}]){MARK}(?!\w\.)|{_letter_pattern(letters)})", text)
    if label:
        return {(label[1] or label[2]).upper()} | _second_letter(text[label.end() :], letters)
    spaced = re.match(rf"[\W_]*([{letters}])\s+", text)  # "A a dog"
    return {spaced[1]} if spaced and exact(text[spaced.end() :], options[spaced[1]]) else set()


def _match_announced_letter(text: str, options: Options) -> set[str]:
    """Return the letters that the answer announces with a phrase."""
    letters, found = "".join(options), set[str]()
    after = re.compile(rf"[\s:=*(\[\"'“‘【]*(?:{_letter_pattern(letters)}|[(\[]([{letters.lower()}])[)\]])")
    for lead in _announcing_phrases().finditer(text):
        claim = after.match(text, lead.end())
        if claim and not NEGATED.search(text[: lead.start()]):
            found |= {(claim[1] or claim[2]).upper()} | _second_letter(text[claim.end() :], letters)
    return found | {named[1] for named in re.finditer(rf"(?<![^\W_])([{letters}])(?:{AS_CHOSEN})", text)}


def _match_option_part(text: str, options: Options) -> set[str]:
    """Return the letter of the option that the answer names, and those of other options that it also contains."""
    named_letters = next((found for piece in _clauses(text) if (found := _match_option(piece, options))), set[str]())
    contained = {letter for letter, words in options.items() if _contains_words(text, words)}
    overlapping = {
        letter for letter in contained for other in named_letters if _contains_words(options[other], options[letter])
    }
    return named_letters | (contained - overlapping) if named_letters else named_letters


def _clauses(text: str) -> Iterator[str]:
    lead = re.match(rf"\W*(?:{_announcing_phrases().pattern})[^\w.+$€£#-]*", text, re.IGNORECASE)
    for start in (text[lead.end() :], text) if lead else (text,):
        yield start
        yield CLAUSE.split(start, maxsplit=1)[0]


def _contains_words(text: str, words: str) -> bool:
    return f" {' '.join(significant_words(words))} " in f" {' '.join(significant_words(text))} "


def _second_letter(rest: str, letters: str) -> set[str]:
    """Return the second letter of an enumeration such as `A or B`."""
    more = re.match(rf"\W*(?:{BETWEEN})\W*{_letter_pattern(letters)}", rest)
    return {more[1]} if more else set()


def _letter_pattern(letters: str) -> str:
    """Return a pattern for a letter that is a separate word, as one group."""
    vowels, others = (re.sub(kept, "", letters) for kept in (f"[^{VOWELS}]", f"[{VOWELS}]"))
    forms = [rf"[{vowels}]{WRITTEN_ON}{CLOSED}"] * bool(vowels) + [rf"[{others}]{WRITTEN_ON}"] * bool(others)
    return rf"({'|'.join(forms)})"


@cache
def _announcing_phrases() -> re.Pattern[str]:
    table = yaml.safe_load(resources.files("stages").joinpath("choices.yaml").read_text(encoding="utf-8"))
    spaced = (phrase for code, phrases in table.items() if code not in UNSPACED for phrase in phrases)
    unspaced = (phrase for code in UNSPACED for phrase in table[code])
    separate = rf"(?<![^\W_])(?:{'|'.join(spaced)})(?![^\W_A-Z])"
    return re.compile(f"{separate}|{'|'.join(unspaced)}", re.IGNORECASE)
