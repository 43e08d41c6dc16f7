"""Separate speech in a subtitle from names of speakers, sounds in brackets, songs, credits and dashes.

The table `RULES` has the rules; each marks only what is certain. "I (really) mean it" and "NASA: we have lift-off" are
speech. Rules that need words know English best; brackets that stand alone, notes and credits work in all languages.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pipeline.media.subtitle_credits import is_credit
from pipeline.media.subtitle_words import ASIDES, EDGE_VERBS, NO_SPEAKERS, NOUNS, OTHERS, VERBS, VOICES

Labels = frozenset[str]
SPEAKER, SOUND, SONG, CREDIT, MARK = "speaker", "sound", "song", "credit", ""
OFTEN = 3  # cues of a file that begin with the same `Name:`, from which on this is a speaker's name

LANGUAGES = (
    r"in (?:english|french|german|spanish|italian|russian|chinese|mandarin|japanese|korean|arabic|latin|\w+ese|\w+ish)"
)

NOTE = "♩♪♫♬🎵🎶¶"
GAP = "\0"
DASH = "-–—‐‑―"


@dataclass(frozen=True)
class UnspokenPart:
    """A part of a text that is not spoken: place, kind and text. Kind `MARK`: signs without meaning, such as a dash."""

    start: int
    end: int
    kind: str
    text: str


@dataclass(frozen=True)
class Rule:
    """A pattern for unspoken parts of a kind. sure: whether a match is one, given the text's labels.

    Group `it` of the pattern is the part; without this group, all of the match. Patterns see a text in which earlier
    parts are blank.
    """

    kind: str
    pattern: re.Pattern[str]
    sure: Callable[[re.Match[str], Labels], bool] = lambda match, labels: True


def find_unspoken(text: str, labels: Labels = frozenset()) -> list[UnspokenPart]:
    """Return all unspoken parts of a text, in order of their places. Lines of the text end with a line feed.

    labels: of speakers in the file, from `find_labels`.
    """
    if is_credit(text):
        return [UnspokenPart(0, len(text), CREDIT, " ".join(text.split()))]
    found, remaining = list[UnspokenPart](), text
    for rule in RULES:
        for match in rule.pattern.finditer(remaining):
            group = "it" if "it" in rule.pattern.groupindex else 0
            start, end = match.span(group)
            if start < end and rule.sure(match, labels):
                found.append(_unspoken_part(remaining[start:end], start, rule.kind))
                remaining = remaining[:start] + re.sub(r"[^\n]", " ", remaining[start:end]) + remaining[end:]
    return sorted(found, key=lambda part: part.start)


def _unspoken_part(text: str, start: int, kind: str) -> UnspokenPart:
    content = " ".join(text.split()).strip(">:： ")
    words = _words(content)
    if not any(map(str.isalnum, content)):
        kind = MARK
    elif kind == SOUND and words and all(word in VOICES for word in words):  # [Man]
        kind, content = SPEAKER, content.strip("[]()（）【】［］ ")
    return UnspokenPart(start, start + len(text), kind, content)


def blank_unspoken(text: str, found: Iterable[UnspokenPart]) -> str:
    """Return the text with `GAP` in the place of each unspoken character."""
    for part in found:
        text = text[: part.start] + GAP * (part.end - part.start) + text[part.end :]
    return text


def close_gaps(text: str) -> str:
    """Return the text in one line without gaps; punctuation after a gap follows the word before it."""
    return " ".join(re.sub(rf"{GAP}+", " ", re.sub(rf"\s*{GAP}+(?=[,.;:!?])", "", text)).split())


def find_labels(texts: Iterable[str]) -> Labels:
    """Return the speakers' names, in lower case: words that often stand before a colon in the file."""
    counts = Counter(label for text in texts for label in set(_line_labels(text)))
    return frozenset(label for label, count in counts.items() if count >= OFTEN)


def _line_labels(text: str) -> Iterator[str]:
    for match in LABEL.finditer(MARKS.sub("", text)):
        words = match["name"].split()
        if (
            len(words) <= 3
            and not _is_excluded(words)
            and all(word[:1] != word[:1].lower() or word.isdigit() for word in words)
        ):
            yield match["name"].casefold()


def _is_excluded(words: list[str]) -> bool:
    plain = [word.strip(".'’#").casefold() for word in words]
    return plain[0] in NO_SPEAKERS or plain[-1] in NO_SPEAKERS or sum(map(len, plain)) < 2


def _stands_alone(match: re.Match[str]) -> bool:
    text = match.string
    before = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
    after = text[match.end() :].partition("\n")[0]
    return not before.strip(f" \t>:{DASH}{NOTE}") and not after.strip(f" \t.…{NOTE}")


def _at_an_edge(match: re.Match[str]) -> bool:
    text = match.string
    before = text[text.rfind("\n", 0, match.start()) + 1 : match.start()].rstrip()
    after = text[match.end() :].partition("\n")[0].strip(" .,…!?")
    return not before.strip(f" \t>{DASH}") or before[-1] in '.!?…:"”' or not after


def _is_sound(match: re.Match[str], labels: Labels) -> bool:
    """Return whether a round bracket describes a sound or a manner of speaking, and is no aside."""
    inner = " ".join(match["inner"].split())
    if _names_a_sound(match, labels) or _is_of_speaker(match):
        return True
    if any(word in ASIDES for word in _words(inner)):
        return False
    return not re.search(r"[.!?]$", inner) if _stands_alone(match) else _at_an_edge(match) and _is_in_capitals(match)


def _is_of_speaker(match: re.Match[str]) -> bool:
    """Return whether a bracket begins a line with a voice, as `(man)`, or is in a label, as in `JOHN (V.O.): Hi`."""
    text = match.string
    before = text[text.rfind("\n", 0, match.start()) + 1 : match.start()].strip(f" \t>{DASH}")
    words = _words(match["inner"])
    if before:
        return before.isupper() and len(before.split()) <= 3 and text[match.end() :].lstrip(" ").startswith(":")
    return bool(words) and all(word in VOICES for word in words)


def _names_a_sound(match: re.Match[str], labels: Labels) -> bool:
    """Return whether a bracket has a word for a sound. Ambiguous words count only at the edge of a line."""
    inner = " ".join(match["inner"].casefold().split())
    words = _words(inner)
    if len(words) > 6 or any(word in ASIDES for word in words):
        return False
    if VERB.search(inner) or any(word in OTHERS for word in words):
        return True
    named = EDGE_VERB.search(inner) or re.fullmatch(LANGUAGES, inner) or any(word in NOUNS for word in words)
    return bool(named) and _at_an_edge(match)


def _words(inner: str) -> list[str]:
    return re.findall(r"[^\W\d_][\w'-]*", inner.casefold().replace("’", "'"))


def _is_in_capitals(match: re.Match[str]) -> bool:
    """Return whether a bracket in capitals begins a line that is not in capitals."""
    rest = match.string[match.end() :].lstrip(" \t")
    return match["inner"].isupper() and rest[:1].isupper() and not rest.isupper()


def _is_speaker(match: re.Match[str], labels: Labels) -> bool:
    """Return whether the name before a colon is a speaker's, by rules for names or as a label of the file."""
    name, after = match["name"], match.string[match.end() :].lstrip(f" \t\n{DASH}\"“'‘¿¡…")
    words = name.split()
    if match["turn"] or name.casefold() in labels:
        return True
    if (
        len(words) > 4
        or _is_excluded(words)
        or TITLE.search(match.string[: match.start("name")])
        or (after and not (after[0].isalpha() and not after[0].islower()))
    ):
        return False
    named = [word.casefold() for word in words if not word.strip("#").isdigit()]
    if name[0].isupper() and (named[0] in VOICES or named[-1] in VOICES):
        return True
    rest = match.string[: match.start("name")] + match.string[match.end("name") :]
    return name.isupper() and (not rest.strip(" :\n") or any(map(str.islower, rest)))


def _is_line_of_credit(match: re.Match[str], labels: Labels) -> bool:
    return is_credit(match.group(), whole=False)


def _is_dash(match: re.Match[str], labels: Labels) -> bool:
    line = match.string[match.string.rfind("\n", 0, match.start()) + 1 :]
    return line.lstrip()[:1] in DASH


def _inflection_pattern(stems: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern for third persons and participles of verbs: `slams`, `hisses`, `slamming`."""
    return re.compile(rf"(?i)\b(?:{'|'.join(sorted(stems))})(?:(?<=([a-z]))\1)?(?:e?s|ing)\b")


VERB, EDGE_VERB = _inflection_pattern(VERBS), _inflection_pattern(EDGE_VERBS)
MARKS = re.compile(rf"(?m)^[ \t]*(?:>>+|[{DASH}]+)[ \t]*|[\[(][^\[\]()]*[\])][ \t]*")
LABEL = re.compile(
    r"(?m)(?:^|(?<=[.!?…\"”♪]))(?P<it>[ \t]*(?P<turn>>>+)?[ \t]*(?P<name>[^\W\d_][\w.'’&#/\- ]{0,40}?)[ \t]*[:：])"
    r"(?=\s|$|[^\W\d_]|[\"“'‘¿¡…])"
)
TITLE = re.compile(r"(?i)\b(?:mr|mrs|ms|dr|st|prof|sgt|capt|lt|col|gen|jr|sr|rev)\.\s*$")
RULES = (
    Rule(CREDIT, re.compile(r"(?m)^.+$"), _is_line_of_credit),
    Rule(SOUND, re.compile(r"\[[^\[\]]*\]|【[^【】]*】|［[^［］]*］")),
    Rule(SOUND, re.compile(r"\((?P<inner>[^()]*)\)"), _is_sound),
    Rule(SOUND, re.compile(r"（(?P<inner>[^（）]*)）"), _is_sound),
    Rule(SOUND, re.compile(r"\*(?P<inner>[^*\n]+)\*"), _names_a_sound),
    Rule(SONG, re.compile(rf"[{NOTE}]+[^{NOTE}]*[{NOTE}]+")),
    Rule(SONG, re.compile(rf"(?m)^[^{NOTE}\n]*[{NOTE}]+[ \t]*$")),
    Rule(SONG, re.compile(rf"[{NOTE}]+[^{NOTE}\n]*(?:\n(?![ \t]*[{DASH}>])[^{NOTE}\n]*)*")),
    Rule(SONG, re.compile(r"(?m)^[ \t]*#[ \t]+[^#]*[ \t]#[ \t]*$")),
    Rule(MARK, re.compile(rf"(?<=[.!?…\"”)])[ \t]+(?P<it>[{DASH}][ \t]*)(?=[^\s\d])"), _is_dash),
    Rule(MARK, re.compile(rf"(?m)^[ \t]*(?:[{DASH}]+[ \t]+|[{DASH}]+(?=[^\s\d]))")),
    Rule(SPEAKER, LABEL, _is_speaker),
    Rule(MARK, re.compile(r"(?<!\S)(?:>>+|＞＞+)[ \t]*")),
)
