"""Records of speech in clips and of model output about clips. Import them from `manifests.records`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A spoken word with its start and end, in seconds on the clip's clock."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Speech between two times, in seconds on the clip's clock.

    The scores tell how reliable the text is. `flags` name the rules that reject it (see
    `pipeline.media.hallucination`). Only recognisers give avg_logprob (natural logarithm, mean over the tokens) and
    no_speech_prob (0..1). Every source has compression_ratio (bytes of text / bytes of deflated text), repeated,
    distinct, stock and voiced (shares, 0..1), longest_word (characters) and pace (words per second).

    text, words: speech only. original: the source's text, if it holds more than speech, else empty. speaker: name of
    the speaker, if the source names one.
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
    """Subtitle text that is not speech, between two times in seconds on the clip's clock.

    kind: `speaker` (a name), `sound`, `song` or `credit`.
    """

    start: float
    end: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """The transcript of one clip.

    origin: `sidecar`, `embedded`, `whisperx` or `ola`. track: the file, stream or model. word_times: `given` by the
    source, `interpolated` over a segment by the length of its words, `aligned` to the sound by an alignment model, or
    `recognised` (the recogniser's own). coverage: share of the clip that segments cover. flagged: share of the words
    that lie in segments with flags. unspoken: subtitle text that is not speech.

    language: the tag of the file or stream, or the language that the recogniser detected in the sound (with
    language_probability). text_language: the language of the text, with its probability, 0..1; null if the text is too
    short to tell. flags: `language mismatch`, if both languages are known and differ.
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
    """The prompt and the answer of one model call, verbatim; `prompt_tokens` include the media.

    finish: why the answer ended (`stop`, `length`). latency: seconds to its end. notes: which media were thinned to fit
    the context. read_tokens: prompt positions that were prefilled for this answer, without a prefix that was already in
    the cache; 0 if unknown. margin: smallest difference, over the answer's tokens, between the logits of the two most
    likely tokens; an answer with a margin near 0 may differ on other hardware; null if unknown.
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
    """A language model's rating of a transcript: probabilities (0..1) that it is complete and informative."""

    id: str
    clip: str
    footage: str
    transcript: str
    complete: float
    informative: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """A caption of a clip. view: `image` (the middle frame), `video`, `sound` or `joint`.

    left_out: views of the same clip whose captions were rejected: the reason and the model's answer.
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
    """A question about a clip, generated from its frames, its sound and its transcript.

    number: index within the clip, from 0. kind: the sort of question (see the prompt of `ask`). options: of a multiple
    choice, whose answer is a letter; else empty. left_out: why other questions of the call `asked` were rejected.
    departures: how the answer of `asked` departs from the prompt's form: `fence`, `markup`, `labels`, `broken lines`,
    `preamble`, `postscript`.
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
    """An answer to a question from one view, compared with the reference answer.

    agreement: a model's probability that both mean the same. exact: equal after normalisation. f1: word overlap.
    """

    answer: str
    agreement: float
    exact: bool
    f1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The answers to one question from frames and sound, from each alone, and from neither.

    prompt_tokens, answer_tokens, read_tokens: sums over the calls of all views, as in `ModelCall`.
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
