"""Speech recognition as the step `transcribe` sees it, and WhisperX behind it.

WhisperX finds where voices are and cuts at most 30 s between pauses; all such windows of a batch are decoded together,
whichever clips they are from. Decoding is faster-whisper's own, beneath WhisperX: of what it knows WhisperX passes on
neither the times of words nor the probability that nobody speaks. WhisperX's alignment follows where a model for the
language is given.
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

WINDOW = 30  # seconds that Whisper hears at once
APART = 4  # seconds between clips on one tape, so that word times of one do not depend on the last word of another
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
        """What decides the text: the settings but how fast it comes, and the models' files."""
        named = self.model_dump(mode="json", exclude={"batch_size", "device"})
        models = (located(self.model), *self.align.values())
        return {**named, "files": [digest_of(model) for model in models if Path(model).is_dir()]}


@dataclass(frozen=True)
class Speech:
    """What is heard in one clip. aligned: whether word times are an alignment model's; voiced: where voices are."""

    language: str | None
    language_probability: float | None
    aligned: bool
    stretches: tuple[Stretch, ...]
    voiced: tuple[Span, ...] | None


Recogniser: TypeAlias = "Callable[[Sequence[Sound]], list[Speech]]"


def open_recogniser(settings: RecogniserSettings) -> Recogniser:
    """The recogniser, with its weights loaded. Raises ConfigError, or what the engine raises."""
    made = WhisperX if settings.engine == "whisperx" else load_factory(settings.engine)
    return cast("Recogniser", made(settings))


def located(model: str) -> str:
    """The folder that a package brings, or the name as it is. Raises ConfigError where the package has none."""
    if not model.startswith(PACKAGED):
        return model
    name = model.removeprefix(PACKAGED)
    spec = find_spec(name) if name.isidentifier() else None
    places = (spec.submodule_search_locations if spec else None) or []
    found = sorted(path.parent for place in places for path in Path(place).rglob("model.bin"))
    if not found:
        raise ConfigError(f"transcribe.whisperx.model: no model.bin in a package {name!r}; is it installed?")
    return str(found[0])


class WhisperX:
    """WhisperX's voice activity and alignment around faster-whisper's batched decoding."""

    def __init__(self, settings: RecogniserSettings) -> None:
        """Load the models. Raises ConfigError where WhisperX is missing or cannot do what is set."""
        # pyannote, which finds the voices, reports its use to its makers unless told before it is imported
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
            located(settings.model),
            self.device,
            compute_type=settings.compute_type,
            language=settings.language,
            threads=torch.get_num_threads(),
        )
        logging.getLogger("whisperx").setLevel(logging.ERROR)  # else it warns of every clip without speech
        self.model: Any = self.pipeline.model
        if not self.model.model.is_multilingual and settings.language not in (None, "en"):
            raise ConfigError(f"transcribe.whisperx: {settings.model} knows English alone, not {settings.language!r}")
        self.aligners = {language: self._aligner(language, name) for language, name in settings.align.items()}

    def __call__(self, sounds: Sequence[Sound]) -> list[Speech]:
        """What is said in each sound."""
        windows = [self._windows(sound) for sound in sounds]
        languages = [self._language(sound, cut) for sound, cut in zip(sounds, windows, strict=True)]
        stretches: dict[int, list[Stretch]] = {}
        for language in dict.fromkeys(language for language, _ in languages if language):
            chosen = [n for n, (spoken, _) in enumerate(languages) if spoken == language]
            stretches |= self._decoded(language, {n: (sounds[n], windows[n]) for n in chosen})
        return [
            self._speech(sounds[n], *languages[n], windows[n], tuple(stretches.get(n, ()))) for n in range(len(sounds))
        ]

    def _windows(self, sound: Sound) -> list[list[Span]]:
        """Where voices are, in groups that fit Whisper's window."""
        import torch

        if not len(sound):
            return []
        vad, onsets = self.pipeline.vad_model, self.pipeline._vad_params
        scores = vad({"waveform": torch.from_numpy(sound)[None], "sample_rate": RATE})
        merged = vad.merge_chunks(scores, WINDOW, onset=onsets["vad_onset"], offset=onsets["vad_offset"])
        last = len(sound) / RATE
        return [[(max(0.0, start), min(end, last)) for start, end in window["segments"]] for window in merged]

    def _language(self, sound: Sound, windows: list[list[Span]]) -> tuple[str | None, float | None]:
        """By the first window, as the first 30 s of a clip may be music."""
        if not windows:
            return None, None
        if self.settings.language or not self.model.model.is_multilingual:
            return self.settings.language or "en", None
        first, last = int(windows[0][0][0] * RATE), int(windows[0][-1][1] * RATE)
        language, probability, _ = self.model.detect_language(audio=sound[first:last])
        return language, float(probability)

    def _decoded(self, language: str, cut: Mapping[int, tuple[Sound, list[list[Span]]]]) -> dict[int, list[Stretch]]:
        """One tape of all sounds, of which the windows are decoded in batches; back on each sound's clock."""
        import numpy as np
        from whisperx.asr import faster_whisper

        tape, begins, windows, at = [np.zeros(APART * RATE, np.float32)], [], [], APART * RATE
        for sound, spans in cut.values():
            begins.append(at / RATE)
            windows += [{"start": begins[-1] + s[0][0], "end": begins[-1] + s[-1][1]} for s in spans]
            gap = APART * RATE + -len(sound) % RATE  # whole seconds: times are rounded to frames of the tape
            tape += [sound, np.zeros(gap, np.float32)]
            at += len(sound) + gap
        decoded, _ = faster_whisper.BatchedInferencePipeline(self.model).transcribe(
            np.concatenate(tape),
            language=language,
            clip_timestamps=windows,
            batch_size=self.settings.batch_size,
            word_timestamps=True,
            without_timestamps=True,  # sentences are parted by words, and Whisper reads better without
        )
        found: dict[int, list[Stretch]] = {n: [] for n in cut}
        for segment in decoded:
            if segment.words:
                # 0.1 s: `seek` is rounded down to a frame
                place = bisect(begins, segment.seek / self.model.frames_per_second + 0.1) - 1
                number = list(cut)[place]
                found[number].append(_stretch(segment, begins[place], len(cut[number][0]) / RATE))
        return found

    def _aligner(self, language: str, name: str) -> tuple[Any, Any]:
        try:
            from whisperx.alignment import nltk

            nltk.data.find("tokenizers/punkt_tab")
        except LookupError as error:
            raise ConfigError("transcribe.whisperx.align needs: python -m nltk.downloader punkt_tab") from error
        return cast("tuple[Any, Any]", self.whisperx.load_align_model(language, self.device, model_name=name))

    def _speech(
        self,
        sound: Sound,
        language: str | None,
        probability: float | None,
        windows: list[list[Span]],
        stretches: tuple[Stretch, ...],
    ) -> Speech:
        aligned = [self._aligned(sound, language, stretch) for stretch in stretches]
        whole = bool(aligned) and None not in aligned  # of one kind, since the row names one
        kept = tuple(stretch for stretch in aligned if stretch) if whole else stretches
        return Speech(language, probability, whole, kept, tuple(span for window in windows for span in window))

    def _aligned(self, sound: Sound, language: str | None, stretch: Stretch) -> Stretch | None:
        """With the alignment model's times; None where there is no model, or it finds no way through."""
        if language not in self.aligners:
            return None
        model, labels = self.aligners[language]
        text = "".join(word.text for word in stretch.words).strip()
        said = {"text": text, "start": stretch.words[0].start, "end": stretch.words[-1].end}
        timed = self.whisperx.align([said], model, labels, sound, self.device)["word_segments"]
        if not timed or any("start" not in word or "end" not in word for word in timed):
            return None
        space = " " if " " in text else ""
        words = (Word(text=space + w["word"], start=float(w["start"]), end=float(w["end"])) for w in timed)
        return replace(stretch, words=tuple(words))


def _stretch(segment: Any, begin: float, length: float) -> Stretch:
    """A decoded segment of the tape on the clock of the sound that begins there."""
    words = (
        Word(text=w.word, start=_on(w.start - begin, length), end=_on(w.end - begin, length))
        for w in _whole(segment.words)
    )
    return Stretch(tuple(words), segment.avg_logprob, segment.no_speech_prob, segment.compression_ratio)


def _whole(words: Iterable[Any]) -> list[Any]:
    """`cold` and `-hearted` come as two, and are one."""
    joined: list[Any] = []
    for word in words:
        if joined and word.word.startswith("-"):
            joined[-1] = replace(joined[-1], word=joined[-1].word + word.word, end=word.end)
        else:
            joined.append(word)
    return joined


def _on(time: float, length: float) -> float:
    return round(min(max(float(time), 0.0), length), 3)
