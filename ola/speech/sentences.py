"""Split growing text into sentences, and find the words of each that are to be spoken.

The rules look at characters only, one after the other, so the sentences are the same however the text was cut into
pieces; joined, they are the text.

- A newline ends a sentence at once.
- 。！？； end one when the next character shows that neither a further mark nor a closing quote or bracket follows.
- . ! ? … end one when white space and the character after it are known (that white space belongs to the sentence),
  unless a small letter follows, or it was an abbreviation, an initial or the number of a list entry.
- What is too short joins the next sentence. What grows too long is cut at its last comma, else at its last space,
  else where it is: nobody waits longer.
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
    """Cuts growing text into sentences.

    Lengths are in Latin characters; a wide one (Chinese, Japanese, Korean) counts as three, since it takes about
    three times as long to say. The first sentence may be shorter, so that something is heard soon. ValueError unless
    1 <= min_chars < max_chars and 1 <= first_min_chars.
    """

    # 16 characters are about a second of speech, 160 ten.
    def __init__(self, min_chars: int = 16, max_chars: int = 160, first_min_chars: int = 5) -> None:
        if not 1 <= min_chars < max_chars or first_min_chars < 1:
            raise ValueError(f"need 1 <= {min_chars=} < {max_chars=} and 1 <= {first_min_chars=}")
        self._min, self._max, self._first_min = min_chars, max_chars, min(first_min_chars, min_chars)
        self._begin()

    def push(self, text: str) -> list[str]:
        """The sentences that this text completes."""
        return [sentence for character in text for sentence in self._feed(character)]

    def flush(self) -> list[str]:
        """The rest, at the end of the text; then the finder is as new."""
        rest = [self._text] if self._text else []
        self._begin()
        return rest

    def _begin(self) -> None:
        self._text, self._length, self._least = "", 0, self._first_min
        self._quoted = False  # inside "…", whose two ends look alike

    def _feed(self, character: str) -> Iterator[str]:
        if self._length >= self._least and _ends(self._text, character, self._quoted):
            yield self._cut(len(self._text))
        self._text += character
        self._length += _length(character)
        self._quoted = character != "\n" and self._quoted ^ (character == '"')
        if character == "\n" and self._length >= self._least and not self._text.isspace():
            yield self._cut(len(self._text))
        elif self._length >= self._max:
            yield self._cut(self._pause())

    def _cut(self, end: int) -> str:
        sentence, self._text = self._text[:end], self._text[end:]
        self._length, self._least = _length(self._text), self._min
        return sentence

    def _pause(self) -> int:
        for pattern in PAUSES:
            ends = [found.end() for found in pattern.finditer(self._text)]
            if ends and _length(self._text[: ends[-1]]) >= self._least:
                return ends[-1]
        return len(self._text)


def _length(text: str) -> int:
    return sum(3 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _ends(text: str, after: str, quoted: bool) -> bool:
    """Whether a sentence ends between `text` and the character `after` it."""
    found = None if after.isspace() else END.search(text)
    if not found:
        return False
    mark, closers, space = found.groups()
    if any(character in WIDE_MARKS for character in mark):
        # Between " and " the mark is inside: the first did not close it, the second will.
        return not (after in MARKS + CLOSERS or (quoted and '"' in closers + after))
    if after in MARKS or not (space or (WIDE.match(after) and (mark == "." or mark[-1] in "!?"))):
        return False
    if after.islower() and (mark[-1] in ".…" or any(character in "\"'”’»" for character in closers)):
        return False
    return mark != "." or not _abbreviated(text[: found.start()], after)


def _abbreviated(text: str, after: str) -> bool:
    """Whether a period between `text` and `after` belongs to the word or number before it."""
    found = WORD.search(text)
    word = found[0].strip("'’-_").lower() if found else ""
    known = INITIALS.fullmatch(word) or ABBREVIATIONS.fullmatch(word) or LIST_NUMBER.search(text)
    return known is not None or (after.isdigit() and BEFORE_NUMBER.fullmatch(word) is not None)


FENCE = re.compile(r"```|~~~")
MARKDOWN = (
    (re.compile(r"!?\[([^\]]*)\]\((?:[^()]|\([^()]*\))*\)"), r"\1"),  # links and pictures keep their text
    (re.compile(r"^[ \t]*(?:#{1,6}|[-*+•]|>)[ \t]+", re.MULTILINE), ""),
    (re.compile(r"[-=]{3,}|\|"), " "),
    (re.compile(r"(?<!\d)\*{2,}|\*{2,}(?!\d)|__+|~~|`"), ""),
    (re.compile(r"(?<![\d*])\*(?=\S)([^*\n]+)(?<=\S)\*"), r"\1"),
    (re.compile(r"(?<![\w*])[*_]+(?=\S)|(?<=\S)[*_]+(?![\w*])"), ""),  # not in snake_case, nor in 2 * 3
    (re.compile(r"(?<=\w)\s*\n\s*(?=\w)"), ". "),  # after a heading, between the entries of a list
    (re.compile(r"\s+"), " "),
)


class SpokenText:
    """What is said of an answer, called with its sentences in order: no Markdown, and nothing of code blocks.

    Code blocks span sentences, so it remembers whether one is open.
    """

    def __init__(self) -> None:
        self._in_code = False

    def __call__(self, sentence: str) -> str:
        """The words to be said, "" where there are none."""
        said = ""
        for place, part in enumerate(FENCE.split(sentence)):
            self._in_code ^= place > 0
            said += "" if self._in_code else part
        for pattern, plain in MARKDOWN:
            said = pattern.sub(plain, said)
        return said.strip() if any(character.isalnum() for character in said) else ""
