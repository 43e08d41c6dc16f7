"""The presets of `pack.preset`: named lists of conditions, each with its reason, that are combined by AND.

`docs/how-to/presets.md` shows them. A condition on a column that a run does not have is left out: `leaked_text` exists
with `pack.benchmarks` alone, and the columns of near-duplicates with the step `fingerprint`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Preset = Literal["none", "ola-paper", "strict", "speech"]


@dataclass(frozen=True)
class Condition:
    """A condition over the candidates, and why it is there.

    columns: those without which it is left out.
    """

    sql: str
    reason: str
    columns: tuple[str, ...] = ()


NO_LEAKS = (
    Condition("len(leaked_from) = 0", "clips of benchmarks would spoil the evaluation", ("leaked_from",)),
    Condition("leaked_text IS NULL", "so would texts of benchmarks", ("leaked_text",)),
    Condition("leaked_near IS NULL", "and near-copies of such texts", ("leaked_near",)),
)
ONE_COPY = Condition("duplicate_best", "copies count their content several times", ("duplicate_best",))

PRESETS: Mapping[Preset, Sequence[Condition]] = {
    "none": (),
    "ola-paper": (
        Condition(
            "kind NOT IN ('subtitle', 'speech_recognition', 'video_qa', 'cross_modal_qa')"
            " OR words > 0 AND complete >= 0.5 AND informative >= 0.5",
            "the paper keeps, and asks about, only subtitles that a language model finds complete and informative",
        ),
    ),
    "strict": (
        ONE_COPY,
        *NO_LEAKS,
        Condition(
            "kind IN ('sound_caption', 'speech_recognition') OR frozen < 0.5 AND black < 0.5",
            "a task with pictures needs pictures: most of a still or black clip teaches none",
        ),
        Condition(
            "stage <> 'omni' OR silence < 0.5",
            "a task with sound needs sound for most of the clip",
        ),
        Condition(
            "kind NOT IN ('subtitle', 'speech_recognition') OR words >= 3 AND flagged = 0",
            "a flagged transcript may be invented, looped or in another language",
        ),
        Condition(
            "kind <> 'cross_modal_qa' OR agree_both >= 0.8 AND greatest(agree_video, agree_text) < 0.3",
            "the model answers from both senses with little doubt, and hardly from the picture or the words alone",
        ),
        Condition("coalesce(answer_in_meta, 0) < 0.8", "who knows the title could answer without the clip"),
        Condition("coalesce(option_length_bias, 0) < 0.5", "a right option that is far the longest gives itself away"),
    ),
    "speech": (
        ONE_COPY,
        *NO_LEAKS,
        Condition("kind IN ('subtitle', 'speech_recognition')", "tasks whose answer is what is said"),
        Condition("words >= 3", "one or two words are often a noise that was taken for speech"),
        Condition(
            "flagged = 0 AND coalesce(len(flags), 0) = 0",
            "a flagged transcript may be invented, looped, or of another language than it says",
        ),
        Condition("coverage >= 0.3", "most of the clip is without speech otherwise"),
    ),
}
"""Conditions of each preset."""


def preset_condition(preset: Preset, columns: Collection[str]) -> str:
    """Return the SQL of a preset for candidates with these columns."""
    kept = [f"({each.sql})" for each in PRESETS[preset] if set(each.columns) <= set(columns)]
    return " AND ".join(kept) or "true"
