"""What a recogniser decoded in, segments with scores and flags out: rules against speech that was never there.

Recognisers fill silence, noise and music with text: stock phrases of their training data, loops, words without a
voice. Nothing is deleted here: each rule leaves a score, and its name where the score is beyond its bound, so that SQL
can draw the line elsewhere later.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from manifests.records import Segment, Word

PAUSE, BREATH = 1.0, 0.25  # seconds that part segments: anywhere, and after the end of a sentence
ENDS = ".!?…。！？"
LONGEST_LOOP = 12  # words; "thanks for watching and see you in the next video" loops as one
SHORTEST = 0.5  # seconds: shorter stretches are told too coarsely for a pace
MANY = 10  # words, of which a tenth may be `distinct` by chance no more

# Said by models where nothing is: the first wherever they stand, the second where they are all that is heard.
STOCK = """
thanks for watching|thank you for watching|thank you so much for watching|see you in the next video|see you next time
please subscribe|like and subscribe|subscribe to my channel|subscribe to the channel|subtitles by|captions by
transcription by|transcribed by|translated by|amara org|sous titres réalisés par|untertitel der|untertitel im auftrag
untertitelung|subtítulos realizados por|subtítulos por la comunidad|sottotitoli creati|legendas pela comunidade
субтитры|продолжение следует|ご視聴ありがとうございました|字幕|谢谢观看|请不吝点赞|시청해주셔서 감사합니다
"""
ALONE = "you|thank you|thank you very much|thanks|bye|bye bye|so|okay|oh|hmm|mm|mmm|music|applause"
PHRASES = tuple(phrase for line in STOCK.split("\n") for phrase in line.split("|") if phrase)

Span = tuple[float, float]

# Bounds: compression and log-probability are those at which Whisper itself decodes again, no-speech the one at which
# it stays silent; the others are rules of thumb of corpora made this way.
RULES: dict[str, Callable[[Segment], bool]] = {
    "no words": lambda s: not any(sign.isalnum() for sign in s.text),
    "compression": lambda s: above(s.compression_ratio, 2.4),
    "improbable": lambda s: below(s.avg_logprob, -1.0),
    "no speech": lambda s: above(s.no_speech_prob, 0.6),
    "repeated": lambda s: above(s.repeated, 0.5),
    "few words": lambda s: below(s.distinct, 0.3),
    "stock phrase": lambda s: above(s.stock, 0.0),
    "unvoiced": lambda s: below(s.voiced, 0.5),
    "long word": lambda s: above(s.longest_word, 25),
    "pace": lambda s: below(s.pace, 0.5) or above(s.pace, 6.0),
}


@dataclass(frozen=True)
class Stretch:
    """What was decoded at once, at most 30 s: words with the spaces before them, and the decoder's scores."""

    words: tuple[Word, ...]
    avg_logprob: float | None = None
    no_speech_prob: float | None = None
    compression_ratio: float | None = None


def above(score: float | None, bound: float) -> bool:
    """Whether there is a score and it is too high."""
    return score is not None and score > bound


def below(score: float | None, bound: float) -> bool:
    """Whether there is a score and it is too low."""
    return score is not None and score < bound


def segments(stretch: Stretch, voiced: Sequence[Span] | None) -> list[Segment]:
    """Its sentences, or what lies between pauses, scored and flagged.

    Loops are looked for in the whole stretch, since each sentence of one is beyond reproach. `voiced`: where voice
    activity was found, in seconds on the words' clock; None where nobody looked.
    """
    groups = list(sentences(stretch.words))
    words = plain("".join(word.text for word in stretch.words)).split()
    found = []
    for group in groups:
        text = "".join(word.text for word in group).strip()
        segment = Segment(
            start=group[0].start,
            end=max(word.end for word in group),
            text=text,
            words=tuple(replace(word, text=word.text.strip()) for word in group),
            avg_logprob=stretch.avg_logprob,
            no_speech_prob=stretch.no_speech_prob,
            compression_ratio=stretch.compression_ratio,
            repeated=repeated(words),
            distinct=len(set(words)) / len(words) if len(words) >= MANY else None,
            stock=stock(text, alone=len(groups) == 1),
            voiced=None if voiced is None else share(group, voiced),
            longest_word=max(len(word.text.strip()) for word in group),
            pace=len(group) / max(SHORTEST, max(word.end for word in group) - group[0].start),
        )
        found.append(replace(segment, flags=tuple(name for name, doubts in RULES.items() if doubts(segment))))
    return found


def sentences(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Words parted at long pauses, and at shorter ones where a sentence ends (not after `Mr.`)."""
    group: list[Word] = []
    for word in words:
        if group:
            pause = word.start - group[-1].end
            if pause >= PAUSE or (pause >= BREATH and group[-1].text[-1:] in ENDS):
                yield group
                group = []
        group.append(word)
    if group:
        yield group


def plain(text: str) -> str:
    """Lower case, letters and digits with single spaces between."""
    return " ".join(re.findall(r"\w+", text.lower()))


def repeated(words: Sequence[str]) -> float:
    """Share of the words in the longest loop: the same words three times on end (one word: four times, as in song)."""
    longest = 0
    for length in range(1, min(LONGEST_LOOP, len(words) // 3) + 1):
        run = 0
        for before, word in zip(words, words[length:], strict=False):
            run = run + 1 if word == before else 0
            if run >= max(3, 2 * length):
                longest = max(longest, run + length)
    return longest / len(words) if words else 0.0


def stock(text: str, *, alone: bool) -> float:
    """Share of the text in stock phrases; `alone`: nothing else is said around it."""
    said = plain(text)
    if alone and said in ALONE.split("|"):
        return 1.0
    covered = sum(len(phrase) for phrase in PHRASES if phrase in said)
    return min(1.0, covered / len(said)) if said else 0.0


def share(words: Sequence[Word], spans: Sequence[Span]) -> float:
    """Share of the words that lie where a voice is: half of each or a tenth of a second, as many run into a pause."""
    return sum(_inside(word, spans) >= min(0.1, (word.end - word.start) / 2) for word in words) / len(words)


def _inside(word: Word, spans: Sequence[Span]) -> float:
    return sum(max(0.0, min(word.end, end) - max(word.start, start)) for start, end in spans)
