"""Step `hear`: find speech, music and sound events in the stored sound of a clip, with times."""

from __future__ import annotations

import wave
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from manifests.hearing_records import Hearing, SoundSpan
from manifests.records import ClipMedia
from pipeline import step
from pipeline.errors import BadMedia
from pipeline.hearing.classes import EVENT, MUSIC, SPEECH
from pipeline.hearing.settings import HearSettings
from pipeline.hearing.spans import share_of_time
from pipeline.hearing.tagger import model_facts, open_tagger
from pipeline.media.audio import RATE, read_samples
from pipeline.media.media_store import MediaReader

KINDS = (SPEECH, MUSIC, EVENT)


class Hear(step.Step[ClipMedia, Hearing]):
    """Find the sounds in a clip."""

    name, takes, gives = "hear", ClipMedia, Hearing
    settings_type = HearSettings
    settings: HearSettings
    beside = True
    # A clip of 48 s takes 0.1 s of a core with YAMNet, and 5.4 s with BEATs.
    resources = step.Resources(batch=8)
    model = ""  # that of the step's key

    def open(self) -> None:
        """Load the model. Raises ConfigError without weights and without the extra `hear`, and for other weights."""
        if self.settings.weights:
            import torch

            torch.set_num_threads(1)  # the worker's one CPU; the order of sums, too, is then the same in each engine
        self.read, self.tagger = MediaReader(self.root), open_tagger(self.settings, self.model)

    def facts(self) -> dict[str, Any]:
        """Return the facts of the step with the model's digest in place of its path."""
        settings = self.settings.model_dump(mode="json", exclude={"weights"})
        self.model = model_facts(self.settings)
        return {**super().facts(), "settings": settings, "model": self.model}

    def allowance(self, record: ClipMedia) -> float:
        """Return the seconds of sound: BEATs takes a ninth of them on a core that nobody else uses."""
        return record.sound.size / (2 * RATE) if self.settings.weights and record.sound else 0.0

    def run(self, batch: Sequence[ClipMedia]) -> list[list[Hearing] | BadMedia]:
        """Return the sounds of each clip, or BadMedia for stored sound that cannot be read."""
        return [self._hear(media) for media in batch]

    def _hear(self, media: ClipMedia) -> list[Hearing] | BadMedia:
        if media.sound is None:
            return [Hearing(id=media.clip, clip=media.clip, footage=media.id, spans=())]
        try:
            samples = read_samples(self.read(media.sound))
        except (wave.Error, EOFError, ValueError) as error:
            return BadMedia("the stored sound is no WAV of 16 bits", str(error))
        return [make_hearing(media, self.tagger.spans(samples), len(samples) / RATE)]


def make_hearing(media: ClipMedia, spans: tuple[SoundSpan, ...], seconds: float) -> Hearing:
    """Make the record of a clip with sound: its spans, the shares of time by kind, and the most frequent event."""
    shares = {kind: share_of_time([span for span in spans if span.kind == kind], seconds) for kind in KINDS}
    return Hearing(
        id=media.clip, clip=media.clip, footage=media.id, spans=spans,
        speech=shares[SPEECH], music=shares[MUSIC], events=shares[EVENT],
        sound_kind=_largest(shares), sound_event=_most_frequent_event(spans),
    )  # fmt: skip


def _largest(shares: Mapping[str, float]) -> str:
    """Return the kind with the largest share, the first of equal ones; `none` if all are 0."""
    kind = max(shares, key=lambda each: shares[each])
    return kind if shares[kind] else "none"


def _most_frequent_event(spans: Sequence[SoundSpan]) -> str | None:
    seconds: dict[str, float] = defaultdict(float)
    for span in spans:
        if span.kind == "event":
            seconds[span.label] += span.end - span.start
    return min(seconds, key=lambda label: (-seconds[label], label), default=None)
