"""Speech recognition for the step `transcribe`: the interface of a recogniser, and WhisperX.

WhisperX finds voice activity and cuts windows of at most 30 s at pauses; the windows of all clips in a batch are
decoded together. Decoding calls faster-whisper directly, since WhisperX drops the times of words and the no-speech
probability. WhisperX's alignment follows where a model for the language is set.
"""

from __future__ import annotations

import logging
import os
from bisect import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from manifests.records import Word
from pipeline import step
from pipeline.annotation.annotator import load_factory
from pipeline.annotation.model_digest import digest_of
from pipeline.errors import ConfigError
from pipeline.media.audio import RATE
from pipeline.media.hallucination import Span, Stretch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Sound: TypeAlias = NDArray[np.float32]  # 16 kHz, one channel, -1..1

WINDOW = 30  # seconds, the length of Whisper's input
GAP_SECONDS = 4  # between joined clips, so that word times do not depend on the clip before
PACKAGED = "package:"


class RecogniserSettings(step.Settings):
    """Settings of WhisperX as a source of `transcribe`."""

    model: str = "large-v3"
    """Folder, name that WhisperX knows (it is downloaded), or `package:NAME` for a model in a Python package."""
    engine: str = "whisperx"
    """`whisperx`, or `module:factory` for another recogniser."""
    compute_type: str = "default"
    """Precision, as ctranslate2 names it; `default` is float16 on a GPU and float32 on a CPU."""
    batch_size: int = 8
    """Windows of 30 s that are decoded together."""
    device: str = ""
    """`cuda` or `cpu`; empty: the GPU if there is one."""
    language: str | None = None
    """Language of the speech, as `en`; null: detected in each clip."""
    align: Mapping[str, str] = {}
    """Models that time words, by language: a folder, or a name that WhisperX knows."""

    def facts(self) -> dict[str, Any]:
        """Return what the text depends on: the settings except for batch size and device, and digests of the models."""
        named = self.model_dump(mode="json", exclude={"batch_size", "device"})
        models = (resolve_model_path(self.model), *self.align.values())
        return {**named, "files": [digest_of(model) for model in models if Path(model).is_dir()]}


@dataclass(frozen=True)
class Speech:
    """The speech in one clip. aligned: whether word times are an alignment model's; voiced: spans of voice activity."""

    language: str | None
    language_probability: float | None
    aligned: bool
    stretches: tuple[Stretch, ...]
    voiced: tuple[Span, ...] | None


Recogniser: TypeAlias = "Callable[[Sequence[Sound]], list[Speech]]"


def open_recogniser(settings: RecogniserSettings) -> Recogniser:
    """Load the recogniser. Raises ConfigError, or what the engine raises."""
    factory = WhisperX if settings.engine == "whisperx" else load_factory(settings.engine)
    return cast("Recogniser", factory(settings))


def resolve_model_path(model: str) -> str:
    """Return the folder of a `package:` model, or else the name as it is. Raises ConfigError where it is missing."""
    if not model.startswith(PACKAGED):
        return model
    name = model.removeprefix(PACKAGED)
    spec = find_spec(name) if name.isidentifier() else None
    places = (spec.submodule_search_locations if spec else None) or []
    found = sorted(path.parent for place in places for path in Path(place).rglob("model.bin"))
    if not found:
        raise ConfigError(f"transcribe.whisperx.model: expected a package with a model.bin, got {name!r}; install it")
    return str(found[0])


class WhisperX:
    """WhisperX's voice activity and alignment around faster-whisper's batched decoding."""

    def __init__(self, settings: RecogniserSettings) -> None:
        """Load the models. Raises ConfigError where WhisperX is missing or does not support the settings."""
        # must be set before the import: pyannote, which detects voices, sends usage metrics by default
        os.environ.setdefault("PYANNOTE_METRICS_ENABLED", "0")
        try:
            import torch
            import whisperx
        except ImportError as error:
            raise ConfigError(
                f"transcribe.sources: whisperx cannot be imported ({error}); install ola-pipeline[whisperx] into a "
                "venv without requirements.lock"
            ) from error
        self.settings = settings
        self.device = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.whisperx: Any = whisperx
        self.pipeline = whisperx.load_model(
            resolve_model_path(settings.model),
            self.device,
            compute_type=settings.compute_type,
            language=settings.language,
            threads=torch.get_num_threads(),
        )
        logging.getLogger("whisperx").setLevel(logging.ERROR)  # by default a warning for every clip without speech
        self.model: Any = self.pipeline.model
        if not self.model.model.is_multilingual and settings.language not in (None, "en"):
            raise ConfigError(
                f"transcribe.whisperx.language: expected en for {settings.model}, got {settings.language!r}"
            )
        self.aligners = {language: self._load_aligner(language, name) for language, name in settings.align.items()}

    def __call__(self, sounds: Sequence[Sound]) -> list[Speech]:
        """Recognise the speech in each sound."""
        windows = [self._find_windows(sound) for sound in sounds]
        languages = [self._detect_language(sound, clips) for sound, clips in zip(sounds, windows, strict=True)]
        stretches: dict[int, list[Stretch]] = {}
        for language in dict.fromkeys(language for language, _ in languages if language):
            chosen = [n for n, (spoken, _) in enumerate(languages) if spoken == language]
            stretches |= self._decode(language, {n: (sounds[n], windows[n]) for n in chosen})
        return [
            self._make_speech(sounds[n], *languages[n], windows[n], tuple(stretches.get(n, ())))
            for n in range(len(sounds))
        ]

    def _find_windows(self, sound: Sound) -> list[list[Span]]:
        """Return the spans of voice activity, in groups that fit Whisper's window."""
        import torch

        if not len(sound):
            return []
        vad, onsets = self.pipeline.vad_model, self.pipeline._vad_params
        scores = vad({"waveform": torch.from_numpy(sound)[None], "sample_rate": RATE})
        merged = vad.merge_chunks(scores, WINDOW, onset=onsets["vad_onset"], offset=onsets["vad_offset"])
        last = len(sound) / RATE
        return [[(max(0.0, start), min(end, last)) for start, end in window["segments"]] for window in merged]

    def _detect_language(self, sound: Sound, windows: list[list[Span]]) -> tuple[str | None, float | None]:
        """Detect the language in the first window with a voice, since the first 30 s of a clip may be music."""
        if not windows:
            return None, None
        if self.settings.language or not self.model.model.is_multilingual:
            return self.settings.language or "en", None
        first, last = int(windows[0][0][0] * RATE), int(windows[0][-1][1] * RATE)
        language, probability, _ = self.model.detect_language(audio=sound[first:last])
        return language, float(probability)

    def _decode(self, language: str, clips: Mapping[int, tuple[Sound, list[list[Span]]]]) -> dict[int, list[Stretch]]:
        """Join all sounds and decode their windows in batches. Returns stretches on each sound's own clock."""
        import numpy as np
        from whisperx.asr import faster_whisper

        joined, begins, windows, at = [np.zeros(GAP_SECONDS * RATE, np.float32)], [], [], GAP_SECONDS * RATE
        for sound, spans in clips.values():
            begins.append(at / RATE)
            windows += [{"start": begins[-1] + s[0][0], "end": begins[-1] + s[-1][1]} for s in spans]
            gap = GAP_SECONDS * RATE + -len(sound) % RATE  # whole seconds, since times are rounded to frames
            joined += [sound, np.zeros(gap, np.float32)]
            at += len(sound) + gap
        decoded, _ = faster_whisper.BatchedInferencePipeline(self.model).transcribe(
            np.concatenate(joined),
            language=language,
            clip_timestamps=windows,
            batch_size=self.settings.batch_size,
            word_timestamps=True,
            without_timestamps=True,  # Whisper recognises better without, and words have times
        )
        found: dict[int, list[Stretch]] = {n: [] for n in clips}
        for segment in decoded:
            if segment.words:
                # 0.1 s: `seek` is rounded down to a frame
                place = bisect(begins, segment.seek / self.model.frames_per_second + 0.1) - 1
                number = list(clips)[place]
                found[number].append(_make_stretch(segment, begins[place], len(clips[number][0]) / RATE))
        return found

    def _load_aligner(self, language: str, name: str) -> tuple[Any, Any]:
        try:
            from whisperx.alignment import nltk

            nltk.data.find("tokenizers/punkt_tab")
        except LookupError as error:
            raise ConfigError(
                "transcribe.whisperx.align: expected NLTK's punkt_tab; do `python -m nltk.downloader punkt_tab`"
            ) from error
        return cast("tuple[Any, Any]", self.whisperx.load_align_model(language, self.device, model_name=name))

    def _make_speech(
        self,
        sound: Sound,
        language: str | None,
        probability: float | None,
        windows: list[list[Span]],
        stretches: tuple[Stretch, ...],
    ) -> Speech:
        aligned = [self._align(sound, language, stretch) for stretch in stretches]
        whole = bool(aligned) and None not in aligned  # a row has one kind of word times
        kept = tuple(stretch for stretch in aligned if stretch) if whole else stretches
        return Speech(language, probability, whole, kept, tuple(span for window in windows for span in window))

    def _align(self, sound: Sound, language: str | None, stretch: Stretch) -> Stretch | None:
        """Return the stretch with the alignment model's times; None without a model or where alignment fails."""
        if language not in self.aligners:
            return None
        model, labels = self.aligners[language]
        text = "".join(word.text for word in stretch.words).strip()
        transcript = {"text": text, "start": stretch.words[0].start, "end": stretch.words[-1].end}
        timed = self.whisperx.align([transcript], model, labels, sound, self.device)["word_segments"]
        if not timed or any("start" not in word or "end" not in word for word in timed):
            return None
        space = " " if " " in text else ""
        words = (Word(text=space + w["word"], start=float(w["start"]), end=float(w["end"])) for w in timed)
        return replace(stretch, words=tuple(words))


def _make_stretch(segment: Any, begin: float, length: float) -> Stretch:
    """Move a decoded segment from the joined sound to the clock of the sound that begins at `begin`."""
    words = (
        Word(text=w.word, start=_clamp_time(w.start - begin, length), end=_clamp_time(w.end - begin, length))
        for w in _join_hyphenated(segment.words)
    )
    return Stretch(tuple(words), segment.avg_logprob, segment.no_speech_prob, segment.compression_ratio)


def _join_hyphenated(words: Iterable[Any]) -> list[Any]:
    """Join words that Whisper splits, such as `cold` and `-hearted`."""
    joined: list[Any] = []
    for word in words:
        if joined and word.word.startswith("-"):
            joined[-1] = replace(joined[-1], word=joined[-1].word + word.word, end=word.end)
        else:
            joined.append(word)
    return joined


def _clamp_time(time: float, length: float) -> float:
    return round(min(max(float(time), 0.0), length), 3)
