"""Made films with texture, longer than those of the synthetic world, for the truth about near-duplicates.

A film is two to four scenes: a camera moves over a picture of noise of many scales with shapes in it. Its sound is
notes and strokes of a drum, or speech where espeak-ng is there. The same seed gives the same film.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ola.speech.speakers import write_wav
from pipeline.media.safety import ffmpeg_exe
from pipeline.synthetic.world.audio import RATE, render_sound
from pipeline.synthetic.world.scenes import compose_scene
from pipeline.synthetic.world.textures import landscape
from tests.media import ffmpeg

WIDTH, HEIGHT, FPS = 384, 288, 12
CODECS = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "23", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "96k")


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
