"""Score and flag transcript segments that were probably never spoken.

Speech recognisers fill silence, noise and music with text: stock phrases of their training data, loops, words where
nobody speaks. Many subtitles are a recogniser's output, so the rules apply to every source. Nothing is deleted here:
each rule stores a score, and its name as a flag where the score is beyond its bound, so that SQL can use other bounds
later.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from manifests.records import Segment, Word
from pipeline.media.subtitle_credits import is_credit
from pipeline.media.subtitle_words import words_of

PAUSE, BREATH = 1.0, 0.25  # seconds between segments: anywhere, and after the end of a sentence
ENDS = ".!?…。！？"
LONGEST_LOOP = 12  # words; "thanks for watching and see you in the next video" loops as a whole
WINDOW = 30  # seconds of subtitles that are scored together, as many as a recogniser decodes at once
UNSPACED = re.compile(r"[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff]")  # Thai, Lao, Tibetan, Burmese, Khmer: no spaces
SHORTEST = 0.5  # seconds: shorter segments have no reliable pace
MANY = 10  # words: the share of distinct words of fewer is chance

# Phrases that models write where nothing is said. ENDINGS of videos count where the rest of the segment is FILLERS:
# "thanks for watching over my dog" is speech. SURE count anywhere; ALONE count where nothing else is heard. Credits of
# subtitles are such phrases, too (see `pipeline.media.subtitle_credits`).
ENDINGS = """
thanks for watching|thank you for watching|thank you so much for watching|see you in the next|see you next time
please subscribe to my channel|please subscribe to the channel|please subscribe|like and subscribe
subscribe to my channel|subscribe to the channel|don t forget to subscribe|vielen dank fürs zuschauen
danke fürs zuschauen|vielen dank für s zuschauen|bis zum nächsten mal|merci d avoir regardé
abonnez vous|gracias por ver|suscríbete|suscríbanse|obrigado por assistir|obrigada por assistir|inscreva se no canal
grazie per la visione|grazie per aver guardato|iscrivetevi al canale|bedankt voor het kijken|dziękuję za oglądanie
dzięki za oglądanie|спасибо за просмотр|подписывайтесь на канал|дякую за перегляд|izlediğiniz için teşekkür
tack för att ni tittade|takk for at dere så på|اشتركوا في القناة|شكرا للمشاهدة|ご視聴ありがとうございました
ご覧いただきありがとうございます|チャンネル登録
谢谢观看|感谢观看|謝謝觀看|感謝觀看|시청해주셔서 감사합니다|구독과 좋아요
"""
SURE = """
amara org|untertitelung des|untertitel im auftrag|продолжение следует|请不吝点赞|點贊訂閱|字幕志愿者
字幕志願者|字幕by|字幕由|субтитры сделал|субтитры создавал|редактор субтитров|ترجمة نانسي قنقر|mbc 뉴스
"""
ALONE = "you|thank you|thank you very much|thanks|bye|bye bye|so|okay|oh|hmm|mm|mmm|music|applause"

FILLERS = words_of("""
so and okay ok well guys everyone everybody all folks friends again very much video videos this the today bye goodbye
i we ll will you to for in next one time please don t forget if enjoyed it like comment share hit bell button
everybody have a great nice good day pour cette vidéo chaîne à la el vídeo bis por este esta
""")

Span = tuple[float, float]

# Bounds: at those of compression and log-probability Whisper itself decodes again, at that of no-speech Whisper writes
# nothing; the others are rules of thumb of corpora made this way.
RULES: dict[str, Callable[[Segment], bool]] = {
    "no words": lambda s: not any(sign.isalnum() for sign in s.text),
    "compression": lambda s: is_above(s.compression_ratio, 2.4),
    "improbable": lambda s: is_below(s.avg_logprob, -1.0),
    "no speech": lambda s: is_above(s.no_speech_prob, 0.6),
    "repeated": lambda s: is_above(s.repeated, 0.5),
    "few words": lambda s: is_below(s.distinct, 0.3),
    "stock phrase": lambda s: is_above(s.stock, 0.8),
    "unvoiced": lambda s: is_below(s.voiced, 0.5),
    "long word": lambda s: is_above(s.longest_word, 25),
    "pace": lambda s: is_below(s.pace, 0.5) or is_above(s.pace, 6.0),
}


@dataclass(frozen=True)
class Stretch:
    """At most 30 s that a recogniser decoded at once: words with the spaces before them, and the decoder's scores."""

    words: tuple[Word, ...]
    avg_logprob: float | None = None
    no_speech_prob: float | None = None
    compression_ratio: float | None = None


def is_above(score: float | None, bound: float) -> bool:
    """Return whether there is a score and it is above the bound."""
    return score is not None and score > bound


def is_below(score: float | None, bound: float) -> bool:
    """Return whether there is a score and it is below the bound."""
    return score is not None and score < bound


def build_segments(stretch: Stretch, voiced: Sequence[Span] | None) -> list[Segment]:
    """Split a recogniser's text at sentences and pauses. Returns segments with scores and flags.

    voiced: spans of voice activity, in seconds on the words' clock; None where it was not measured.
    """
    found = [
        Segment(
            start=group[0].start,
            end=max(word.end for word in group),
            text="".join(word.text for word in group).strip(),
            words=tuple(replace(word, text=word.text.strip()) for word in group),
            avg_logprob=stretch.avg_logprob,
            no_speech_prob=stretch.no_speech_prob,
        )
        for group in split_sentences(stretch.words)
    ]
    return score_segments(found, alone=len(found) == 1, compression=stretch.compression_ratio, voiced=voiced)


def score_subtitles(found: Sequence[Segment], *, alone: bool, paced: bool) -> list[Segment]:
    """Score and flag segments of subtitles, since a recogniser may have written the subtitles.

    alone: whether the file contains nothing but one phrase of `ALONE`. paced: whether words have their own times.
    """
    windows: list[list[Segment]] = []
    for segment in found:
        if not windows or segment.end - windows[-1][0].start > WINDOW:
            windows.append([])
        windows[-1].append(segment)
    ratios = [deflate_ratio(" ".join(segment.text for segment in window)) for window in windows]
    return [
        segment
        for window, ratio in zip(windows, ratios, strict=True)
        for segment in score_segments(window, alone=alone, compression=ratio, paced=paced)
    ]


def score_segments(
    found: Sequence[Segment],
    *,
    alone: bool,
    compression: float | None,
    voiced: Sequence[Span] | None = None,
    paced: bool = True,
) -> list[Segment]:
    """Score and flag the segments of one stretch. paced: whether the times of words are known, not interpolated.

    Loops are searched in the whole stretch, since a single sentence of a loop looks normal.
    """
    words = normalize_text(" ".join(segment.text for segment in found)).split()
    scored = (
        replace(
            segment,
            compression_ratio=compression,
            repeated=repeated_share(words),
            distinct=len(set(words)) / len(words) if len(words) >= MANY else None,
            stock=stock_share(segment.text, alone=alone),
            voiced=None if voiced is None else voiced_share(segment.words, voiced),
            longest_word=max((len(word.text) for word in segment.words if not UNSPACED.search(word.text)), default=0),
            pace=len(segment.words) / max(SHORTEST, segment.end - segment.start) if paced else None,
        )
        for segment in found
    )
    return [replace(each, flags=tuple(name for name, doubts in RULES.items() if doubts(each))) for each in scored]


def deflate_ratio(text: str) -> float:
    """Return the length of a text divided by its deflated length, the compression ratio that Whisper uses.

    Each character counts as one byte; else scripts of three bytes a character would look like loops.
    """
    signs = {sign: n for n, sign in enumerate(sorted(set(text)))}
    data = bytes(map(signs.__getitem__, text)) if len(signs) <= 256 else text.encode("utf-16-le")
    return len(data) / len(zlib.compress(data)) if data else 0.0


def split_sentences(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Split words at long pauses, and at shorter pauses where a sentence ends (not after `Mr.`)."""
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


def normalize_text(text: str) -> str:
    """Return the text in lower case: letters and digits with single spaces between words."""
    return " ".join(re.findall(r"\w+", text.lower()))


def repeated_share(words: Sequence[str]) -> float:
    """Return the share of words in the longest loop: the same words three times on end (one word: four times)."""
    longest = 0
    for length in range(1, min(LONGEST_LOOP, len(words) // 3) + 1):
        run = 0
        for before, word in zip(words, words[length:], strict=False):
            run = run + 1 if word == before else 0
            if run >= max(3, 2 * length):
                longest = max(longest, run + length)
    return longest / len(words) if words else 0.0


def stock_share(text: str, *, alone: bool) -> float:
    """Return the share of the text in stock phrases and filler words. alone: whether nothing else is said around it."""
    plain = normalize_text(text)
    if (
        (alone and plain in ALONE.split("|"))
        or any(phrase in plain for phrase in split_phrases(SURE))
        or is_credit(text)
    ):
        return 1.0
    rest_text = ENDING.sub("\n", plain)
    if rest_text == plain:
        return 0.0
    rest = [word for word in rest_text.split() if word not in FILLERS]
    return 1 - sum(map(len, rest)) / len(plain.replace(" ", ""))


def split_phrases(table: str) -> list[str]:
    """Return the phrases of a table, the longest first."""
    phrases = (phrase for line in table.split("\n") for phrase in line.split("|") if phrase)
    return sorted(phrases, key=len, reverse=True)


ENDING = re.compile("|".join(split_phrases(ENDINGS)))


def voiced_share(words: Sequence[Word], spans: Sequence[Span]) -> float:
    """Return the share of words in voiced spans. Half of a word, or a tenth of a second of it, must be voiced."""
    return sum(_overlap_seconds(word, spans) >= min(0.1, (word.end - word.start) / 2) for word in words) / len(words)


def _overlap_seconds(word: Word, spans: Sequence[Span]) -> float:
    return sum(max(0.0, min(word.end, end) - max(word.start, start)) for start, end in spans)
