"""Step `screen`: judge whether a transcript is complete and informative.

Cheap rules drop what is plain. The rest is judged by the model as a language model, on two questions; its
probabilities of `yes` are scores: nothing is dropped by them here.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from manifests.records import Drop, Screening, Transcript
from pipeline import step
from pipeline.annotation.annotator import ModelStep, fence_text, fill_prompt
from pipeline.annotation.text_rules import repetition, without_sound_notes
from pipeline.errors import BadMedia
from stages.text_metrics import words

JUDGED = ("complete", "informative")


class ScreenSettings(step.Settings):
    """Which transcripts are dropped before the model is asked."""

    least_words: int = Field(default=5, ge=0)
    """Transcripts with fewer words are dropped."""
    most_repeated: float = Field(default=0.5, ge=0, le=1)
    """Transcripts with a larger share of repeated pairs of neighbouring words are dropped; at a half, they loop."""


class Screen(ModelStep[Transcript, Screening]):
    """Judge what is said in a clip."""

    name, takes, gives = "screen", Transcript, Screening
    settings_type = ScreenSettings
    settings: ScreenSettings
    prompts = tuple(f"screen_{judged}" for judged in JUDGED)
    # Text alone: two short requests a clip, of which 256 still fill the model's batches and hold no media.
    resources = step.Resources(batch=128, seconds=1800, memory_gb=64)

    def run(self, batch: Sequence[Transcript]) -> list[list[Screening] | Drop | BadMedia]:
        """One Screening per transcript, or a drop by a cheap rule."""
        from ola.prompt import Request

        drops = {transcript.id: self._drop(transcript.text) for transcript in batch}
        texts = {each.id: fence_text("subtitles", each.text) for each in batch if drops[each.id] is None}
        said = self.yes(
            {
                f"{name}-{judged}": Request(fill_prompt(f"screen_{judged}", subtitles=text))
                for name, text in texts.items()
                for judged in JUDGED
            }
        )
        return [drops[each.id] or [self._screening(each, said)] for each in batch]

    def _drop(self, text: str) -> Drop | None:
        said = words(without_sound_notes(text))
        if not said:
            return Drop("music or noises only", text[:200])
        if len(said) < self.settings.least_words:
            return Drop("too few words", f"{len(said)}; screen.least_words is {self.settings.least_words}")
        if (share := repetition(without_sound_notes(text))) > self.settings.most_repeated:
            return Drop("too repetitive", f"{share:.2f}; screen.most_repeated is {self.settings.most_repeated}")
        return None

    def _screening(self, transcript: Transcript, said: dict[str, float]) -> Screening:
        scores = {judged: said[f"{transcript.id}-{judged}"] for judged in JUDGED}
        return Screening(
            id=transcript.clip,
            clip=transcript.clip,
            footage=transcript.clip,  # extract names the footage of a clip after it
            transcript=transcript.id,
            **scores,
        )
