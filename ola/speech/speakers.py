"""Speakers convert a sentence to mono int16 PCM, in chunks, so that playback starts early.

`Espeak` is a robotic voice for tests, which works offline without weights. `CosyVoice` is the voice of the paper. Any
object with `rate` and `speak` is a `Speaker`.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
import wave
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ola.speech.sentences import SentenceFinder

Samples = npt.NDArray[np.int16]


class Speaker(Protocol):
    """A voice. rate: samples per second. speak: yields the sound of plain text in chunks (samples,) until closed."""

    @property
    def rate(self) -> int: ...

    def speak(self, text: str) -> Iterator[Samples]: ...


def write_wav(path: str | os.PathLike[str], chunks: Iterable[Samples], rate: int) -> float:
    """Write a stream of chunks to a mono 16-bit WAV file at `rate` Hz. Return its seconds."""
    samples = 0
    with wave.open(os.fspath(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        for chunk in chunks:
            if chunk.dtype != np.int16 or chunk.ndim != 1:
                raise TypeError(f"speaker: expected chunks of int16 (samples,), got {chunk.dtype} {chunk.shape}")
            file.writeframes(chunk.astype("<i2").tobytes())
            samples += len(chunk)
    return samples / rate


# From espeak-ng's speak_lib.h.
SYNCHRONOUS, UTF8, WORDS_A_MINUTE = 2, 1, 1
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int16), ctypes.c_int, ctypes.c_void_p)
CHUNK_MS = 200
HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
# espeak-ng stores its voice and its callback in global variables.
ONE_AT_A_TIME = threading.Lock()


class Espeak:
    """The voice of espeak-ng, with the library and data of the package `espeakng-loader` (GPLv3).

    voice: espeak-ng's name, such as en-us, en-gb-x-rp or de, with an optional variant (en-us+f3). chinese: voice for
    sentences with a Chinese character. Equal texts give equal samples. Raises ImportError without the package,
    ValueError for an unknown voice.
    """

    rate = 22_050

    def __init__(self, voice: str = "en-us", chinese: str = "cmn", words_a_minute: int = 175) -> None:
        self._voice, self._chinese, self._pace = voice, chinese, words_a_minute
        for name in (voice, chinese):
            with espeak_library(name, words_a_minute):
                pass

    def speak(self, text: str) -> Iterator[Samples]:
        """Yield the sound sentence by sentence, so that closing stops a long text."""
        finder = SentenceFinder()
        for sentence in finder.push(text) + finder.flush():
            yield from self._synthesise(sentence)

    def _synthesise(self, sentence: str) -> list[Samples]:
        chunks: list[Samples] = []

        def receive_samples(samples: Any, count: int, events: object) -> int:
            if samples and count:
                chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
            return 0

        callback = CALLBACK(receive_samples)
        text = sentence.replace("\0", " ").encode(errors="replace") + b"\0"
        with espeak_library(self._chinese if HAN.search(sentence) else self._voice, self._pace) as library:
            library.espeak_SetSynthCallback(callback)
            failed = library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 0, 0, UTF8, None, None)
        if failed:
            raise RuntimeError(f"espeak-ng failed with status {failed} on {sentence!r}")
        return chunks


@contextmanager
def espeak_library(voice: str, words_a_minute: int) -> Iterator[ctypes.CDLL]:
    """Load the library again (1 ms): its oscillators keep their phases, so a sentence would depend on the last."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise ImportError("espeak-ng is missing: pip install 'ola-pipeline[voice]' (GPLv3)") from error
    from _ctypes import dlclose

    with ONE_AT_A_TIME:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        try:
            if library.espeak_Initialize(SYNCHRONOUS, CHUNK_MS, espeakng_loader.get_data_path().encode(), 0) < 0:
                raise RuntimeError("espeak-ng does not start: reinstall espeakng-loader")
            if library.espeak_SetVoiceByName(voice.encode()):
                raise ValueError(f"espeak-ng has no voice {voice!r}; name one such as en-us, en-gb-x-rp, de or cmn")
            library.espeak_SetParameter(WORDS_A_MINUTE, words_a_minute, 0)
            for seed in (library.srand, library.espeak_ng_SetRandSeed):  # breathy voices take noise from both
                seed(1)
            yield library
        finally:
            library.espeak_Terminate()
            dlclose(library._handle)


class CosyVoice:
    """CosyVoice 2 or later, with the voice of a recording.

    engine: a `cosyvoice.cli.cosyvoice.CosyVoice2`, or an object with its `sample_rate` and `inference_zero_shot`.
    prompt_text: the text of the recording. prompt_speech: the recording, in the form of the installed CosyVoice: a 16
    kHz float tensor (1, samples), in newer versions the path of a file.
    """

    def __init__(self, engine: Any, prompt_text: str, prompt_speech: object) -> None:
        self._engine, self._prompt = engine, (prompt_text, prompt_speech)
        self.rate = int(engine.sample_rate)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], prompt_text: str, prompt_speech: object) -> CosyVoice:
        """Load the weights in `folder`. Raises ImportError, with instructions, if CosyVoice is not installed."""
        try:
            from cosyvoice.cli.cosyvoice import CosyVoice2
        except ImportError as error:
            raise ImportError(
                f"CosyVoice cannot be imported ({error}): clone github.com/FunAudioLLM/CosyVoice with its submodules, "
                "install its requirements, and put it and its third_party/Matcha-TTS on PYTHONPATH"
            ) from error
        return cls(CosyVoice2(os.fspath(folder)), prompt_text, prompt_speech)

    def speak(self, text: str) -> Iterator[Samples]:
        """Yield the engine's chunks, clipped to [-1, 1]."""
        for piece in self._engine.inference_zero_shot(text, *self._prompt, stream=True):
            samples = piece["tts_speech"].detach().cpu().float().numpy().reshape(-1)
            yield (samples.clip(-1, 1) * 32767).round().astype(np.int16)
