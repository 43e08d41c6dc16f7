"""Made films with events that are seen and heard at once, for the truth about sound that is shifted or of another film.

A film is a picture with texture, in which something happens at random times: a patch jumps, a patch flashes, a ball
hits the floor, the camera cuts, or all of these. Each time a stroke sounds. Noise, a quiet chord, strokes that nothing
is seen of and events that nothing is heard of come beside. The same seed gives the same film.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ola.speech.speakers import write_wav
from pipeline.media.safety import ffmpeg_exe
from pipeline.synthetic.world.audio import RATE
from pipeline.synthetic.world.textures import landscape

WIDTH, HEIGHT, FPS = 224, 160, 25
KINDS = ("jump", "flash", "bounce", "cut", "mixed")
STILL = "still"  # nothing is seen to happen
APART = 0.7  # least seconds between two events
CODECS = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "24", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "96k")
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class SyncFilm:
    """The plan of a film. events: seconds at which something is seen and heard. seen, heard: of events of one sense."""

    seed: int
    kind: str
    seconds: float
    events: tuple[float, ...]
    seen: tuple[float, ...]
    heard: tuple[float, ...]


def plan_film(seed: int, kind: str, seconds: float = 20.0, events: int | None = None) -> SyncFilm:
    """Draw the times of a film: 4 to 12 events, and up to two of each sense alone; of STILL, eight that are heard."""
    draw = np.random.default_rng([seed, 31])
    both = int(draw.integers(4, 13)) if events is None else events
    seen, heard = (int(count) for count in draw.integers(0, 3, 2))
    if kind == STILL:
        both, seen, heard = 0, 0, 8
    times = _times(draw, both + seen + heard, seconds)
    draw.shuffle(times)
    parts = times[:both], times[both : both + seen], times[both + seen :]
    return SyncFilm(seed, kind, seconds, *(tuple(sorted(part.tolist())) for part in parts))


def _times(draw: np.random.Generator, count: int, seconds: float) -> NDArray[np.float64]:
    """Draw so many times, at least APART from each other and from both ends."""
    free = np.sort(draw.uniform(0, seconds - APART * (count + 1), count))
    return np.asarray(free + APART * np.arange(1, count + 1))


def write_film(
    film: SyncFilm, file: Path, shift: float = 0.0, sound_of: SyncFilm | None = None, codecs: tuple[str, ...] = CODECS
) -> Path:
    """Write a film as .mp4. shift: seconds by which the sound comes too late. sound_of: whose sound it has."""
    heard = sound_of or film
    wave = file.with_suffix(".wav")
    write_wav(wave, [_sound(heard, shift)], RATE)
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "pipe:0")
    command = [ffmpeg_exe(), "-y", "-v", "error", *raw, "-i", str(wave), *codecs, str(file)]
    subprocess.run(command, input=b"".join(frame.tobytes() for frame in _frames(film)), check=True)
    wave.unlink()
    return file


def _sound(film: SyncFilm, shift: float) -> NDArray[np.int16]:
    draw = np.random.default_rng([film.seed, 32])
    count = round(film.seconds * RATE)
    times = np.arange(count) / RATE
    chord = sum(np.sin(2 * np.pi * draw.uniform(110, 500) * times + n) for n in range(3))
    total = draw.uniform(0, 400) * chord + draw.uniform(20, 300) * draw.standard_normal(count)
    for event in (*film.events, *film.heard):
        first = round((event + shift) * RATE)
        length = draw.uniform(0.03, 0.2)
        stroke = np.arange(round(4 * length * RATE)) / RATE
        tone = np.sin(2 * np.pi * draw.uniform(80, 900) * stroke) + 0.6 * draw.standard_normal(len(stroke))
        wave = draw.uniform(4000, 12000) * tone * np.exp(-stroke / length)
        start, end = (min(count, max(0, place)) for place in (first, first + len(wave)))
        total[start:end] += wave[start - first : end - first]
    return np.asarray(total.clip(-32000, 32000).astype(np.int16))


def _frames(film: SyncFilm) -> list[Picture]:
    draw = np.random.default_rng([film.seed, 33])
    kinds = KINDS[:4] if film.kind == "mixed" else (film.kind,)
    happening = sorted((time, str(draw.choice(kinds))) for time in (*film.events, *film.seen))
    back, patch = landscape(draw, HEIGHT, WIDTH), landscape(draw, 60, 60)
    place = draw.integers(0, (HEIGHT - 60, WIDTH - 60))
    way = draw.uniform(-6, 6, 2)  # pixels a second of the camera's slow move
    hits = [time for time, kind in happening if kind == "bounce"]
    frames, grain = [], draw.uniform(0, 3)
    for number in range(round(film.seconds * FPS)):
        now = number / FPS
        flash = False
        for time, kind in happening:
            if kind == "cut" and now - 1 / FPS < time <= now:
                back = landscape(draw, HEIGHT, WIDTH)
            if kind == "jump" and now - 1 / FPS < time <= now:
                place = draw.integers(0, (HEIGHT - 60, WIDTH - 60))
            flash |= kind == "flash" and time <= now < time + 0.16
        shown = np.roll(back, tuple((way * now).astype(int)), (0, 1)).astype(np.float64)
        shown[place[0] : place[0] + 60, place[1] : place[1] + 60] = np.minimum(255, patch + (120.0 if flash else 0.0))
        if hits:
            _draw_ball(shown, now, hits)
        frames.append((shown + grain * draw.standard_normal(shown.shape)).clip(0, 255).astype(np.uint8))
    return frames


def _draw_ball(shown: NDArray[np.float64], now: float, hits: list[float]) -> None:
    """Draw a ball that falls and hits the floor at the given times, and lies still between for most of the time."""
    nearest = min(hits, key=lambda hit: abs(hit - now))
    away = min(0.3, abs(nearest - now))
    y, x = HEIGHT - 30 - 1200 * away * (0.6 - away), WIDTH * 0.5
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    shown[(rows - y) ** 2 + (columns - x) ** 2 < 400] = (230, 60, 40)
