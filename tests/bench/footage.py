"""Frames and sound of clips: our Extract step in its processes against ffmpeg, re-encoding and decord.

Both sides of a row decode the same files, both cores are free to either, and what is made is counted: a side that
gave fewer frames or samples than the other would stop the benchmark.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifests.records import Clip, ClipMedia, Video
from pipeline.engine.batch_call import BatchCall
from pipeline.engine.sandbox import Sandbox
from pipeline.media.extraction import build_index, read_frames
from pipeline.media.media_store import MediaTar
from pipeline.media.packet_index import PictureIndex
from pipeline.media.render import FrameRenderer
from pipeline.steps.extract import Extract, ExtractInput, ExtractSettings, Frames
from tests.bench.measure import Figure, Target, interleaved
from tests.bench.videos import SCENE_S, Videos, ffmpeg

CORES = 2
COUNT = 48  # frames of a clip: the most Ola trains on
SIZE = (576, 320)  # pixels that Ola's rule gives 720p
CLIP_S = 30
SPARSE = 16
# Its bytes are within a tenth of those of Pillow's quality 90, which Extract uses.
MJPEG_QUALITY = 2


class Sandboxes:
    """Two sandboxes with Extract open in each, as two workers of a run hold them."""

    def __init__(self, folder: Path, count: int) -> None:
        """count: frames a clip. The processes start with the first clips."""
        self.folder = folder
        step = Extract(ExtractSettings(frames=Frames(policy="count", count=count)))
        self.sandboxes = [Sandbox(step) for _ in range(CORES)]
        self.free: SimpleQueue[Sandbox] = SimpleQueue()
        for sandbox in self.sandboxes:
            self.free.put(sandbox)

    def run(self, cuttings: Sequence[ExtractInput]) -> list[ClipMedia]:
        """Extract all clips, and return their media records; each clip's bytes are in a tar of its own."""
        with ThreadPoolExecutor(CORES) as pool:
            return list(pool.map(self._one, cuttings))

    def close(self) -> None:
        """End the processes."""
        for sandbox in self.sandboxes:
            sandbox.close()

    def _one(self, cutting: ExtractInput) -> ClipMedia:
        sandbox, name = self.free.get(), f"{cutting.clip.id}.tar"
        try:
            media = MediaTar(name, str(self.folder / name))
            [[footage]] = sandbox.run([cutting], 600, 4e9, BatchCall(media=media, scratch=str(self.folder)))
        finally:
            self.free.put(sandbox)
        assert isinstance(footage, ClipMedia)
        return footage


def cutting_of(videos: Videos, file: Path) -> ExtractInput:
    """The whole video as one clip."""
    video = videos.record(file)
    end = round(video.duration * 1000)
    clip = Clip(
        id=f"{file.stem}-{video.id}", video=video.id, start_ms=0, end_ms=end,
        motion=1.0, frozen=0.0, black=0.0, silence=0.0, loudness=-20.0,
    )  # fmt: skip
    return ExtractInput(clip, video)


def by_ffmpeg(file: Path) -> None:
    """48 JPEGs and the sound, from one decode, beside the video."""
    pictures = f"fps={COUNT}/{CLIP_S},scale={SIZE[0]}:{SIZE[1]}:flags=bicubic"
    jpegs = ("-c:v", "mjpeg", "-q:v", MJPEG_QUALITY, "-threads", 1, "-f", "mjpeg", file.with_suffix(".mjpg"))
    sound = ("-map", "0:a", "-c:a", "pcm_s16le", "-ar", 16000, "-ac", 1, file.with_suffix(".wav"))
    ffmpeg("-filter_threads", 1, "-threads", 1, "-i", file, "-map", "0:v", "-vf", pictures, *jpegs, *sound)


def reencode(file: Path) -> None:
    """The pictures alone at a fixed rate, as video2dataset's frame subsampler makes them."""
    ffmpeg("-i", file, "-an", "-vf", "fps=25", "-c:v", "libx264", file.with_suffix(".again.mp4"))


def on_two(call: Any, files: Sequence[Path]) -> None:
    """`call` for each file, two at a time."""
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(call, files))


def measure(videos: Videos) -> Iterator[Figure]:
    """All rows about footage."""
    yield _against_ffmpeg(videos)
    yield _against_reencoding(videos)
    yield _dense_against_decord(videos)
    yield _sparse_against_decord(videos)


def _against_ffmpeg(videos: Videos) -> Figure:
    files = videos.clips
    cuttings = [cutting_of(videos, file) for file in files]
    sandboxes = Sandboxes(videos.folder, COUNT)
    try:
        made = sandboxes.run(cuttings[:CORES])
        on_two(by_ffmpeg, files[:CORES])
        sizes = _equal_work(made, files)
        ours, theirs = interleaved(4, lambda: sandboxes.run(cuttings), lambda: on_two(by_ffmpeg, files))
    finally:
        sandboxes.close()
    return Figure(
        "footage",
        f"8 clips of {CLIP_S} s 720p30: {COUNT} JPEGs {SIZE[0]}x{SIZE[1]} and 16 kHz sound, two sandboxes, with index",
        "ffmpeg, two processes of one decoder thread: fps, scale bicubic, mjpeg, pcm; one decode",
        "s", ours, theirs, "time", Target("≤", 1.15), sizes,
    )  # fmt: skip


def _equal_work(made: Sequence[ClipMedia], files: Sequence[Path]) -> str:
    """The bytes that both sides made, once it is sure that they are as many frames and as much sound."""
    ours = theirs = 0
    for footage, file in zip(made, files, strict=False):
        jpegs, sound = file.with_suffix(".mjpg").read_bytes(), file.with_suffix(".wav").stat().st_size
        frames = jpegs.count(b"\xff\xd8\xff")  # inside a JPEG's data 0xFF is followed by 0
        assert frames == len(footage.frame_bytes) == COUNT, f"{file.name}: {len(footage.frame_bytes)}, ffmpeg {frames}"
        assert (footage.width, footage.height) == SIZE
        assert footage.sound is not None
        assert abs(footage.sound.size - sound) < 4096, f"{file.name}: sound of {footage.sound.size} and {sound} bytes"
        ours, theirs = ours + footage.frames.size, theirs + len(jpegs)
    return f"JPEG bytes, ours / ffmpeg's: {ours / theirs:.2f}"


def _against_reencoding(videos: Videos) -> Figure:
    count = COUNT * SCENE_S // CLIP_S
    files = [videos.join(f"short-{n}.mp4", [n], SCENE_S) for n in range(CORES)]
    cuttings = [cutting_of(videos, file) for file in files]
    sandboxes = Sandboxes(videos.folder, count)
    try:
        sandboxes.run(cuttings)
        ours, theirs = interleaved(3, lambda: sandboxes.run(cuttings), lambda: on_two(reencode, files))
    finally:
        sandboxes.close()
    return Figure(
        "footage",
        f"2 clips of {SCENE_S} s 720p30: {count} JPEGs and the sound, two sandboxes",
        "ffmpeg, two processes: all frames at 25/s by libx264 (default preset), no sound",
        "s", ours, theirs, "speed", Target("≥", 2.5),
    )  # fmt: skip


def ours_alone(file: Path, video: Video, count: int) -> list[NDArray[np.uint8]]:
    """Frames at the middles of `count` stretches, in this process: index, decode, scale."""
    index = build_index(str(file), video.picture)
    renderer = FrameRenderer.for_video(video, 90)
    wanted = chosen(index, video, count)
    return [renderer.pixels(frame) for _, frame in read_frames(str(file), video.picture, index, wanted)]


def chosen(index: PictureIndex, video: Video, count: int) -> list[int]:
    """Stamps of the frames that Extract takes of the whole video."""
    return index.choose_stamps(Frames(policy="count", count=count).times(0.0, video.duration), 0.0, video.duration)


def decord_alone(file: Path, numbers: Sequence[int]) -> NDArray[np.uint8]:
    """Frames by their numbers, by decord with one thread: (count, height, width, 3)."""
    import decord

    reader = decord.VideoReader(str(file), decord.cpu(0), width=SIZE[0], height=SIZE[1], num_threads=1)
    batch: NDArray[np.uint8] = reader.get_batch(numbers).asnumpy()
    return batch


def _against_decord(videos: Videos, file: Path, count: int, what: str) -> Figure:
    video = videos.record(file)
    index = build_index(str(file), video.picture)
    # decord asks for numbers, which are not times x rate where a file was joined
    numbers = [int(number) for number in np.searchsorted(index.shown, chosen(index, video, count))]
    pictures, others = ours_alone(file, video, count), decord_alone(file, numbers)
    assert len(pictures) == len(others) == count
    # the two scale differently, so equal frames are a few levels apart; other scenes are dozens apart
    apart = float(np.abs(np.stack(pictures).astype(int) - others).mean())
    assert apart < 8, f"not the same frames: {apart:.1f} levels apart"
    ours, theirs = interleaved(3, lambda: ours_alone(file, video, count), lambda: decord_alone(file, numbers))
    against = "decord, one thread, scaled by it, the same frames"
    return Figure("footage", what, against, "s", ours, theirs, note=f"frames {apart:.1f} of 255 levels apart")


def _dense_against_decord(videos: Videos) -> Figure:
    what = f"{COUNT} frames of a {CLIP_S} s clip as RGB, no sound, one process, index included"
    return _against_decord(videos, videos.clips[0], COUNT, what)


def _sparse_against_decord(videos: Videos) -> Figure:
    what = f"{SPARSE} frames of a 10 min video as RGB, no sound, one process, index included"
    return _against_decord(videos, videos.ten_minutes, SPARSE, what)
