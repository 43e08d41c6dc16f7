"""Records of sources, videos, clips and their media. Import them from `manifests.records`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span of a video that an input list names as a clip."""

    start_ms: int
    """Start on the video's clock, in ms."""
    end_ms: int
    """End on the video's clock, in ms."""
    meta: str = "{}"
    """Columns in which the rows of the video differ, as a JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file, tar member or table row that the input names; it may turn out not to be a video."""

    id: str
    """Digest of all facts that the video depends on: a changed source gets a new id."""
    uri: str
    """Path or URI; a member of a container follows `#`: `s3://bucket/00012.tar#12.mp4`."""
    bytes: int
    """Size in bytes; 0 for a table row in a store that was not read yet."""
    sidecars: tuple[str, ...] = ()
    """Uris of the subtitle files beside the source."""
    fault: str | None = None
    """Why the source cannot be used; null if no fault is known."""
    meta: str = "{}"
    """Other columns of the input list (licence, url, title, …), as a JSON object."""
    stamp: str = ""
    """Modification time in ns, or ETag; empty if the store tells neither."""
    companions: str = ""
    """Digest of the sidecars' suffixes, sizes and stamps; empty without sidecars."""
    sha256: str | None = None
    """Digest of the bytes, if they were read for a comparison; empty if they cannot be read."""
    twin: str | None = None
    """Uri of the source of which this source is an exact copy; null for all others."""
    removed: bool = False
    """Whether `ola remove` took the source out of the run."""
    metadata: tuple[str, ...] = ()
    """Uris of the metadata files beside the source (title and the like)."""
    described: str = ""
    """Digest of the metadata files, like `companions`."""
    spans: tuple[Span, ...] = ()
    """Clips that an input list names, in order of their starts."""
    apart: str = ""
    """Uri of a file with the sound, for a video without a sound track; else empty."""
    given: bool = False
    """Whether the files of `metadata` also hold captions and questions, for `pack.given`."""
    read_bytes: int = 0
    """Size in bytes as read, if `bytes` is 0 because the size was unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundTrack:
    """A sound track of a file."""

    index: int
    """Index of the stream in the file, from 0."""
    codec: str
    """Codec, by its name in ffmpeg."""
    rate: int
    """Sampling rate, in Hz."""
    channels: int
    """Number of channels."""
    language: str | None = None
    """Language tag of the stream; null without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtitleTrack:
    """A subtitle stream of a file."""

    position: int
    """Index among the file's subtitle streams, from 0."""
    codec: str
    """Codec, by its name in ffmpeg."""
    language: str | None = None
    """Language tag of the stream; null without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A time span of a video without picture and sound."""

    start: float
    """Start on the video's clock, in seconds."""
    end: float
    """End on the video's clock, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One of several recordings in a file, each with a clock of its own."""

    offset: int
    """Offset of its first byte in the file."""
    size: int
    """Size in bytes."""
    start: float
    """Start on the video's clock, in seconds."""
    duration: float
    """Duration in seconds."""
    picture: int
    """Index of the picture stream that is used, from 0 in the recording."""
    codec: str
    """Codec of the picture, by its name in ffmpeg."""
    coded_width: int
    """Width of the coded picture, in pixels."""
    coded_height: int
    """Height of the coded picture, in pixels."""
    width: int
    """Width as displayed, in pixels; see `Video`."""
    height: int
    """Height as displayed, in pixels; see `Video`."""
    rotation: int
    """Rotation to display the picture upright, in degrees clockwise."""
    sound: int | None
    """Index of the sound stream that is used, from 0 in the recording; null without sound."""
    mirrored: bool = False
    """Whether left and right are swapped before the rotation."""
    interlaced: bool = False
    """Whether frames are tagged or detected as interlaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A probed video. Its clock is 0 at the container's start time.

    With several recordings (`pieces`), the fields of picture and sound describe the first one.
    """

    id: str
    """First 20 hex digits of `sha256`."""
    source: str
    """Id of the source."""
    uri: str
    """Uri of the source."""
    bytes: int
    """Size of the file, in bytes."""
    sha256: str
    """Digest of the file's bytes, in hex."""
    container: str
    """Container format, by libav's name."""
    duration: float
    """Duration in seconds, from the packets, with gaps."""
    picture: int
    """Index of the picture stream that is used, from 0 in the file."""
    codec: str
    """Codec of the picture, by its name in ffmpeg."""
    pixel_format: str
    """Pixel format of the picture, by its name in ffmpeg."""
    coded_width: int
    """Width of the coded picture, in pixels."""
    coded_height: int
    """Height of the coded picture, in pixels."""
    width: int
    """Width as displayed, in pixels: square pixels, after the rotation."""
    height: int
    """Height as displayed, in pixels: square pixels, after the rotation."""
    rotation: int
    """Rotation to display the picture upright, in degrees clockwise."""
    frame_rate: float
    """Mean frames per second, without gaps."""
    frames: int
    """Number of frames, from the packets: headers may be wrong or lack it."""
    variable_rate: bool
    """Whether over 1 % of the intervals between frames differ from the usual one by a quarter."""
    sounds: tuple[SoundTrack, ...]
    """Sound tracks that can be decoded."""
    sound: int | None
    """Index of the sound stream that is used, from 0 in the file; null without sound."""
    subtitles: tuple[SubtitleTrack, ...]
    """Text streams with subtitles."""
    sidecars: tuple[str, ...]
    """Uris of the subtitle files beside the source."""
    meta: str
    """Metadata of the source and of the files beside it, as a JSON object."""
    stamp: str = ""
    """The source's stamp when the video was read; later readers compare it with the file's."""
    pieces: tuple[Piece, ...] = ()
    """Recordings of a file whose clock restarts, in order of time; empty for one recording."""
    gaps: tuple[Gap, ...] = ()
    """Spans without picture and sound, which are part of the duration."""
    mirrored: bool = False
    """Whether left and right of the coded picture are swapped before the rotation."""
    interlaced: bool = False
    """Whether frames are tagged or detected as interlaced; of combed frames, one field is stored."""
    transfer: str = "unknown"
    """Transfer function of the first frame, by its name in ffmpeg; HDR: `smpte2084` (PQ), `arib-std-b67` (HLG)."""
    primaries: str = "unknown"
    """Colour primaries of the first frame, by their name in ffmpeg."""
    matrix: str = "unknown"
    """Colour matrix of the first frame, by its name in ffmpeg."""
    range: str = "unknown"
    """Colour range of the first frame: `tv` (limited), `pc` (full)."""
    mapped: bool = False
    """Whether frames are tone-mapped to BT.709 and standard dynamic range before they are stored."""
    spans: tuple[Span, ...] = ()
    """Spans of the source; if there are any, they are the clips."""
    apart: str = ""
    """Uri of a separate sound file; empty without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A span of a video, with measures from one fast pass over the file."""

    id: str
    """Id of the video, then the span: `<video>-<start_ms>-<end_ms>`, with nine digits each."""
    video: str
    """Id of the video."""
    start_ms: int
    """Start on the video's clock, in ms."""
    end_ms: int
    """End on the video's clock, in ms."""
    motion: float
    """Mean absolute difference of neighbouring frames, 0..100 (ffmpeg's mafd)."""
    frozen: float
    """Share of the span without motion, 0..1."""
    black: float
    """Share of the span that is black, 0..1."""
    silence: float | None
    """Share of the span that is silent, 0..1; null without sound."""
    loudness: float | None
    """Integrated loudness in LUFS (ITU-R BS.1770); null without sound, or in silence."""
    frames: int | None = None
    """Number of frames that start within the span; null in rows of older versions."""
    longest_gap: float | None = None
    """Longest time without a new frame, in seconds; null in rows of older versions."""
    meta: str = "{}"
    """Metadata of the input list's span, as a JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A byte range of a file below the root of the run."""

    uri: str
    """Path of the file, relative to the root."""
    offset: int
    """Offset of the first byte."""
    size: int
    """Size in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipMedia:
    """The stored frames and sound of one clip, at the pixel size that the trainer uses."""

    id: str
    """Id of the clip."""
    clip: str
    """Id of the clip."""
    width: int
    """Width of the frames, in pixels."""
    height: int
    """Height of the frames, in pixels."""
    frames: Media
    """Concatenated JPEGs of the frames."""
    frame_bytes: tuple[int, ...]
    """Size of each JPEG, in bytes."""
    frame_ms: tuple[int, ...]
    """Time of each frame on the clip's clock, in ms."""
    sound: Media | None
    """WAV of 16 kHz mono PCM16, as long as the clip; null if the video has no sound track."""
    cancelled: float | None = None
    """Share of the sound's energy that is lost by mixing the channels, 0..1; null for a single channel."""
    channel: int | None = None
    """Index of the only channel used, from 0, if the channels cancel each other in the mix; else null."""
