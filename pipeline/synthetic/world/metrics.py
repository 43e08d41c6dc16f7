"""Compute the metrics of a run's outputs against the truth. No manifest is read.

A question is matched by its words. If it has exactly one answer in its clip, its answer and its needs are checked. If
it has none or several, it is `not of its clip`. If no clip of the world could give it, it is `not well-formed`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.synthetic.world.planted_questions import are_telling
from pipeline.synthetic.world.questions import answerable_questions, is_well_formed
from pipeline.synthetic.world.truth import Truth
from pipeline.synthetic.world.vocabulary import (
    COLOURS,
    MEETS,
    MOTIONS,
    MUSIC,
    NOUNS,
    NUMBERS,
    SHAPES,
    SIZES,
    SOUNDS,
    VOICE,
)
from stages.text_metrics import exact, words

NEEDS = ("both", "video", "audio", "text")
WRONG, UNVERIFIED = "wrong", "not verified"
NONE_AGREES = "none-agrees"
RIGHT = "right"
ATTRIBUTE_WORDS = frozenset(
    (
        *COLOURS,
        *SHAPES,
        *SIZES,
        *SOUNDS,
        *MUSIC,
        *NUMBERS,
        *NOUNS,
        VOICE,
        MEETS,
        "nothing",
        *(m.split()[-1] for m in MOTIONS),
    )
)


@dataclass(frozen=True)
class ScoredQuestion:
    """A question of a run, checked against the truth of its clip.

    verdict: `right`, or the reason why the question is wrong. true_needs: the senses that it needs, or `wrong`.
    measured_needs: the needs that `verify` found. packed: whether it is a cross-modal task of the shards.
    """

    film: str
    question: str
    answer: str
    verdict: str
    true_needs: str
    measured_needs: str
    packed: bool


def score_question(
    film: str,
    truth: Truth,
    question: str,
    answer: str,
    measured: str | None,
    packed: bool,
    options: Sequence[str] = (),
) -> ScoredQuestion:
    """Check a question and its answer against the truth of a clip. Options that give the answer away need no clip."""
    known = {" ".join(words(qa.question)): qa for qa in (*answerable_questions(truth.scene), *truth.questions)}
    qa = known.get(" ".join(words(question)))
    if qa is None:
        verdict = "not of its clip" if is_well_formed(question) else "not well-formed"
    else:
        verdict = RIGHT if exact(answer, qa.answer) else f"wrong answer: it is {qa.answer}"
    needs = WRONG if qa is None or verdict != RIGHT else "text" if are_telling(answer, options) else qa.needs
    return ScoredQuestion(film, question, answer, verdict, needs, measured or UNVERIFIED, packed)


def ratio(part: int, whole: int) -> float | None:
    """Return the rounded ratio, or None if `whole` is 0."""
    return round(part / whole, 4) if whole else None


def transcript_metrics(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the metrics of transcripts. pairs: (true text, transcript) of each clip with sound.

    word_error: word error rate over the clips with a voice, of normalised texts. missing: clips with a voice and
    without a transcript. invented: clips with a transcript and without a voice.
    """
    from stages.evaluation.scores import normalize_speech, word_error

    voiced = [(normalize_speech(truth), normalize_speech(prediction)) for truth, prediction in pairs if truth]
    return {
        "clips": len(pairs),
        "voiced": len(voiced),
        "word_error": round(word_error([s for _, s in voiced], [t for t, _ in voiced]), 4) if voiced else None,
        "missing": sum(not prediction for _, prediction in voiced),
        "invented": sum(bool(words(prediction)) for truth, prediction in pairs if not truth),
    }


def caption_metrics(pairs: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    """Return the metrics of captions by view. pairs: (view, true caption, caption).

    right: share of attribute words (`ATTRIBUTE_WORDS`) that align with the truth. exact: share of captions in which
    all attribute words are those of the truth.
    """
    import jiwer

    found: dict[str, Counter[str]] = {}
    for view, truth, prediction in pairs:
        true_words, predicted_words = attribute_words(truth), attribute_words(prediction)
        hits = jiwer.process_words(" ".join(true_words), " ".join(predicted_words)).hits
        counts = {
            "captions": 1,
            "hits": hits,
            "of": max(len(true_words), len(predicted_words)),
            "exact": int(true_words == predicted_words),
        }
        found.setdefault(view, Counter()).update(counts)
    return {
        view: {"captions": c["captions"], "right": ratio(c["hits"], c["of"]), "exact": ratio(c["exact"], c["captions"])}
        for view, c in found.items()
    }


def attribute_words(text: str) -> list[str]:
    """Return the words of a text that are in `ATTRIBUTE_WORDS`, in order."""
    return [word for word in words(text) if word in ATTRIBUTE_WORDS]


def question_metrics(questions: Sequence[ScoredQuestion]) -> dict[str, Any]:
    """Return the shares of questions that are well-formed, that belong to their clip, and whose answer is right.

    clips: clips with at least one question.
    """
    formed = [each for each in questions if each.verdict != "not well-formed"]
    known = [each for each in formed if each.verdict != "not of its clip"]
    return {
        "clips": len({each.film for each in questions}),
        "asked": len(questions),
        "well_formed": ratio(len(formed), len(questions)),
        "of_their_clip": ratio(len(known), len(questions)),
        "answer_right": ratio(sum(each.verdict == RIGHT for each in questions), len(questions)),
    }


def needs_confusion(questions: Iterable[ScoredQuestion]) -> dict[str, dict[str, int]]:
    """Count questions by true needs (or `wrong`) and by the needs that `verify` found."""
    counts = Counter((each.true_needs, each.measured_needs) for each in questions)
    return {
        truth: {measured: counts[truth, measured] for measured in (*NEEDS, NONE_AGREES, UNVERIFIED)}
        for truth in (*NEEDS, WRONG)
    }


def cross_modal_metrics(questions: Sequence[ScoredQuestion], wanted_needs: Sequence[str]) -> dict[str, Any]:
    """Return the precision and recall of `pack` for cross-modal questions.

    wanted_needs: the setting pack.cross_modal_needs. precision, recall: for right questions whose true needs are
    wanted. both_*: the same for those packed as `both`. shortcuts: packed questions with a right answer that need less
    than `verify` found.
    """
    packed = [each for each in questions if each.packed]
    joint = [each for each in packed if each.measured_needs == "both"]
    good = sum(each.true_needs in wanted_needs for each in packed)
    both = sum(each.true_needs == "both" for each in joint)
    return {
        "packed": len(packed),
        "precision": ratio(good, len(packed)),
        "recall": ratio(good, sum(each.true_needs in wanted_needs for each in questions)),
        "packed_as_both": len(joint),
        "both_precision": ratio(both, len(joint)),
        "both_recall": ratio(both, sum(each.true_needs == "both" for each in questions)),
        "shortcuts": sum(is_shortcut(each, wanted_needs) for each in packed),
        "wrong": sum(each.true_needs == WRONG for each in packed),
    }


def yield_by_speech(
    clips: Mapping[str, bool], questions: Sequence[ScoredQuestion], wanted_needs: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return how many verified questions clips with and without words give. clips: film -> whether words are heard.

    verified: questions whose measured needs are wanted. per_clip: verified questions per clip. right: share of the
    verified questions whose answer is right.
    """
    found = {}
    for name, spoken in (("words", True), ("no_words", False)):
        films = {film for film, heard in clips.items() if heard is spoken}
        kept = [each for each in questions if each.film in films and each.measured_needs in wanted_needs]
        right = sum(each.verdict == RIGHT for each in kept)
        counts = {"clips": len(films), "verified": len(kept)}
        found[name] = {**counts, "per_clip": ratio(len(kept), len(films)), "right": ratio(right, len(kept))}
    return found


def is_shortcut(each: ScoredQuestion, wanted_needs: Sequence[str]) -> bool:
    """Return whether a packed question can be answered with less than it was packed for."""
    return each.true_needs != WRONG and (
        each.true_needs not in wanted_needs or each.measured_needs == "both" != each.true_needs
    )


def find_swapped_tracks(transcripts: Mapping[str, str], truths: Mapping[str, str]) -> dict[str, str]:
    """Return films whose transcript is the true text of another film, with this other film."""
    whose = {" ".join(words(text)): film for film, text in truths.items() if text}
    heard = {film: " ".join(words(text)) for film, text in transcripts.items()}
    return {
        film: whose[text] for film, text in heard.items() if text in whose and text != " ".join(words(truths[film]))
    }
