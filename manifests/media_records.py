"""Records of sources, videos, clips, and what is seen and heard in them. Import them from `manifests.records`."""

from __future__ import annotations

from dataclasses import dataclass


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
    sha256: of its bytes, where they were read for a comparison; empty where they cannot be read. read_bytes: their
    number, where it was not known before (`bytes` is 0 then): of rows of tables in stores. twin: uri of the source of
    which this one is an exact copy. removed: whether it was removed (`ola remove`); it then stays out of the run.
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
    read_bytes: int = 0


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
