"""Mix random labelled clips of the world's sounds, to train the audio encoders.

Utterances are synthesised once (`make_utterances`). Clips are mixed from them at random times with random noise.

Legend: n clips, S samples at 16 kHz, T frames of Whisper (50 a second), P steps of BEATs (16 frames of 10 ms each).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random

import numpy as np
import torch
from torch import Tensor

from ola.features import RATE, fbank, log_mel, mono16k
from ola.prompt import Wave
from pipeline.synthetic.world.audio import RATE as ESPEAK_RATE
from pipeline.synthetic.world.audio import render_signal, synthesise
from pipeline.synthetic.world.scenes import SEGMENT_S, SceneSound, Voice
from pipeline.synthetic.world.vocabulary import COLOURS, NOUNS, NUMBERS, SHAPES, SOUNDS, WorldSplit

SILENCE, SPEECH = "silence", "voice"
WORDS = (*NUMBERS, *NOUNS, *COLOURS, *SHAPES)
WORD_CLASSES = (SILENCE, *WORDS, *SOUNDS)  # classes of a frame of Whisper
SOUND_CLASSES = (SILENCE, SPEECH, *SOUNDS)  # classes of a step of BEATs
CLIP_S = 2 * SEGMENT_S
MARGINS_S = 0.2, 0.1  # silence at the beginning and the end of a segment, as in `scenes`
FRAME_S, STEP_S = 0.02, 0.16
SPEED_RANGE = 0.85, 1.18  # playback speed, which also changes the pitch
SIGNALS_PER_KIND = 40


@dataclass(frozen=True)
class Utterance:
    """Speech or a signal, int16 (S,). events: name, start and end (seconds) of each word, or of the signal."""

    samples: np.ndarray
    events: tuple[tuple[str, float, float], ...]

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.samples) / RATE


@dataclass(frozen=True)
class LabelledClips:
    """Audio features of clips, with classes of Whisper's frames (n, T) and of BEATs' steps (n, P).

    fbank, sounds: may hold only the first clips.
    """

    mel: Tensor
    fbank: Tensor
    words: Tensor
    sounds: Tensor


def make_utterances(split: WorldSplit, count: int, seed: int, stretched: bool) -> list[Utterance]:
    """Synthesise `count` phrases and figure names with voices of a split. Raises ConfigError without espeak-ng.

    stretched: change the speed of half of them.
    """
    rng = Random(f"utterances {split.name} {seed}")
    phrases, names = ([" ".join(pair) for pair in pairs] for pairs in (split.phrases, split.figures))
    utterances = []
    for _ in range(count):
        text = rng.choice(names if rng.random() < 0.25 else phrases)
        voice = Voice(rng.choice(split.voices), rng.randrange(140, 191, 10), rng.randrange(25, 80, 5))
        utterances.append(speak(text, voice, rng.uniform(*SPEED_RANGE) if stretched and rng.random() < 0.5 else 1.0))
    return utterances


def speak(text: str, voice: Voice, faster: float = 1.0) -> Utterance:
    """Synthesise a text; `faster` is a factor of the playback speed and so of the pitch."""
    wave, words = synthesise(text, voice)
    events = tuple((word.text, word.start / faster, word.end / faster) for word in words)
    return Utterance(_to_pcm(wave, round(ESPEAK_RATE * faster)), events)


def make_signals(seed: int) -> list[Utterance]:
    """Render `SIGNALS_PER_KIND` signals of each kind, of random lengths."""
    rng, signals = np.random.default_rng(seed), []
    for name, _ in product(SOUNDS, range(SIGNALS_PER_KIND)):
        samples = _to_pcm(render_signal(SceneSound(0.0, SEGMENT_S, name, name, 0.0), rng), ESPEAK_RATE)
        signals.append(Utterance(samples, ((name, 0.0, len(samples) / RATE),)))
    return signals


def _to_pcm(wave: np.ndarray, rate: int) -> np.ndarray:
    return np.asarray((mono16k(Wave(wave, rate)) * 32767).astype(np.int16))


class ClipMixer:
    """Mix random clips of utterances and signals, different ones at every call.

    crowded: share of the clips that are filled with sounds. The world has no such clips, but they train faster.
    """

    def __init__(
        self, spoken: Sequence[Utterance], signals: Sequence[Utterance], seed: int, crowded: float = 0.0
    ) -> None:
        self.spoken, self.signals, self.crowded = spoken, signals, crowded
        self.rng = Random(f"clips {seed}")
        self.noise = np.random.default_rng(self.rng.randrange(1 << 32))

    def mix(self, count: int, beats_count: int | None = None) -> LabelledClips:
        """Mix `count` clips of `CLIP_S`. beats_count: clips with features and classes of BEATs; None: all."""
        clips = [self._mix_clip() for _ in range(count)]
        waves_NS = torch.from_numpy(np.stack([wave for wave, *_ in clips]))
        words, sounds = (torch.from_numpy(np.stack(each)) for each in list(zip(*clips, strict=True))[1:])
        return LabelledClips(log_mel(waves_NS, 80), fbank(waves_NS[:beats_count]), words, sounds[:beats_count])

    def _mix_clip(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        level = 10 ** (-self.rng.uniform(38, 62) / 20)
        wave = level * self.noise.standard_normal(round(CLIP_S * RATE), np.float32)
        words = np.zeros(round(CLIP_S / FRAME_S), np.int64)
        sounds = np.zeros(int((CLIP_S - 0.02) / STEP_S), np.int64)
        for start, each in self._place_sounds():
            first = round(start * RATE)
            samples = each.samples[: len(wave) - first]
            wave[first : first + len(samples)] += samples / np.float32(32767)
            for name, since, until in each.events:
                _label_steps(words, WORD_CLASSES.index(name), start + since, start + until, FRAME_S)
                kind = SOUND_CLASSES.index(name if name in SOUNDS else SPEECH)
                _label_steps(sounds, kind, start + since, start + until, STEP_S)
        return wave.clip(-1, 1), words, sounds

    def _place_sounds(self) -> Iterator[tuple[float, Utterance]]:
        """Yield sounds with their start: one in the middle, at most one in each segment, none, or a filled clip."""
        kind = self.rng.random()
        if kind > 1 - self.crowded:
            yield from self._fill_clip()
            return
        if kind < 0.05:
            return
        if kind < 0.2:
            each = self._choose()
            yield max(0.0, self.rng.uniform(-0.3, 0.3) + (CLIP_S - each.seconds) / 2), each
            return
        for n in range(round(CLIP_S / SEGMENT_S)):
            if self.rng.random() < 0.95:
                each = self._choose()
                first, last = n * SEGMENT_S + MARGINS_S[0], (n + 1) * SEGMENT_S - MARGINS_S[1] - each.seconds
                yield first + self.rng.random() * max(0.0, last - first), each

    def _fill_clip(self) -> Iterator[tuple[float, Utterance]]:
        start = self.rng.uniform(0.0, 0.5)
        while start + (each := self._choose()).seconds < CLIP_S:
            yield start, each
            start += each.seconds + self.rng.uniform(0.02, 0.3)

    def _choose(self) -> Utterance:
        return self.rng.choice(self.signals if self.rng.random() < 0.2 else self.spoken)


def _label_steps(classes: np.ndarray, kind: int, start: float, end: float, step: float) -> None:
    """Assign a class to the steps whose middle lies between start and end, seconds."""
    first, last = (max(0, int(np.ceil(seconds / step - 0.5))) for seconds in (start, end))
    classes[first:last] = kind
