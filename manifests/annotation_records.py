"""Records of speech in clips and of model output about clips. Import them from `manifests.records`."""

from __future__ import annotations

from dataclasses import dataclass

from manifests.evidence_records import EvidenceSpan
from manifests.judged_records import Claim, Distractor


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A spoken word."""

    text: str
    """The word, with its punctuation."""
    start: float
    """Start, in seconds on the clip's clock."""
    end: float
    """End, in seconds on the clip's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Speech between two times, with scores of how reliable its text is."""

    start: float
    """Start, in seconds on the clip's clock."""
    end: float
    """End, in seconds on the clip's clock."""
    text: str
    """The spoken text."""
    words: tuple[Word, ...]
    """The spoken words."""
    flags: tuple[str, ...] = ()
    """Names of the rules that reject the segment, see `pipeline.media.hallucination`."""
    avg_logprob: float | None = None
    """Mean natural logarithm of the probability of its tokens; null unless a recogniser tells."""
    no_speech_prob: float | None = None
    """Probability of no speech, 0..1; null unless a recogniser tells."""
    compression_ratio: float | None = None
    """Bytes of the text divided by its deflated bytes."""
    repeated: float | None = None
    """Share of words in the longest loop, 0..1."""
    distinct: float | None = None
    """Share of words that are distinct, 0..1; null for fewer than ten words."""
    stock: float | None = None
    """Share of the text in stock phrases and filler words, 0..1."""
    voiced: float | None = None
    """Share of words in spans of voice activity, 0..1; null if not measured."""
    longest_word: int | None = None
    """Length of the longest word, in characters."""
    pace: float | None = None
    """Words per second."""
    speaker: str = ""
    """Name of the speaker; empty unless the source names one."""
    original: str = ""
    """The source's text if it holds more than speech; else empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unspoken:
    """Text of a source that is not speech."""

    start: float
    """Start, in seconds on the clip's clock."""
    end: float
    """End, in seconds on the clip's clock."""
    kind: str
    """`speaker` (a name), `sound`, `song` or `credit`; `invented`: text of a recogniser where nobody speaks."""
    text: str
    """The text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """The transcript of one clip. A clip with sound in which nothing is said has 0 words, no segments and no text."""

    id: str
    """Id of the clip."""
    clip: str
    """Id of the clip."""
    origin: str
    """`sidecar`, `embedded`, `whisperx` or `ola`."""
    track: str
    """The file, stream or model."""
    language: str | None
    """Language tag of the file or stream, or the language that the recogniser detected; null if unknown."""
    word_times: str
    """Origin of the words' times: `given` by the source, `interpolated` over a segment by the length of its words,
    `aligned` to the sound by an alignment model, or `recognised` by the recogniser."""
    text: str
    """The spoken text."""
    segments: tuple[Segment, ...]
    """The segments with words and scores."""
    words: int
    """Number of words."""
    coverage: float
    """Share of the clip that segments cover, 0..1."""
    language_probability: float | None = None
    """Probability of `language`, 0..1, if the recogniser detected it; else null."""
    flagged: float = 0.0
    """Share of the words in segments with flags, 0..1."""
    unspoken: tuple[Unspoken, ...] = ()
    """Text of the source that is not speech."""
    text_language: str | None = None
    """Detected language of the text; null for a text that is too short."""
    text_language_probability: float | None = None
    """Probability of `text_language`, 0..1."""
    flags: tuple[str, ...] = ()
    """`language mismatch` if both languages are known and differ; else empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """The prompt and the answer of one model call, verbatim."""

    prompt: str
    """The prompt."""
    answer: str
    """The answer."""
    finish: str
    """Why the answer ended: `stop` or `length`."""
    prompt_tokens: int
    """Tokens of the prompt, with its media."""
    answer_tokens: int
    """Tokens of the answer."""
    latency: float
    """Time until the end of the answer, in seconds."""
    notes: tuple[str, ...] = ()
    """Media that were thinned to fit the context."""
    read_tokens: int = 0
    """Prompt tokens that were prefilled, without a prefix in the cache; 0 if unknown."""
    margin: float | None = None
    """Smallest difference between the two largest logits, over the tokens of the answer; null if unknown. An answer
    with a margin near 0 may differ on other hardware."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening:
    """A language model's rating of a transcript."""

    id: str
    """Id of the clip."""
    clip: str
    """Id of the clip."""
    footage: str
    """Id of the clip's media."""
    transcript: str
    """Id of the transcript."""
    complete: float | None
    """Probability that the transcript is complete, 0..1; null if nothing is said in the clip."""
    informative: float | None
    """Probability that the transcript is informative, 0..1; null if nothing is said in the clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """A caption of a clip."""

    id: str
    """`<clip>-caption-<view>`."""
    clip: str
    """Id of the clip."""
    footage: str
    """Id of the clip's media."""
    view: str
    """What the model saw: `image` (the middle frame), `video`, `sound` or `joint`."""
    text: str
    """The caption."""
    asked: ModelCall
    """The model call."""
    left_out: tuple[str, ...] = ()
    """Views of this clip whose captions were rejected, each with the reason and the model's answer."""
    made_by: str = ""
    """Software, dtype and device that answered; empty in rows of earlier releases."""
    claims: tuple[Claim, ...] = ()
    """Claims of a merged caption, those that were taken out as well; empty for other captions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question about a clip, generated from its frames, its sound and its transcript."""

    id: str
    """`<clip>-question-<number>`."""
    clip: str
    """Id of the clip."""
    footage: str
    """Id of the clip's media."""
    transcript: str
    """Id of the transcript."""
    number: int
    """Index within the clip, from 0."""
    kind: str
    """Sort of question, see the prompt of `ask`."""
    question: str
    """The question."""
    answer: str
    """The answer; of a multiple choice its letter."""
    options: tuple[str, ...]
    """Options of a multiple choice; else empty."""
    asked: ModelCall
    """The model call."""
    left_out: tuple[str, ...] = ()
    """Why other questions of the same call were rejected."""
    departures: tuple[str, ...] = ()
    """How the answer departs from the form in the prompt: `fence`, `markup`, `labels`, `broken lines`, `preamble`,
    `postscript`."""
    made_by: str = ""
    """Software, dtype and device that answered; empty in rows of earlier releases."""
    distractors: tuple[Distractor, ...] = ()
    """Wrong options that the model proposed from the clip; empty without `ask.distractors=clip`."""
    distractors_asked: ModelCall | None = None
    """The model call for the distractors; null without `ask.distractors=clip`."""
    times: tuple[EvidenceSpan, ...] = ()
    """With `ask.style: evidence`, what the question rests on: a clue that is seen and one that is heard; else empty."""
    note_calls: tuple[ModelCall, ...] = ()
    """With `ask.style: evidence`, the model calls that made the notes of the picture and of the sound; else empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewAnswer:
    """An answer to a question from one view, compared with the reference answer."""

    answer: str
    """The answer."""
    agreement: float
    """Probability by the model that both answers mean the same, 0..1."""
    exact: bool
    """Whether both answers are equal after normalisation."""
    f1: float
    """F1 of the words of both answers, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessAnswer:
    """The answers of one witness to one question under one view."""

    witness: str
    """Name of the witness; `annotator` for the annotator."""
    view: str
    """`both`, `video`, `audio`, `text`, `frame`, `transcript`, `title`, `words`, `swap`, `spans` or `rest`."""
    answers: tuple[str, ...]
    """One answer, or one for each order of the options; with `verify.samples` several, those of an order together."""
    agreements: tuple[float, ...]
    """Probability for each answer that it means the same as the reference, 0..1."""
    agreement: float
    """The agreement that counts: more answers reach it than guessing would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The answers to one question from frames and sound, from each alone, and from neither."""

    id: str
    """Id of the question."""
    clip: str
    """Id of the clip."""
    question: str
    """Id of the question."""
    both: ViewAnswer | None
    """Answer of the annotator from frames and sound; null if a witness made it needless."""
    video: ViewAnswer | None
    """Answer of the annotator from the frames alone; null if a witness made it needless."""
    audio: ViewAnswer | None
    """Answer of the annotator from the sound alone; null if a witness made it needless."""
    text: ViewAnswer | None
    """Answer of the annotator without media; null if a witness made it needless."""
    prompt_tokens: int = 0
    """Tokens of the prompts of all calls."""
    answer_tokens: int = 0
    """Tokens of the answers of all calls."""
    read_tokens: int = 0
    """Prompt tokens of all calls that were prefilled; 0 if unknown."""
    made_by: str = ""
    """Software, dtype and device that answered; empty in rows of earlier releases."""
    witnesses: tuple[WitnessAnswer, ...] = ()
    """All answers in the order in which they were asked for; empty without `verify.witnesses`."""
    veto_witness: str = ""
    """Witness that answered right from too little; empty if none did."""
    veto_view: str = ""
    """View from which `veto_witness` answered; empty if none did."""
    spans: ViewAnswer | None = None
    """Answer of the annotator from the media in the question's `times` alone; null if the question has none."""
    rest: ViewAnswer | None = None
    """Answer of the annotator from the media without those in `times`; null if the question has none, or no media are
    left."""
