"""Benchmark the time that the asking steps spend outside of the model: journals, sandboxes, rows, prompts, parsing.

Screen, caption, ask and verify over stored footage, by the engine `inline`, with the steps in a sandbox of their own as
users have it, and without. Inside are `generate` and `choose`: tokens, decoding and resizing of the pictures, features
of the sounds, encoders, decoder. All else is outside, reading and unpacking of the sounds too. The start of the
process and the loading of the weights come once a run, and are told apart.

The last figure is how long the encoders and the decoder are at work in a part of many clips, if loading a clip is so
slow that it takes a third of their time for it, as on a GPU: the media of the next clips are loaded meanwhile.
Alone on two cores: 94.9 % of 192 clips and 94.0 % of 96; 49 % with nothing loaded ahead. The first slice of a part
waits (1 to 3 %), and what is outside of the model takes 2.8 %.

A 7B model takes hundreds of times longer for a clip than the model here, and what is outside stays the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from manifests.records import Clip, ClipMedia, Source, Video
from ola.processor import OlaProcessor
from pipeline.config import Config
from pipeline.engine.engines import InlineEngine
from pipeline.plan import Plan
from pipeline.run import lanes
from pipeline.state.registration import register
from tests.bench.again import CLIP_MS, commit, video_of
from tests.bench.annotate import WORDS, tokenizer
from tests.bench.generation import SIZES, SMALL
from tests.bench.measure import Figure, Target
from tests.bench.videos import Videos
from tests.ola import tiny
from tests.pipeline.scripted import footage, transcript

PARTS, VIDEOS, CLIPS = 2, 2, 4  # a part's videos, a video's clips
FRAMES, SOUND_S = 8, 4.0
STEPS = ("screen", "caption", "ask", "verify")
LONGEST = {"caption": 32, "ask": 64, "verify": 16}  # tokens: a sixteenth to a quarter of the defaults
DECODER: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4}
ROUNDS = 2
MANY = 48  # videos of a part that has 24 slices of clips; the default is up to 32 videos, each of 30 clips or so
FEW = 12  # the same with nothing loaded ahead, where all slices are alike
SLOWED = 3.0  # times longer than its loading takes the model for a clip


@dataclass(frozen=True)
class Times:
    """Seconds of a run: until the weights are loaded, from then on, and those inside of the model; and its requests.

    preparing: of those inside, the ones before a call's first request is encoded.
    """

    start: float
    work: float
    inside: float
    preparing: float
    requests: int

    @property
    def outside(self) -> float:
        """Percent of the work."""
        return 100 * (1 - self.inside / self.work)

    @property
    def encoding_and_decoding(self) -> float:
        """Seconds in which the encoders or the decoder are at work."""
        return self.inside - self.preparing


@dataclass(frozen=True)
class Case:
    """What is run. engine: a function of `tests.bench.timed`; slower: seconds that it takes longer for a video."""

    parts: int = PARTS
    videos: int = VIDEOS
    engine: str = "opened"
    slower: float = 0.0

    @property
    def clips(self) -> int:
        """Clips of all parts."""
        return self.parts * self.videos * CLIPS


def measure(videos: Videos) -> Iterator[Figure]:
    """The share outside, in a sandbox and without one."""
    folder, threads = videos.folder / "outside", torch.get_num_threads()
    folder.mkdir()
    model = tiny.model(limits=SMALL, vocab_size=WORDS, **(SIZES | DECODER), max_position_embeddings=16384)
    model.save_pretrained(folder / "model")
    OlaProcessor(tokenizer(), model.config).save_pretrained(folder / "model")
    millions = sum(weight.numel() for weight in model.parameters()) / 1e6
    try:
        for isolate in (True, False):
            times = [run(folder / f"{isolate}-{n}", folder / "model", isolate) for n in range(ROUNDS)]
            yield figure(times, isolate, millions)
        yield busy(folder, times[-1].encoding_and_decoding / Case().clips / SLOWED)
    finally:
        torch.set_num_threads(threads)


def figure(times: list[Times], isolate: bool, millions: float) -> Figure:
    """A row of the table."""
    last, clips = times[-1], Case().clips
    where = "in a sandbox" if isolate else "in the engine's process"
    what = f"screen, caption, ask, verify of {clips} clips, {PARTS} parts, {where}: share outside the model"
    note = (
        f"{millions:.0f} million weights, one thread; {last.requests} requests in {last.work:.1f} s, of which "
        f"{last.inside:.1f} s inside ({last.preparing:.1f} s of them to prepare media and prompts); "
        f"start and loading of {last.start:.1f} s not counted"
    )
    against = "wall time since the weights are loaded"
    return Figure("outside", what, against, "%", [t.outside for t in times], target=Target("≤", 15, "%"), note=note)


def busy(folder: Path, slower: float) -> Figure:
    """Return the share of a large part's time in which the model is at work. slower: seconds that a clip takes."""
    shares = {}
    for engine, videos in (("slow", MANY), ("slow_alone", FEW)):
        times = run(folder / engine, folder / "model", True, Case(1, videos, engine, slower))
        shares[engine] = 100 * times.encoding_and_decoding / times.work
    what = f"the same of {MANY * CLIPS} clips of one part, {slower:.2f} s to load each: share in which the model works"
    note = f"with nothing loaded ahead {shares['slow_alone']:.0f} %"
    against = "wall time since the weights are loaded"
    return Figure("outside", what, against, "%", [shares["slow"]], target=Target("≥", 95, "%"), note=note)


def run(root: Path, model: Path, isolate: bool, case: Case = Case()) -> Times:
    """Make footage, and time the steps that ask over it."""
    plan, log = made(root, model, case), root / "times"
    steps = [plan.find_step(name) for name in STEPS]
    began = time.monotonic()
    InlineEngine().map(lanes(steps, isolate), sorted(plan.sources.committed()))
    ended = time.monotonic()
    opened, *calls = [json.loads(line) for line in log.read_text().splitlines()]
    verdicts = plan.find_step("verify").manifest.total()
    assert (verdicts.ok, verdicts.inputs) == (3 * case.clips,) * 2, verdicts
    inside, preparing = (sum(call[name] for call in calls) for name in ("inside", "preparing"))
    requests = sum(call["requests"] for call in calls)
    return Times(opened["at"] - began, ended - opened["at"], inside, preparing, requests)


def made(root: Path, model: Path, case: Case) -> Plan:
    """A run whose videos are cut, extracted and transcribed."""
    root.mkdir()
    device = f"{root / 'times'} {case.slower}"
    config = Config.model_validate(
        {name: {"longest": longest} for name, longest in LONGEST.items()}
        | {"ask": {"longest": LONGEST["ask"], "least_informative": 0}}
        | {"annotator": {"engine": f"tests.bench.timed:{case.engine}", "model": str(model), "device": device}}
    )
    plan = config.model_copy(update={"annotator": config.annotator.resolve()}).plan(str(root))
    for part in register(plan.sources, sources(root, case.parts * case.videos), None, case.videos):
        fill(plan, part, root)
    return plan


def sources(root: Path, count: int) -> list[Source]:
    """Files that stand for videos."""
    made = []
    for n in range(count):
        (root / f"{n}.mp4").write_bytes(bytes(n + 1))
        made.append(Source(id=f"{n:020d}", uri=str(root / f"{n}.mp4"), bytes=n + 1))
    return made


def fill(plan: Plan, part: int, root: Path) -> None:
    """Commit one part of the steps before those that ask."""
    sources: list[Source] = plan.find_step("ingest").inputs(part)
    videos = {source.id: [video_of(source)] for source in sources}
    clips = {video.id: clips_of(video) for [video] in videos.values()}
    flat = [clip for some in clips.values() for clip in some]
    commit(plan, "ingest", part, videos)
    commit(plan, "split", part, clips)
    shots: dict[str, list[ClipMedia]] = {c.id: [footage(root, c.id, FRAMES, SOUND_S, seed=c.start_ms)] for c in flat}
    commit(plan, "extract", part, shots)
    commit(plan, "transcribe", part, {clip.id: [transcript(clip=clip.id)] for clip in flat})


def clips_of(video: Video) -> list[Clip]:
    """Clips end to end."""
    return [
        Clip(id=f"{video.id}-{start:09d}-{start + CLIP_MS:09d}", video=video.id, start_ms=start, end_ms=start + CLIP_MS,
             motion=2.5, frozen=0.0, black=0.0, silence=0.1, loudness=-21.0)
        for start in range(0, CLIPS * CLIP_MS, CLIP_MS)
    ]  # fmt: skip
