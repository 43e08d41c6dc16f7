"""Split growing text into sentences, and convert each to the text to be spoken.

The rules process single characters in order, so the sentences do not depend on how the text was split into pieces. The
joined sentences are the text.

- A newline ends a sentence at once.
- 。！？； end a sentence if the next character is neither another mark nor a closing quote or bracket.
- . ! ? … end a sentence once the white space after them and the next character are known (the white space belongs to
the sentence), unless a lower-case letter follows, or the word is an abbreviation, an initial or a list number.
- A sentence that is too short is joined with the next. A sentence that grows too long is cut at its last comma, else at
its last space, else at its end.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

WIDE_MARKS = "。！？；｡"
MARKS = ".!?…" + WIDE_MARKS
CLOSERS = "”’」』）】》〉»)]}"
END = re.compile(rf"([{MARKS}]+)([\"'*_`{re.escape(CLOSERS)}]*)(\s*)$")
# Before these an ASCII mark needs no space: kana, Han, hangul and opening brackets.
WIDE = re.compile(r"[\u3041-\u30ff\u3400-\u9fff\uac00-\ud7af「『（【《〈]")
PAUSES = (re.compile(r"[,;:]\s+|[，、：]|[–—]\s*"), re.compile(r"\s+"))

WORD = re.compile(r"[\w.'’-]*$", re.ASCII)
INITIALS = re.compile(r"(?:[a-z]\.)*[a-z]")  # J, U.S, e.g, a.m
ABBREVIATIONS = re.compile(
    "mr|mrs|ms|dr|prof|st|sr|jr|gen|col|capt|lt|sgt|rev|hon|gov|sen|rep|mt|ft|vs|etc|cf|al|approx|est|dept|inc|ltd|co|"
    "corp|bros|ph.d|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
)
BEFORE_NUMBER = re.compile("nos?|figs?|vol|ch|sec|eq|art|pp?")
LIST_NUMBER = re.compile(r"(?:^|\n)[\s>*_#-]*\d{1,3}$")


class SentenceFinder:
    """Splits growing text into sentences.

    Lengths are in Latin characters; a Chinese, Japanese or Korean character counts as three, since it takes about three
    times as long to speak. The first sentence may be shorter, so that speech starts soon. Raises ValueError unless
    1 <= min_chars < max_chars and 1 <= first_min_chars.
    """

    # 16 characters are about one second of speech, 160 about ten.
    def __init__(self, min_chars: int = 16, max_chars: int = 160, first_min_chars: int = 5) -> None:
        if not 1 <= min_chars < max_chars or first_min_chars < 1:
            raise ValueError(f"need 1 <= {min_chars=} < {max_chars=} and 1 <= {first_min_chars=}")
        self._min, self._max, self._first_min = min_chars, max_chars, min(first_min_chars, min_chars)
        self._reset()

    def push(self, text: str) -> list[str]:
        """Return the sentences that this text completes."""
        return [sentence for character in text for sentence in self._add_character(character)]

    def flush(self) -> list[str]:
        """Return the rest at the end of the text, and reset the finder."""
        rest = [self._text] if self._text else []
        self._reset()
        return rest

    def _reset(self) -> None:
        self._text, self._spoken_length, self._least = "", 0, self._first_min
        self._quoted = False  # inside "…", whose opening and closing quotes are the same character

    def _add_character(self, character: str) -> Iterator[str]:
        if self._spoken_length >= self._least and _is_sentence_end(self._text, character, self._quoted):
            yield self._cut(len(self._text))
        self._text += character
        self._spoken_length += _spoken_length(character)
        self._quoted = character != "\n" and self._quoted ^ (character == '"')
        if character == "\n" and self._spoken_length >= self._least and not self._text.isspace():
            yield self._cut(len(self._text))
        elif self._spoken_length >= self._max:
            yield self._cut(self._find_pause())

    def _cut(self, end: int) -> str:
        sentence, self._text = self._text[:end], self._text[end:]
        self._spoken_length, self._least = _spoken_length(self._text), self._min
        return sentence

    def _find_pause(self) -> int:
        for pattern in PAUSES:
            ends = [found.end() for found in pattern.finditer(self._text)]
            if ends and _spoken_length(self._text[: ends[-1]]) >= self._least:
                return ends[-1]
        return len(self._text)


def _spoken_length(text: str) -> int:
    return sum(3 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _is_sentence_end(text: str, after: str, quoted: bool) -> bool:
    """Return whether a sentence ends between `text` and the next character `after`."""
    found = None if after.isspace() else END.search(text)
    if not found:
        return False
    mark, closers, space = found.groups()
    if any(character in WIDE_MARKS for character in mark):
        # Within a quotation, a quote after the mark ends the sentence only if it closes the quotation.
        return not (after in MARKS + CLOSERS or (quoted and '"' in closers + after))
    if after in MARKS or not (space or (WIDE.match(after) and (mark == "." or mark[-1] in "!?"))):
        return False
    if after.islower() and (mark[-1] in ".…" or any(character in "\"'”’»" for character in closers)):
        return False
    return mark != "." or not _is_abbreviation(text[: found.start()], after)


def _is_abbreviation(text: str, after: str) -> bool:
    """Return whether a period between `text` and `after` belongs to the word or number before it."""
    found = WORD.search(text)
    word = found[0].strip("'’-_").lower() if found else ""
    known = INITIALS.fullmatch(word) or ABBREVIATIONS.fullmatch(word) or LIST_NUMBER.search(text)
    return known is not None or (after.isdigit() and BEFORE_NUMBER.fullmatch(word) is not None)


FENCE = re.compile(r"```|~~~")
MARKDOWN = (
    (re.compile(r"!?\[([^\]]*)\]\((?:[^()]|\([^()]*\))*\)"), r"\1"),  # links and pictures are replaced by their text
    (re.compile(r"^[ \t]*(?:#{1,6}|[-*+•]|>)[ \t]+", re.MULTILINE), ""),
    (re.compile(r"[-=]{3,}|\|"), " "),
    (re.compile(r"(?<!\d)\*{2,}|\*{2,}(?!\d)|__+|~~|`"), ""),
    (re.compile(r"(?<![\d*])\*(?=\S)([^*\n]+)(?<=\S)\*"), r"\1"),
    (re.compile(r"(?<![\w*])[*_]+(?=\S)|(?<=\S)[*_]+(?![\w*])"), ""),  # not in snake_case, nor in 2 * 3
    (re.compile(r"(?<=\w)\s*\n\s*(?=\w)"), ". "),  # after a heading, between the entries of a list
    (re.compile(r"\s+"), " "),
)


class SpokenText:
    """Converts the sentences of an answer, in order, to text to be spoken: without Markdown and code blocks.

    A code block may span sentences, so the object stores whether one is open.
    """

    def __init__(self) -> None:
        self._in_code = False

    def __call__(self, sentence: str) -> str:
        """Return the text to be spoken; "" if there is none."""
        spoken = ""
        for place, part in enumerate(FENCE.split(sentence)):
            self._in_code ^= place > 0
            spoken += "" if self._in_code else part
        for pattern, plain in MARKDOWN:
            spoken = pattern.sub(plain, spoken)
        return spoken.strip() if any(character.isalnum() for character in spoken) else ""
