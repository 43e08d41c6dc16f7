"""A run with made-up annotations and real frames and sound, for the tests of its report: made in a second, no model."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from manifests import storage
from manifests.records import (
    Caption,
    Clip,
    ClipMedia,
    ModelCall,
    Outcome,
    Question,
    Screening,
    Segment,
    Source,
    Transcript,
    Verification,
    Video,
    ViewAnswer,
    Word,
)
from pipeline.config import RUN, Config, dump
from pipeline.engine.engines import InlineEngine
from pipeline.engine.lane_plan import LanePlan
from pipeline.media.audio import RATE, wav_bytes
from pipeline.media.media_store import MediaTar
from pipeline.pack.publish import pack
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from pipeline.sources.discovery import discover
from pipeline.state.registration import register
from tests.pipeline.test_pack import ok, video

CLIPS, MS, WORD_MS = 3, 2000, 250
SAID = "one two three four five six seven eight"
LONG = "ten thousand letters " * 476 + "end."
TITLE = "<script>document.title = 'taken'</script> \u202etxet esrever\u202c & \"quotes\""
ANSWER = "<img src=x onerror=alert(1)> javascript:alert(1) </script> \u2028 " + LONG
ASKED = ModelCall(prompt="p", answer="a", finish="stop", prompt_tokens=90, answer_tokens=9, latency=0.1, read_tokens=30)
KINDS = ("speech", "source", "order")


def number_of(*words: object) -> float:
    """Return a number from 0 to 1 that depends on the words alone, in steps of 1/1000."""
    return int(hashlib.sha256(repr(words).encode()).hexdigest()[:8], 16) % 1001 / 1000


def make_root(folder: Path, videos: int = 8, **settings: Any) -> Plan:
    """Make a root in `folder` with every step committed and packed. Videos 5 and 7 give no clip. settings: of pack."""
    packing = PackSettings.model_validate({"where": "motion >= 0.5", "val": 0.3} | settings)
    (folder / "films").mkdir(parents=True)
    for n in range(videos):
        (folder / "films" / f"film {n}.mp4").write_bytes(bytes([n]) * (n + 1))
    config = Config(inputs=(str(folder / "films"),), annotator={"model": "nano"}, pack=packing)  # type: ignore[arg-type]
    plan = config.plan(str(folder / "root"))
    for part in register(plan.sources, discover(config.inputs, plan.root), None, 4):
        commit_part(plan, part, plan.find_step("ingest").inputs(part))
    storage.write_bytes(storage.join(plan.root, RUN), dump(config).encode())
    pack(plan, packing, lambda make, numbers: InlineEngine().map([LanePlan(make)], numbers))
    return plan


def commit_part(plan: Plan, part: int, sources: Sequence[Source]) -> None:
    """Commit the rows of all steps for some sources."""
    made = {source.id: describe(source) for source in sources}
    clips = {film.id: [clip_of(film, place) for place in range(CLIPS)] for film in made.values() if film}
    clips = {name: [] if name.startswith(dropped(made)) else some for name, some in clips.items()}
    flat = [clip for some in clips.values() for clip in some]
    extract = plan.find_step("extract").manifest
    Path(extract.uri(part)).parent.mkdir(parents=True, exist_ok=True)
    tar = MediaTar(extract.path(part, "tar"), extract.uri(part, "tar"))
    footage = {clip.id: footage_of(clip, tar) for clip in flat}
    tar.close()
    spoken = {clip.id: transcript_of(clip) for clip in flat if number_of("silent", clip.id) > 0.2}
    asked = {name: [question_of(name, n) for n in range(3)] for name in spoken}
    captions = {clip.id: [caption_of(clip.id, view) for view in ("image", "video", "sound", "joint")] for clip in flat}
    commit(plan, "ingest", part, {name: [film] if film else [] for name, film in made.items()}, "not a video: a list")
    commit(plan, "split", part, clips, "shorter than split.shortest")
    commit(plan, "extract", part, {name: [each] for name, each in footage.items()})
    commit(plan, "transcribe", part, {c.id: [spoken[c.id]] if c.id in spoken else [] for c in flat}, "nothing said")
    commit(plan, "screen", part, {name: [screening_of(name)] for name in spoken})
    commit(plan, "caption", part, captions)
    commit(plan, "ask", part, asked)
    commit(plan, "verify", part, {q.id: [verification_of(q)] for some in asked.values() for q in some})


def commit(plan: Plan, name: str, part: int, records: dict[str, Any], reason: str = "") -> None:
    """Commit the records made of each input; an input without any failed in `ingest`, and was dropped elsewhere."""
    status = "failed" if name == "ingest" else "dropped"
    outcomes = [ok(key, *made) if made else Outcome(key, status, 0.1, (), reason) for key, made in records.items()]
    plan.find_step(name).manifest.commit(part, list(records), outcomes)


def describe(source: Source) -> Video | None:
    """Return the source as a video; the last film is none."""
    n = source.bytes - 1
    if n == 7:
        return None
    facts = {"title": TITLE if n == 0 else f"Film number {n}", "licence": "CC-BY"}
    return replace(video(n), source=source.id, uri=source.uri, duration=CLIPS * MS / 1000, meta=json.dumps(facts))


def dropped(made: dict[str, Video | None]) -> tuple[str, ...]:
    """Return the ids of the videos that give no clip."""
    return tuple(film.id for film in made.values() if film and film.bytes == 6)


def clip_of(film: Video, place: int) -> Clip:
    start, name = place * MS, f"{film.id}-{place * MS:09d}-{(place + 1) * MS:09d}"
    return Clip(
        id=name, video=film.id, start_ms=start, end_ms=start + MS, motion=number_of("motion", name) * 5,
        frozen=number_of("frozen", name), black=0.0, silence=number_of("silence", name),
        loudness=-40 + 30 * number_of("loud", name), frames=50,
    )  # fmt: skip


def footage_of(clip: Clip, tar: MediaTar) -> ClipMedia:
    frames = [jpeg(place * 60) for place in range(4)]
    tone = (8000 * np.sin(np.arange(MS * RATE // 1000) * 440 * 2 * np.pi / RATE)).astype("<i2")
    return ClipMedia(
        id=clip.id, clip=clip.id, width=64, height=32, frames=tar.add(f"{clip.id}.mjpg", b"".join(frames)),
        frame_bytes=tuple(map(len, frames)), frame_ms=(250, 750, 1250, 1750),
        sound=tar.add(f"{clip.id}.wav", wav_bytes(tone.tobytes())),
    )  # fmt: skip


def jpeg(shade: int) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (64, 32), (shade, 80, 200 - shade)).save(sink, "JPEG")
    return sink.getvalue()


def transcript_of(clip: Clip) -> Transcript:
    said = SAID.split()[: 2 + int(6 * number_of("words", clip.id))]
    step = WORD_MS / 1000
    words = tuple(Word(text=word, start=n * step, end=(n + 1) * step) for n, word in enumerate(said))
    language = "en" if number_of("language", clip.id) < 0.7 else "de"
    return Transcript(
        id=clip.id, clip=clip.id, origin="sidecar", track="x.srt", language=language, word_times="given",
        text=" ".join(said), segments=(Segment(start=0.0, end=2.0, text=" ".join(said), words=words),),
        words=len(said), coverage=round(len(said) / 8, 3), text_language=language,
    )  # fmt: skip


def screening_of(name: str) -> Screening:
    scores = {"complete": number_of("complete", name), "informative": number_of("informative", name)}
    return Screening(id=name, clip=name, footage=name, transcript=name, **scores)


def caption_of(name: str, view: str) -> Caption:
    return Caption(id=f"{name}-{view}", clip=name, footage=name, view=view, text=f"a dog, by {view}", asked=ASKED)


def question_of(name: str, number: int) -> Question:
    return Question(
        id=f"{name}-question-{number}", clip=name, footage=name, transcript=name, number=number, kind=KINDS[number],
        question=f"Why does the dog bark {number} times?", answer="B" if number == 2 else "It is happy",
        options=("Hunger", "Joy", "Fear", "Boredom") if number == 2 else (), asked=ASKED,
    )  # fmt: skip


def verification_of(question: Question) -> Verification:
    """Return answers whose agreements are all over the range; the first film's answers are hostile."""

    def answer(view: str) -> ViewAnswer:
        agreement = number_of(view, question.id) ** (3 if view == "text" else 1)
        return ViewAnswer(answer=ANSWER if view == "video" else "happy", agreement=agreement, exact=False, f1=0.5)

    views: dict[str, Any] = {view: answer(view) for view in ("both", "video", "audio", "text")}
    return Verification(id=question.id, clip=question.clip, question=question.id, prompt_tokens=400, **views)
