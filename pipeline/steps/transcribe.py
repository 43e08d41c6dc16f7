"""Footage in, Transcript out: what is said in the clip, and when, on the clip's own clock.

Sources are asked in order, and the first that has something for the video is taken: `sidecar` files beside it, then
text streams `embedded` in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from manifests import storage
from manifests.records import Clip, Drop, Footage, Transcript, Video
from pipeline import step
from pipeline.errors import BadMedia
from pipeline.media import subtitles
from pipeline.media.subtitles import Cue

# Files bear either form: ISO 639-1, then those of ISO 639-2; the languages that subtitles mostly are in.
LANGUAGES = """
ar ara, bg bul, bn ben, ca cat, cs ces cze, da dan, de deu ger, el ell gre, en eng, es spa, et est, fa fas per, fi fin,
fr fra fre, he heb, hi hin, hr hrv, hu hun, id ind, it ita, ja jpn, ko kor, lt lit, lv lav, ml mal, ms msa may,
nl nld dut, no nor nob nb, pl pol, pt por, ro ron rum, ru rus, sk slk slo, sl slv, sr srp, sv swe, ta tam, te tel,
th tha, tr tur, uk ukr, ur urd, vi vie, zh zho chi
"""
LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})?", re.IGNORECASE)


@dataclass(frozen=True)
class Heard:
    """A clip's footage, its span, and the video it lies in."""

    footage: Footage
    clip: Clip
    video: Video


@dataclass(frozen=True)
class Track:
    """All that a source has for a video: which file or stream it is, in which language, and its cues."""

    origin: str
    name: str
    language: str | None
    cues: tuple[Cue, ...]


class TranscribeSettings(step.Settings):
    """sources: in the order they are asked; language: preferred where a video has several (as `en`)."""

    sources: tuple[Literal["sidecar", "embedded"], ...] = Field(default=("sidecar", "embedded"), min_length=1)
    language: str | None = None


class Transcribe(step.Step[Heard, Transcript]):
    """Find what is said in a clip."""

    name, takes, gives = "transcribe", Heard, Transcript
    settings_type = TranscribeSettings
    settings: TranscribeSettings
    resources = step.Resources(memory_gb=1.0)

    def __init__(self, settings: step.Settings | None = None) -> None:
        """The cues of the last video are kept: its clips come one after the other."""
        super().__init__(settings)
        self.last: tuple[str, Track | BadMedia | None] = ("", None)

    def allowance(self, record: Heard) -> float:
        """A text stream is spread over the whole file, which must be read once."""
        return record.video.bytes / 5e6

    def run(self, batch: Sequence[Heard]) -> list[list[Transcript] | Drop]:
        """One Transcript per clip, or a drop where nothing is said. Raises BadMedia for unreadable subtitles."""
        return [self._transcript(heard) for heard in batch]

    def _transcript(self, heard: Heard) -> list[Transcript] | Drop:
        track = self._track(heard.video)
        if track is None:
            return Drop("no subtitles", f"neither of {', '.join(self.settings.sources)} has any for the video")
        clip = heard.clip
        start, end = clip.start_ms / 1000, clip.end_ms / 1000
        segments = [s for s in (subtitles.segment(cue, start, end) for cue in track.cues) if s is not None]
        if not segments:
            return Drop("nothing said", f"{track.name} has no cue in this clip")
        return [
            Transcript(
                id=clip.id,
                clip=clip.id,
                origin=track.origin,
                track=track.name,
                language=track.language,
                word_times="given" if all(cue.timed for cue in track.cues) else "interpolated",
                text=" ".join(segment.text for segment in segments),
                segments=tuple(segments),
                words=sum(len(segment.words) for segment in segments),
                coverage=min(1.0, sum(segment.end - segment.start for segment in segments) / (end - start)),
            )
        ]

    def _track(self, video: Video) -> Track | None:
        if self.last[0] != video.id:
            try:
                self.last = (video.id, self._first_track(video))
            except BadMedia as error:  # a text that cannot be read is read once, not for each clip
                self.last = (video.id, error)
        if isinstance(self.last[1], BadMedia):
            raise BadMedia(str(self.last[1]))
        return self.last[1]

    def _first_track(self, video: Video) -> Track | None:
        ask: dict[str, Callable[[Video], Track | None]] = {"sidecar": self._sidecar, "embedded": self._embedded}
        found = (ask[source](video) for source in self.settings.sources)
        return next((track for track in found if track is not None), None)

    def _sidecar(self, video: Video) -> Track | None:
        if not video.sidecars:
            return None
        uri = min(video.sidecars, key=lambda uri: (self._rank(sidecar_language(uri)), len(uri), uri))
        cues = subtitles.parse(subtitles.decoded(subtitles.read(uri)))
        if not cues:
            raise BadMedia(f"no subtitle can be read in {uri}")
        return Track("sidecar", uri, sidecar_language(uri), tuple(cues))

    def _embedded(self, video: Video) -> Track | None:
        if not video.subtitles:
            return None
        chosen = min(video.subtitles, key=lambda track: (self._rank(track.language), track.position))
        cues = subtitles.parse(subtitles.embedded(storage.fetch(video.uri, self.scratch), chosen.position))
        return Track("embedded", f"stream {chosen.position}", chosen.language, tuple(cues)) if cues else None

    def _rank(self, language: str | None) -> int:
        wanted = self.settings.language
        return 0 if wanted and language and short(language) == short(wanted) else 1


def short(language: str) -> str:
    """A tag as two letters where there are two: `deu`, `ger` and `de-AT` are `de`."""
    tag = language.split("-", maxsplit=1)[0].lower()
    known = (codes.split() for codes in LANGUAGES.split(","))
    return next((codes[0] for codes in known if tag in codes), tag)


def sidecar_language(uri: str) -> str | None:
    """The tag of `talk.en.srt`; words that are no tag (`talk.final.srt`) are none."""
    pieces = uri.rsplit("/", 1)[-1].split(".")
    return pieces[-2].lower() if len(pieces) > 2 and LANGUAGE.fullmatch(pieces[-2]) else None
