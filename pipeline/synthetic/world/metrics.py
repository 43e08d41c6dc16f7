"""Shares and counts of a run's outputs against the truth. No manifest is read.

A question is judged by its words: it has one answer in this clip (then that and its needs are known, also where it is
plainer than those that the world asks), could have one in another clip, or could not have been asked at all. One that
has several answers is `not of its clip`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.synthetic.world.questions import answerable, well_formed
from pipeline.synthetic.world.truth import Truth
from pipeline.synthetic.world.vocabulary import COLOURS, MEETS, MOTIONS, NOUNS, NUMBERS, SHAPES, SIZES, SOUNDS, VOICE
from stages.text_metrics import exact, words

NEEDS = ("both", "video", "audio", "text")
WRONG, UNVERIFIED = "wrong", "not verified"
FAR = "none-agrees"
RIGHT = "right"
TOLD = frozenset(
    (*COLOURS, *SHAPES, *SIZES, *SOUNDS, *NUMBERS, *NOUNS, VOICE, MEETS, "nothing", *(m.split()[-1] for m in MOTIONS))
)


@dataclass(frozen=True)
class Judged:
    """A question of a run. truth: what it needs, or `wrong`; measured: what `verify` found.

    verdict: `right`, or what is wrong with it. packed: whether it is a cross-modal task of the shards.
    """

    film: str
    question: str
    answer: str
    verdict: str
    truth: str
    measured: str
    packed: bool


def judged(film: str, truth: Truth, question: str, answer: str, measured: str | None, packed: bool) -> Judged:
    """A question beside the truth of its clip: right is what has one answer in it, too plain for the world or not."""
    known = {" ".join(words(posed.question)): posed for posed in (*answerable(truth.scene), *truth.questions)}
    posed = known.get(" ".join(words(question)))
    if posed is None:
        verdict = "not of its clip" if well_formed(question) else "not well-formed"
    else:
        verdict = RIGHT if exact(answer, posed.answer) else f"wrong answer: it is {posed.answer}"
    needs = posed.needs if posed and verdict == RIGHT else WRONG
    return Judged(film, question, answer, verdict, needs, measured or UNVERIFIED, packed)


def share(part: int, whole: int) -> float | None:
    """None of nothing."""
    return round(part / whole, 4) if whole else None


def transcripts(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """(truth, said) of each clip with sound. word_error over the clips in which a voice speaks; both normalised.

    missing: clips with a voice and no transcript; invented: clips with a transcript and no voice.
    """
    from stages.evaluation.scores import normalize_speech, word_error

    voiced = [(normalize_speech(truth), normalize_speech(said)) for truth, said in pairs if truth]
    return {
        "clips": len(pairs),
        "voiced": len(voiced),
        "word_error": round(word_error([s for _, s in voiced], [t for t, _ in voiced]), 4) if voiced else None,
        "missing": sum(not said for _, said in voiced),
        "invented": sum(bool(words(said)) for truth, said in pairs if not truth),
    }


def captions(pairs: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    """(view, truth, said) of each caption. right: the words of the world that stand where they belong, by all of them.

    exact: captions without a wrong, missing or needless one.
    """
    import jiwer

    found: dict[str, Counter[str]] = {}
    for view, truth, said in pairs:
        wanted, told = attributes(truth), attributes(said)
        hits = jiwer.process_words(" ".join(wanted), " ".join(told)).hits
        counts = {"captions": 1, "hits": hits, "of": max(len(wanted), len(told)), "exact": int(wanted == told)}
        found.setdefault(view, Counter()).update(counts)
    return {
        view: {"captions": c["captions"], "right": share(c["hits"], c["of"]), "exact": share(c["exact"], c["captions"])}
        for view, c in found.items()
    }


def attributes(text: str) -> list[str]:
    """The words of the world in a text, in their order."""
    return [word for word in words(text) if word in TOLD]


def questions(asked: Sequence[Judged]) -> dict[str, Any]:
    """Of all questions, which are well-formed, have an answer in their clip, and the right one. clips: with any."""
    formed = [each for each in asked if each.verdict != "not well-formed"]
    known = [each for each in formed if each.verdict != "not of its clip"]
    return {
        "clips": len({each.film for each in asked}),
        "asked": len(asked),
        "well_formed": share(len(formed), len(asked)),
        "of_their_clip": share(len(known), len(asked)),
        "answer_right": share(sum(each.verdict == RIGHT for each in asked), len(asked)),
    }


def confusion(asked: Iterable[Judged]) -> dict[str, dict[str, int]]:
    """Counts by what a question truly needs (or that it is wrong), and by what `verify` found."""
    counts = Counter((each.truth, each.measured) for each in asked)
    return {
        truth: {measured: counts[truth, measured] for measured in (*NEEDS, FAR, UNVERIFIED)}
        for truth in (*NEEDS, WRONG)
    }


def cross_modal(asked: Sequence[Judged], wanted: Sequence[str]) -> dict[str, Any]:
    """What `pack` let through as cross-modal. wanted: pack.cross_modal_needs.

    precision, recall: of the questions that truly need one of these and are right. both_*: the same of those that were
    packed as needing both. shortcuts: packed, right, and less suffices than what they were packed for.
    """
    packed = [each for each in asked if each.packed]
    joint = [each for each in packed if each.measured == "both"]
    good, both = sum(each.truth in wanted for each in packed), sum(each.truth == "both" for each in joint)
    return {
        "packed": len(packed),
        "precision": share(good, len(packed)),
        "recall": share(good, sum(each.truth in wanted for each in asked)),
        "packed_as_both": len(joint),
        "both_precision": share(both, len(joint)),
        "both_recall": share(both, sum(each.truth == "both" for each in asked)),
        "shortcuts": sum(is_shortcut(each, wanted) for each in packed),
        "wrong": sum(each.truth == WRONG for each in packed),
    }


def is_shortcut(each: Judged, wanted: Sequence[str]) -> bool:
    """Whether a packed question can be answered with less than it was packed for."""
    return each.truth != WRONG and (each.truth not in wanted or each.measured == "both" != each.truth)


def taken(said: Mapping[str, str], truths: Mapping[str, str]) -> dict[str, str]:
    """Films in which what another film says is heard, and whose it is: a sound track that was swapped."""
    whose = {" ".join(words(text)): film for film, text in truths.items() if text}
    heard = {film: " ".join(words(text)) for film, text in said.items()}
    return {
        film: whose[text] for film, text in heard.items() if text in whose and text != " ".join(words(truths[film]))
    }
