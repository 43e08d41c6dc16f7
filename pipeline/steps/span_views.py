"""Views of `verify` for questions that name the spans of a clip that they rest on (`ask.style: evidence`).

    spans   the frames in the spans that are seen, with the sound in those that are heard
    rest    the other frames, with silence in place of the sound in the spans that are heard

A question's spans hold if its answer is found from `spans` and not from `rest`. Neither view changes what a question
needs. Silence keeps what is heard before and after a span apart: sounds that were put together would make a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from manifests.records import ClipMedia, EvidenceSpan, Question
from pipeline.annotation.clues import HEARD, SEEN
from pipeline.annotation.media_loader import ClipPart, MediaLoader

if TYPE_CHECKING:
    from ola.prompt import Request, Wave
    from pipeline.steps.verify import Verify, VerifyInput

SPANS, REST = "spans", "rest"
SPAN_VIEWS = (SPANS, REST)


def cut_clip(load: MediaLoader, footage: ClipMedia, times: Sequence[EvidenceSpan], view: str) -> ClipPart:
    """Return the media of a clip within these spans, or those of the rest."""
    inside = frames_within(footage, [each for each in times if each.sense == SEEN])
    frames = inside if view == SPANS else [n for n in range(len(footage.frame_ms)) if n not in inside]
    heard = [each for each in times if each.sense == HEARD]
    return load.part(footage, frames, partial(keep_sound if view == SPANS else remove_sound, heard))


def frames_within(footage: ClipMedia, spans: Iterable[EvidenceSpan]) -> list[int]:
    """Return the numbers of the frames in some spans; of a span between two frames the nearest one."""
    found = set[int]()
    for span in spans:
        ms = [1000 * span.start, 1000 * span.end]
        within = [n for n, time in enumerate(footage.frame_ms) if ms[0] <= time <= ms[1]]
        middle = sum(ms) / 2
        found.update(within or [min(range(len(footage.frame_ms)), key=lambda n: abs(footage.frame_ms[n] - middle))])
    return sorted(found)


def keep_sound(spans: Sequence[EvidenceSpan], wave: Wave) -> Wave | None:
    """Return the sound of some spans end to end; None if they have none."""
    import numpy as np

    pieces = [wave.samples[_samples(span, wave)] for span in spans]
    samples = np.concatenate(pieces) if pieces else wave.samples[:0]
    return replace(wave, samples=samples) if len(samples) else None


def remove_sound(spans: Sequence[EvidenceSpan], wave: Wave) -> Wave | None:
    """Return a sound with silence in place of some spans; None if these are all of it."""
    import numpy as np

    removed = np.zeros(len(wave.samples), bool)
    for span in spans:
        removed[_samples(span, wave)] = True
    return None if removed.all() else replace(wave, samples=np.where(removed, 0, wave.samples).astype(np.float32))


def _samples(span: EvidenceSpan, wave: Wave) -> slice:
    total = len(wave.samples)
    return slice(min(round(span.start * wave.rate), total), min(round(span.end * wave.rate), total))


def span_requests(step: Verify, batch: Sequence[VerifyInput]) -> dict[str, Request]:
    """Return the requests of both views by name, for the questions that name spans."""
    requests = {}
    for entry in batch:
        for view in SPAN_VIEWS if entry.question.times else ():
            media = part_media(cut_clip(step.load, entry.footage, entry.question.times, view))
            if media:
                requests[span_name(entry.question, view)] = step.make_request(entry.question, media)
    return requests


def span_name(question: Question, view: str) -> str:
    """Return the name of a request."""
    return f"{question.id}-{view}"


def part_media(part: ClipPart) -> dict[str, Any]:
    """Return the media of a part of a clip as arguments of a request; empty if nothing is left."""
    video: dict[str, Any] = {} if part.video is None else {"video": part.video}
    return video if part.sound is None else {**video, "sounds": (part.sound,)}
