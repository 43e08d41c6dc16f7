"""Count invented facts of captions, and compare the spans that questions rest on with the truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.synthetic.world.metrics import ATTRIBUTE_WORDS, ratio
from pipeline.synthetic.world.questions import ALWAYS, ORDINALS, QAPair
from pipeline.synthetic.world.scenes import SEGMENT_S
from pipeline.synthetic.world.truth import Truth
from stages.text_metrics import words

Span = tuple[float, float]
SENSES: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "video"),
    "video": ("video",),
    "sound": ("sound",),
    "joint": ("video", "sound"),
}
"""Views of captions, and the views whose true captions hold all facts of the same senses."""
SEEN, HEARD = "seen", "heard"  # senses of the spans of a question
GOOD_IOU = 0.7


def invented_words(view: str, text: str, truth: Truth, picture_at: float) -> list[str]:
    """Return the attribute words of a caption that are not in the truth of its senses.

    Texts in the picture may be named by views of the picture.
    """
    true = truth.captions(picture_at)
    known = {word for each in SENSES[view] for word in words(true.get(each, ""))}
    if view != "sound":
        known |= {word for each in truth.scene.texts for word in words(each.text)}
    return [word for word in words(text) if word in ATTRIBUTE_WORDS - known]


def count_invented(captions: Iterable[tuple[str, Sequence[str]]]) -> dict[str, dict[str, Any]]:
    """Return by view how many captions there are, their invented facts, and those per caption.

    captions: view and invented words of each caption. clean: share of captions without an invented fact.
    """
    counts: dict[str, list[int]] = {}
    for view, invented in captions:
        counts.setdefault(view, []).append(len(invented))
    return {
        view: {
            "captions": len(found),
            "invented": sum(found),
            "per_caption": round(sum(found) / len(found), 3),
            "clean": ratio(sum(not each for each in found), len(found)),
        }
        for view, found in counts.items()
    }


def true_span(truth: Truth, pair: QAPair, sense: str) -> Span | None:
    """Return when the thing that a question is about is seen or heard; None if it is about no part of the clip.

    A sound is heard in the part in which it begins; the sight is that of the same part, or one that is on all the time.
    """
    if pair.part not in ORDINALS or pair.part == ALWAYS:
        return None
    start = ORDINALS.index(pair.part) * SEGMENT_S
    end = start + SEGMENT_S
    spans = [(each.start, each.end) for each in truth.scene.sights] if sense == SEEN else truth.sound_spans
    found = [span for span in spans if start <= span[0] < end] or [s for s in spans if overlap(s, (start, end)) > 0]
    return found[0] if found else None


def overlap(a: Span, b: Span) -> float:
    """Return for how many seconds two spans overlap."""
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0]))


def iou(a: Span, b: Span) -> float:
    """Return the intersection of two spans over their union."""
    common = overlap(a, b)
    return common / (a[1] - a[0] + b[1] - b[0] - common) if common else 0.0


def measure_spans(found: Iterable[tuple[str, Span, Span]]) -> dict[str, dict[str, Any]]:
    """Return by sense how well the spans of questions agree with the truth. found: sense, span, true span."""
    by_sense: dict[str, list[float]] = {}
    for sense, span, true in found:
        by_sense.setdefault(sense, []).append(iou(span, true))
    return {
        sense: {
            "spans": len(values),
            "iou": round(sum(values) / len(values), 4),
            "good": ratio(sum(value >= GOOD_IOU for value in values), len(values)),
        }
        for sense, values in by_sense.items()
    }
