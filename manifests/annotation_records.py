"""Records of what is said in clips and of what a model makes of them. Import them from `manifests.records`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word and when it is said, in seconds on the clip's own clock."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What is said between two times, in seconds on the clip's own clock.

    Scores tell how far to believe it, and `flags` name the rules that doubt it (see `pipeline.media.hallucination`).
    Only a recogniser has avg_logprob: of its tokens, natural logarithm; and no_speech_prob: 0..1. Of every source are
    compression_ratio: bytes of text by bytes of it deflated; repeated, distinct, stock, voiced: shares, 0..1;
    longest_word: characters; pace: words a second.

    text and words are what is spoken. original: the text as its source shows it, where more than speech stands in it,
    else empty. speaker: who speaks, where the source names one speaker.
    """

    start: float
    end: float
    text: str
    words: tuple[Word, ...]
    flags: tuple[str, ...] = ()
    avg_logprob: float | None = None
    no_speech_prob: float | None = None
    compression_ratio: float | None = None
    repeated: float | None = None
    distinct: float | None = None
    stock: float | None = None
    voiced: float | None = None
    longest_word: int | None = None
    pace: float | None = None
    speaker: str = ""
    original: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unspoken:
    """What a subtitle tells beside speech, between two times in seconds on the clip's own clock.

    kind: `speaker` (a name), `sound`, `song` or `credit`.
    """

    start: float
    end: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """What is said in one clip.

    origin: `sidecar`, `embedded`, `whisperx` or `ola`; track: which file, stream or model. word_times: `given` by the
    source, `interpolated` over a segment by the length of its words, `aligned` to the sound by a model made for it, or
    `recognised` (the recogniser's own). coverage: share of the clip that segments cover. flagged: share of the words
    that lie in segments with flags. unspoken: what the source tells beside speech.

    language: the tag of the file or stream, or what the recogniser detected in the sound (with language_probability).
    text_language: the language that the text is in, with its probability, 0..1; null where the text is too short to
    tell. flags: `language mismatch`, where both are known and plainly differ.
    """

    id: str
    clip: str
    origin: str
    track: str
    language: str | None
    word_times: str
    text: str
    segments: tuple[Segment, ...]
    words: int
    coverage: float
    language_probability: float | None = None
    flagged: float = 0.0
    unspoken: tuple[Unspoken, ...] = ()
    text_language: str | None = None
    text_language_probability: float | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """What a model was asked and what it said, word for word; `prompt_tokens` count the media too.

    finish: why it ended (`stop`, `length`). latency: seconds to its end. notes: what was thinned to fit its context.
    read_tokens: positions of the prompt that the model read for this answer, without beginnings that it had read for
    others; 0 where that is not known. margin: logit of the likeliest token less that of the next, at the token of the
    answer where that is least: what is near 0 may come out otherwise on other hardware; null where that is not known.
    """

    prompt: str
    answer: str
    finish: str
    prompt_tokens: int
    answer_tokens: int
    latency: float
    notes: tuple[str, ...] = ()
    read_tokens: int = 0
    margin: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening:
    """Whether a transcript is worth asking about, as a language model sees it: probabilities of `yes`, 0..1."""

    id: str
    clip: str
    footage: str
    transcript: str
    complete: float
    informative: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """What is seen or heard in a clip, in words. view: `image` (the middle frame), `video`, `sound` or `joint`.

    left_out: views of the same clip whose captions could not be used: why, and what the model said.
    """

    id: str
    clip: str
    footage: str
    view: str
    text: str
    asked: ModelCall
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question about a clip that was made from its frames, its sound and its transcript.

    number: from 0, within the clip; kind: what sort of question (see the prompt of `ask`); options: of a multiple
    choice, whose answer is then a letter, else empty. left_out: why other questions of `asked` are no records.
    departures: how `asked` leaves the prompt's form: `fence`, `markup`, `labels`, `broken lines`, `preamble`,
    `postscript`.
    """

    id: str
    clip: str
    footage: str
    transcript: str
    number: int
    kind: str
    question: str
    answer: str
    options: tuple[str, ...]
    asked: ModelCall
    left_out: tuple[str, ...] = ()
    departures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewAnswer:
    """An answer to a question under one view, beside the reference answer.

    agreement: probability that a model says both mean the same; exact: equal after normalisation; f1: of their words.
    """

    answer: str
    agreement: float
    exact: bool
    f1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """How a question is answered from frames and sound, from each alone, and from neither.

    prompt_tokens, answer_tokens, read_tokens: of the answers under all views together, as in `ModelCall`.
    """

    id: str
    clip: str
    question: str
    both: ViewAnswer
    video: ViewAnswer
    audio: ViewAnswer
    text: ViewAnswer
    prompt_tokens: int = 0
    answer_tokens: int = 0
    read_tokens: int = 0
