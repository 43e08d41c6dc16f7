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

from pipeline.synthetic.world.questions import answerable_questions, is_well_formed
from pipeline.synthetic.world.truth import Truth
from pipeline.synthetic.world.vocabulary import COLOURS, MEETS, MOTIONS, NOUNS, NUMBERS, SHAPES, SIZES, SOUNDS, VOICE
from stages.text_metrics import exact, words

NEEDS = ("both", "video", "audio", "text")
WRONG, UNVERIFIED = "wrong", "not verified"
NONE_AGREES = "none-agrees"
RIGHT = "right"
ATTRIBUTE_WORDS = frozenset(
    (*COLOURS, *SHAPES, *SIZES, *SOUNDS, *NUMBERS, *NOUNS, VOICE, MEETS, "nothing", *(m.split()[-1] for m in MOTIONS))
)


@dataclass(frozen=True)
class ScoredQuestion:
    """A question of a run. truth: what it needs, or `wrong`; measured: what `verify` found.

    verdict: `right`, or what is wrong with it. packed: whether it is a cross-modal task of the shards.
    """

    film: str
    question: str
    answer: str
    verdict: str
    true_needs: str
    measured_needs: str
    packed: bool


def score_question(
    film: str, truth: Truth, question: str, answer: str, measured: str | None, packed: bool
) -> ScoredQuestion:
    """A question beside the truth of its clip: right is what has one answer in it, too plain for the world or not."""
    known = {" ".join(words(qa.question)): qa for qa in (*answerable_questions(truth.scene), *truth.questions)}
    qa = known.get(" ".join(words(question)))
    if qa is None:
        verdict = "not of its clip" if is_well_formed(question) else "not well-formed"
    else:
        verdict = RIGHT if exact(answer, qa.answer) else f"wrong answer: it is {qa.answer}"
    needs = qa.needs if qa and verdict == RIGHT else WRONG
    return ScoredQuestion(film, question, answer, verdict, needs, measured or UNVERIFIED, packed)


def ratio(part: int, whole: int) -> float | None:
    """None of nothing."""
    return round(part / whole, 4) if whole else None


def transcript_metrics(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """(truth, said) of each clip with sound. word_error over the clips in which a voice speaks; both normalised.

    missing: clips with a voice and no transcript; invented: clips with a transcript and no voice.
    """
    from stages.evaluation.scores import spoken, word_error

    voiced = [(spoken(truth), spoken(said)) for truth, said in pairs if truth]
    return {
        "clips": len(pairs),
        "voiced": len(voiced),
        "word_error": round(word_error([s for _, s in voiced], [t for t, _ in voiced]), 4) if voiced else None,
        "missing": sum(not said for _, said in voiced),
        "invented": sum(bool(words(said)) for truth, said in pairs if not truth),
    }


def caption_metrics(pairs: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    """(view, truth, said) of each caption. right: the words of the world that stand where they belong, by all of them.

    exact: captions without a wrong, missing or needless one.
    """
    import jiwer

    found: dict[str, Counter[str]] = {}
    for view, truth, said in pairs:
        wanted, told = attribute_words(truth), attribute_words(said)
        hits = jiwer.process_words(" ".join(wanted), " ".join(told)).hits
        counts = {"captions": 1, "hits": hits, "of": max(len(wanted), len(told)), "exact": int(wanted == told)}
        found.setdefault(view, Counter()).update(counts)
    return {
        view: {"captions": c["captions"], "right": ratio(c["hits"], c["of"]), "exact": ratio(c["exact"], c["captions"])}
        for view, c in found.items()
    }


def attribute_words(text: str) -> list[str]:
    """The words of the world in a text, in their order."""
    return [word for word in words(text) if word in ATTRIBUTE_WORDS]


def question_metrics(asked: Sequence[ScoredQuestion]) -> dict[str, Any]:
    """Of all questions, which are well-formed, have an answer in their clip, and the right one. clips: with any."""
    formed = [each for each in asked if each.verdict != "not well-formed"]
    known = [each for each in formed if each.verdict != "not of its clip"]
    return {
        "clips": len({each.film for each in asked}),
        "asked": len(asked),
        "well_formed": ratio(len(formed), len(asked)),
        "of_their_clip": ratio(len(known), len(asked)),
        "answer_right": ratio(sum(each.verdict == RIGHT for each in asked), len(asked)),
    }


def needs_confusion(asked: Iterable[ScoredQuestion]) -> dict[str, dict[str, int]]:
    """Counts by what a question truly needs (or that it is wrong), and by what `verify` found."""
    counts = Counter((each.true_needs, each.measured_needs) for each in asked)
    return {
        truth: {measured: counts[truth, measured] for measured in (*NEEDS, NONE_AGREES, UNVERIFIED)}
        for truth in (*NEEDS, WRONG)
    }


def cross_modal_metrics(asked: Sequence[ScoredQuestion], wanted: Sequence[str]) -> dict[str, Any]:
    """What `pack` let through as cross-modal. wanted: pack.cross_modal_needs.

    precision, recall: of the questions that truly need one of these and are right. both_*: the same of those that were
    packed as needing both. shortcuts: packed, right, and less suffices than what they were packed for.
    """
    packed = [each for each in asked if each.packed]
    joint = [each for each in packed if each.measured_needs == "both"]
    good, both = sum(each.true_needs in wanted for each in packed), sum(each.true_needs == "both" for each in joint)
    return {
        "packed": len(packed),
        "precision": ratio(good, len(packed)),
        "recall": ratio(good, sum(each.true_needs in wanted for each in asked)),
        "packed_as_both": len(joint),
        "both_precision": ratio(both, len(joint)),
        "both_recall": ratio(both, sum(each.true_needs == "both" for each in asked)),
        "shortcuts": sum(is_shortcut(each, wanted) for each in packed),
        "wrong": sum(each.true_needs == WRONG for each in packed),
    }


def is_shortcut(each: ScoredQuestion, wanted: Sequence[str]) -> bool:
    """Whether a packed question can be answered with less than it was packed for."""
    return each.true_needs != WRONG and (
        each.true_needs not in wanted or each.measured_needs == "both" != each.true_needs
    )


def find_swapped_tracks(said: Mapping[str, str], truths: Mapping[str, str]) -> dict[str, str]:
    """Films in which what another film says is heard, and whose it is: a sound track that was swapped."""
    whose = {" ".join(words(text)): film for film, text in truths.items() if text}
    heard = {film: " ".join(words(text)) for film, text in said.items()}
    return {
        film: whose[text] for film, text in heard.items() if text in whose and text != " ".join(words(truths[film]))
    }
