"""Records: one frozen dataclass per noun, from which Arrow schemas are derived (see `manifests.schema`).

Media are referenced by uri, offset and size, never carried. Ids come from content: a video's is the digest of its
bytes, a clip's the video's and its span. A field named like another record in lower case (`video`, `clip`) holds the
id of that record; `manifests.ledger` joins along those names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Fields in which equal runs differ: what a clock said, and what a model had read already for other requests.
TIMINGS = ("seconds", "latency", "read_tokens")
REMOVED = "removed"  # reason of a source that `ola remove` took out
ID_DIGITS = 20  # 80 bits: with a billion videos the chance of one collision is under one in a million


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span of a video that an input list names as a clip. `meta`: the columns in which rows of the video differ."""

    start_ms: int
    end_ms: int
    meta: str = "{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One thing named in the input, before it is known whether it is a video.

    stamp: what the store tells of the file for nothing beside its size (modification time in ns, or ETag); empty where
    it tells nothing. companions: digest of the sidecars' suffixes, sizes and stamps; empty without sidecars. metadata:
    uris of the files beside it that tell its title and the like; described: their digest, likewise.
    sha256: of its bytes, where it was read because another source has the same size. twin: uri of the source of which
    this one is an exact copy. removed: whether it was removed (`ola remove`); it then stays out of the run.
    `meta` is a JSON object: the further columns of an input list (licence, url, title, ...). spans: those that a list
    names as the clips, by their starts. apart: uri of a file with the sound, for a video that has none.
    given: whether the files of `metadata` also tell captions and questions, for `pack.given`.
    """

    id: str
    uri: str
    bytes: int
    sidecars: tuple[str, ...] = ()
    fault: str | None = None
    meta: str = "{}"
    stamp: str = ""
    companions: str = ""
    sha256: str | None = None
    twin: str | None = None
    removed: bool = False
    metadata: tuple[str, ...] = ()
    described: str = ""
    spans: tuple[Span, ...] = ()
    apart: str = ""
    given: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundTrack:
    """One sound track; `index` counts the streams of the file from 0."""

    index: int
    codec: str
    rate: int
    channels: int
    language: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtitleTrack:
    """One text stream; `position` counts the subtitle streams of the file from 0."""

    position: int
    codec: str
    language: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A stretch of a video's clock, in seconds, in which neither picture nor sound was recorded."""

    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One of several recordings in a file, `size` bytes from `offset`. The other fields are those of `Video`, its own.

    start: where it begins on the video's clock, in seconds.
    """

    offset: int
    size: int
    start: float
    duration: float
    picture: int
    codec: str
    coded_width: int
    coded_height: int
    width: int
    height: int
    rotation: int
    sound: int | None
    mirrored: bool = False
    interlaced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A probed video. Times are seconds on its own clock, whose zero is the container's start time.

    `width` and `height` are as displayed: pixels made square, `rotation` (degrees clockwise) applied; where `mirrored`,
    left and right of the coded picture are swapped before it is rotated.
    `transfer`, `primaries`, `matrix` and `range` are what the first frame says of its colours, by ffmpeg's names (HDR:
    `smpte2084`, which is PQ, and `arib-std-b67`, which is HLG; range: `tv` is limited, `pc` full), or `unknown`;
    `mapped`: whether frames are stored in other colours than these, those of BT.709 and of ordinary brightness.
    `interlaced`: whether frames say so or look like it; of those with combs, one moment is stored.
    `picture` and `sound` are the streams that are used, counted from 0 over the file.
    `frames`, `duration` and `variable_rate` are counted from the packets, since headers lie or are silent (mkv).
    `stamp` is that of the source when it was read: whoever reads the file later compares it.
    `pieces` are the recordings of a file whose clock restarts, one after the other on the video's clock; else none. The
    fields of the picture and the sound are then those of the first. `gaps` are part of the duration.
    `spans` are those of the source: where there are any, they are the clips. `apart` is the uri of the file whose sound
    is used; it is empty where the video has its own, or none.
    """

    id: str
    source: str
    uri: str
    bytes: int
    sha256: str
    container: str
    duration: float
    picture: int
    codec: str
    pixel_format: str
    coded_width: int
    coded_height: int
    width: int
    height: int
    rotation: int
    frame_rate: float
    frames: int
    variable_rate: bool
    sounds: tuple[SoundTrack, ...]
    sound: int | None
    subtitles: tuple[SubtitleTrack, ...]
    sidecars: tuple[str, ...]
    meta: str
    stamp: str = ""
    pieces: tuple[Piece, ...] = ()
    gaps: tuple[Gap, ...] = ()
    mirrored: bool = False
    interlaced: bool = False
    transfer: str = "unknown"
    primaries: str = "unknown"
    matrix: str = "unknown"
    range: str = "unknown"
    mapped: bool = False
    spans: tuple[Span, ...] = ()
    apart: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A span of a video, with what one cheap pass over it measured.

    motion: mean absolute difference of neighbouring frames, 0..100 (ffmpeg's mafd);
    frozen, black, silence: share of the span, 0..1; loudness: integrated LUFS (ITU-R BS.1770).
    The last two are None where there is no sound to measure. frames: pictures that begin within the span;
    longest_gap: the longest time without a new one, in seconds; both are None in rows of older versions.
    meta: of the span of an input list that it was made of.
    """

    id: str
    video: str
    start_ms: int
    end_ms: int
    motion: float
    frozen: float
    black: float
    silence: float | None
    loudness: float | None
    frames: int | None = None
    longest_gap: float | None = None
    meta: str = "{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """Bytes that lie in a file: `size` bytes from `offset` of `uri` (relative to the run's root)."""

    uri: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Footage:
    """The frames and sound of one clip, at the pixel size the trainer uses.

    frames: JPEGs end to end, `frame_bytes` long each, shown at `frame_ms` on the clip's own clock.
    sound: a 16 kHz mono PCM16 WAV as long as the clip, or None where the video has no sound track.
    cancelled: share of the sound's energy that is lost where its channels are mixed, 0..1; None for a single channel.
    channel: number of the channel, from 0, that is taken alone since in the mix the channels cancel each other.
    """

    id: str
    clip: str
    width: int
    height: int
    frames: Media
    frame_bytes: tuple[int, ...]
    frame_ms: tuple[int, ...]
    sound: Media | None
    cancelled: float | None = None
    channel: int | None = None


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
    others; 0 where that is not known.
    """

    prompt: str
    answer: str
    finish: str
    prompt_tokens: int
    answer_tokens: int
    latency: float
    notes: tuple[str, ...] = ()
    read_tokens: int = 0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedTask:
    """A row of `shards.parquet`: one task, and where its sample lies in which shard.

    offset, size: the sample's bytes in the tar, headers and padding included. The `*_offset` of a member is where its
    data begin. digest: BLAKE3 of the sample's bytes. tokens: what the task takes in Ola's context (its text is
    estimated).
    """

    id: str
    kind: str
    stage: str
    split: str
    shard: str
    key: str
    clip: str
    video: str
    offset: int
    size: int
    digest: str
    json_offset: int
    json_bytes: int
    picture_offset: int | None
    picture_bytes: tuple[int, ...]
    sound_offset: int | None
    sound_bytes: int | None
    tokens: int


@dataclass(frozen=True, slots=True)
class Drop:
    """A step's answer for an input that a rule keeps out: not an error, but a row with its reason."""

    reason: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one input of a step: rows if `ok`, else the reason it was `dropped` or `failed`."""

    input: str
    status: str
    seconds: float
    records: tuple[object, ...] = ()
    reason: str | None = None
    detail: str | None = None


PLURALS: Mapping[type, str] = {
    Source: "sources",
    Video: "videos",
    Clip: "clips",
    Footage: "footage",
    Transcript: "transcripts",
    Screening: "screenings",
    Caption: "captions",
    Question: "questions",
    Verification: "verdicts",
}
