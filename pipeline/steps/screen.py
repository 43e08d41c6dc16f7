"""Step `screen`: judge whether a transcript is complete and informative.

Cheap rules drop clear cases. For the rest the model answers two questions as a language model. Its probabilities of
`yes` are stored as scores, and drop nothing here. A transcript without words passes without scores.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from manifests.records import Drop, Screening, Transcript
from pipeline import step
from pipeline.annotation.annotator import ModelStep, fence_text, fill_prompt
from pipeline.annotation.text_rules import remove_sound_notes, repeated_pair_share
from pipeline.errors import BadMedia
from stages.text_metrics import words

QUESTIONS = ("complete", "informative")


class ScreenSettings(step.Settings):
    """Which transcripts are dropped before the model is asked."""

    least_words: int = Field(default=5, ge=0)
    """Transcripts with fewer words are dropped."""
    most_repeated: float = Field(default=0.5, ge=0, le=1)
    """Transcripts with a larger share of repeated pairs of neighbouring words are dropped; at a half, they loop."""


class Screen(ModelStep[Transcript, Screening]):
    """Judge the transcript of a clip."""

    name, takes, gives = "screen", Transcript, Screening
    settings_type = ScreenSettings
    settings: ScreenSettings
    prompts = tuple(f"screen_{question}" for question in QUESTIONS)
    # Without media: two short requests a clip, 256 a batch.
    resources = step.Resources(batch=128, seconds=1800, memory_gb=64)

    def run(self, batch: Sequence[Transcript]) -> list[list[Screening] | Drop | BadMedia]:
        """Return one Screening per transcript, or a drop by a cheap rule."""
        from ola.prompt import Request

        drops = {transcript.id: self._check_text(transcript.text) for transcript in batch if transcript.words}
        judged = [each for each in batch if each.words and drops[each.id] is None]
        texts = {each.id: fence_text("subtitles", each.text) for each in judged}
        probabilities = self.yes_probabilities(
            {
                f"{name}-{question}": Request(fill_prompt(f"screen_{question}", subtitles=text))
                for name, text in texts.items()
                for question in QUESTIONS
            }
        )
        return [drops.get(each.id) or [self._make_screening(each, probabilities)] for each in batch]

    def _check_text(self, text: str) -> Drop | None:
        spoken = words(remove_sound_notes(text))
        if not spoken:
            return Drop("music or noises only", text[:200])
        if len(spoken) < self.settings.least_words:
            return Drop("too few words", f"{len(spoken)}; screen.least_words is {self.settings.least_words}")
        if (share := repeated_pair_share(remove_sound_notes(text))) > self.settings.most_repeated:
            return Drop("too repetitive", f"{share:.2f}; screen.most_repeated is {self.settings.most_repeated}")
        return None

    def _make_screening(self, transcript: Transcript, probabilities: dict[str, float]) -> Screening:
        scores = {question: probabilities.get(f"{transcript.id}-{question}") for question in QUESTIONS}
        return Screening(
            id=transcript.clip,
            clip=transcript.clip,
            footage=transcript.clip,  # extract names the footage of a clip after it
            transcript=transcript.id,
            **scores,
        )
