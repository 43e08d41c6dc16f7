"""Benchmark the scan of `split` against the same detectors on a full decode, and compare the cuts.

For information: the pass skips frames that no other refers to, so a cut may land a frame late. The video's scenes are
joined at known times, which is what both are compared with.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.media.safety import ffmpeg_exe
from pipeline.media.scan import PICTURE_CHAIN, SOUND_CHAIN, scan_video
from tests.bench.measure import Figure, interleaved
from tests.bench.videos import RATE, SCENE_S, Videos

SECONDS = 55
ORDER = (0, 1, 2, 3, 0, 2)
ROUNDS = 3


def full_decode(file: Path) -> list[float]:
    """Times of the cuts, by the same filters on every frame; the sound's readings are thrown away."""
    pictures = ("-map", "0:v", "-vf", PICTURE_CHAIN.format(1), "-fps_mode", "passthrough", "-f", "null", "-")
    sound = ("-map", "0:a", "-af", SOUND_CHAIN.format(2), "-f", "null", "-")
    command = [ffmpeg_exe(), "-nostdin", "-v", "error", "-threads", "1", "-i", str(file), *pictures, *sound]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return [float(time) for time in re.findall(rb"lavfi\.scd\.time=([\d.]+)", done.stdout)]


def landed(found: Sequence[float], true: Sequence[float]) -> str:
    """How many true cuts were found to the frame, and how many were found where none is."""
    frame = 1.01 / RATE
    right = sum(any(abs(time - cut) <= frame for time in found) for cut in true)
    wrong = sum(all(abs(time - cut) > frame for cut in true) for time in found)
    return f"{right} of {len(true)} to a frame, {wrong} false"


def measure(videos: Videos) -> Iterator[Figure]:
    """One row; where the cuts land is its note."""
    file = videos.join("scenes.mp4", ORDER, SECONDS)
    video = videos.record(file)

    def ours() -> list[float]:
        return [cut.t for cut in scan_video(str(file), duration=video.duration, sound=video.sound).cuts]

    true = [float(SCENE_S * n) for n in range(1, len(ORDER))]
    note = f"cuts: ours {landed(ours(), true)}; full decode {landed(full_decode(file), true)}"
    times, others = interleaved(ROUNDS, ours, lambda: full_decode(file))
    what = f"split's pass over {SECONDS} s 720p30 with sound, one decoder thread"
    yield Figure("scan", what, "the same filters, every frame decoded", "s", times, others, note=note)
