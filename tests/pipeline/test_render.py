"""Rendering of difficult files: HDR and wide colours, mirrors, fields, and several picture streams.

Each file is made from pictures that are known, by formulas of its own; what is stored is compared with them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from manifests.records import Video
from pipeline.media import decord_reader
from pipeline.media.audio_extraction import ClipRequest
from pipeline.media.extraction import extract_clips
from pipeline.media.interlace import has_combs
from pipeline.media.render import FrameRenderer
from pipeline.media.safety import ffmpeg_exe, open_container
from pipeline.media.scan import scan_video
from pipeline.media.user_media import load_video
from tests.media import X264, made, pixels, store, video_of

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "cases"
READERS = (extract_clips, decord_reader.extract_clips)
Picture = NDArray[Any]

PATCHES = ((192, 32, 32), (32, 192, 32), (32, 32, 192), (200, 150, 120), (128, 128, 128), (255, 255, 255))
SIDE = 64  # pixels of a patch


def stored(path: Path, times: Sequence[float] = (0.1,), reader: Any = extract_clips) -> tuple[Video, list[Picture]]:
    """What extract makes of a file: its frames at these times."""
    video = video_of(path)
    request = ClipRequest(0, round(video.duration * 1000), tuple(times))
    (clip,) = reader(str(path), video, [request], FrameRenderer.for_video(video, 95))
    return video, [pixels(jpeg) for _, jpeg in clip.frames]


def patches_of(picture: Picture) -> list[Picture]:
    """The colour in the middle of each patch."""
    height, width = picture.shape[0], picture.shape[1] // len(PATCHES)
    middles = [round((n + 0.5) * width) for n in range(len(PATCHES))]
    middle = slice(height // 3, 2 * height // 3)
    return [picture[middle, x - 6 : x + 6].reshape(-1, 3).mean(axis=0) for x in middles]


def strip(colours: Any) -> Picture:
    """Patches side by side."""
    return np.repeat(np.repeat(np.array(colours)[None], SIDE, axis=1), SIDE, axis=0)


@cache
def raw(name: str, data: bytes) -> Path:
    """A file of raw pictures."""
    file = store() / name
    file.write_bytes(data)
    return file


def encoded(name: str, picture: Picture, pixel_format: str, *options: str) -> Path:
    """A video of 6 equal pictures; `picture` is raw in `pixel_format`."""
    size = f"{len(PATCHES) * SIDE}x{SIDE}"
    form = ("-f", "rawvideo", "-pix_fmt", pixel_format, "-s", size, "-r", "10")
    return made(name, *form, "-stream_loop", "5", "-i", raw(f"{name}.raw", picture.tobytes()), *options)


# Colours


def ordinary(name: str, *options: str, scale: str = "") -> Path:
    """The patches in one of the codings of SDR."""
    filters = ("-vf", f"scale={scale}:flags=accurate_rnd+full_chroma_int") if scale else ()
    return encoded(name, strip(PATCHES).astype(np.uint8), "rgb24", *filters, *options)


HD = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
SD = ("-colorspace", "smpte170m", "-color_primaries", "smpte170m", "-color_trc", "smpte170m")
TEN = ("-c:v", "libx264", "-crf", "4", "-pix_fmt", "yuv444p10le")
SDR: dict[str, tuple[tuple[str, ...], str, tuple[str, str]]] = {
    "bt.709": ((*X264, "-crf", "4", *HD, "-color_range", "tv"), "out_color_matrix=bt709:out_range=tv", ("bt709", "tv")),
    "bt.601": (
        (*X264, "-crf", "4", *SD, "-color_range", "tv"),
        "out_color_matrix=smpte170m:out_range=tv",
        ("smpte170m", "tv"),
    ),
    "full": ((*X264, "-crf", "4", *HD, "-color_range", "pc"), "out_color_matrix=bt709:out_range=pc", ("bt709", "pc")),
    "rgb": (("-c:v", "libx264rgb", "-crf", "4"), "", ("gbr", "pc")),
    "ten bits": ((*TEN, *HD, "-color_range", "tv"), "out_color_matrix=bt709:out_range=tv", ("bt709", "tv")),
}


@pytest.mark.parametrize("kind", SDR)
def test_ordinary_colours_stay_as_they_are(kind: str) -> None:
    options, scale, (matrix, levels) = SDR[kind]
    path = ordinary(f"{kind}.mp4", *options, scale=scale)
    video = video_of(path)
    with open_container(str(path)) as container:
        picture = FrameRenderer.for_video(video, 95).pixels(next(container.decode(container.streams.video[0])))
    np.testing.assert_allclose(patches_of(picture), PATCHES, atol=3)
    assert (video.matrix, video.range, video.mapped) == (matrix, levels, False)


TO_BT2020 = np.array(  # ITU-R BT.2087
    [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
)
LUMA = np.array([0.2627, 0.6780, 0.0593])
WHITE = 203.0  # cd/m²


def light_of(colours: Any) -> Picture:
    """sRGB as light, 1 at white, in the primaries of BT.2020."""
    signal = np.array(colours) / 255
    light = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    return np.asarray(light @ TO_BT2020.T)


def pq(light: Picture) -> Picture:
    """BT.2100's inverse EOTF of PQ, of light in units of white."""
    part = (light * WHITE / 10000) ** 0.1593017578125
    return np.asarray(((0.8359375 + 18.8515625 * part) / (1 + 18.6875 * part)) ** 78.84375)


def hlg(light: Picture) -> Picture:
    """BT.2100's inverse OOTF at a peak of 1000 cd/m², and the OETF of HLG."""
    shown = light * WHITE / 1000
    scene = shown * np.maximum(shown @ LUMA, 1e-6)[..., None] ** (1 / 1.2 - 1)
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-6)) + 0.55991073
    return np.asarray(np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright))


def hlg_of_scene(light: Picture) -> Picture:
    """The OETF of HLG on the light itself, as tools do that leave the OOTF out."""
    scene = light * 0.265
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-6)) + 0.55991073
    return np.asarray(np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright))


def coded(signal: Picture) -> Picture:
    """R'G'B' as planes of BT.2020's Y'CbCr, 10 bits of limited range, 4:4:4."""
    luma = signal @ LUMA
    blue, red = (signal[..., 2] - luma) / 1.8814, (signal[..., 0] - luma) / 1.4746
    planes = np.stack([64 + 876 * luma, 512 + 896 * blue, 512 + 896 * red])
    return np.asarray(np.rint(planes).astype("<u2"))


X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-crf", "8", "-x265-params", "log-level=none", "-tag:v", "hvc1")
HDR = {
    "pq": (pq, "smpte2084", (*X265, "-pix_fmt", "yuv420p10le")),
    "hlg": (hlg, "arib-std-b67", (*X265, "-pix_fmt", "yuv420p10le")),
    "hlg of the scene": (hlg_of_scene, "arib-std-b67", (*X265, "-pix_fmt", "yuv420p10le")),
    "hlg, x264, 4:4:4": (hlg, "arib-std-b67", TEN),
}


def bright(kind: str, light: Picture, name: str = "patches") -> Path:
    """Light in the primaries of BT.2020 as one of the codings of HDR."""
    curve, transfer, codec = HDR[kind]
    return encoded(f"{kind} {name}.mp4", coded(strip(curve(light))), "yuv444p10le", *codec, *tagged(transfer))


def tagged(transfer: str) -> tuple[str, ...]:
    """Say that pictures are BT.2020's with this transfer."""
    return ("-vf", f"setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc={transfer}:range=tv")


@pytest.mark.parametrize("kind", HDR)
def test_hdr_is_stored_in_the_colours_of_an_ordinary_screen(kind: str) -> None:
    path = bright(kind, light_of(PATCHES))
    video, (picture,) = stored(path)
    np.testing.assert_allclose(patches_of(picture), PATCHES, atol=35)
    expected = (HDR[kind][1], "bt2020", "bt2020nc", "tv", True)
    assert (video.transfer, video.primaries, video.matrix, video.range, video.mapped) == expected


def test_all_readers_of_hdr_agree() -> None:
    path = bright("pq", light_of(PATCHES))
    (ours,), (theirs,) = (stored(path, reader=reader)[1] for reader in READERS)
    np.testing.assert_array_equal(ours, theirs)
    seen, _ = load_video(str(path), 1)
    np.testing.assert_allclose(patches_of(np.asarray(seen[0])), patches_of(ours), atol=3)


@pytest.mark.parametrize("kind", ["pq", "hlg"])
def test_what_is_brighter_than_white_stays_apart_from_it_and_grey(kind: str) -> None:
    greys = np.array([0.05, 0.3, 1.0, 1.6, 2.5, 4.0])[:, None] * np.ones(3)  # 4 x 203 cd/m²: HLG ends at 1000
    _, (picture,) = stored(bright(kind, greys, "greys"))
    found = np.array(patches_of(picture))
    assert (np.ptp(found, axis=1) < 4).all()
    assert (np.diff(found.mean(axis=1)) > 1).all()
    assert found[-1].mean() <= 255


def test_wide_colours_of_sdr_are_narrowed() -> None:
    light = light_of(PATCHES)
    signal = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    video, (picture,) = stored(encoded("wide.mp4", coded(strip(signal)), "yuv444p10le", *TEN, *tagged("bt2020-10")))
    np.testing.assert_allclose(patches_of(picture), PATCHES, atol=4)
    assert (video.transfer, video.primaries, video.mapped) == ("bt2020-10", "bt2020", True)


# Mirrors

QUARTERS = (
    "color=black:s=160x120:r=10,drawbox=0:0:80:60:red:fill,drawbox=80:0:80:60:lime:fill,drawbox=0:60:80:60:blue:fill"
)


def player(path: Path, width: int, height: int) -> Picture:
    """The first frame as ffmpeg shows it, which heeds the display matrix."""
    command = [ffmpeg_exe(), "-v", "error", "-i", str(path), "-frames:v", "1", "-vf", f"scale={width}:{height}"]
    done = subprocess.run([*command, "-pix_fmt", "rgb24", "-f", "rawvideo", "-"], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(height, width, 3)


@pytest.mark.parametrize(("degrees", "mirror"), [*product((0, 90, 180, 270), ("", "-display_hflip", "-display_vflip"))])
def test_a_picture_is_stored_as_a_player_shows_it(degrees: int, mirror: str) -> None:
    plain = made("quarters.mp4", "-f", "lavfi", "-t", "0.5", "-i", QUARTERS, *X264)
    options = ("-display_rotation", str(degrees), *((mirror,) if mirror else ()))
    path = made(f"{degrees}{mirror}.mp4", *options, "-i", plain, "-c", "copy")
    for reader in READERS:
        video, (picture,) = stored(path, (0.0,), reader)
        assert video.mirrored == bool(mirror)
        assert (video.width, video.height) == ((120, 160) if degrees % 180 else (160, 120))
        height, width = picture.shape[:2]
        assert np.abs(picture.astype(int) - player(path, width, height)).mean() < 4


# Fields

BAR = 60  # pixels
MOVES = 12  # pixels from one field to the next
MOVING = f"color=black:s=720x576:r=50,format=yuv420p[b];color=white:s={BAR}x576:r=50[w];[b][w]overlay=x='{MOVES}*n'"
MPEG2 = ("-c:v", "mpeg2video", "-q:v", "2", "-pix_fmt", "yuv420p")
FIELDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "top first": ("tinterlace=interleave_top", "fields.mpg", (*MPEG2, "-flags", "+ildct+ilme")),
    "bottom first": ("tinterlace=interleave_bottom", "fields.mpg", (*MPEG2, "-flags", "+ildct+ilme")),
    "h264": ("tinterlace=interleave_top", "fields.mp4", (*X264, "-x264-params", "tff=1")),
    "h264, bottom first": ("tinterlace=interleave_bottom", "fields.ts", (*X264, "-x264-params", "bff=1")),
    "no flag": ("tinterlace=interleave_top,setfield=prog", "fields.mp4", X264),
    "telecined": ("fps=25,telecine=pattern=23,setfield=prog", "film.mp4", X264),
}


def fields(kind: str) -> Path:
    """A bar that moves over black, in 24 pictures of two fields."""
    filters, name, codec = FIELDS[kind]
    return made(f"{kind} {name}", "-f", "lavfi", "-i", f"{MOVING},{filters}", "-frames:v", "24", *codec)


@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize("reader", READERS)
def test_fields_are_stored_as_one_moment(kind: str, reader: Any) -> None:
    video, pictures = stored(fields(kind), [n / 25 for n in range(1, 20, 3)], reader)
    assert video.interlaced
    assert len(pictures) > 5
    for picture in pictures:
        grey = picture.astype(float).mean(axis=2)[20:-20]
        scale = grey.shape[1] / 720
        assert np.abs(np.diff(grey, axis=0)).max() < 60  # no combs
        widths = (grey > 128).sum(axis=1) / scale
        assert np.abs(widths - BAR).max() < 4  # and no second contour
        shades = ((grey > 40) & (grey < 215)).sum(axis=1)
        assert shades.max() <= 4 + 4 * scale


def test_what_is_only_flagged_as_interlaced_keeps_its_lines() -> None:
    source = "testsrc2=s=720x576:r=25,format=yuv420p"
    plain = made("plain.mpg", "-f", "lavfi", "-i", source, "-frames:v", "10", *MPEG2)
    as_fields = ("-vf", "setfield=tff", "-flags", "+ildct+ilme")
    flagged = made("flagged.mpg", "-f", "lavfi", "-i", source, "-frames:v", "10", *MPEG2, *as_fields)
    (ours, expected) = (stored(path, (0.2,)) for path in (flagged, plain))
    assert (ours[0].interlaced, expected[0].interlaced) == (True, False)
    assert np.abs(ours[1][0].astype(int) - expected[1][0]).mean() < 1.5


@pytest.mark.parametrize("source", ["testsrc2=s=320x240:r=25", "mandelbrot=s=640x360:r=10"])
def test_fine_textures_are_no_combs(source: str) -> None:
    """Lines of fine textures alternate as in combs."""
    film = made(f"texture {source.partition('=')[0]}.mp4", "-f", "lavfi", "-i", source, "-frames:v", "30", *X264)
    assert not video_of(film).interlaced


def test_progressive_motion_is_no_comb() -> None:
    path = made("moving.mp4", "-f", "lavfi", "-i", MOVING, "-frames:v", "20", *X264)
    video, _ = stored(path)
    assert not video.interlaced
    with open_container(str(path)) as container:
        assert not any(has_combs(frame) for frame in container.decode(container.streams.video[0]))


# Several pictures

COLOURS = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255)}


def several(name: str, sizes: Sequence[str], dispositions: Sequence[str]) -> Path:
    """A red, a lime and a blue picture; each turns white at 1.0, 1.5 or 2.0 s; and a sound between them."""
    inputs: list[str] = []
    for n, (colour, size) in enumerate(zip(COLOURS, sizes, strict=True)):
        change = f"drawbox=0:0:iw:ih:white:fill:enable='gte(t,{1 + n / 2})'"
        inputs += ["-f", "lavfi", "-t", "3", "-i", f"color={colour}:s={size}:r=10,{change}"]
    sound = ("-f", "lavfi", "-t", "3", "-i", "sine", "-map", "0", "-map", "3", "-map", "1", "-map", "2")
    marks = [f"-disposition:v:{n}={mark}" for n, mark in enumerate(dispositions)]
    return made(name, *inputs, *sound, *X264, *(part for mark in marks for part in mark.split("=")))


SEVERAL = {
    "default.mp4": (("64x64", "160x120", "320x240"), ("0", "default", "0"), "lime"),
    "default last.mkv": (("320x240", "160x120", "64x64"), ("0", "0", "default"), "blue"),
    "two defaults.mp4": (("64x64", "160x120", "320x240"), ("default", "0", "default"), "blue"),
    "no default.mkv": (("64x64", "320x240", "160x120"), ("0", "0", "0"), "lime"),
    "no default.ts": (("64x64", "320x240", "160x120"), ("0", "0", "0"), "lime"),
    "equal.mkv": (("160x120", "160x120", "160x120"), ("0", "0", "0"), "red"),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_the_picture_is_the_one_that_a_player_takes(name: str) -> None:
    sizes, dispositions, colour = SEVERAL[name]
    path, order = several(name, sizes, dispositions), list(COLOURS).index(colour)
    for reader in READERS:
        video, (picture,) = stored(path, (0.5,), reader)
        assert f"{video.width}x{video.height}" == sizes[order]
        np.testing.assert_allclose(picture[-8:, -8:].reshape(-1, 3).mean(axis=0), COLOURS[colour], atol=12)
    seen = scan_video(str(path), duration=video.duration, sound=video.sound, picture=video.picture)
    assert [request.t for request in seen.cuts] == pytest.approx([1 + order / 2], abs=0.11)


def test_a_cover_is_never_the_picture() -> None:
    cover = made("cover.png", "-f", "lavfi", "-i", "color=red:s=640x480", "-frames:v", "1")
    film = made("film.mp4", "-f", "lavfi", "-t", "1", "-i", "color=blue:s=160x120:r=10", *X264)
    maps = ("-i", cover, "-i", film, "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:0", "attached_pic")
    video, (picture,) = stored(made("covered.mp4", *maps))
    assert (video.width, video.height, picture[0, 0].argmax()) == (160, 120, 2)


# The files that users sent


@pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is not there")
def test_files_that_went_wrong_are_right() -> None:
    hlg_file, (picture,) = stored(CASES / "hlg.mp4")
    assert (hlg_file.transfer, hlg_file.mapped) == ("arib-std-b67", True)
    found = picture[picture.shape[0] // 2, [picture.shape[1] * n // 100 for n in (18, 50, 82)]]
    np.testing.assert_allclose(found, [(192, 32, 32), (32, 192, 32), (32, 32, 192)], atol=40)

    selfie, (picture,) = stored(CASES / "hflip.mp4", (0.0,))
    assert (selfie.mirrored, selfie.rotation) == (True, 0)
    height, width = picture.shape[:2]
    assert np.abs(picture.astype(int) - player(CASES / "hflip.mp4", width, height)).mean() < 4

    tape, pictures = stored(CASES / "interlaced.mpg", (0.5, 1.0, 2.0))
    assert tape.interlaced
    for picture in pictures:
        grey = picture.astype(float).mean(axis=2)
        beside = grey[(grey > 128).sum(axis=1) > 20][4:-4]
        assert ((beside > 40) & (beside < 215)).sum(axis=1).max() <= 8

    two = video_of(CASES / "two_videos.mp4")
    assert (two.picture, two.width, two.height) == (1, 320, 240)
