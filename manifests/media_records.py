"""Records of sources, videos, clips and their media. Import them from `manifests.records`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span of a video that an input list names as a clip. meta: the columns in which rows of the video differ."""

    start_ms: int
    end_ms: int
    meta: str = "{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file, tar member or table row that the input names; it may turn out not to be a video.

    stamp: the file's modification time in ns, or its ETag; empty if the store tells neither. companions: digest of the
    sidecars' suffixes, sizes and stamps; empty without sidecars. metadata: uris of the metadata files beside the source
    (title and the like). described: digest of these files, like `companions`. sha256: digest of the bytes, if they were
    read for a comparison; empty if they cannot be read. read_bytes: number of the bytes read, if it was unknown before
    (`bytes` is 0 then), as for table rows in stores. twin: uri of the source of which this source is an exact copy.
    removed: whether `ola remove` took the source out of the run. meta: a JSON object of the other columns of an input
    list (licence, url, title, ...). spans: the clips that a list names, by start. apart: uri of a file with the sound,
    for a video without a sound track. given: whether the files of `metadata` also hold captions and questions, for
    `pack.given`.
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
    read_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundTrack:
    """A sound track. index: of the stream in the file, from 0."""

    index: int
    codec: str
    rate: int
    channels: int
    language: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtitleTrack:
    """A subtitle stream. position: among the file's subtitle streams, from 0."""

    position: int
    codec: str
    language: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A time span of a video, in seconds, without picture and sound."""

    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One of several recordings in a file: `size` bytes from `offset`. Fields that `Video` has, too, mean the same.

    start: on the video's clock, in seconds.
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
    """A probed video. Times are seconds from the container's start time.

    `width` and `height` are as displayed: with square pixels and `rotation` (degrees clockwise) applied. If `mirrored`,
    left and right of the coded picture are swapped before the rotation. `transfer`, `primaries`, `matrix` and `range`
    are the colour tags of the first frame, by ffmpeg's names (HDR: `smpte2084`, which is PQ, and `arib-std-b67`, which
    is HLG; range: `tv` is limited, `pc` full), or `unknown`. `mapped`: whether frames are tone-mapped to BT.709 and
    standard dynamic range before they are stored. `interlaced`: whether frames are tagged or detected as interlaced; of
    combed frames, one field is stored. `picture` and `sound` are the indices of the streams that are used, from 0 over
    the file. `frames`, `duration` and `variable_rate` are counted from the packets, since headers may be wrong or lack
    them (mkv). `stamp` is the source's stamp when it was read; later readers compare it with the file's. `pieces` are
    the recordings of a file whose clock restarts, in order on the video's clock; else none. The fields of the picture
    and the sound are then those of the first recording. `gaps` are part of the duration. `spans` are those of the
    source: if there are any, they are the clips. `apart` is the uri of a separate sound file; empty if the video has
    its own sound, or none.
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
    """A span of a video, with measures from one fast pass over the file.

    motion: mean absolute difference of neighbouring frames, 0..100 (ffmpeg's mafd). frozen, black, silence: share of
    the span, 0..1. loudness: integrated LUFS (ITU-R BS.1770). silence and loudness are None without sound. frames:
    number of frames that start within the span. longest_gap: longest time without a new frame, in seconds. frames and
    longest_gap are None in rows of older versions. meta: of the input list's span, if the clip was made from one.
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
    """A byte range of a file: `size` bytes from `offset` of `uri` (relative to the run's root)."""

    uri: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipMedia:
    """The stored frames and sound of one clip, at the pixel size that the trainer uses.

    frames: concatenated JPEGs with the lengths `frame_bytes` and the times `frame_ms` on the clip's clock.
    sound: a 16 kHz mono PCM16 WAV as long as the clip, or None if the video has no sound track.
    cancelled: share of the sound's energy that mixing the channels loses, 0..1; None for a single channel.
    channel: index of the only channel used, from 0, if the channels cancel each other in the mix.
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
