"""What a run of the steps that ask spends outside of the model: journals, sandboxes, rows, prompts, parsing, commits.

Screen, caption, ask and verify over stored footage, by the engine `inline`, with the steps in a sandbox of their own as
users have it, and without. Inside are `generate` and `choose`: tokens, decoding and resizing of the pictures, features
of the sounds, encoders, decoder. All else is outside, reading and unpacking of the sounds too. The start of the
process and the loading of the weights come once a run, and are told apart.

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
    finally:
        torch.set_num_threads(threads)


def figure(times: list[Times], isolate: bool, millions: float) -> Figure:
    """A row of the table."""
    last, clips = times[-1], PARTS * VIDEOS * CLIPS
    where = "in a sandbox" if isolate else "in the engine's process"
    what = f"screen, caption, ask, verify of {clips} clips, {PARTS} parts, {where}: share outside the model"
    note = (
        f"{millions:.0f} million weights, one thread; {last.requests} requests in {last.work:.1f} s, of which "
        f"{last.inside:.1f} s inside ({last.preparing:.1f} s of them to prepare media and prompts); "
        f"start and loading of {last.start:.1f} s not counted"
    )
    against = "wall time since the weights are loaded"
    return Figure("outside", what, against, "%", [t.outside for t in times], target=Target("≤", 15, "%"), note=note)


def run(root: Path, model: Path, isolate: bool) -> Times:
    """Make footage, and time the steps that ask over it."""
    plan, log = made(root, model), root / "times"
    steps = [plan.find_step(name) for name in STEPS]
    began = time.monotonic()
    InlineEngine().map(lanes(steps, isolate), sorted(plan.sources.committed()))
    ended = time.monotonic()
    opened, *calls = [json.loads(line) for line in log.read_text().splitlines()]
    verdicts = plan.find_step("verify").manifest.total()
    assert (verdicts.ok, verdicts.inputs) == (3 * PARTS * VIDEOS * CLIPS,) * 2, verdicts
    inside, preparing = (sum(call[name] for call in calls) for name in ("inside", "preparing"))
    requests = sum(call["requests"] for call in calls)
    return Times(opened["at"] - began, ended - opened["at"], inside, preparing, requests)


def made(root: Path, model: Path) -> Plan:
    """A run whose videos are cut, extracted and transcribed."""
    root.mkdir()
    config = Config.model_validate(
        {name: {"longest": longest} for name, longest in LONGEST.items()}
        | {"ask": {"longest": LONGEST["ask"], "least_informative": 0}}
        | {"annotator": {"engine": "tests.bench.timed:opened", "model": str(model), "device": str(root / "times")}}
    )
    plan = config.model_copy(update={"annotator": config.annotator.resolve()}).plan(str(root))
    sources = []
    for n in range(PARTS * VIDEOS):
        (root / f"{n}.mp4").write_bytes(bytes(n + 1))
        sources.append(Source(id=f"{n:020d}", uri=str(root / f"{n}.mp4"), bytes=n + 1))
    for part in register(plan.sources, sources, None, VIDEOS):
        fill(plan, part, root)
    return plan


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
