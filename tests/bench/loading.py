"""Benchmark the loader against decoding videos during training, and its resume against reading up to the position.

    python -m tests.bench.loading ours|theirs FOLDER     megabytes that decoding takes, for the row about memory

All sides make the same `Prompt`s, with the same tokenizer and the same features of the sound. The original trainer
decodes every frame of a clip and then takes the frames it wants (by decord, one thread a worker), so that is what is
done here.
"""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ola.geometry import frame_indices
from ola.processor import OlaProcessor
from ola.prompt import Prompt, Wave
from pipeline.media.extraction import build_index, read_frames
from pipeline.media.render import FrameRenderer
from pipeline.pack.writer import ShardWriter
from stages.catalogue import read_catalogue
from stages.samples import Pictures, Sample, Sound, Task, turn
from stages.sampling import Order
from stages.shards import ShardReader, split_frames
from tests.bench.footage import CLIP_S, CORES, COUNT, chosen
from tests.bench.measure import Figure, Target, timed
from tests.bench.videos import Videos, ffmpeg
from tests.ola import tiny
from tests.stages.shardset import Members, WholeLoader, WholeStep, phase, sample, write_set

RATE = 16_000
TASKS = 1_000_000
SHARDS = 100
PREFIX = 2_000  # samples that webdataset reads, to know its speed
ASKED, SAID = "What is shown, and what is said?", "A clip is shown, and somebody speaks."
LOADED = 96  # clips our side loads in a round, after those it began with


def measure(videos: Videos) -> Iterator[Figure]:
    """All rows about loading."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    try:
        folder = videos.folder / "loading"
        for name, stage in (("clips", "omni"), ("pictures", "video")):
            write_set(folder / name, [clip_of(videos, file, stage) for file in videos.clips])
        yield _against_video(videos, folder / "clips")
        yield _memory(videos, folder / "clips")
        yield _against_jpeg(folder / "pictures")
        yield _with_sound(folder / "clips")
        yield _resume(folder / "many")
    finally:
        torch.set_num_threads(threads)


def processor() -> OlaProcessor:
    """Ola's sizes with the tests' tokenizer."""
    return OlaProcessor(tiny.tokenizer(), tiny.config(audio_chunk_seconds=30, tokenizer_model_max_length=16_384))


def clip_of(videos: Videos, file: Path, stage: str) -> tuple[Sample, Members]:
    """A clip as the pipeline stores it: 48 JPEGs of Ola's size, and its sound; one task."""
    video = videos.record(file)
    index, renderer = build_index(str(file), video.picture), FrameRenderer.for_video(video, 90)
    jpegs = [renderer.jpeg(f) for _, f in read_frames(str(file), video.picture, index, chosen(index, video, COUNT))]
    wav = file.with_suffix(".wav")
    ffmpeg("-i", file, "-vn", "-c:a", "pcm_s16le", "-ar", RATE, "-ac", 1, "-t", CLIP_S, "-bitexact", wav)
    heard, kind = stage == "omni", "subtitle" if stage == "omni" else "video_caption"
    conversation = (turn("human", f"{'<speech>' * heard}<image>\n{ASKED}"), turn("gpt", SAID))
    width, height = Image.open(io.BytesIO(jpegs[0])).size
    sound = wav.read_bytes()
    said = Sample(
        key=f"{file.stem}-{stage}", stage=stage, clip=file.stem, video=video.id, start_ms=0, end_ms=CLIP_S * 1000,
        pictures=Pictures(width=width, height=height, bytes=tuple(map(len, jpegs)), ms=tuple(range(len(jpegs)))),
        sound=Sound(rate=RATE, samples=(len(sound) - 44) // 2) if heard else None,
        tasks=(Task(id=file.stem, kind=kind, conversations=conversation),), scores={}, provenance={}, meta="{}",
    )  # fmt: skip
    return said, {"mjpg": b"".join(jpegs)} | ({"wav": sound} if heard else {})


def steps_of(folder: Path, steps: int, workers: int) -> WholeLoader:
    """Steps of one clip each."""
    found = read_catalogue([str(folder)])
    order = Order(found, phase(batch=1, sequence_tokens=1, steps=steps))
    return WholeLoader(found, order, processor(), 0, steps, workers=workers)


def by_decord(file: Path, made: OlaProcessor) -> Prompt:
    """The clip as the original trainer reads it: all frames decoded, 48 of them taken and scaled; all its sound."""
    import decord

    reader = decord.VideoReader(str(file), decord.cpu(0), num_threads=1)
    frames = reader.get_batch(list(range(len(reader)))).asnumpy()
    video = made.video([frames[index] for index in frame_indices(len(frames), COUNT)])
    with av.open(str(file)) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        parts = [part.to_ndarray() for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    sound = made.sound(Wave(np.concatenate(parts, axis=1)[0, : CLIP_S * RATE], RATE))
    return made.sample([("human", f"<speech><image>\n{ASKED}"), ("gpt", SAID)], [video], [sound])


def _against_video(videos: Videos, folder: Path) -> Figure:
    steps, made = iter(steps_of(folder, 10_000, CORES)), processor()
    ours, theirs = [], []
    for step, _ in zip(steps, range(4 * CORES), strict=False):  # the workers have begun, and are ahead by no more
        [prompt] = step.packs[0].prompts
    other = by_decord(videos.clips[0], made)
    assert prompt.visuals[0].views[0].shape == other.visuals[0].views[0].shape
    assert prompt.sounds[0].mel.shape == other.sounds[0].mel.shape
    for number in range(3):
        files = videos.clips[CORES * number : CORES * (number + 1)]
        for _ in range(3 * CORES):  # what was made ready while the other side was timed
            next(steps)
        ours.append(LOADED / timed(lambda: [next(steps) for _ in range(LOADED)]))
        theirs.append(CORES / timed(partial(_two_by_decord, files, made)))
    return Figure(
        "loading",
        f"clips of {CLIP_S} s as prompts: {COUNT} stored frames and sound, Loader with {CORES} workers",
        "the same clips from 720p mp4: decord, all frames, 48 scaled; sound by av; two at a time",
        "clips/s", ours, theirs, "speed", Target("≥", 50.0),
    )  # fmt: skip


def _two_by_decord(files: Sequence[Path], made: OlaProcessor) -> list[Prompt]:
    with ThreadPoolExecutor(CORES) as pool:
        return list(pool.map(lambda file: by_decord(file, made), files))


def _memory(videos: Videos, folder: Path) -> Figure:
    megabytes = [
        [float(_alone(side, path)) for _ in range(2)]
        for side, path in (("ours", folder), ("theirs", videos.clips[0].parent))
    ]
    return Figure(
        "loading",
        "peak memory of one worker over what it began with, reading clips one after another",
        "the same from mp4",
        "MB", megabytes[0], megabytes[1], "time", Target("≥", 10.0), "times as much from mp4",
    )  # fmt: skip


def _alone(side: str, folder: Path) -> str:
    command = [sys.executable, "-m", "tests.bench.loading", side, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]


def _against_jpeg(folder: Path) -> Figure:
    ours, theirs, what = _beside_pil(folder)
    per = min(theirs) / (COUNT * len(list(_jpegs(folder)))) * 1e3
    return Figure(
        "loading",
        f"{what} as prompts: Loader in this process, CPU time",
        "PIL alone: the same JPEGs as arrays, a clip's in memory at a time",
        "s", ours, theirs, "time", Target("≤", 1.15), f"{per:.2f} ms a JPEG at best",
    )  # fmt: skip


def _with_sound(folder: Path) -> Figure:
    ours, theirs, what = _beside_pil(folder)
    what = f"{what} and {CLIP_S} s of sound, which becomes mel and filter bank, CPU time"
    return Figure("loading", what, "PIL alone: the same JPEGs as arrays", "s", ours, theirs)


def _beside_pil(folder: Path) -> tuple[list[float], list[float], str]:
    """CPU seconds of reading all clips, and of decoding their JPEGs, in one process on one core."""
    clips = _jpegs(folder)
    loader, pairs = steps_of(folder, len(clips), 0), []
    for _ in range(12):
        pairs.append((_cpu(lambda: _loaded(loader)), _cpu(lambda: _decoded(clips))))
    ours, theirs = zip(*pairs[2:], strict=True)
    return list(ours), list(theirs), f"{len(clips)} clips of {COUNT} frames"


def _cpu(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def _jpegs(folder: Path) -> list[list[bytes]]:
    raws = [raw for shard in sorted(folder.glob("*.tar")) for raw in ShardReader(shard)]
    sizes = [Sample.model_validate_json(bytes(raw.members["json"])).pictures.bytes for raw in raws]
    return [list(map(bytes, split_frames(raw.members["mjpg"], n))) for raw, n in zip(raws, sizes, strict=True)]


def _loaded(loader: WholeLoader) -> None:
    for step in loader:
        assert len(step.packs[0].prompts) == 1


def _decoded(clips: Sequence[Sequence[bytes]]) -> None:
    for jpegs in clips:
        frames = [np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in jpegs]
        assert len(frames) == COUNT


def _resume(folder: Path) -> Figure:
    """The tasks' rows are all there, and shards of the right length; samples only where they will be read."""
    first, names = _many(folder)
    seconds, others = [], []
    for _ in range(3):
        seconds.append(timed(lambda: next(_at(folder, first))))
        others.append(timed(lambda: _by_webdataset(folder / "prefix.tar")) * 0.9 * TASKS / PREFIX)
    step = next(_at(folder, first))
    assert sum(len(pack.rows) for pack in step.packs) == len(names)
    return Figure(
        "loading",
        f"go on at 90 % of an epoch of {TASKS:,} tasks: catalogue, order, and the first sequence read",
        f"webdataset reads up to there, undecoded: the time of {PREFIX} such samples x {0.9 * TASKS / PREFIX:.0f}",
        "s", seconds, others, "speed", Target("≥", 30.0), f"ours {max(seconds):.2f} s at most (to be under 2 s)",
    )  # fmt: skip


def _order(folder: Path) -> tuple[Any, Order]:
    found = read_catalogue([str(folder)])
    return found, Order(found, phase(batch=1, sequence_tokens=4000))


def _at(folder: Path, first: int) -> Iterator[WholeStep]:
    found, order = _order(folder)
    return iter(WholeLoader(found, order, processor(), first, order.steps()))


def _many(folder: Path) -> tuple[int, list[str]]:
    """Rows of a million pictures, of which those of the step at 90 % are written, and a tar of some for webdataset."""
    folder.mkdir(parents=True)
    size = _spans(folder / "prefix.tar")
    each = TASKS // SHARDS
    shards = [f"train-{n:06d}.tar" for n in range(SHARDS)]
    for name in shards:
        with open(folder / name, "wb") as file:
            file.truncate(each * size)
    numbers = np.arange(TASKS)
    columns = {
        "id": [_name(n) for n in range(TASKS)], "kind": ["image_caption"] * TASKS, "stage": ["image"] * TASKS,
        "split": ["train"] * TASKS, "shard": np.repeat(shards, each), "offset": numbers % each * size,
        "size": np.full(TASKS, size), "tokens": 200 + numbers % 300,
    }  # fmt: skip
    pq.write_table(pa.table(columns), folder / "shards.parquet")
    found, order = _order(folder)
    first = len(order.epoch(0)) * 9 // 10
    places = found.locate(np.concatenate(order.epoch(0).packs(first)))
    for place in places:
        with open(place.uri, "r+b") as file:
            file.seek(place.offset)
            file.write(_tar(place.row)[:size])
    return first, [place.task for place in places]


def _spans(path: Path) -> int:
    """A shard of pictures; returns the bytes of a sample, which is the same for all."""
    with ShardWriter(str(path)) as writer:
        sizes = {int(_add(writer, number).size) for number in range(PREFIX)}
    [size] = sizes
    return size


def _name(number: int) -> str:
    return f"task-{number:07d}"


def _add(writer: ShardWriter, number: int) -> Any:
    said, members = sample(0, "image_caption")
    task = said.tasks[0].model_copy(update={"id": _name(number)})
    said = said.model_copy(update={"key": f"clip-{number:07d}", "tasks": (task,)})
    return writer.add(said.key, {"json": said.model_dump_json(by_alias=True).encode(), **members})


def _tar(number: int) -> bytes:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        with ShardWriter(file.name) as writer:
            _add(writer, number)
        return Path(file.name).read_bytes()


def _by_webdataset(path: Path) -> None:
    import webdataset

    assert sum(1 for _ in webdataset.WebDataset(str(path), shardshuffle=False)) == PREFIX


def peak() -> int:
    """Kilobytes of this program's resident memory at most; `getrusage` counts what started it as well."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


def main(side: str, folder: Path) -> None:
    """Print the megabytes (1e6) that reading clips adds to the peak of this process."""
    made = processor()
    before = peak()
    if side == "ours":
        for _ in steps_of(folder, 8, 0):
            pass
    else:
        for file in sorted(folder.glob("clip-?.mp4"))[:2]:
            by_decord(file, made)
    print((peak() - before) * 1024 / 1e6)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
