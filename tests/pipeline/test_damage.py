"""Randomly damaged files: each has a row whose reason names the fault of the file."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from manifests.records import Drop, Source
from pipeline.errors import BadMedia
from pipeline.media.media_store import MediaTar
from pipeline.steps.extract import Extract, ExtractInput, ExtractSettings, Frames
from pipeline.steps.ingest import Ingest
from pipeline.steps.split import Split
from tests.media import AAC, X264, made

FILES = 200
# an exception of a library, by the name of its type or its number, says nothing of the file
EXCEPTION = re.compile(r"\w+(Error|Exception)\b|Errno|[Ee]rror number|avcodec_|av_read|index out of range|Traceback")
FILM = ("-f", "lavfi", "-i", "testsrc2=s=48x32:r=12", "-f", "lavfi", "-i", "sine=r=16000", "-t", "2.2")
FORMS: tuple[Callable[[], Path], ...] = (
    lambda: made("f.mp4", *FILM, *X264, *AAC),
    lambda: made("fragments.mp4", *FILM, *X264, *AAC, "-movflags", "+frag_keyframe+empty_moov"),
    lambda: made("f.ts", *FILM, *X264, *AAC),
    lambda: made("f.flv", *FILM, *X264, *AAC),
    lambda: made("f.mkv", *FILM, *X264, *AAC),
    lambda: made("f.avi", *FILM, "-c:v", "mpeg4", "-c:a", "mp3"),
    lambda: made("f.mpg", *FILM, "-r", "25", "-c:v", "mpeg2video", "-c:a", "mp2"),
)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The bytes with some flipped, cut out or put in."""
    changed, place = bytearray(data), chance.randrange(len(data))
    kind = chance.choice(("flip", "cut", "insert"))
    if kind == "flip":
        for _ in range(chance.choice((1, 5, 30, 200))):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del changed[place : place + chance.choice((1, 100, 3000, len(data)))]
    else:
        changed[place:place] = chance.randbytes(chance.choice((1, 100, 3000)))
    return bytes(changed)


class Line:
    """Ingest, split and extract, as a run has them."""

    def __init__(self, scratch: Path) -> None:
        """scratch: an empty folder."""
        self.ingest, self.split = Ingest(), Split()
        self.extract = Extract(ExtractSettings(frames=Frames(policy="count", count=2)))
        self.ingest.scratch = self.split.scratch = self.extract.scratch = str(scratch)
        self.extract.media = MediaTar("media.tar", str(scratch / "media.tar"))

    def reasons(self, path: Path) -> list[str]:
        """Why there is nothing of a file; empty if it went through. Anything else it raises is an error of ours."""
        try:
            [videos] = self.ingest.run([Source(id="s", uri=str(path), bytes=path.stat().st_size)])
            if isinstance(videos, Drop):
                return [videos.reason]
            [clips] = self.split.run(videos)
            if isinstance(clips, Drop):
                return [clips.reason]
            answers = self.extract.run([ExtractInput(clip, videos[0]) for clip in clips])
            return [said(answer) for answer in answers if not isinstance(answer, list)]
        except BadMedia as error:
            return [str(error)]


def said(answer: Drop | BadMedia) -> str:
    return answer.reason if isinstance(answer, Drop) else str(answer)


def test_whatever_is_damaged_has_a_reason_in_words(tmp_path: Path) -> None:
    line, chance = Line(tmp_path), random.Random(20)
    whole, broken = 0, 0
    for n in range(FILES):
        form = FORMS[n % len(FORMS)]()
        path = tmp_path / f"{n}{form.suffix}"
        path.write_bytes(mutated(form.read_bytes(), chance))
        reasons = line.reasons(path)
        assert not [reason for reason in reasons if EXCEPTION.search(reason)], (n, path, reasons)
        whole, broken = whole + (not reasons), broken + bool(reasons)
    assert whole + broken == FILES
    assert min(whole, broken) > FILES / 5, (whole, broken)


@pytest.mark.parametrize(
    ("kind", "number", "reason"),
    [
        ("PermissionError", 1, "damaged: its data cannot be read"),
        ("EOFError", 541478725, "damaged: it ends too early"),
        ("PatchWelcomeError", 1163346256, "in a form that libav cannot decode"),
    ],
)
def test_errors_of_libav_are_told_in_words(kind: str, number: int, reason: str) -> None:
    import av.error

    from pipeline.media.libav_errors import translate_libav_errors

    error = getattr(av.error, kind)
    with pytest.raises(BadMedia, match=reason) as raised, translate_libav_errors():
        raise error(number, "Operation not permitted", "avcodec_send_packet()")
    assert "avcodec_send_packet" in str(raised.value.detail)
