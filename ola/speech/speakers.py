"""Speakers: they turn a sentence into mono int16 PCM, in chunks, so that playback starts early.

`Espeak` works offline and needs no weights: a robot's voice, to hear that everything works. `CosyVoice` is the voice
of the paper. Whatever else has `rate` and `speak` is a `Speaker` too.
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
    """A voice. rate: samples a second. speak: the sound of plain text, as (samples,) chunks; closing it stops."""

    @property
    def rate(self) -> int: ...

    def speak(self, text: str) -> Iterator[Samples]: ...


def write_wav(path: str | os.PathLike[str], chunks: Iterable[Samples], rate: int) -> float:
    """Write chunks as they come to a mono 16-bit WAV file at `rate` Hz; gives its seconds."""
    samples = 0
    with wave.open(os.fspath(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        for chunk in chunks:
            if chunk.dtype != np.int16 or chunk.ndim != 1:
                raise TypeError(f"a chunk of sound is {chunk.dtype} {chunk.shape}; a speaker gives int16 (samples,)")
            file.writeframes(chunk.astype("<i2").tobytes())
            samples += len(chunk)
    return samples / rate


# From espeak-ng's speak_lib.h.
SYNCHRONOUS, UTF8, WORDS_A_MINUTE = 2, 1, 1
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int16), ctypes.c_int, ctypes.c_void_p)
CHUNK_MS = 200
HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
# espeak-ng keeps its voice and its callback in globals of the process.
ONE_AT_A_TIME = threading.Lock()


class Espeak:
    """The voice of espeak-ng, with the library and data that `espeakng-loader` (GPLv3) carries.

    voice: its name there, such as en-us, en-gb-x-rp or de, with a variant if wanted (en-us+f3). chinese: speaks the
    sentences that have a Chinese character, foreign words too. The same text always gives the same samples.
    ImportError names the extra to install; ValueError a voice that does not exist.
    """

    rate = 22_050

    def __init__(self, voice: str = "en-us", chinese: str = "cmn", words_a_minute: int = 175) -> None:
        self._voice, self._chinese, self._pace = voice, chinese, words_a_minute
        for name in (voice, chinese):
            with espeak_library(name, words_a_minute):
                pass

    def speak(self, text: str) -> Iterator[Samples]:
        """Sentence by sentence, each made in a few ms, so that closing stops a long text too."""
        finder = SentenceFinder()
        for sentence in finder.push(text) + finder.flush():
            yield from self._say(sentence)

    def _say(self, sentence: str) -> list[Samples]:
        chunks: list[Samples] = []

        def heard(samples: Any, count: int, events: object) -> int:
            if samples and count:
                chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
            return 0

        callback = CALLBACK(heard)
        text = sentence.replace("\0", " ").encode(errors="replace") + b"\0"
        with espeak_library(self._chinese if HAN.search(sentence) else self._voice, self._pace) as library:
            library.espeak_SetSynthCallback(callback)
            failed = library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 0, 0, UTF8, None, None)
        if failed:
            raise RuntimeError(f"espeak-ng failed with status {failed} on {sentence!r}")
        return chunks


@contextmanager
def espeak_library(voice: str, words_a_minute: int) -> Iterator[ctypes.CDLL]:
    """The library, loaded anew (1 ms): the phases its oscillators keep would make a sentence depend on the last."""
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
                raise ValueError(f"espeak-ng has no voice {voice!r}; take one such as en-us, en-gb-x-rp, de or cmn")
            library.espeak_SetParameter(WORDS_A_MINUTE, words_a_minute, 0)
            library.srand(1)  # libc's: breathy voices draw from it
            yield library
        finally:
            library.espeak_Terminate()
            dlclose(library._handle)


class CosyVoice:
    """CosyVoice 2 or later, speaking in the voice of a recording.

    engine: a `cosyvoice.cli.cosyvoice.CosyVoice2`, or what has its `sample_rate` and `inference_zero_shot`.
    prompt_text: what the recording says. prompt_speech: the recording as the installed CosyVoice takes it: a 16 kHz
    float tensor (1, samples), for newer ones the path of a file.
    """

    def __init__(self, engine: Any, prompt_text: str, prompt_speech: object) -> None:
        self._engine, self._prompt = engine, (prompt_text, prompt_speech)
        self.rate = int(engine.sample_rate)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], prompt_text: str, prompt_speech: object) -> CosyVoice:
        """With the weights in `folder`. ImportError says where CosyVoice is to be had."""
        try:
            from cosyvoice.cli.cosyvoice import CosyVoice2
        except ImportError as error:
            raise ImportError(
                f"CosyVoice cannot be imported ({error}): clone github.com/FunAudioLLM/CosyVoice with its submodules, "
                "install its requirements, and put it and its third_party/Matcha-TTS on PYTHONPATH"
            ) from error
        return cls(CosyVoice2(os.fspath(folder)), prompt_text, prompt_speech)

    def speak(self, text: str) -> Iterator[Samples]:
        """Chunks as the engine makes them; what lies outside [-1, 1] is clipped."""
        for piece in self._engine.inference_zero_shot(text, *self._prompt, stream=True):
            samples = piece["tts_speech"].detach().cpu().float().numpy().reshape(-1)
            yield (samples.clip(-1, 1) * 32767).round().astype(np.int16)
