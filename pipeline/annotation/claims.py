"""Split a caption into claims, and write it again without some of them.

A claim is a clause: a sentence, or a part of it beside a comma, a semicolon, a dash or a joining word (`while`). What
stands in quotation marks is never split. Pure functions, without models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from pipeline.annotation.phrases import joiner_pattern
from stages.text_metrics import UNSPACED, words

# Marks that end a sentence. After the first group a space follows; scripts of the second write on without one.
SPACED_ENDS = "[.!?…\u061f\u06d4\u0589\u0964\u0965\u1362]+"  # Arabic, Urdu, Armenian, Hindi, Amharic
UNSPACED_ENDS = "[。！？｡．\u17d4\u17d5\u104b]+"  # Chinese, Japanese, Khmer, Burmese
CLOSING = r"[\"'”’»）)\]」』]*"
SENTENCE_END = re.compile(rf"{SPACED_ENDS}{CLOSING}(?=\s|$)|{UNSPACED_ENDS}{CLOSING}|\s*\n\s*")
ABBREVIATION = re.compile(r"(?<!\w)(?:Mr|Mrs|Ms|Dr|Prof|St|Nr|No|vs|etc|ca|e\.g|i\.e|[A-Z])\.$")
# Text between quotation marks, without the mark that ends its sentence.
QUOTED = re.compile(r"[\"“„«「『]([^\"“”„«»「」『』\n]*?)(?=[.!?。！？]?[\"”“»」』])")
BULLETS = r"[\s\-*•·>#]*"
THAI = "\u0e00-\u0eff"  # Thai and Lao have no marks: a space ends a clause
KANA = "\u3040-\u30ff"  # after these 、 ends a clause; in Chinese it stands in lists
CLAUSE_MARKS = (
    rf"(?:\s*(?:(?<!\d)[,،]|[,،](?!\d)|(?<=[{KANA}])、|[，;；؛])\s*|\s+[—–-]{{1,2}}\s+|(?<=[{THAI}])\s+(?=[{THAI}]))"
)
LEAST_WORDS, LEAST_LETTERS = 3, 4  # of a claim; letters in scripts that put no spaces between words
SHORTEST_SENTENCE = 2  # words; "Mr." is no sentence


@dataclass(frozen=True)
class Clause:
    """A claim in its place. lead: text before it. end: mark of the sentence's end; "" within a sentence."""

    lead: str
    text: str
    end: str = ""


def split_claims(caption: str) -> list[Clause]:
    """Return the claims of a caption in order; their parts, joined, are the caption without outer spaces."""
    text = caption.strip()
    masked, found = _mask_quotes(text), list[Clause]()
    for start, stop, end in _find_sentences(masked):
        clauses = list(_split_sentence(text, masked, start, stop))
        found += [*clauses[:-1], replace(clauses[-1], end=text[stop:end])]
    return _join_wordless(found)


def join_claims(clauses: Sequence[Clause], kept: Sequence[bool]) -> str:
    """Return the text of the claims that are kept. Sentences of which all are kept stay as they are."""
    written = ""
    for number, sentence in enumerate(_group_sentences(list(zip(clauses, kept, strict=True)))):
        some, (first, _) = [clause for clause, keep in sentence if keep], sentence[0]
        if some and len(some) == len(sentence) and (written or not number):
            written += "".join(each.lead + each.text for each in some) + sentence[-1][0].end
        elif some:
            gap = first.lead[: len(first.lead) - len(first.lead.lstrip())]
            written += gap + _shorten(some, first) + sentence[-1][0].end
    return written.strip()


def _shorten(some: Sequence[Clause], first: Clause) -> str:
    """Return claims of one sentence, the first one without the word that joined it to what is gone."""
    head, *others = some
    begin = head.text[:1].upper() if (first.lead.strip() or first.text)[:1].isupper() else head.text[:1]
    return begin + head.text[1:] + "".join(each.lead + each.text for each in others)


def _group_sentences(clauses: Sequence[tuple[Clause, bool]]) -> Iterator[list[tuple[Clause, bool]]]:
    sentence = []
    for each in clauses:
        sentence.append(each)
        if each[0].end:
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def _mask_quotes(text: str) -> str:
    """Return a text of the same length with letters in place of quoted text."""
    return QUOTED.sub(lambda match: match[0][0] + "x" * len(match[1]), text)


def _find_sentences(masked: str) -> Iterator[tuple[int, int, int]]:
    """Yield start, end and the end of the closing mark of each sentence."""
    start = 0
    for at in SENTENCE_END.finditer(masked):
        following = masked[at.end() :].lstrip()[:1]
        short = len(words(masked[start : at.start()])) < SHORTEST_SENTENCE
        if short or following.islower() or ABBREVIATION.search(masked[start : at.end()]):
            continue
        yield start, at.start(), at.end()
        start = at.end()
    if start < len(masked):
        yield start, len(masked), len(masked)


def _split_sentence(text: str, masked: str, start: int, stop: int) -> Iterator[Clause]:
    """Yield the clauses of a sentence; a part too short for a claim stays with its neighbour."""
    begin = _sentence_lead().match(masked, start, stop)
    lead, at = start, begin.end() if begin else start
    for separator in _separators().finditer(masked, at, stop):
        if _is_claim(text[at : separator.start()]) and _is_claim(text[separator.end() : stop]):
            yield Clause(text[lead:at], text[at : separator.start()])
            lead, at = separator.start(), separator.end()
    yield Clause(text[lead:at], text[at:stop])


def _is_claim(text: str) -> bool:
    return len(words(text)) >= (LEAST_LETTERS if UNSPACED.search(text) else LEAST_WORDS)


def _join_wordless(clauses: Sequence[Clause]) -> list[Clause]:
    """Return the clauses with parts that hold no word added to the end of the one before, or to the next one's lead."""
    found, before = list[Clause](), ""
    for each in clauses:
        if words(each.text):
            found.append(replace(each, lead=before + each.lead))
            before = ""
        elif found:
            found[-1] = replace(found[-1], end=found[-1].end + each.lead + each.text + each.end)
        else:
            before += each.lead + each.text + each.end
    return found


@cache
def _separators() -> re.Pattern[str]:
    joiner = joiner_pattern()
    return re.compile(rf"{CLAUSE_MARKS}(?:{joiner}\s*)?|\s*{joiner}\s*", re.IGNORECASE)


@cache
def _sentence_lead() -> re.Pattern[str]:
    return re.compile(rf"{BULLETS}(?:{joiner_pattern()}\s*[,，،、]?\s*)?", re.IGNORECASE)
