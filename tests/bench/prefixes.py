"""Positions that `caption`, `ask` and `verify` read of those that they ask for, and the time that this saves.

Clips of 30 frames of 576x320 and 30 s of sound, as Ola sees them at the defaults: some 5,700 positions of frames. The
model is that of `annotate`, so that the decoder's share of the time is small beside a 7B model's.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ola.decoding import PREFIX_TOKENS, TorchDecoder
from ola.processor import OlaProcessor
from pipeline.annotation import annotator
from tests.bench import annotate
from tests.bench.ask_styles import measure_styles
from tests.bench.measure import Figure, Target
from tests.bench.videos import Videos
from tests.ola import tiny
from tests.pipeline.scripted import footage

MANY, A_SLICE = 16, annotator.CLIPS  # clips of a part, more than the kept prefixes hold; and of a slice
CLIPS, FRAMES, SOUND_S, SIZE = 3, 30, 30.0, (576, 320)
ROUNDS = 2
SIZES = {"vocab_size": annotate.WORDS, "max_position_embeddings": 32_768, "tokenizer_model_max_length": 16_384}


class LongClips(annotate.World):
    """Clips at the defaults of `extract`, seen at their own size."""

    def __init__(self, root: Path, clips: int) -> None:
        root.mkdir()
        self.root, self.model = root, tiny.model(**SIZES)
        self.processor = OlaProcessor(annotate.tokenizer(), self.model.config)
        self.clips = [footage(root, f"clip-{n}", FRAMES, SOUND_S, seed=n, size=SIZE) for n in range(clips)]
        self.kept = PREFIX_TOKENS

    def run_clips(self, work: Sequence[annotate.Work], clips: Container[str], ola: annotate.Noted) -> None:
        """Bring the records of some clips through all steps."""
        for step, records in work:
            self.run_step(step, [record for record in records if _clip_of(record) in clips], ola)

    def ola(self) -> annotate.Noted:
        """One that has encoded nothing yet."""
        made = super().ola()
        made.decoder = TorchDecoder(self.model, prefix_tokens=self.kept)
        return made


def _clip_of(record: Any) -> str:
    """Return the clip of a record, or of the first record of a bundle."""
    for name in ("screening", "question"):
        record = getattr(record, name, record)
    return str(record.clip)


def measure(videos: Videos) -> Iterator[Figure]:
    """Positions read against positions asked, and seconds with and without sharing; then both ways of a large part."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from _figures(LongClips(videos.folder / "prefixes", CLIPS))
        yield from _sliced(LongClips(videos.folder / "slices", MANY))
        yield from measure_styles(LongClips(videos.folder / "styles", CLIPS))
    finally:
        torch.set_num_threads(threads)


def _figures(world: LongClips) -> Iterator[Figure]:
    seconds: dict[int, list[float]] = {PREFIX_TOKENS: [], 0: []}
    said = {}
    for _ in range(ROUNDS):
        for kept, taken in seconds.items():
            world.kept, work, began = kept, world.work(), time.perf_counter()
            [said[kept]] = world.at_once(work)
            taken.append(time.perf_counter() - began)
    shared, whole = said[PREFIX_TOKENS], said[0]
    assert shared.said == whole.said
    np.testing.assert_allclose(shared.chosen, whole.chosen, rtol=0, atol=annotate.SCORES_APART)
    decoder = shared.decoder
    assert isinstance(decoder, TorchDecoder)
    what, against = f"caption, ask and verify over {CLIPS} clips of 30 s: ", "each prompt read whole"
    read, asked = [float(decoder.prefixes.read)], [float(decoder.prefixes.asked)]
    yield Figure("prefixes", what + "positions read", against, "positions", read, asked, "speed", Target("≤", 0.25))
    ours, theirs = seconds[PREFIX_TOKENS], seconds[0]
    yield Figure("prefixes", what + "beginnings read once", against, "s", ours, theirs, "time", Target("≤", 0.5))


def _sliced(world: LongClips) -> Iterator[Figure]:
    """Positions that a large part reads in slices, and one step after the other, of those that it asks for."""
    names = [clip.clip for clip in world.clips]
    for what, size in (("in slices", A_SLICE), ("step by step", MANY)):
        work, ola = world.work(), world.ola()
        for start in range(0, MANY, size):
            some = set(names[start : start + size])
            world.run_clips(work, some, ola)
        decoder = ola.decoder
        assert isinstance(decoder, TorchDecoder)
        read, asked = [float(decoder.prefixes.read)], [float(decoder.prefixes.asked)]
        name = f"caption, ask and verify over {MANY} clips of 30 s {what}: positions read"
        target = Target("≤", 0.25) if size == A_SLICE else None
        yield Figure("prefixes", name, "each prompt read whole", "positions", read, asked, "speed", target)
