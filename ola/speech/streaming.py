"""Speak text while it grows: text, sentences and sound as events.

    pieces ─ a thread ─► sentences, at most `ahead` waiting ─ a thread ─► sound, at most 10 s waiting ─► the caller

Both waits are bounded, so that a slow speaker holds the model back, rather than that much is made which a listener
who interrupts never hears. Text does not wait for sound.
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

# Enough for a player to live on while the next sentence is made, little enough to throw away.
SOUND_AHEAD_S = 10.0


@dataclass(frozen=True)
class Text:
    """A piece of text, as it came."""

    text: str


@dataclass(frozen=True)
class Sentence:
    """A sentence has been found; joined, they are the whole text."""

    index: int
    text: str


@dataclass(frozen=True, eq=False)
class Pcm:
    """A chunk of the sound of sentence `index`: int16 (samples,) at the speaker's rate."""

    index: int
    samples: Samples


@dataclass
class Metrics:
    """How soon it was heard, in seconds; the first three count from the start and are None for what never came.

    sound: how long all of it plays. synthesis: how long the speaker worked. gaps: for each sentence spoken, the
    silence before or inside it, had one begun to play with the first sound.
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
        """Seconds of work for a second of sound: below 1 the speaker keeps up. None without sound."""
        return self.synthesis / self.sound if self.sound else None


class _Ended(Exception):
    """Unwinds a thread when there is nobody left to work for."""


class Speech:
    """The events of a text being spoken, made by `speak`.

    Iterating raises what `pieces` or the speaker raised, after the events before it. `metrics` are complete then.
    """

    def __init__(self, pieces: Iterable[str], speaker: Speaker, finder: SentenceFinder, ahead: int) -> None:
        self.metrics = Metrics()
        self._pieces, self._speaker, self._finder, self._ahead = pieces, speaker, finder, ahead
        self._started = time.perf_counter()
        self._changed = threading.Condition()  # guards all below
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
        """End it, from any thread: iterating ends, what was not yet taken is dropped, nothing more is begun."""
        self._end()
        with self._changed:
            self._events.clear()

    def _end(self, error: BaseException | None = None) -> None:
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._changed.notify_all()

    @contextmanager
    def _when(self, ready: Callable[[], bool]) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or ready())
            if self._ended:
                raise _Ended
            yield
            self._changed.notify_all()

    def _emit(self, event: Text | Sentence | Pcm, ready: Callable[[], bool] = lambda: True) -> None:
        with self._when(ready):
            self._events.append(event)
            self._unheard += len(event.samples) if isinstance(event, Pcm) else 0

    def _leave(self, unsaid: tuple[int, str] | None) -> None:
        with self._when(lambda: len(self._unsaid) < self._ahead):
            self._unsaid.append(unsaid)

    def _take(self) -> tuple[int, str] | None:
        with self._when(lambda: bool(self._unsaid)):
            return self._unsaid.popleft()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except _Ended:
            pass
        except BaseException as error:  # noqa: BLE001  raised again by __next__
            self._end(error)

    def _read(self) -> None:
        spoken = SpokenText()
        with _closing(self._pieces):
            for piece in filter(None, self._pieces):
                self.metrics.first_text = self.metrics.first_text or self._now()
                self._emit(Text(piece))
                self._hand_over(self._finder.push(piece), spoken)
        self._hand_over(self._finder.flush(), spoken)
        self._leave(None)

    def _hand_over(self, sentences: list[str], spoken: SpokenText) -> None:
        for sentence in sentences:
            self.metrics.first_sentence = self.metrics.first_sentence or self._now()
            index = self.metrics.sentences
            self.metrics.sentences += 1
            self._emit(Sentence(index, sentence))
            if words := spoken(sentence):
                self._leave((index, words))

    def _speak(self) -> None:
        plays_until = 0.0
        while unsaid := self._take():
            index, words = unsaid
            self.metrics.gaps.append(0.0)
            with _closing(chunks := self._speaker.speak(words)):
                plays_until = self._pass_on(index, chunks, plays_until)
        self._end()

    def _pass_on(self, index: int, chunks: Iterator[Samples], plays_until: float) -> float:
        asked = self._now()
        for samples in chunks:
            came = self._now()
            self.metrics.synthesis += came - asked
            if self.metrics.first_sound is None:
                self.metrics.first_sound = plays_until = came
            self.metrics.gaps[-1] += max(0.0, came - plays_until)
            seconds = len(samples) / self._speaker.rate
            plays_until = max(came, plays_until) + seconds
            self.metrics.sound += seconds
            self._emit(Pcm(index, samples), lambda: self._unheard < SOUND_AHEAD_S * self._speaker.rate)
            asked = self._now()
        self.metrics.synthesis += self._now() - asked
        return plays_until

    def _now(self) -> float:
        return time.perf_counter() - self._started


@contextmanager
def _closing(stream: object) -> Iterator[None]:
    """Ends the work behind a generator; a list has nothing to close."""
    try:
        yield
    finally:
        getattr(stream, "close", lambda: None)()


@contextmanager
def speak(
    pieces: Iterable[str], speaker: Speaker, finder: SentenceFinder | None = None, ahead: int = 4
) -> Iterator[Speech]:
    """Speak a text while it comes: `with speak(pieces, speaker) as speech: for event in speech: ...`.

    ahead: how many sentences may wait for the speaker before no more text is read. `pieces` and the speaker are each
    drawn on, and closed, in a thread of their own. Leaving the block cancels what still goes on and waits for both;
    a piece or a chunk just being made cannot be interrupted. ValueError for an `ahead` below 1.
    """
    if ahead < 1:
        raise ValueError(f"ahead is {ahead}: at least one sentence must be able to wait for the speaker")
    speech = Speech(pieces, speaker, finder or SentenceFinder(), ahead)
    threads = [threading.Thread(target=speech._run, args=[work]) for work in (speech._read, speech._speak)]
    for thread in threads:
        thread.start()
    try:
        yield speech
    finally:
        speech.cancel()
        for thread in threads:
            thread.join()
