"""Step `transcribe`: find the speech in a clip, with times on the clip's own clock.

Sources are tried in order: `sidecar` files beside the video, text streams `embedded` in it, and the recognisers
`whisperx` and `ola`. Of the first two, the first that has a track for the video is used; clips without words in this
track go to the sources after it. A clip with sound in which no source finds words gets a transcript without words
(see `pipeline.annotation.wordless`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from manifests.records import Clip, ClipMedia, Drop, ModelCall, Segment, Transcript, Unspoken, Video
from pipeline import step
from pipeline.annotation.annotator import ModelStep
from pipeline.annotation.asr_ola import find_windows, make_segment
from pipeline.annotation.asr_whisperx import RecogniserSettings, Speech, open_recogniser
from pipeline.annotation.wordless import is_audible, is_invented, merge_wordless, wordless_transcript
from pipeline.errors import BadMedia
from pipeline.media import hallucination, subtitles
from pipeline.media.audio import RATE, read_samples
from pipeline.media.hallucination import Span
from pipeline.media.media_store import MediaReader
from pipeline.media.subtitle_tracks import Track, find_track, two_letter_code
from pipeline.media.text_language import is_mismatch, language_of
from pipeline.media.video_file import fetch_original
from pipeline.prompts import prompt

if TYPE_CHECKING:
    from ola.prompt import Request, Wave

LISTENERS = ("whisperx", "ola")
DICTATION = (
    3  # version of segments from Ola's answers; 1 took remarks in brackets for words, 2 knew two languages' refusals
)
MISMATCH, NO_SUBTITLES = "language mismatch", "no subtitles"


@dataclass(frozen=True)
class TranscribeInput:
    """The media of a clip, its span, and its video."""

    footage: ClipMedia
    clip: Clip
    video: Video


Result = list[Transcript] | Drop | BadMedia
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
    wordless: Literal["keep", "drop"] = "keep"
    """Clips with sound in which nothing is said: `keep` gives them a transcript without words, `drop` drops them."""
    whisperx: RecogniserSettings = RecogniserSettings()
    ola: DictationSettings = DictationSettings()


class Transcribe(ModelStep[TranscribeInput, Transcript]):
    """Find the speech in a clip. The step uses a model only where `ola` is a source."""

    name, takes, gives = "transcribe", TranscribeInput, Transcript
    version = 3  # 1 knew no flags, 2 took all that subtitles show for speech
    settings_type = TranscribeSettings
    settings: TranscribeSettings
    prompts = ("transcribe",)
    clips_at_once = 0  # it goes through whole videos
    resources = step.Resources(batch=16, memory_gb=8.0)  # WhisperX with large-v3 in float32; subtitles need 1 GB

    def __init__(self, settings: step.Settings | None = None) -> None:
        """Keep the cues of the last video, since its clips follow each other."""
        super().__init__(settings)
        self.shares = ModelStep.shares if self.asks else ""
        self.resources = ModelStep.resources if self.asks else Transcribe.resources
        self.last: tuple[str, Track | BadMedia | None] = ("", None)

    @property
    def asks(self) -> bool:
        """Return whether Ola is a source of transcripts."""
        return "ola" in self.settings.sources

    @property
    def uses_whisperx(self) -> bool:
        """Return whether WhisperX is a source of transcripts."""
        return "whisperx" in self.settings.sources

    def open(self) -> None:
        """Load the models of the recognisers."""
        if self.uses_whisperx:  # first: it uses as many threads as torch has, and the annotator may set one
            self.recogniser, self.read = open_recogniser(self.settings.whisperx), MediaReader(self.root)
        super().open()

    def facts(self) -> dict[str, Any]:
        """Return the facts of the step; those of a recogniser only where it is a source."""
        facts = super().facts()
        for name in (*LISTENERS, "wordless"):
            del facts["settings"][name]
        if self.settings.wordless == "keep":  # not a setting with a default: rows of older versions were dropped
            facts["wordless"] = "keep"
        if self.asks:
            facts["ola"] = {"version": DICTATION, **self.settings.ola.model_dump(mode="json")}
        return {**facts, "whisperx": self.settings.whisperx.facts()} if self.uses_whisperx else facts

    def defaults(self) -> dict[str, Any]:
        """Return the defaults of the step with those of the recognisers."""
        listeners = {name: step.default_values(type(getattr(self.settings, name))) for name in LISTENERS}
        return {**super().defaults(), **listeners}

    def allowance(self, record: TranscribeInput) -> float:
        """Return seconds for one read of the whole file, as for a text stream, and for a large model on a CPU."""
        uses_model = self.uses_whisperx or self.asks
        model_seconds = 20 * (record.clip.end_ms - record.clip.start_ms) / 1000 if uses_model else 0.0
        return record.video.bytes / 5e6 + model_seconds

    def original_uri(self, record: TranscribeInput) -> str:
        """Return the URI of the video if it has text streams that are used."""
        return record.video.uri if record.video.subtitles and "embedded" in self.settings.sources else ""

    def run(self, batch: Sequence[TranscribeInput]) -> list[Result]:
        """Return one Transcript per clip; a drop where nothing is known; BadMedia where subtitles are unreadable."""
        results: dict[int, Result] = {}
        listen = {"whisperx": self._run_whisperx, "ola": self._run_ola}
        for listener, sources in groupby(self.settings.sources, key=listen.get):
            open_entries = {n: entry for n, entry in enumerate(batch) if _lacks_words(results.get(n))}
            found = listener(open_entries) if listener else self._read_subtitles(open_entries, tuple(sources))
            results |= {n: _merge_results(results.get(n), answer) for n, answer in found.items()}
        return [results[n] for n in range(len(batch))]

    def _read_subtitles(self, batch: Mapping[int, TranscribeInput], sources: tuple[str, ...]) -> dict[int, Result]:
        return {n: self._transcribe_subtitles(entry, sources) for n, entry in batch.items()}

    def _transcribe_subtitles(self, entry: TranscribeInput, sources: tuple[str, ...]) -> Result:
        try:
            track = self._find_track(entry.video, sources)
        except BadMedia as error:  # fails this clip, not the batch
            return error
        if track is None:
            return Drop(NO_SUBTITLES, f"none of {', '.join(sources)} has any for the video")
        start, end = entry.clip.start_ms / 1000, entry.clip.end_ms / 1000
        found = [s for s in (subtitles.cut_segment(cue, start, end) for cue in track.spoken_cues) if s is not None]
        unspoken = subtitles.list_unspoken(track.cues, start, end)
        if not found:
            shown = "; ".join(dict.fromkeys(each.text for each in unspoken))
            why = f"{track.name} has {f'no words but {shown!r}' if shown else 'no cue'} in this clip"
            return self._nothing_said(entry, why, track.origin, track.name, unspoken)
        timed = all(cue.timed for cue in track.spoken_cues)
        facts = {"origin": track.origin, "track": track.name, "language": track.language, "unspoken": tuple(unspoken)}
        segments = hallucination.score_subtitles(found, alone=track.is_stock, paced=timed)
        times = "given" if timed else "interpolated"
        return [_make_transcript(entry.clip, segments, around=track.sample_text, word_times=times, **facts)]

    def _run_whisperx(self, batch: Mapping[int, TranscribeInput]) -> dict[int, Result]:
        """Recognise all clips with sound together."""
        sounds = {n: read_samples(self.read(h.footage.sound)) for n, h in batch.items() if h.footage.sound is not None}
        results: dict[int, Result] = dict.fromkeys(batch, NO_SOUND)
        speeches = self.recogniser(list(sounds.values())) if sounds else []
        return results | {
            n: self._transcribe_speech(batch[n], speech) for n, speech in zip(sounds, speeches, strict=True)
        }

    def _transcribe_speech(self, entry: TranscribeInput, speech: Speech) -> Result:
        segments = [
            segment for stretch in speech.stretches for segment in hallucination.build_segments(stretch, speech.voiced)
        ]
        model = self.settings.whisperx.model
        if self._lack_speech(segments):
            return self._nothing_said(entry, "no speech is recognised in the sound", "whisperx", model, segments)
        return [
            _make_transcript(
                entry.clip,
                segments,
                origin="whisperx",
                track=model,
                language=speech.language,
                language_probability=speech.language_probability,
                word_times="aligned" if speech.aligned else "recognised",
            )
        ]

    def _run_ola(self, batch: Mapping[int, TranscribeInput]) -> dict[int, Result]:
        """Send all windows of all clips to Ola together."""
        waves = {n: wave for n, entry in batch.items() if (wave := self.load.sound(entry.footage)) is not None}
        requests = {n: self._window_requests(batch[n].clip, wave) for n, wave in waves.items()}
        calls = self.ask_model(
            {name: request for of_clip in requests.values() for name, (request, _) in of_clip.items()}
        )
        results: dict[int, Result] = dict.fromkeys(batch, NO_SOUND)
        return results | {
            n: self._transcribe_calls(batch[n], {span: calls[name] for name, (_, span) in of_clip.items()})
            for n, of_clip in requests.items()
        }

    def _window_requests(self, clip: Clip, wave: Wave) -> dict[str, tuple[Request, Span]]:
        from ola.prompt import Request

        def request(first: int, last: int) -> Request:
            sound = replace(wave, samples=wave.samples[first:last])
            return Request(prompt("transcribe"), sounds=(sound,), max_new_tokens=self.settings.ola.longest)

        spans = find_windows(wave.samples)
        return {f"{clip.id}-{first}": (request(first, last), (first / RATE, last / RATE)) for first, last in spans}

    def _transcribe_calls(self, entry: TranscribeInput, calls: Mapping[Span, ModelCall]) -> Result:
        found = (make_segment(call, start, end) for (start, end), call in calls.items())
        segments = [segment for segment in found if segment is not None]
        model = Path(self.annotator.model).name or self.annotator.engine
        if self._lack_speech(segments):
            return self._nothing_said(entry, "ola writes nothing down of the sound", "ola", model, segments)
        facts: dict[str, Any] = {"origin": "ola", "track": model, "language": None, "word_times": "interpolated"}
        return [_make_transcript(entry.clip, segments, **facts)]

    def _lack_speech(self, segments: Sequence[Segment]) -> bool:
        """Return whether a recogniser's segments are no speech; with `wordless: drop`, only if there are none."""
        return is_invented(segments) if self.settings.wordless == "keep" else not segments

    def _nothing_said(
        self, entry: TranscribeInput, why: str, origin: str, track: str, unspoken: Sequence[Unspoken | Segment]
    ) -> Result:
        """Return a transcript without words, or a drop: with `wordless: drop`, or without an audible sound."""
        if self.settings.wordless == "keep" and is_audible(entry.clip, entry.footage):
            return [wordless_transcript(entry.clip, origin, track, unspoken)]
        return Drop("nothing said", why)

    def _fetch(self, video: Video) -> str:
        return fetch_original(video, self.scratch)

    def _find_track(self, video: Video, sources: tuple[str, ...]) -> Track | None:
        key = f"{video.id} {sources}"
        if self.last[0] != key:
            try:
                self.last = (key, find_track(video, sources, self.settings.language, self._fetch))
            except BadMedia as error:  # an unreadable text is read once, not for each clip
                self.last = (key, error)
        if isinstance(self.last[1], BadMedia):
            raise BadMedia(str(self.last[1]))
        return self.last[1]


def _lacks_words(result: Result | None) -> bool:
    """Return whether a clip goes on to the next source: it has no transcript, or one without words."""
    return result is None or isinstance(result, Drop) or (isinstance(result, list) and not result[0].words)


def _merge_results(before: Result | None, answer: Result) -> Result:
    """Return the answer; if both are drops, the last reason with the details of both.

    A transcript without words stays where the answer knows nothing; of two, the later one gets the text of both.
    """
    if isinstance(before, list) and isinstance(answer, Drop):
        return before
    if isinstance(before, list) and isinstance(answer, list) and not answer[0].words:
        return [merge_wordless(before[0], answer[0])]
    if not isinstance(before, Drop) or not isinstance(answer, Drop):
        return answer
    details = (str(before.detail), str(answer.detail))
    return Drop(answer.reason, details[0] if details[1] in details[0] else "; ".join(details))


def _make_transcript(clip: Clip, segments: Sequence[Segment], *, around: str = "", **facts: Any) -> Transcript:
    """Make the record of a clip's speech. around: words of the track, for the language of a short text."""
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
        flags=(MISMATCH,) if claimed and is_mismatch(telling, two_letter_code(claimed)) else (),
        **facts,
    )
