"""From text to sound: the two voices, and the threads between a growing text and its speech."""

from __future__ import annotations

import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from ola.speech.sentences import SentenceFinder, SpokenText
from ola.speech.speakers import CosyVoice, Espeak, Samples, write_wav
from ola.speech.streaming import Pcm, Sentence, Speech, Text, speak

STORY = "Once, there was a *model*.\nIt spoke。它说话了！\n```\nx = 1\n```\nPi is 3.14. The end"


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


class Tone:
    """Ten samples a character, in chunks of ten characters, each sample the length of the text."""

    rate = 1000

    def __init__(self) -> None:
        self.said, self.closed = list[str](), 0

    def speak(self, text: str) -> Iterator[Samples]:
        self.said.append(text)
        try:
            for start in range(0, len(text), 10):
                yield np.full(10 * len(text[start : start + 10]), len(text), np.int16)
        finally:
            self.closed += 1


class Endless(Tone):
    """A second of sound a chunk, for ever."""

    def speak(self, text: str) -> Iterator[Samples]:
        return self

    def __iter__(self) -> Iterator[Samples]:
        return self

    def __next__(self) -> Samples:
        self.said.append("Ah")
        return np.ones(self.rate, np.int16)

    def close(self) -> None:
        self.closed += 1


class Failing(Tone):
    """Loses its voice in the second sentence."""

    def speak(self, text: str) -> Iterator[Samples]:
        yield from super().speak(text)
        if len(self.said) == 2:
            raise RuntimeError("hoarse")


class Pieces:
    """Lines without end, or with `count` of them; knows how many were taken and whether it was closed."""

    def __init__(self, count: int = 10**9, error: Exception | None = None) -> None:
        self.count, self.error, self.taken, self.closed = count, error, 0, False

    def __iter__(self) -> Iterator[str]:
        for number in range(self.count):
            self.taken += 1
            yield f"This is line {number:03}.\n"
        if self.error:
            raise self.error

    def close(self) -> None:
        self.closed = True


def wait_until(true: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("ahead", [1, 4])
def test_text_sentences_and_sound_come_in_order(size: int, ahead: int) -> None:
    tone = Tone()
    pieces = [STORY[start : start + size] for start in range(0, len(STORY), size)]
    with speak(["", *pieces, ""], tone, SentenceFinder(1), ahead) as speech:
        events = list(speech)
    sentences = [event for event in events if isinstance(event, Sentence)]
    assert [event.text for event in events if isinstance(event, Text)] == pieces
    assert "".join(sentence.text for sentence in sentences) == STORY
    assert [sentence.index for sentence in sentences] == list(range(len(sentences)))
    spoken = SpokenText()
    words = {sentence.index: said for sentence in sentences if (said := spoken(sentence.text))}
    assert tone.said == list(words.values())
    assert "".join(tone.said).replace(" ", "") == "Once,therewasamodel.Itspoke。它说话了！Piis3.14.Theend"
    sound = [event for event in events if isinstance(event, Pcm)]
    assert [event.index for event in sound] == sorted(event.index for event in sound)
    for index, said in words.items():
        heard = np.concatenate([event.samples for event in sound if event.index == index])
        assert heard.tolist() == [len(said)] * 10 * len(said)
        assert events.index(sentences[index]) < min(events.index(event) for event in sound if event.index == index)


def test_the_text_runs_ahead_by_the_bound_and_no_further() -> None:
    pieces, speaker = Pieces(), Endless()
    with speak(pieces, speaker, SentenceFinder(1), ahead=3) as speech:
        wait_until(lambda: len(speaker.said) == 11)  # ten seconds of sound, and one chunk that waits for room
        wait_until(lambda: pieces.taken == 5)  # one being spoken, three waiting, and one that waits for room
        time.sleep(0.1)
        assert (pieces.taken, len(speaker.said)) == (5, 11)
        for _ in range(20):
            next(speech)
        wait_until(lambda: len(speaker.said) > 11)
    assert (pieces.closed, speaker.closed) == (True, 1)


def test_text_that_is_not_spoken_waits_for_nobody() -> None:
    code = "```\n" + "print(1)\n" * 50 + "```\n"
    with speak(["Look here.\n", code, "And so on.\n"], Endless(), SentenceFinder(1), ahead=1) as speech:
        text = ""
        while not text.endswith("so on.\n"):
            event = next(speech)
            text += event.text if isinstance(event, Text) else ""


def until_error(speech: Speech, text: list[str]) -> None:
    for event in speech:
        text += [event.text] if isinstance(event, Text) else []


def test_a_failing_speaker_is_heard_of() -> None:
    pieces, speaker = Pieces(), Failing()
    with speak(pieces, speaker) as speech:
        with pytest.raises(RuntimeError, match="hoarse"):
            until_error(speech, [])
        assert list(speech) == []
    assert (len(speaker.said), speaker.closed, pieces.closed) == (2, 2, True)


def test_a_failing_model_is_heard_of_after_its_text() -> None:
    pieces, speaker = Pieces(3, ValueError("no more")), Endless()
    text: list[str] = []
    with speak(pieces, speaker) as speech, pytest.raises(ValueError, match="no more"):
        until_error(speech, text)
    assert text == list(Pieces(3))
    assert pieces.closed
    assert speaker.closed == bool(speaker.said)


class Reluctant(Pieces):
    """Cannot be closed."""

    def close(self) -> None:
        super().close()
        raise OSError("still busy")


@pytest.mark.parametrize("pieces", [Pieces(), Reluctant()])
def test_cancel_from_another_thread(pieces: Pieces) -> None:
    speaker = Endless()
    with speak(pieces, speaker) as speech:
        cancel = threading.Timer(0.1, speech.cancel)
        cancel.start()
        for _ in speech:
            cancelled = time.monotonic()
        assert time.monotonic() - cancelled < 1
    cancel.join()
    assert list(speech) == []
    assert (pieces.closed, speaker.closed) == (True, 1)


def test_cancel_drops_what_was_not_taken() -> None:
    with speak(Pieces(), Endless()) as speech:
        next(speech)
        speech.cancel()
        assert list(speech) == []


def leave(speech: Speech) -> None:
    next(speech)


def stumble(speech: Speech) -> None:
    raise KeyError("the caller's own")


@pytest.mark.parametrize("body", [leave, stumble])
def test_leaving_early_ends_both_threads(body: Callable[[Speech], None]) -> None:
    pieces, speaker = Pieces(), Endless()
    try:
        with speak(pieces, speaker) as speech:
            wait_until(lambda: bool(speaker.said))
            body(speech)
    except KeyError:
        assert body is stumble
    assert (pieces.closed, speaker.closed) == (True, 1)


class Timed(Tone):
    """`seconds` of sound a sentence, made in `work` seconds."""

    def __init__(self, seconds: float, work: float) -> None:
        super().__init__()
        self.seconds, self.work = seconds, work

    def speak(self, text: str) -> Iterator[Samples]:
        time.sleep(self.work)
        yield np.zeros(round(self.seconds * self.rate), np.int16)


def test_metrics_of_a_speaker_that_is_too_slow() -> None:
    started = time.perf_counter()
    with speak(Pieces(3), Timed(0.1, work=0.2)) as speech:
        list(speech)
    took, metrics = time.perf_counter() - started, speech.metrics
    assert metrics.first_text is not None
    assert metrics.first_sentence is not None
    assert metrics.first_sound is not None
    assert 0 < metrics.first_text <= metrics.first_sentence <= metrics.first_sound - 0.2
    assert metrics.sentences == 3
    assert metrics.sound == pytest.approx(0.3)
    assert 0.6 <= metrics.synthesis <= took
    assert metrics.real_time_factor == metrics.synthesis / metrics.sound
    assert metrics.gaps[0] == 0
    assert min(metrics.gaps[1:]) >= 0.1  # each is ready 0.2 s after the one before, of which it plays 0.1 s
    assert sum(metrics.gaps) == pytest.approx(took - metrics.first_sound - 0.2, abs=0.05)


def test_metrics_of_one_that_keeps_up_and_of_silence() -> None:
    with speak(Pieces(3), Timed(4.0, work=0.0)) as speech:
        list(speech)
    assert speech.metrics.gaps == [0, 0, 0]
    assert 0 < (speech.metrics.real_time_factor or 0) < 0.5
    with speak([], Tone()) as speech:
        assert list(speech) == []
    assert (speech.metrics.first_text, speech.metrics.first_sound, speech.metrics.real_time_factor) == (None,) * 3


def test_no_sentence_could_wait() -> None:
    with pytest.raises(ValueError, match="ahead: expected at least 1"), speak([], Tone(), ahead=0):
        pass


def whole(chunks: Iterator[Samples]) -> Samples:
    return np.concatenate(list(chunks))


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("The quick brown fox jumps over the lazy dog, and nobody knows why.", 3.0, 6.0),
        ("今天天气很好，我们去公园吧。", 2.5, 5.0),
        ("我用 Python 写代码。", 1.0, 3.0),
        ("Nul\0 and a lone \ud800 surrogate", 1.0, 4.0),
    ],
)
def test_espeak_is_heard(text: str, least: float, most: float) -> None:
    espeak = Espeak()
    samples = whole(espeak.speak(text))
    assert (samples.dtype, samples.ndim) == (np.dtype(np.int16), 1)
    assert least < len(samples) / espeak.rate < most
    assert 1000 < np.sqrt(np.mean(samples.astype(float) ** 2)) < 10_000
    whole(Espeak("de").speak("Etwas ganz anderes."))
    assert np.array_equal(whole(espeak.speak(text)), samples)


def test_a_breathy_voice_says_the_same_in_another_second() -> None:
    """espeak-ng seeds its noise with the time in seconds."""
    voice, second = Espeak("en-us+f2"), int(time.time())
    first = whole(voice.speak("Seven apples."))
    while int(time.time()) == second:
        time.sleep(0.01)
    assert np.array_equal(whole(voice.speak("Seven apples.")), first)


def test_espeak_is_the_same_in_many_threads() -> None:
    texts = ["Good morning to you.", "你好，世界。", "Guten Morgen.", "Hello again."] * 4
    voices = [Espeak(), Espeak("de", words_a_minute=250)] * 8
    alone = [whole(voice.speak(text)) for voice, text in zip(voices, texts, strict=True)]
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda voice, text: whole(voice.speak(text)), voices, texts)
        assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))
    assert len(whole(voices[1].speak(texts[0]))) < len(alone[0])


def test_espeak_stops_when_it_is_closed() -> None:
    started = time.monotonic()
    speech = Espeak().speak("A sentence that is said again. " * 2000)
    assert len(next(speech)) > 0
    speech.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 1  # all of it takes several
    assert list(Espeak().speak("")) == []


def test_voices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"no voice 'en-gb'.*en-gb-x-rp"):
        Espeak("en-gb")
    with pytest.raises(ValueError, match="no voice 'zh'"):
        Espeak(chinese="zh")
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ImportError, match=r"ola-pipeline\[voice\]"):
        Espeak()
    monkeypatch.setitem(sys.modules, "cosyvoice", None)
    with pytest.raises(ImportError, match=r"github\.com/FunAudioLLM/CosyVoice"):
        CosyVoice.load("weights", "Hello.", "hello.wav")


class Engine:
    """What the adapter needs of a CosyVoice2."""

    sample_rate = 24_000

    def inference_zero_shot(
        self, tts_text: str, prompt_text: str, prompt_speech_16k: torch.Tensor, *, stream: bool
    ) -> Iterator[dict[str, torch.Tensor]]:
        assert (tts_text, prompt_text, tuple(prompt_speech_16k.shape), stream) == ("Hello.", "Hi.", (1, 16_000), True)
        yield {"tts_speech": torch.tensor([[0.0, 0.5, -0.5, 1.0, -1.0]], dtype=torch.bfloat16, requires_grad=True)}
        yield {"tts_speech": torch.tensor([[2.0, -2.0]])}


def test_cosyvoice_gives_pcm() -> None:
    voice = CosyVoice(Engine(), "Hi.", torch.zeros(1, 16_000))
    chunks = list(voice.speak("Hello."))
    assert [chunk.tolist() for chunk in chunks] == [[0, 16384, -16384, 32767, -32767], [32767, -32767]]
    assert {chunk.dtype for chunk in chunks} == {np.dtype(np.int16)}
    assert voice.rate == 24_000


def test_wav(tmp_path: Path) -> None:
    tone = Tone()
    with speak([STORY], tone) as speech:
        seconds = write_wav(
            tmp_path / "a.wav", (event.samples for event in speech if isinstance(event, Pcm)), tone.rate
        )
    assert seconds == pytest.approx(speech.metrics.sound)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getparams()[:4] == (1, 2, 1000, round(seconds * 1000))
        assert np.frombuffer(file.readframes(1), "<i2")[0] == len(tone.said[0])
    assert write_wav(tmp_path / "b.wav", [], 8000) == 0
    with pytest.raises(TypeError, match="float64"):
        write_wav(tmp_path / "c.wav", [np.zeros(3)], 8000)  # type: ignore[list-item]
