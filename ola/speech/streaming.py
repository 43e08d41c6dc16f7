"""Speak text while it is generated; text, sentences and sound are events.

    pieces ─ a thread ─► sentences, at most `ahead` waiting ─ a thread ─► sound, at most 10 s waiting ─► the caller

Both queues are bounded, so that a slow speaker slows the model down, and little is generated that a listener who
interrupts never hears. Text does not wait for sound.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ola.speech.sentences import SentenceFinder, SpokenText
from ola.speech.speakers import Samples, Speaker

# Long enough for playback while the next sentence is synthesised, short enough to discard.
SOUND_AHEAD_S = 10.0


@dataclass(frozen=True)
class Text:
    """A piece of generated text."""

    text: str


@dataclass(frozen=True)
class Sentence:
    """A complete sentence; the joined sentences are the whole text."""

    index: int
    text: str


@dataclass(frozen=True, eq=False)
class Pcm:
    """A chunk of the sound of sentence `index`: int16 (samples,) at the speaker's rate."""

    index: int
    samples: Samples


@dataclass
class Metrics:
    """Times of a speech in seconds; the first three count from the start, and are None if there was no such event.

    sound: duration of all sound. synthesis: working time of the speaker. gaps: for each spoken sentence, the silence
    before or inside it, if playback starts with the first sound.
    """

    first_text: float | None = None
    first_sentence: float | None = None
    first_sound: float | None = None
    sentences: int = 0
    sound: float = 0.0
    synthesis: float = 0.0
    gaps: list[float] = field(default_factory=list)

    @property
    def real_time_factor(self) -> float | None:
        """Return the synthesis time per second of sound; below 1 the speaker keeps up. None without sound."""
        return self.synthesis / self.sound if self.sound else None


class _Ended(Exception):
    """Ends a thread after the speech has ended."""


class Speech:
    """An iterator over the events of a text that is being spoken; made by `speak`.

    An error of `pieces` or the speaker is raised after the events before it. At the end `metrics` are complete.
    """

    def __init__(self, pieces: Iterable[str], speaker: Speaker, finder: SentenceFinder, ahead: int) -> None:
        self.metrics = Metrics()
        self._pieces, self._speaker, self._finder, self._ahead = pieces, speaker, finder, ahead
        self._started = time.perf_counter()
        self._changed = threading.Condition()  # guards all fields below
        self._events: deque[Text | Sentence | Pcm] = deque()
        self._unsaid: deque[tuple[int, str] | None] = deque()  # None: the text is complete
        self._unheard = 0  # samples in _events
        self._ended = False
        self._error: BaseException | None = None

    def __iter__(self) -> Iterator[Text | Sentence | Pcm]:
        return self

    def __next__(self) -> Text | Sentence | Pcm:
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._ended)
            if self._events:
                event = self._events.popleft()
                if isinstance(event, Pcm):
                    self._unheard -= len(event.samples)
                    self._changed.notify_all()
                return event
            error, self._error = self._error, None
        raise error or StopIteration

    def cancel(self) -> None:
        """End the speech, from any thread. Iteration ends, pending events are dropped, and no more work starts."""
        self._end()
        with self._changed:
            self._events.clear()

    def _end(self, error: BaseException | None = None) -> None:
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._changed.notify_all()

    @contextmanager
    def _wait_until(self, ready: Callable[[], bool]) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or ready())
            if self._ended:
                raise _Ended
            yield
            self._changed.notify_all()

    def _emit(self, event: Text | Sentence | Pcm, ready: Callable[[], bool] = lambda: True) -> None:
        with self._wait_until(ready):
            self._events.append(event)
            self._unheard += len(event.samples) if isinstance(event, Pcm) else 0

    def _put_sentence(self, unsaid: tuple[int, str] | None) -> None:
        with self._wait_until(lambda: len(self._unsaid) < self._ahead):
            self._unsaid.append(unsaid)

    def _take_sentence(self) -> tuple[int, str] | None:
        with self._wait_until(lambda: bool(self._unsaid)):
            return self._unsaid.popleft()

    def _run_thread(self, work: Callable[[], None]) -> None:
        try:
            work()
        except _Ended:
            pass
        except BaseException as error:  # noqa: BLE001  raised again by __next__
            self._end(error)

    def _read_text(self) -> None:
        spoken = SpokenText()
        with _closing(self._pieces):
            for piece in filter(None, self._pieces):
                self.metrics.first_text = self.metrics.first_text or self._elapsed()
                self._emit(Text(piece))
                self._add_sentences(self._finder.push(piece), spoken)
        self._add_sentences(self._finder.flush(), spoken)
        self._put_sentence(None)

    def _add_sentences(self, sentences: list[str], spoken: SpokenText) -> None:
        for sentence in sentences:
            self.metrics.first_sentence = self.metrics.first_sentence or self._elapsed()
            index = self.metrics.sentences
            self.metrics.sentences += 1
            self._emit(Sentence(index, sentence))
            if words := spoken(sentence):
                self._put_sentence((index, words))

    def _speak_sentences(self) -> None:
        plays_until = 0.0
        while unsaid := self._take_sentence():
            index, words = unsaid
            self.metrics.gaps.append(0.0)
            with _closing(chunks := self._speaker.speak(words)):
                plays_until = self._emit_sound(index, chunks, plays_until)
        self._end()

    def _emit_sound(self, index: int, chunks: Iterator[Samples], plays_until: float) -> float:
        requested_at = self._elapsed()
        for samples in chunks:
            came = self._elapsed()
            self.metrics.synthesis += came - requested_at
            if self.metrics.first_sound is None:
                self.metrics.first_sound = plays_until = came
            self.metrics.gaps[-1] += max(0.0, came - plays_until)
            seconds = len(samples) / self._speaker.rate
            plays_until = max(came, plays_until) + seconds
            self.metrics.sound += seconds
            self._emit(Pcm(index, samples), lambda: self._unheard < SOUND_AHEAD_S * self._speaker.rate)
            requested_at = self._elapsed()
        self.metrics.synthesis += self._elapsed() - requested_at
        return plays_until

    def _elapsed(self) -> float:
        return time.perf_counter() - self._started


@contextmanager
def _closing(stream: object) -> Iterator[None]:
    """Close a generator after the block; do nothing for other iterables."""
    try:
        yield
    finally:
        getattr(stream, "close", lambda: None)()


@contextmanager
def speak(
    pieces: Iterable[str], speaker: Speaker, finder: SentenceFinder | None = None, ahead: int = 4
) -> Iterator[Speech]:
    """Speak a text while it is generated: `with speak(pieces, speaker) as speech: for event in speech: ...`.

    ahead: sentences that may wait for the speaker before reading of text pauses. `pieces` and the speaker are each
    iterated and closed in a separate thread. Leaving the block cancels the speech and waits for both threads, which
    first finish the current piece or chunk. Raises ValueError for an `ahead` below 1.
    """
    if ahead < 1:
        raise ValueError(f"ahead: expected at least 1 sentence, got {ahead}")
    speech = Speech(pieces, speaker, finder or SentenceFinder(), ahead)
    threads = [
        threading.Thread(target=speech._run_thread, args=[work])
        for work in (speech._read_text, speech._speak_sentences)
    ]
    for thread in threads:
        thread.start()
    try:
        yield speech
    finally:
        speech.cancel()
        for thread in threads:
            thread.join()
