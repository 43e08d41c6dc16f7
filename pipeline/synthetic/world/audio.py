"""Render the sound of a scene with event times: speech by espeak-ng, and signals such as a beep.

Word times are events of the synthesiser, so they are exact. The last word ends with the last loud sample.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from manifests.records import Word
from ola.speech.speakers import CALLBACK, UTF8, Espeak, Samples, espeak_library
from pipeline.errors import ConfigError
from pipeline.synthetic.world.music import render_music
from pipeline.synthetic.world.scenes import Scene, SceneSound, Voice
from pipeline.synthetic.world.vocabulary import BELL, MUSIC, VOICE

Wave = npt.NDArray[np.float64]
RATE = Espeak.rate  # Hz
PEAK = 0.4  # amplitude of every sound; full scale is 1
SIGNAL_S = (0.5, 0.9)  # shortest and longest signal, seconds
FADE_S = 0.01  # fade of signals in and out; a hard edge would be a click at all frequencies
SILENCE_LEVEL = 0.02  # share of the loudest sample; quieter samples at both ends are cut off
PITCH_PARAMETER, WORD_EVENT, END_OF_EVENTS = 3, 1, 0  # constants of espeak-ng's speak_lib.h


class EspeakEvent(ctypes.Structure):
    """espeak_EVENT of speak_lib.h.

    position: index of a word's first letter, from 1. length: letters of the word. sample: index of its first sample.
    """

    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


@dataclass(frozen=True)
class RenderedSound:
    """A rendered sound with its start and end in the clip, seconds, and the words of a voice."""

    sound: SceneSound
    start: float
    end: float
    words: tuple[Word, ...]


def render_sound(scene: Scene) -> tuple[Samples, list[RenderedSound]]:
    """Render a clip's sound track (mono int16 at `RATE` Hz) and its sounds. Raises ConfigError without espeak-ng."""
    noise = np.random.default_rng([scene.seed, scene.number])
    track = 10 ** (-scene.noise_db / 20) * noise.standard_normal(round(scene.seconds * RATE))
    rendered = []
    for sound in scene.sounds:
        wave, words = synthesise(sound.text, scene.voice) if sound.name == VOICE else (render_signal(sound, noise), ())
        first = round((sound.start + sound.lag * max(0.0, sound.end - sound.start - len(wave) / RATE)) * RATE)
        wave = wave[: len(track) - first]
        track[first : first + len(wave)] += wave
        start = first / RATE
        clip_words = tuple(
            Word(text=w.text, start=_round_to_ms(start + w.start), end=_round_to_ms(start + w.end)) for w in words
        )
        rendered.append(RenderedSound(sound, _round_to_ms(start), _round_to_ms(start + len(wave) / RATE), clip_words))
    return (track.clip(-1, 1) * 32767).astype(np.int16), rendered


def _round_to_ms(seconds: float) -> float:
    return round(seconds, 3)


def synthesise(text: str, voice: Voice) -> tuple[Wave, tuple[Word, ...]]:
    """Synthesise a text without silence at its ends; returns samples and words with times. Raises ConfigError."""
    samples, onsets = _run_espeak(text, voice)
    loud = np.flatnonzero(np.abs(samples) > SILENCE_LEVEL * np.abs(samples).max())
    first, last = int(loud[0]), int(loud[-1]) + 1
    wave = samples[first:last] * (PEAK / np.abs(samples).max())
    starts = [max(0, sample - first) / RATE for _, sample in onsets]
    ends = [*starts[1:], len(wave) / RATE]
    words = (Word(text=word, start=s, end=e) for (word, _), s, e in zip(onsets, starts, ends, strict=True))
    return wave, tuple(words)


def _run_espeak(text: str, voice: Voice) -> tuple[Wave, list[tuple[str, int]]]:
    """Return samples and, for each word, its text and the index of its first sample."""
    chunks: list[Samples] = []
    onsets: list[tuple[str, int]] = []

    def receive(samples: Any, count: int, events: int | None) -> int:
        if samples and count:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        for event in _iterate_events(events):
            if event.type == WORD_EVENT:
                onsets.append((text[event.position - 1 : event.position - 1 + event.length], event.sample))
        return 0

    callback, line = CALLBACK(receive), text.encode() + b"\0"
    try:
        with espeak_library(voice.name, voice.words_a_minute) as library:
            library.espeak_SetParameter(PITCH_PARAMETER, voice.pitch, 0)
            library.espeak_SetSynthCallback(callback)
            failed = library.espeak_Synth(line, ctypes.c_size_t(len(line)), 0, 0, 0, UTF8, None, None)
    except ImportError as error:
        raise ConfigError(f"the synthetic world cannot synthesise speech: {error}") from error
    if failed:
        raise RuntimeError(f"espeak-ng failed with status {failed} on {text!r} by {voice.name}")
    return np.concatenate(chunks).astype(float), onsets


def _iterate_events(events: int | None) -> Iterator[Any]:
    if events:
        listed = ctypes.cast(events, ctypes.POINTER(EspeakEvent))
        n = 0
        while listed[n].type != END_OF_EVENTS:
            yield listed[n]
            n += 1


def render_signal(sound: SceneSound, noise: np.random.Generator) -> Wave:
    """Render a signal: a tone from its phase (in cycles), `hiss` from random samples; or music."""
    if sound.name in (*MUSIC, BELL):
        return PEAK * render_music(sound.name, noise, RATE)
    seconds = noise.uniform(*SIGNAL_S)
    t = np.arange(round(seconds * RATE)) / RATE
    cycles = {
        "beep": 1000 * t,
        "siren": 700 * t - 200 / (2 * np.pi * 3) * np.cos(2 * np.pi * 3 * t),  # 500 to 900 Hz, three times a second
        "buzz": 120 * t,
        "chirp": 600 * t + (3600 - 600) * t**2 / (2 * seconds),  # rises from 600 to 3600 Hz
    }
    wave = noise.uniform(-1, 1, len(t)) if sound.name == "hiss" else np.sin(2 * np.pi * cycles[sound.name])
    if sound.name == "buzz":
        wave = np.sign(wave)
    edge = np.minimum(1.0, np.minimum(t, seconds - t) / FADE_S)
    return np.asarray(PEAK * wave * edge)
