"""Score and flag transcript segments that were probably never spoken.

Recognisers fill silence, noise and music with text: stock phrases of their training data, loops, words without a
voice. Very many subtitles are what a recogniser wrote, so the rules judge every source of words. Nothing is deleted
here: each rule leaves a score, and its name where the score is beyond its bound, so that SQL can draw the line
elsewhere later.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from manifests.records import Segment, Word
from pipeline.media.subtitle_credits import is_credit
from pipeline.media.subtitle_words import words_of

PAUSE, BREATH = 1.0, 0.25  # seconds that part segments: anywhere, and after the end of a sentence
ENDS = ".!?…。！？"
LONGEST_LOOP = 12  # words; "thanks for watching and see you in the next video" loops as one
WINDOW = 30  # seconds of subtitles that are judged together, as many as a recogniser decodes at once
UNSPACED = re.compile(r"[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff]")  # Thai, Lao, Tibetan, Burmese, Khmer: no spaces
SHORTEST = 0.5  # seconds: shorter stretches are told too coarsely for a pace
MANY = 10  # words, of which a tenth may be `distinct` by chance no more

# Said by models where nothing is. The first are ends of videos, and count where nothing else is in the segment but
# FILLERS: "thanks for watching over my dog" is speech. The second are sure wherever they stand, the third where they
# are all that is heard. Credits of subtitles are the rest of it (see `pipeline.media.subtitle_credits`).
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

# Bounds: compression and log-probability are those at which Whisper itself decodes again, no-speech the one at which
# it stays silent; the others are rules of thumb of corpora made this way.
RULES: dict[str, Callable[[Segment], bool]] = {
    "no words": lambda s: not any(sign.isalnum() for sign in s.text),
    "compression": lambda s: above(s.compression_ratio, 2.4),
    "improbable": lambda s: below(s.avg_logprob, -1.0),
    "no speech": lambda s: above(s.no_speech_prob, 0.6),
    "repeated": lambda s: above(s.repeated, 0.5),
    "few words": lambda s: below(s.distinct, 0.3),
    "stock phrase": lambda s: above(s.stock, 0.8),
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

    `voiced`: where voice activity was found, in seconds on the words' clock; None where nobody looked.
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
        for group in sentences(stretch.words)
    ]
    return judge_segments(found, alone=len(found) == 1, compression=stretch.compression_ratio, voiced=voiced)


def of_subtitles(found: Sequence[Segment], *, alone: bool, paced: bool) -> list[Segment]:
    """Segments of subtitles, scored and flagged: subtitles may be what a recogniser wrote down.

    alone: all that the whole file says is one of the phrases of `ALONE`. paced: whether words have times of their own.
    """
    windows: list[list[Segment]] = []
    for segment in found:
        if not windows or segment.end - windows[-1][0].start > WINDOW:
            windows.append([])
        windows[-1].append(segment)
    ratios = [compression(" ".join(segment.text for segment in window)) for window in windows]
    return [
        segment
        for window, ratio in zip(windows, ratios, strict=True)
        for segment in judge_segments(window, alone=alone, compression=ratio, paced=paced)
    ]


def judge_segments(
    found: Sequence[Segment],
    *,
    alone: bool,
    compression: float | None,
    voiced: Sequence[Span] | None = None,
    paced: bool = True,
) -> list[Segment]:
    """Segments of one stretch with their scores and flags; paced: whether the times of words are told, not guessed.

    Loops are looked for in the whole stretch, since each sentence of one is beyond reproach.
    """
    words = plain(" ".join(segment.text for segment in found)).split()
    scored = (
        replace(
            segment,
            compression_ratio=compression,
            repeated=repeated(words),
            distinct=len(set(words)) / len(words) if len(words) >= MANY else None,
            stock=stock(segment.text, alone=alone),
            voiced=None if voiced is None else share(segment.words, voiced),
            longest_word=max((len(word.text) for word in segment.words if not UNSPACED.search(word.text)), default=0),
            pace=len(segment.words) / max(SHORTEST, segment.end - segment.start) if paced else None,
        )
        for segment in found
    )
    return [replace(each, flags=tuple(name for name, doubts in RULES.items() if doubts(each))) for each in scored]


def compression(text: str) -> float:
    """Length of a text by its length deflated. Each sign counts as one byte: else scripts of three would seem loops."""
    signs = {sign: n for n, sign in enumerate(sorted(set(text)))}
    data = bytes(map(signs.__getitem__, text)) if len(signs) <= 256 else text.encode("utf-16-le")
    return len(data) / len(zlib.compress(data)) if data else 0.0


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
    """Share of the text in stock phrases and what goes with them; `alone`: nothing else is said around it."""
    said = plain(text)
    if (alone and said in ALONE.split("|")) or any(phrase in said for phrase in listed(SURE)) or is_credit(text):
        return 1.0
    left = ENDING.sub("\n", said)
    if left == said:
        return 0.0
    rest = [word for word in left.split() if word not in FILLERS]
    return 1 - sum(map(len, rest)) / len(said.replace(" ", ""))


def listed(table: str) -> list[str]:
    """The phrases of a table, the longest first."""
    phrases = (phrase for line in table.split("\n") for phrase in line.split("|") if phrase)
    return sorted(phrases, key=len, reverse=True)


ENDING = re.compile("|".join(listed(ENDINGS)))


def share(words: Sequence[Word], spans: Sequence[Span]) -> float:
    """Share of the words that lie where a voice is: half of each or a tenth of a second, as many run into a pause."""
    return sum(_inside(word, spans) >= min(0.1, (word.end - word.start) / 2) for word in words) / len(words)


def _inside(word: Word, spans: Sequence[Span]) -> float:
    return sum(max(0.0, min(word.end, end) - max(word.start, start)) for start, end in spans)
