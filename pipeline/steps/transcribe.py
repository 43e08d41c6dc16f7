"""Step `transcribe`: find what is said in a clip, with times on the clip's own clock.

Sources are asked in order: `sidecar` files beside the video, text streams `embedded` in it, and those that listen,
`whisperx` and `ola`. Of the first two the first that has something for the video is taken; a clip in which it says
nothing is handed on to what comes after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from manifests.records import Clip, Drop, Footage, ModelCall, Segment, Transcript, Video
from pipeline import step
from pipeline.annotation.annotator import ModelStep
from pipeline.annotation.asr_ola import dictated, windows
from pipeline.annotation.asr_whisperx import RecogniserSettings, Speech, open_recogniser
from pipeline.errors import BadMedia
from pipeline.media import hallucination, subtitles
from pipeline.media.audio import RATE, samples
from pipeline.media.hallucination import Span
from pipeline.media.media_store import Reader
from pipeline.media.subtitle_tracks import Track, first_track, short
from pipeline.media.text_language import is_mismatch, language_of
from pipeline.media.video_file import original
from pipeline.prompts import prompt

if TYPE_CHECKING:
    from ola.prompt import Request, Wave

LISTENERS = ("whisperx", "ola")
DICTATION = 3  # what Ola's answers become; 1 took a remark in brackets for words, 2 knew refusals in two languages
MISMATCH, NO_SUBTITLES = "language mismatch", "no subtitles"


@dataclass(frozen=True)
class TranscribeInput:
    """A clip's footage, its span, and the video it lies in."""

    footage: Footage
    clip: Clip
    video: Video


Answer = list[Transcript] | Drop | BadMedia
NO_SOUND = Drop("no sound", "the clip has none to recognise")


class DictationSettings(step.Settings):
    """Settings of Ola as a source of `transcribe`."""

    longest: int = Field(default=512, gt=0)
    """Most tokens of the speech in a window of 30 s; the fastest speakers need half of the default."""


class TranscribeSettings(step.Settings):
    """Where transcripts come from."""

    sources: tuple[Literal["sidecar", "embedded", "whisperx", "ola"], ...] = Field(
        default=("sidecar", "embedded"), min_length=1
    )
    """Sources in the order in which they are tried."""
    language: str | None = None
    """Preferred language where a video has several subtitles, as `en`."""
    whisperx: RecogniserSettings = RecogniserSettings()
    ola: DictationSettings = DictationSettings()


class Transcribe(ModelStep[TranscribeInput, Transcript]):
    """Find what is said in a clip. It asks a model where `ola` is a source, and is a step without one else."""

    name, takes, gives = "transcribe", TranscribeInput, Transcript
    version = 3  # 1 knew no flags, 2 took all that subtitles show for speech
    settings_type = TranscribeSettings
    settings: TranscribeSettings
    prompts = ("transcribe",)
    clips_at_once = 0  # it goes through whole videos
    resources = step.Resources(batch=16, memory_gb=8.0)  # WhisperX with large-v3 in float32; subtitles need 1 GB

    def __init__(self, settings: step.Settings | None = None) -> None:
        """The cues of the last video are kept: its clips come one after the other."""
        super().__init__(settings)
        self.shares = ModelStep.shares if self.asks else ""
        self.resources = ModelStep.resources if self.asks else Transcribe.resources
        self.last: tuple[str, Track | BadMedia | None] = ("", None)

    @property
    def asks(self) -> bool:
        """Whether Ola is a source."""
        return "ola" in self.settings.sources

    @property
    def recognises(self) -> bool:
        """Whether WhisperX is one."""
        return "whisperx" in self.settings.sources

    def open(self) -> None:
        """Load the models of the sources that listen."""
        if self.recognises:  # first: it takes as many threads as torch has, which the annotator may leave with one
            self.recogniser, self.read = open_recogniser(self.settings.whisperx), Reader(self.root)
        super().open()

    def facts(self) -> dict[str, Any]:
        """Each listener counts where it is asked; WhisperX with its models' files, but not how fast it is."""
        facts = super().facts()
        for listener in LISTENERS:
            del facts["settings"][listener]
        if self.asks:
            facts["ola"] = {"version": DICTATION, **self.settings.ola.model_dump(mode="json")}
        return {**facts, "whisperx": self.settings.whisperx.facts()} if self.recognises else facts

    def defaults(self) -> dict[str, Any]:
        """With those of the listeners, where `facts` has them."""
        listeners = {name: step.default_values(type(getattr(self.settings, name))) for name in LISTENERS}
        return {**super().defaults(), **listeners}

    def allowance(self, record: TranscribeInput) -> float:
        """A text stream is spread over the whole file, which must be read once; large models are slow on a CPU."""
        listens = self.recognises or self.asks
        listened = 20 * (record.clip.end_ms - record.clip.start_ms) / 1000 if listens else 0.0
        return record.video.bytes / 5e6 + listened

    def originals(self, record: TranscribeInput) -> str:
        """The video, where it has subtitles within."""
        return record.video.uri if record.video.subtitles and "embedded" in self.settings.sources else ""

    def run(self, batch: Sequence[TranscribeInput]) -> list[Answer]:
        """One Transcript per clip; a drop where nothing is said; BadMedia where the subtitles are unreadable."""
        answers: dict[int, Answer] = {}
        listen = {"whisperx": self._recognised, "ola": self._dictated}
        for listener, sources in groupby(self.settings.sources, key=listen.get):
            left = {n: heard for n, heard in enumerate(batch) if isinstance(answers.get(n, Drop("")), Drop)}
            found = listener(left) if listener else self._looked_up(left, tuple(sources))
            answers |= {n: _joined(answers.get(n), answer) for n, answer in found.items()}
        return [answers[n] for n in range(len(batch))]

    def _looked_up(self, batch: Mapping[int, TranscribeInput], sources: tuple[str, ...]) -> dict[int, Answer]:
        return {n: self._subtitled(heard, sources) for n, heard in batch.items()}

    def _subtitled(self, heard: TranscribeInput, sources: tuple[str, ...]) -> Answer:
        try:
            track = self._track(heard.video, sources)
        except BadMedia as error:  # of this clip alone, not of the batch
            return error
        if track is None:
            return Drop(NO_SUBTITLES, f"none of {', '.join(sources)} has any for the video")
        start, end = heard.clip.start_ms / 1000, heard.clip.end_ms / 1000
        found = [s for s in (subtitles.segment(cue, start, end) for cue in track.spoken) if s is not None]
        apart = subtitles.unspoken(track.cues, start, end)
        if not found:
            shown = "; ".join(dict.fromkeys(each.text for each in apart))
            return Drop(
                "nothing said", f"{track.name} has {f'no words but {shown!r}' if shown else 'no cue'} in this clip"
            )
        timed = all(cue.timed for cue in track.spoken)
        facts = {"origin": track.origin, "track": track.name, "language": track.language, "unspoken": tuple(apart)}
        segments = hallucination.of_subtitles(found, alone=track.is_stock, paced=timed)
        times = "given" if timed else "interpolated"
        return [_transcript(heard.clip, segments, around=track.sample, word_times=times, **facts)]

    def _recognised(self, batch: Mapping[int, TranscribeInput]) -> dict[int, Answer]:
        """All clips that have a sound are recognised together."""
        sounds = {n: samples(self.read(h.footage.sound)) for n, h in batch.items() if h.footage.sound is not None}
        answers: dict[int, Answer] = dict.fromkeys(batch, NO_SOUND)
        heard = self.recogniser(list(sounds.values())) if sounds else []
        return answers | {n: self._spoken(batch[n].clip, speech) for n, speech in zip(sounds, heard, strict=True)}

    def _spoken(self, clip: Clip, speech: Speech) -> Answer:
        segments = [
            segment for stretch in speech.stretches for segment in hallucination.segments(stretch, speech.voiced)
        ]
        if not segments:
            return Drop("nothing said", "no speech is recognised in the sound")
        return [
            _transcript(
                clip,
                segments,
                origin="whisperx",
                track=self.settings.whisperx.model,
                language=speech.language,
                language_probability=speech.language_probability,
                word_times="aligned" if speech.aligned else "recognised",
            )
        ]

    def _dictated(self, batch: Mapping[int, TranscribeInput]) -> dict[int, Answer]:
        """Ola is asked about all windows of all clips together."""
        waves = {n: wave for n, heard in batch.items() if (wave := self.sound(heard.footage)) is not None}
        asking = {n: self._windows(batch[n].clip, wave) for n, wave in waves.items()}
        said = self.ask({name: request for some in asking.values() for name, (request, _) in some.items()})
        answers: dict[int, Answer] = dict.fromkeys(batch, NO_SOUND)
        return answers | {
            n: self._written(batch[n].clip, {span: said[name] for name, (_, span) in some.items()})
            for n, some in asking.items()
        }

    def _windows(self, clip: Clip, wave: Wave) -> dict[str, tuple[Request, Span]]:
        from ola.prompt import Request

        def request(first: int, last: int) -> Request:
            sound = replace(wave, samples=wave.samples[first:last])
            return Request(prompt("transcribe"), sounds=(sound,), max_new_tokens=self.settings.ola.longest)

        cuts = windows(wave.samples)
        return {f"{clip.id}-{first}": (request(first, last), (first / RATE, last / RATE)) for first, last in cuts}

    def _written(self, clip: Clip, said: Mapping[Span, ModelCall]) -> Answer:
        found = (dictated(asked, start, end) for (start, end), asked in said.items())
        segments = [segment for segment in found if segment is not None]
        if not segments:
            return Drop("nothing said", "ola writes nothing down of the sound")
        model = Path(self.annotator.model).name or self.annotator.engine
        return [_transcript(clip, segments, origin="ola", track=model, language=None, word_times="interpolated")]

    def _original(self, video: Video) -> str:
        return original(video, self.scratch)

    def _track(self, video: Video, sources: tuple[str, ...]) -> Track | None:
        key = f"{video.id} {sources}"
        if self.last[0] != key:
            try:
                self.last = (key, first_track(video, sources, self.settings.language, self._original))
            except BadMedia as error:  # a text that cannot be read is read once, not for each clip
                self.last = (key, error)
        if isinstance(self.last[1], BadMedia):
            raise BadMedia(str(self.last[1]))
        return self.last[1]


def _joined(before: Answer | None, answer: Answer) -> Answer:
    """Where nobody has anything, the last reason, and what each of them said."""
    if not isinstance(before, Drop) or not isinstance(answer, Drop):
        return answer
    told = (str(before.detail), str(answer.detail))
    return Drop(answer.reason, told[0] if told[1] in told[0] else "; ".join(told))


def _transcript(clip: Clip, segments: Sequence[Segment], *, around: str = "", **facts: Any) -> Transcript:
    """The record of what is said in a clip. around: words that tell the language where the clip has too few."""
    words = sum(len(segment.words) for segment in segments)
    seconds = (clip.end_ms - clip.start_ms) / 1000
    text = " ".join(segment.text for segment in segments)
    telling = text if language_of(text)[0] or not around else around
    language, probability = language_of(telling)
    claimed = facts["language"]
    return Transcript(
        id=clip.id,
        clip=clip.id,
        text=text,
        segments=tuple(segments),
        words=words,
        coverage=min(1.0, sum(segment.end - segment.start for segment in segments) / seconds),
        flagged=sum(len(segment.words) for segment in segments if segment.flags) / words,
        text_language=language,
        text_language_probability=probability,
        flags=(MISMATCH,) if claimed and is_mismatch(telling, short(claimed)) else (),
        **facts,
    )
