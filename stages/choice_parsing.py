"""Parse the chosen option of a multiple-choice answer, by its letter or its words.

The pipeline's verification and the evaluation of models read answers by these rules. `choices.yaml` holds the phrases
that name an answer in each language; a new language needs a line there.
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

UNSPACED = ("zh", "ja", "ko")  # languages whose phrases stand against the letter
NEGATED = re.compile(
    r"(?:不(?:应该|應該|应|應)?|没有?|\b(?:not|no|nicht|pas|non|não|niet|не)\s*|n['’]t\s*)$", re.IGNORECASE
)
RIGHT = r"is\s+(?:the\s+)?(?:right|correct|best|answer)"
AS_CHOSEN = rf"(?:选项|選項|项|項)?是?(?:正确|正確|对的|對的)|\s+{RIGHT}"  # after a letter
BETWEEN = r"[,/&、]|\b(?:and|or|und|oder|et|ou|y|o|e|en|of|и|или)\b|和|与|與|或|及"  # "A or B" chooses nothing
VOWELS = "AEIOUY"  # words of their own in some language: an English article, "e", "I", "o", "y"
MARK = r"[.):\]}、】]"  # closes the label of an option
# What follows one of `VOWELS` that is a letter; any other letter may be followed by any word.
IS = r"选项|選項|项|是(?!错|錯|不)|对|正|입니다|です|だ"
CLOSED = rf"(?=\s*(?:{MARK}|[;,*\"'’”!?。<]|\n|$)|\s+(?:is|because)\b|\s*(?:{IS}))"
WRITTEN_ON = r"(?!['’]?[A-Za-zÀ-ɏͰ-ӿ0-9_+#])"  # but for scripts without spaces: 答案是B因为…
CLAUSE = re.compile(rf"[.,;:!?\n。、]|\s+(?:because|since|{RIGHT}|is\s+(?:heard|seen|shown))\b")
WRAPPERS = re.compile(r"\\(?:boxed|text)\{|(?<=\w)\}+\$?|</?\w+>|```\w*|\*\*|__|`|\$(?=\\)|^\s*[>#]+\s", re.MULTILINE)


def chosen_letter(answer: str, options: Options) -> str | None:
    """The letter of the option that an answer chooses, or None where it chooses none, or several.

    The first of these that is there decides: a letter alone, in any case; the words of an option; a letter that the
    answer begins with (`B`, `(B)`, `b) a dog`, but not the article of `A dog`); one that is named as the answer (`The
    best answer is: B`, `答案是B`, `It is B.`); words of an option that are named so, or stand before the first pause.
    """
    text = unicodedata.normalize("NFKC", WRAPPERS.sub("", answer)).strip()
    letters = "".join(options)
    if not letters:
        return None
    if alone := re.fullmatch(rf"[\W_]*([{letters}{letters.lower()}])(?:[^\w+#-]|_)*", text):
        return alone[1].upper()
    rules = (_worded, _leading, _claimed, _worded_within)
    found = next((found for rule in rules if (found := rule(text, options))), set())
    return found.pop() if len(found) == 1 else None


def _worded(text: str, options: Options) -> set[str]:
    """Letters of the options that a text repeats."""
    return {letter for letter, words in options.items() if exact(words, text)}


def _leading(text: str, options: Options) -> set[str]:
    """The letters that a text begins with."""
    letters = "".join(options)
    label = re.match(rf"[\W_]*(?:([{letters.lower()}]){MARK}(?!\w\.)|{_letter(letters)})", text)
    if label:
        return {(label[1] or label[2]).upper()} | _going_on(text[label.end() :], letters)
    spaced = re.match(rf"[\W_]*([{letters}])\s+", text)  # "A a dog"
    return {spaced[1]} if spaced and exact(text[spaced.end() :], options[spaced[1]]) else set()


def _claimed(text: str, options: Options) -> set[str]:
    """The letters that a text names as the answer."""
    letters, found = "".join(options), set[str]()
    after = re.compile(rf"[\s:=*(\[\"'“‘【]*(?:{_letter(letters)}|[(\[]([{letters.lower()}])[)\]])")
    for lead in _lead_in().finditer(text):
        claim = after.match(text, lead.end())
        if claim and not NEGATED.search(text[: lead.start()]):
            found |= {(claim[1] or claim[2]).upper()} | _going_on(text[claim.end() :], letters)
    return found | {named[1] for named in re.finditer(rf"(?<![^\W_])([{letters}])(?:{AS_CHOSEN})", text)}


def _worded_within(text: str, options: Options) -> set[str]:
    """Letters of an option whose words a text names, and of the others whose words it holds as well."""
    meant = next((found for piece in _pieces(text) if (found := _worded(piece, options))), set[str]())
    held = {letter for letter, words in options.items() if _holds(text, words)}
    parts = {letter for letter in held for other in meant if _holds(options[other], options[letter])}
    return meant | (held - parts) if meant else meant


def _pieces(text: str) -> Iterator[str]:
    lead = re.match(rf"\W*(?:{_lead_in().pattern})[^\w.+$€£#-]*", text, re.IGNORECASE)
    for start in (text[lead.end() :], text) if lead else (text,):
        yield start
        yield CLAUSE.split(start, maxsplit=1)[0]


def _holds(text: str, words: str) -> bool:
    return f" {' '.join(significant_words(words))} " in f" {' '.join(significant_words(text))} "


def _going_on(rest: str, letters: str) -> set[str]:
    """The letter after another one: `A or B`."""
    more = re.match(rf"\W*(?:{BETWEEN})\W*{_letter(letters)}", rest)
    return {more[1]} if more else set()


def _letter(letters: str) -> str:
    """A pattern of a letter as a word of its own, as one group."""
    vowels, others = (re.sub(kept, "", letters) for kept in (f"[^{VOWELS}]", f"[{VOWELS}]"))
    forms = [rf"[{vowels}]{WRITTEN_ON}{CLOSED}"] * bool(vowels) + [rf"[{others}]{WRITTEN_ON}"] * bool(others)
    return rf"({'|'.join(forms)})"


@cache
def _lead_in() -> re.Pattern[str]:
    table = yaml.safe_load(resources.files("stages").joinpath("choices.yaml").read_text(encoding="utf-8"))
    spaced = (phrase for code, phrases in table.items() if code not in UNSPACED for phrase in phrases)
    written_together = (phrase for code in UNSPACED for phrase in table[code])
    apart = rf"(?<![^\W_])(?:{'|'.join(spaced)})(?![^\W_A-Z])"
    return re.compile(f"{apart}|{'|'.join(written_together)}", re.IGNORECASE)
