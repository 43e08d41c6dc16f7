"""Made films with texture, and the changes that copies of films go through, for the truth about near-duplicates.

A film is two to four scenes: a camera moves over a picture of noise of many scales with shapes in it. Its sound is
notes and strokes of a drum, or speech where espeak-ng is there. The same seed gives the same film.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ola.speech.speakers import write_wav
from pipeline.media.safety import ffmpeg_exe
from pipeline.synthetic.world.audio import RATE, render_sound
from pipeline.synthetic.world.scenes import compose_scene
from tests.media import ffmpeg

WIDTH, HEIGHT, FPS = 384, 288, 12
CODECS = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "23", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "96k")
LOGO = "drawbox=iw*0.8:ih*0.05:iw*0.14:ih*0.14:white:fill,drawbox=iw*0.83:ih*0.08:iw*0.08:ih*0.08:red:fill"
LETTERS = ",".join(f"drawbox=iw*{0.2 + 0.05 * n}:ih*0.87:iw*0.03:ih*0.07:white:fill" for n in range(12))
SUBTITLES = f"drawbox=0:ih*0.82:iw:ih*0.18:black:fill,{LETTERS}"
# ffmpeg's options for each change, and what the changed film is to the original
CHANGES: Mapping[str, tuple[Sequence[str], str]] = {
    "re-encode": (("-crf", "36", "-b:a", "32k"), "copy"),
    "resize": (("-vf", "scale=192:144"), "copy"),
    "fps": (("-r", "8"), "copy"),
    "crop 5 %": (("-vf", "crop=iw*0.95:ih*0.95"), "copy"),
    "crop 10 %": (("-vf", "crop=iw*0.9:ih*0.9"), "copy"),
    "letterbox": (("-vf", "pad=iw:ih*4/3:0:(oh-ih)/2"), "copy"),
    "mirror": (("-vf", "hflip"), "copy"),
    "logo": (("-vf", LOGO), "copy"),
    "subtitle bar": (("-vf", SUBTITLES), "copy"),
    "speed 1.1": (("-vf", "setpts=PTS/1.1", "-af", "atempo=1.1"), "copy"),
    "speed 1.25": (("-vf", "setpts=PTS/1.25", "-af", "atempo=1.25"), "copy"),
    "trim": (("-ss", "3.3", "-t", "7"), "part of"),
    "grey": (("-vf", "hue=s=0"), "copy"),
    "brightness": (("-vf", "eq=brightness=0.12:contrast=1.1"), "copy"),
    "resampled sound": (("-af", "aresample=11025,aresample=44100,asetrate=44982,aresample=44100"), "copy"),
}


def make_film(file: Path, seed: int, seconds: float = 14.0, speech: bool = False) -> Path:
    """Write the film of a seed as .mp4."""
    draw = np.random.default_rng([seed, 7])
    sound = spoken(seed, seconds) if speech else music(draw, seconds)
    wave = file.with_suffix(".wav")
    write_wav(wave, [sound], RATE)
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "pipe:0")
    command = [ffmpeg_exe(), "-y", "-v", "error", *raw, "-i", str(wave), *CODECS, "-shortest", str(file)]
    subprocess.run(command, input=b"".join(frames(draw, seconds)), check=True)
    wave.unlink()
    return file


def change_film(film: Path, file: Path, options: Sequence[str]) -> Path:
    """Write a changed copy of a film."""
    ffmpeg("-i", film, *CODECS, *options, file)
    return file


def swap_sound(film: Path, other: Path, file: Path) -> Path:
    """Write the picture of one film with the sound of another."""
    ffmpeg("-i", film, "-i", other, "-map", "0:v", "-map", "1:a", "-shortest", *CODECS, file)
    return file


def frames(draw: np.random.Generator, seconds: float) -> list[bytes]:
    """Draw the frames of a film: scenes of 3 to 6 seconds."""
    found: list[bytes] = []
    while len(found) < seconds * FPS:
        found += scene(draw, int(draw.integers(3 * FPS, 6 * FPS)))
    return found[: round(seconds * FPS)]


def scene(draw: np.random.Generator, count: int) -> list[bytes]:
    """Draw a camera's way over one picture, in which a patch of another one moves."""
    picture, patch = landscape(draw, 2 * HEIGHT, 2 * WIDTH), landscape(draw, 80, 80)
    start, way = draw.uniform(0.1, 0.9, 2), draw.uniform(-0.4, 0.4, 2)
    place, step = draw.uniform(0.1, 0.7, 2), draw.uniform(-0.3, 0.3, 2)
    found = []
    for n in range(count):
        y, x = np.clip(start + way * n / count, 0, 1) * (HEIGHT, WIDTH)
        shown = picture[int(y) : int(y) + HEIGHT, int(x) : int(x) + WIDTH].copy()
        y, x = np.clip(place + step * n / count, 0, 0.7) * (HEIGHT, WIDTH)
        shown[int(y) : int(y) + 80, int(x) : int(x) + 80] = patch
        found.append(shown.tobytes())
    return found


def landscape(draw: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Draw noise of many scales, the coarser the stronger, in three colours."""
    total = np.zeros((height, width, 3))
    for cells in (3, 6, 12, 24, 48):
        coarse = draw.standard_normal((cells, cells, 3)) + draw.standard_normal((cells, cells, 1))
        rows, columns = np.linspace(0, cells - 1.001, height), np.linspace(0, cells - 1.001, width)
        total += _stretch(coarse, rows, columns) / cells**0.7
    spread = np.clip(total / total.std() * 45 + draw.uniform(90, 150), 0, 255)
    return np.asarray(spread.astype(np.uint8))


def _stretch(
    coarse: NDArray[np.float64], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Interpolate between the cells of a coarse picture."""
    y, x = rows.astype(int), columns.astype(int)
    v, u = (rows - y)[:, None, None], (columns - x)[None, :, None]
    above = coarse[y][:, x] * (1 - u) + coarse[y][:, x + 1] * u
    below = coarse[y + 1][:, x] * (1 - u) + coarse[y + 1][:, x + 1] * u
    return np.asarray(above * (1 - v) + below * v)


def music(draw: np.random.Generator, seconds: float) -> NDArray[np.int16]:
    """Make notes of random pitch and length, and strokes of a drum."""
    total = np.zeros(round(seconds * RATE))
    at = 0.0
    while at < seconds - 0.2:
        length = float(draw.choice([0.15, 0.25, 0.4, 0.6]))
        times = np.arange(min(round(length * 2 * RATE), len(total) - round(at * RATE))) / RATE
        pitch = 110 * 2 ** (draw.integers(0, 40) / 12)
        note = sum(np.sin(2 * np.pi * pitch * k * times) / k for k in range(1, 6)) * np.exp(-times / length)
        if draw.random() < 0.3:
            note = note + draw.standard_normal(len(times)) * np.exp(-times / 0.05)
        total[round(at * RATE) :][: len(times)] += note
        at += length
    return np.asarray((total / np.abs(total).max() * 20000).astype(np.int16))


def spoken(seed: int, seconds: float) -> NDArray[np.int16]:
    """Return speech of the synthetic world's clips, one after the other."""
    found, number = np.zeros(0, np.int16), 0
    while len(found) < seconds * RATE:
        sound, _ = render_sound(compose_scene(seed, number))
        found = np.concatenate([found, sound])
        number += 1
    return found[: round(seconds * RATE)]
