"""The videos that benchmarks decode: 720p30 H.264 as x264 makes it by default (medium, B-frames, GOP of 250), and AAC.

Moving pictures with grain, since flat test pictures decode several times faster than what cameras see. Four scenes of
10 s are encoded, half a minute of work on two cores; everything longer is those packets in another order.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import permutations
from pathlib import Path

from manifests.records import Source, Video
from pipeline.media.safety import ffmpeg_exe
from pipeline.steps.ingest import Ingest

SCENES = (
    "mandelbrot=s=1280x720:r=30",
    "testsrc2=s=1280x720:r=30",
    "life=s=320x180:r=30:mold=10:ratio=0.1:death_color=#602020:life_color=#ffd0a0,scale=1280:720",
    "sierpinski=s=1280x720:r=30:seed=7",
)
SCENE_S = 10
RATE = 30  # frames a second
GRAIN = "noise=alls=5:allf=t,format=yuv420p"


def ffmpeg(*arguments: str | float | Path) -> None:
    """Run ffmpeg; raises CalledProcessError with its complaints shown."""
    subprocess.run([ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *map(str, arguments)], check=True)


class Videos:
    """Videos below one folder, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        """folder: where they go; it is there."""
        self.folder = folder

    @cached_property
    def scenes(self) -> list[Path]:
        """Pictures alone, one file a scene."""
        files = [self.folder / f"scene-{n}.mp4" for n in range(len(SCENES))]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self._encode, SCENES, files))
        return files

    @cached_property
    def clips(self) -> list[Path]:
        """Eight different videos of 30 s, each three scenes."""
        orders = list(permutations(range(len(SCENES)), 3))[::3]
        return [self.join(f"clip-{n}.mp4", order, 30) for n, order in enumerate(orders)]

    @cached_property
    def ten_minutes(self) -> Path:
        """One video of 10 minutes: the first clip twenty times."""
        file = self.folder / "ten-minutes.mp4"
        ffmpeg("-stream_loop", 19, "-i", self.clips[0], "-c", "copy", file)
        return file

    def join(self, name: str, order: Sequence[int], seconds: float) -> Path:
        """Scenes end to end, without encoding them again, with a sound of the video's own."""
        listing, file = self.folder / f"{name}.txt", self.folder / name
        listing.write_text("".join(f"file '{self.scenes[n]}'\n" for n in order), encoding="utf-8")
        sound = f"anoisesrc=c=pink:a=0.3:r=48000:seed={len(name) + sum(map(ord, name))},tremolo=f=0.5:d=0.9"
        inputs = ("-f", "concat", "-safe", "0", "-i", listing, "-f", "lavfi", "-i", sound)
        ffmpeg(*inputs, "-map", "0:v", "-c:v", "copy", "-map", "1:a", "-c:a", "aac", "-t", seconds, file)
        return file

    def record(self, file: Path) -> Video:
        """What `ingest` finds in a file."""
        step = Ingest()
        step.scratch = str(self.folder)
        [answer] = step.run([Source(id=file.stem, uri=str(file), bytes=file.stat().st_size)])
        assert isinstance(answer, list), f"{file.name}: {answer}"
        return answer[0]

    def _encode(self, scene: str, file: Path) -> None:
        pictures = ("-f", "lavfi", "-i", f"{scene},{GRAIN}", "-t", SCENE_S)
        ffmpeg(*pictures, "-c:v", "libx264", "-preset", "medium", file)
