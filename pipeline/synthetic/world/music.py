"""Render music: a melody, a scale, chords, the strokes of a drum, or the stroke of a bell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.synthetic.world.vocabulary import BELL

Wave = npt.NDArray[np.float64]
SECONDS = (1.2, 1.6)  # shortest and longest piece
MAJOR = (0, 2, 4, 5, 7, 9, 11, 12)  # steps of a scale, in semitones above its key
TRIADS = ((0, 4, 7), (5, 9, 12), (7, 11, 14))  # first, fourth and fifth degree
OVERTONES = 5
BELL_S, BELL_HZ, BELL_PARTIALS = (0.5, 0.9), (300.0, 5000.0), 6
ATTACK_S, DECAY_S, STROKE_S = 0.01, 0.35, 0.06


def render_music(name: str, noise: np.random.Generator, rate: int) -> Wave:
    """Render a piece of `vocabulary.MUSIC`, or a bell, with a peak of 1. Its key, notes and length are drawn."""
    if name == BELL:
        return _strike_bell(noise, rate)
    seconds, key = noise.uniform(*SECONDS), 196 * 2 ** (noise.integers(0, 12) / 12)
    pieces: dict[str, list[tuple[int, ...]]] = {
        "melody": [(int(noise.choice(MAJOR)),) for _ in range(5)],
        "scale": [(step,) for step in MAJOR],
        "chord": [TRIADS[0], *(TRIADS[n] for n in noise.permutation(2) + 1)],
        "drum": [()] * 6,
    }
    beats = pieces[name]
    total = np.zeros(round(seconds * rate))
    for n, steps in enumerate(beats):
        first = round(n / len(beats) * len(total))
        t = np.arange(len(total) - first) / rate
        total[first:] += _strike(t, noise) if name == "drum" else sum(_note(t, key * 2 ** (s / 12)) for s in steps)
    total *= np.minimum(1.0, np.arange(len(total), 0, -1) / rate / ATTACK_S)
    return np.asarray(total / np.abs(total).max())


def _strike_bell(noise: np.random.Generator, rate: int) -> Wave:
    """Render a bell. Its partials are drawn, so no two bells are alike."""
    t = np.arange(round(noise.uniform(*BELL_S) * rate)) / rate
    partials = zip(noise.uniform(*BELL_HZ, BELL_PARTIALS), noise.uniform(0.1, 0.4, BELL_PARTIALS), strict=True)
    total = sum(np.sin(2 * np.pi * pitch * t) * np.exp(-t / decay) for pitch, decay in partials)
    total *= np.minimum(1.0, (t[-1] - t) / ATTACK_S)
    return np.asarray(total / np.abs(total).max())


def _note(t: Wave, pitch: float) -> Wave:
    """Return a struck note with overtones."""
    tones = sum(np.sin(2 * np.pi * pitch * n * t) / n for n in range(1, OVERTONES + 1))
    return np.asarray(tones * np.exp(-t / DECAY_S) * np.minimum(1.0, t / ATTACK_S))


def _strike(t: Wave, noise: np.random.Generator) -> Wave:
    return np.asarray((noise.standard_normal(len(t)) / 3 + np.sin(2 * np.pi * 90 * t)) * np.exp(-t / STROKE_S))
