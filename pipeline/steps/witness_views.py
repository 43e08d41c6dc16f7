"""What witnesses of `verify` are shown, in which order, and when an answer counts as right.

Views go from little to much. The first right answer decides what a question needs, since `needs` is the least that
suffices, so the views after it need not be asked for: no verdict changes by that. The views of a question's own spans
(`pipeline.steps.span_views`) come last. They decide nothing of what it needs, and are asked for where it needs both.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manifests.records import Question, WitnessAnswer
from pipeline.annotation.annotator import fence_text, fill_prompt
from pipeline.annotation.text_rules import format_question
from pipeline.steps.span_views import REST, SPAN_VIEWS, SPANS, part_media
from stages.text_metrics import words

if TYPE_CHECKING:
    from ola.prompt import Request, Wave
    from pipeline.annotation.media_loader import ClipPart, LoadedClip

# Views that are asked for together, in order: of a question that the text answers, no picture is shown.
STAGES = (
    *(("text", "title"), ("words",), ("frame", "video"), ("transcript", "audio"), ("both",), ("swap",)),
    *((SPANS,), (REST,)),
)
ALWAYS = ("text", "video", "audio", "both", *SPAN_VIEWS)
BOTH, SWAP, WORDS = "both", "swap", "words"
GUESSED = 0.05  # largest probability of so many right answers by guessing
BINARY = ({"yes", "no"}, {"true", "false"})  # answers that a guess gets right half of the time


@dataclass(frozen=True)
class ClipContent:
    """What the views of a clip are made of.

    clip: media as the model takes them. other_sound: of another clip. said: the transcript. title: with description.
    words: the lines that can be read in the picture. part: the media of a view of the question's spans; None if it
    names none.
    """

    clip: LoadedClip
    other_sound: Wave | None
    said: str
    title: str
    words: str = ""
    part: Callable[[str], ClipPart] | None = None

    def media(self, view: str) -> dict[str, Any] | None:
        """Return the media of a view, as arguments of a request; None where the clip has no such view."""
        if view in SPAN_VIEWS:
            return (part_media(self.part(view)) or None) if self.part else None
        video, sound, other = self.clip.video, self.clip.sound, self.other_sound
        found: Mapping[str, dict[str, Any] | None] = {
            "text": {},
            "title": {} if self.title else None,
            "transcript": {} if self.said else None,
            WORDS: {} if self.words else None,
            "frame": {"images": (self.clip.image,)},
            "video": {"video": video},
            "audio": None if sound is None else {"sounds": (sound,)},
            "both": None if sound is None else {"video": video, "sounds": (sound,)},
            "swap": None if other is None else {"video": video, "sounds": (other,)},
        }
        return found[view]

    def request(self, view: str, question: str, longest: int) -> Request | None:
        """Return the request of a view; None where the clip has no such view."""
        from ola.prompt import Request

        media = self.media(view)
        if media is None:
            return None
        shown = {"transcript": ("subtitles", self.said), "title": ("title", self.title), WORDS: ("words", self.words)}
        texts = shown.get(view)
        if texts is None:
            return Request(fill_prompt("verify_answer", question=question), max_new_tokens=longest, **media)
        name, text = texts
        prompt = fill_prompt(f"verify_{view}", question=question, **{name: fence_text(name, text)})
        return Request(prompt, max_new_tokens=longest)


def option_orders(question: Question, orders: int) -> list[tuple[str, ...]]:
    """Return the orders of the options in which a question is asked: rotations, so that each option moves."""
    options = question.options
    return [options[n:] + options[:n] for n in range(min(orders, len(options)))] or [()]


def question_text(question: Question, options: Sequence[str]) -> str:
    """Return a question with its options in this order."""
    return format_question(question.question, options)


def guess_chance(question: Question, reference: str, orders: int) -> float:
    """Return the probability that a guess is right: 0 for answers in words, and where one order is all that is asked.

    A single answer to a multiple choice cannot be told from a guess; whoever asks in one order takes that into account.
    """
    if question.options:
        return 1 / len(question.options) if orders > 1 else 0.0
    return 0.5 if any({*words(reference)} & pair and len(words(reference)) == 1 for pair in BINARY) else 0.0


def sampled_agreement(agreements: Sequence[float], samples: int, chance: float) -> float:
    """Return the agreement of several samples an order: what most of them reach, counted over the orders.

    Samples of one order are no independent guesses, since a habit repeats itself: only orders count against chance.
    """
    orders = [agreements[n : n + samples] for n in range(0, len(agreements), samples)]
    return counted_agreement([counted_agreement(some, 0.0) for some in orders], chance)


def sampling_seed(name: str) -> int:
    """Return the seed of a sampled answer, from its name: question, witness, view, order and number."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])


def counted_agreement(agreements: Sequence[float], chance: float) -> float:
    """Return the agreement that as many answers reach as guessing would reach with less than `GUESSED`; 0 if none.

    chance: probability of a right guess. Compared with a threshold, it tells whether enough answers are right.
    """
    tries = len(agreements)
    enough = next((k for k in range(1, tries + 1) if 2 * k > tries and tail(k, tries, chance) < GUESSED), None)
    return sorted(agreements, reverse=True)[enough - 1] if enough else 0.0


def tail(right: int, tries: int, chance: float) -> float:
    """Return the probability of at least so many right guesses."""
    return sum(math.comb(tries, k) * chance**k * (1 - chance) ** (tries - k) for k in range(right, tries + 1))


def find_veto(answers: Sequence[WitnessAnswer], agreement: float) -> WitnessAnswer | None:
    """Return the first right answer from too little; None if there is none. A swap counts where both senses succeed."""
    both = has_both(answers, agreement)
    right = [each for each in answers if each.agreement >= agreement]
    others = (BOTH, *SPAN_VIEWS)
    return next((each for each in right if each.view not in others and (both or each.view != SWAP)), None)


def has_both(answers: Sequence[WitnessAnswer], agreement: float) -> bool:
    """Return whether a witness answers right from frames and sound."""
    return has_right(BOTH, answers, agreement)


def has_right(view: str, answers: Sequence[WitnessAnswer], agreement: float) -> bool:
    """Return whether a witness answers right from a view."""
    return any(each.view == view and each.agreement >= agreement for each in answers)


def is_asked(view: str, answers: Sequence[WitnessAnswer], agreement: float) -> bool:
    """Return whether a view can still change what the question needs, or whether its spans hold."""
    if find_veto(answers, agreement) is not None:
        return False
    succeeded = has_both(answers, agreement)
    if view in SPAN_VIEWS:
        first = view == SPANS or has_right(SPANS, answers, agreement)
        return succeeded and first and not has_right(view, answers, agreement)
    return succeeded if view == SWAP else not succeeded
