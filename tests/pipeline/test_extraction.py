"""Extracted frames of small videos of every kind: right frames, right times, upright, with both readers."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from manifests.records import Video
from pipeline.media import decord_reader
from pipeline.media.audio_extraction import ClipRequest, ExtractedClip
from pipeline.media.demux import start_of
from pipeline.media.extraction import build_index, choose_stamps, extract_clips, read_frames
from pipeline.media.packet_index import PictureIndex
from pipeline.media.render import FrameRenderer
from pipeline.media.safety import ffmpeg_exe, open_container
from tests.media import X264, made, number_of, numbered, pixels, video_of

FRAMES = 100
H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "12", "-preset", "medium", "-g", "25", "-bf", "3")
OPEN = (*H264, "-x264-params", "open-gop=1:b-pyramid=normal")
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-crf", "12", "-x265-params")
HEVC_OPEN = (*HEVC, "log-level=none:keyint=25:open-gop=1:bframes=3")
VP9 = ("-c:v", "libvpx-vp9", "-crf", "20", "-b:v", "0", "-deadline", "realtime", "-cpu-used", "8")
AV1 = ("-c:v", "libsvtav1", "-preset", "12", "-crf", "20")
MPEG4 = ("-c:v", "mpeg4", "-q:v", "2", "-bf", "2", "-g", "25")
MPEG2 = ("-c:v", "mpeg2video", "-q:v", "2", "-bf", "2", "-g", "12")
SLOWING = ",settb=1/90000,setpts='if(lt(N,50),N*3600,180000+(N-50)*9000)'"  # 25 frames a second, then 10

KINDS: dict[str, Callable[[], Path]] = {
    "h264": lambda: numbered("plain.mp4", FRAMES),
    "h264 with b-frames": lambda: numbered("bframes.mp4", FRAMES, codec=H264),
    "h264 with open groups": lambda: numbered("open.mp4", FRAMES, codec=OPEN),
    "mkv": lambda: numbered("h264.mkv", FRAMES, codec=H264),
    "hevc with open groups": lambda: numbered("hevc.mp4", FRAMES, codec=HEVC_OPEN),
    "vp9": lambda: numbered("vp9.webm", FRAMES, "-c:a", "libopus", codec=VP9),
    "av1": lambda: numbered("av1.mp4", FRAMES, codec=AV1),
    "mpeg4 in avi": lambda: numbered("mpeg4.avi", FRAMES, "-c:a", "libmp3lame", codec=MPEG4),
    "h264 in avi": lambda: numbered("h264.avi", FRAMES, "-c:a", "libmp3lame", codec=H264),
    "mpeg-ts": lambda: numbered("late.ts", FRAMES, codec=H264),
    "mpeg-ps": lambda: numbered("mpeg2.mpg", FRAMES, "-c:a", "mp2", codec=MPEG2),
    "flv": lambda: numbered("h264.flv", FRAMES, "-ar", "44100", codec=H264),
    "raw h264": lambda: numbered("raw.h264", FRAMES, sound=False, codec=H264),
    "mjpeg": lambda: numbered("mjpeg.mov", FRAMES, sound=False, codec=("-c:v", "mjpeg", "-q:v", "3")),
    "variable rate": lambda: numbered(
        "vfr.mp4",
        FRAMES,
        *("-fps_mode", "passthrough", "-enc_time_base", "1/90000"),
        sound=False,
        codec=H264,
        filters=SLOWING,
    ),
    "trimmed without encoding": lambda: made(
        "trim.mp4", "-ss", "1.3", "-i", numbered("bframes.mp4", FRAMES, codec=H264), "-c", "copy"
    ),
}
DECORDS = {"h264", "h264 with b-frames", "h264 with open groups", "mkv", "vp9", "mjpeg", "variable rate"}


def everything(path: Path) -> list[Any]:
    """All frames by PyAV alone, in the order they are shown."""
    with open_container(str(path)) as container:
        return list(container.decode(container.streams.video[0]))


def rgb(frame: Any) -> NDArray[Any]:
    return np.asarray(frame.to_ndarray(format="rgb24"))


def requests_of(video: Video) -> list[ClipRequest]:
    """Three cuts over the whole video; times that fall on frames, between them, and near the ends."""
    end = round(video.duration * 1000)
    return [
        ClipRequest(0, 1000, (0.1, 0.35, 0.5, 0.77)),
        ClipRequest(1000, 2000, (1.0, 1.11, 1.9)),
        ClipRequest(2000, end, (2.02, 2.5, end / 1000 - 0.1)),
    ]


def renderer_of(video: Video) -> FrameRenderer:
    return FrameRenderer.for_video(video, 90)


def wanted(index: PictureIndex, requests: Sequence[ClipRequest], start: float) -> list[int]:
    return [stamp for request in requests for stamp in choose_stamps(index, request, start)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_frame_is_the_one_shown_at_its_time(kind: str) -> None:
    path = KINDS[kind]()
    video = video_of(path)
    first = number_of(rgb(everything(path)[0]))
    requests = requests_of(video)
    begins = begins_of(path, video)
    assert video.frames == len(begins) == (FRAMES - first if kind.startswith("trimmed") else FRAMES)
    for request, clip in zip(requests, extract_clips(str(path), video, requests, renderer_of(video)), strict=True):
        numbers = [number_of(pixels(jpeg)) - first for _, jpeg in clip.frames]
        assert [ms for ms, _ in clip.frames] == [round(begins[n] * 1000) - request.start_ms for n in numbers]
        assert numbers == [shown_at(time, begins, request.start_ms / 1000) for time in request.times]


def shown_at(time: float, begins: Sequence[float], start: float) -> int:
    """Which frame is on screen at a time; a frame that begins before the clip is not its own."""
    on_screen = sum(begin <= time + 1e-6 for begin in begins) - 1
    return max(on_screen, sum(begin < start - 1e-6 for begin in begins))


def begins_of(path: Path, video: Video) -> list[float]:
    """When the n-th frame is shown, on the video's clock."""
    with open_container(str(path)) as container:
        start = start_of(container)
    index = build_index(str(path), video.picture)
    return [float(stamp) * index.tick - start for stamp in index.shown]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("h264 in avi", "raw h264")])
def test_selective_decoding_gives_the_pixels_of_full_decoding(kind: str) -> None:
    path = KINDS[kind]()
    video = video_of(path)
    index = build_index(str(path), video.picture)
    with open_container(str(path)) as container:
        stamps = wanted(index, requests_of(video), start_of(container))
    full = {frame.pts: frame for frame in everything(path)}
    found = list(read_frames(str(path), video.picture, index, stamps))
    assert [stamp for stamp, _ in found] == stamps
    for stamp, frame in found:
        np.testing.assert_array_equal(rgb(frame), rgb(full[stamp]))


@pytest.mark.parametrize("kind", [*KINDS, "rotated"])
def test_decord_gives_the_same_frames_and_sound(kind: str) -> None:
    path = turned("-90") if kind == "rotated" else KINDS[kind]()
    video = video_of(path)
    requests = [ClipRequest(0, 900, (0.2, 0.5))] if kind == "rotated" else requests_of(video)
    index = build_index(str(path), video.picture)
    assert (decord_reader.open_reader(str(path), video, index) is not None) == (kind in DECORDS | {"rotated"})
    ours = list(extract_clips(str(path), video, requests, renderer_of(video)))
    theirs = list(decord_reader.extract_clips(str(path), video, requests, renderer_of(video)))
    assert [[ms for ms, _ in clip.frames] for clip in ours] == [[ms for ms, _ in clip.frames] for clip in theirs]
    assert [clip.pcm for clip in ours] == [clip.pcm for clip in theirs]
    for one, other in zip(jpegs_of(ours), jpegs_of(theirs), strict=True):
        assert np.abs(one.astype(int) - other).mean() < 3


def test_decord_is_not_asked_for_the_last_frames_of_a_file_with_b_frames() -> None:
    path = KINDS["h264 with open groups"]()
    video = video_of(path)
    (clip,) = decord_reader.extract_clips(str(path), video, [ClipRequest(3000, 4000, (3.01, 3.97))], renderer_of(video))
    assert [number_of(pixels(jpeg)) for _, jpeg in clip.frames] == [75, 99]


def jpegs_of(made_of: Sequence[ExtractedClip]) -> list[NDArray[Any]]:
    return [pixels(jpeg) for clip in made_of for _, jpeg in clip.frames]


CORNERS = (
    "color=black:s={size}:r=25:d=1,format=rgb24,geq=r='if(lt(X,W/2)*lt(Y,H/2),255,0)'"
    ":g='if(gte(X,W/2)*lt(Y,H/2),255,0)':b='if(lt(X,W/2)*gte(Y,H/2),255,0)'"
)
RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)


def corners(name: str = "corners.mp4", *options: str, size: str = "160x120", filters: str = "") -> Path:
    """Red, green, blue and black quarters, in reading order."""
    codec = options or X264
    return made(name, "-f", "lavfi", "-i", CORNERS.format(size=size) + filters, *codec)


def turned(degrees: str, source: Path | None = None, name: str = "turned.mp4") -> Path:
    return made(name, "-display_rotation", degrees, "-i", source or corners(), "-c", "copy")


def quarters(picture: NDArray[Any]) -> list[tuple[int, ...]]:
    """Colours in the middles of the quarters, in reading order, rounded to 0 or 255."""
    height, width = picture.shape[:2]
    middles = [(y, x) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    return [tuple(255 * int(value > 127) for value in picture[place]) for place in middles]


def one_picture(path: Path) -> tuple[Video, NDArray[Any]]:
    video = video_of(path)
    (clip,) = extract_clips(str(path), video, [ClipRequest(0, 900, (0.5,))], renderer_of(video))
    return video, pixels(clip.frames[0][1])


def as_ffmpeg_shows(path: Path, width: int, height: int) -> NDArray[Any]:
    command = [ffmpeg_exe(), "-v", "error", "-ss", "0.5", "-i", str(path), "-frames:v", "1"]
    command += ["-vf", f"scale={width}:{height}:flags=bicubic,setsar=1", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, dtype=np.uint8).reshape(height, width, 3)


@pytest.mark.parametrize(
    ("degrees", "rotation", "expected"),
    [
        ("0", 0, [RED, GREEN, BLUE, BLACK]),
        ("-90", 90, [BLUE, RED, BLACK, GREEN]),
        ("180", 180, [BLACK, BLUE, GREEN, RED]),
        ("90", 270, [GREEN, BLACK, RED, BLUE]),
    ],
)
@pytest.mark.parametrize("name", ["turned.mp4", "turned.mkv"])
def test_pictures_are_upright(degrees: str, rotation: int, expected: list[tuple[int, ...]], name: str) -> None:
    path = turned(degrees, name=name)
    video, picture = one_picture(path)
    assert video.rotation == rotation
    assert (video.width, video.height) == ((120, 160) if rotation in (90, 270) else (160, 120))
    assert quarters(picture) == expected
    height, width = picture.shape[:2]
    assert np.abs(picture.astype(int) - as_ffmpeg_shows(path, width, height)).mean() < 2


FFV1 = ("-c:v", "ffv1", "-pix_fmt")
LOOKS: dict[str, tuple[Callable[[], Path], tuple[int, int]]] = {
    "wide pixels": (lambda: corners("sar.mp4", filters=",setsar=16/9"), (284, 120)),
    "wide pixels, turned": (lambda: turned("90", corners("sar.mp4", filters=",setsar=16/9")), (120, 284)),
    "odd size": (lambda: corners("odd.mkv", *FFV1, "yuv444p", size="161x121"), (161, 121)),
    "rgb": (lambda: corners("rgb.mkv", *FFV1, "bgr0"), (160, 120)),
    "ten bits": (lambda: corners("ten.mp4", *HEVC, "log-level=none", "-pix_fmt", "yuv420p10le"), (160, 120)),
    "full range": (
        lambda: corners("full.mp4", *X264, "-color_range", "pc", filters=",scale=out_range=pc"),
        (160, 120),
    ),
    "bt.709": (
        lambda: corners("hd.mp4", *X264, "-colorspace", "bt709", filters=",scale=out_color_matrix=bt709"),
        (160, 120),
    ),
}


@pytest.mark.parametrize("look", LOOKS)
def test_pictures_look_as_a_player_shows_them(look: str) -> None:
    make, size = LOOKS[look]
    video, picture = one_picture(make())
    assert (video.width, video.height) == size
    height, width = picture.shape[:2]
    assert width % 32 == height % 32 == 0
    assert np.abs(picture.astype(int) - as_ffmpeg_shows(make(), width, height)).mean() < 2


def test_a_size_that_changes_midway_is_brought_to_one() -> None:
    small, large = (numbered(f"{size}.ts", 50, size=size, sound=False) for size in ("160x120", "320x240"))
    first = made("first.ts", "-i", small, "-c", "copy", "-muxdelay", "0")
    then = made("then.ts", "-i", large, "-c", "copy", "-muxdelay", "0", "-output_ts_offset", "2")
    path = first.with_name("joined.ts")
    path.write_bytes(first.read_bytes() + then.read_bytes())
    video = video_of(path)
    taken = list(
        extract_clips(
            str(path),
            video,
            [ClipRequest(0, 2000, (0.5, 1.5)), ClipRequest(2000, 4000, (2.5, 3.5))],
            renderer_of(video),
        )
    )
    assert {picture.shape for picture in jpegs_of(taken)} == {(224, 320, 3)}
    assert [number_of(picture) for picture in jpegs_of(taken)] == pytest.approx([12, 37, 12, 37], abs=1)


def test_a_clip_taken_alone_is_the_clip_taken_with_others() -> None:
    path = KINDS["h264 with b-frames"]()
    video = video_of(path)
    together = list(extract_clips(str(path), video, requests_of(video), renderer_of(video)))
    alone = [
        next(iter(extract_clips(str(path), video, [request], renderer_of(video)))) for request in requests_of(video)
    ]
    assert alone == together


def damaged() -> Path:
    """A video with six frames overwritten in the middle."""
    path = KINDS["h264 with b-frames"]()
    data, dice = bytearray(path.read_bytes()), random.Random(3)
    with open_container(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(container.streams.video[0]) if p.size]
    for number in (30, 31, 32, 40, 55, 60):
        start, size = places[number]
        for n in range(start + 10, start + size, 3):
            data[n] = dice.randrange(256)
    other = path.with_name("damaged.mp4")
    other.write_bytes(data)
    return other


@pytest.mark.parametrize("reader", [extract_clips, decord_reader.extract_clips])
def test_damage_costs_the_frames_up_to_the_next_key_frame_and_lets_no_wrong_one_through(
    reader: Callable[..., Iterator[ExtractedClip]],
) -> None:
    path = damaged()
    video = video_of(path)
    every = ClipRequest(0, 4000, tuple(n / 25 + 0.01 for n in range(FRAMES)))
    (clip,) = reader(str(path), video, [every], renderer_of(video))
    assert 60 < len(clip.frames) < FRAMES
    assert [number_of(pixels(jpeg)) for _, jpeg in clip.frames] == [round(ms / 40) for ms, _ in clip.frames]
