"""Choose the subtitles of a video, a file beside it or a text stream within it, and read their cues."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from manifests.records import Video
from pipeline.errors import BadMedia
from pipeline.media import subtitles
from pipeline.media.hallucination import stock_share
from pipeline.media.recordings import list_recordings
from pipeline.media.subtitles import Cue
from pipeline.media.text_encoding import decode_text
from pipeline.sources.companions import SUBTITLES

# ISO 639-1, then ISO 639-2, of the most common languages of subtitles; file names have either form.
LANGUAGES = """
ar ara, bg bul, bn ben, ca cat, cs ces cze, da dan, de deu ger, el ell gre, en eng, es spa, et est, fa fas per, fi fin,
fr fra fre, he heb iw, hi hin, hr hrv, hu hun, id ind, it ita, ja jpn, ko kor, lt lit, lv lav, ml mal, ms msa may,
nl nld dut, no nor nob nb, pl pol, pt por, ro ron rum, ru rus, sk slk slo, sl slv, sr srp, sv swe, ta tam, te tel,
th tha, tr tur, uk ukr, ur urd, vi vie, zh zho chi cmn
"""
LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})?", re.IGNORECASE)
NO_LANGUAGES = ("sdh", "cc", "forced", "full", "auto", "orig", "sub", "subs", "dub")  # `talk.en.sdh.srt`
Fetch = Callable[[Video], str]
SAMPLE = 2000  # characters, enough to detect the language of a file


@dataclass(frozen=True)
class Track:
    """The subtitles that a source has for a video: file or stream, the language it claims, and its cues."""

    origin: str
    name: str
    language: str | None
    cues: tuple[Cue, ...]

    @property
    def spoken_cues(self) -> list[Cue]:
        """Cues with spoken words."""
        return [cue for cue in self.cues if cue.words]

    @property
    def sample_text(self) -> str:
        """The first words of the track, to detect its language where a clip has too few words."""
        text = ""
        for cue in self.spoken_cues:
            if len(text) > SAMPLE:
                break
            text += f"{cue.text} "
        return text

    @property
    def is_stock(self) -> bool:
        """Whether each cue is only a stock phrase that recognisers write where nothing is said."""
        return all(stock_share(cue.text, alone=True) == 1 for cue in self.spoken_cues)


def find_track(video: Video, sources: Sequence[str], language: str | None, fetch: Fetch) -> Track | None:
    """Return the track of the first source (`sidecar`, `embedded`) that has one, or None.

    language: preferred where a video has several. fetch: returns a local path of the video. Raises BadMedia.
    """
    ask: dict[str, Callable[[], Track | None]] = {
        "sidecar": lambda: _read_sidecar(video, language),
        "embedded": lambda: _read_embedded(video, language, fetch),
    }
    found = (ask[source]() for source in sources)
    return next((track for track in found if track is not None), None)


def _read_sidecar(video: Video, language: str | None) -> Track | None:
    if not video.sidecars:
        return None

    def rank(uri: str) -> tuple[int, int, int, str]:
        form = next((n for n, suffix in enumerate(SUBTITLES) if uri.lower().endswith(suffix)), len(SUBTITLES))
        return _rank(sidecar_language(uri), language), len(uri), form, uri

    uri = min(video.sidecars, key=rank)
    cues = subtitles.parse_cues(decode_text(subtitles.read_subtitles(uri)))
    if not cues:
        raise BadMedia(f"no subtitle can be read in {uri}")
    return Track("sidecar", uri, sidecar_language(uri), tuple(cues))


def _read_embedded(video: Video, language: str | None, fetch: Fetch) -> Track | None:
    if not video.subtitles:
        return None
    chosen = min(video.subtitles, key=lambda track: (_rank(track.language, language), track.position))
    cues = subtitles.embedded_cues(list_recordings(fetch(video), video), chosen.position, chosen.codec)
    return Track("embedded", f"stream {chosen.position}", chosen.language, tuple(cues)) if cues else None


def _rank(language: str | None, wanted: str | None) -> int:
    return 0 if wanted and language and two_letter_code(language) == two_letter_code(wanted) else 1


def two_letter_code(language: str) -> str:
    """Return a tag as two letters where there is such a code: `deu`, `ger` and `de-AT` are `de`."""
    tag = language.split("-", maxsplit=1)[0].lower()
    known = (codes.split() for codes in LANGUAGES.split(","))
    return next((codes[0] for codes in known if tag in codes), tag)


def sidecar_language(uri: str) -> str | None:
    """Return the language tag of `talk.en.srt` or `talk.en.sdh.srt`; None for other words (`talk.final.srt`)."""
    pieces = uri.rsplit("/", 1)[-1].split(".")[:-1]
    while len(pieces) > 1 and pieces[-1].lower() in NO_LANGUAGES:
        pieces.pop()
    return pieces[-1].lower() if len(pieces) > 1 and LANGUAGE.fullmatch(pieces[-1]) else None
