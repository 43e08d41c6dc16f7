"""The scan on small videos with known cuts, stills, pauses and levels."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import Unavailable
from pipeline.media import scan as scanning
from pipeline.media import subtitles
from pipeline.media.safety import ffmpeg_exe
from pipeline.media.scan import Scan, ScanError, Series, scan_video, span_scores
from tests.media import numbered

MOVING = "testsrc2=s=160x90:r=25"
NEAR = 0.15  # seconds
TONE = -21.07  # LUFS of lavfi's 1 kHz sine, 1/8 of full scale in one channel: 20 log10(1/8) - 3.01


def ffmpeg(*arguments: str) -> str:
    """Runs ffmpeg; returns its log."""
    command = [ffmpeg_exe(), "-nostdin", "-y", "-hide_banner", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stderr


def make(file: Path, picture: str, sound: str | None = None, *options: str) -> str:
    """A small video of two filter graphs that end in [v] and [a]."""
    graph = f"{picture}[v]" + (f";{sound}[a]" if sound else "")
    maps = ["-map", "[v]"] + (["-map", "[a]", "-c:a", "pcm_s16le"] if sound else [])
    codec = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
    ffmpeg("-filter_complex", graph, *maps, *codec, *options, str(file))
    return str(file)


def scenes(*colours: tuple[str, float]) -> str:
    """A graph of plain colours, one after another, each for some seconds."""
    pieces = [
        f"{MOVING}:d={length}[p{n}]" if colour == "moving" else f"color={colour}:s=160x90:r=25:d={length}[p{n}]"
        for n, (colour, length) in enumerate(colours)
    ]
    return ";".join([*pieces, "".join(f"[p{n}]" for n in range(len(pieces))) + f"concat=n={len(pieces)}"])


def tones(*parts: tuple[float, float]) -> str:
    """A graph of a 1 kHz sine, each part at a gain in dB for some seconds; -100 dB is silence."""
    pieces = [f"sine=f=1000:r=48000:d={d},volume={gain}dB[s{n}]" for n, (gain, d) in enumerate(parts)]
    joined = "".join(f"[s{n}]" for n in range(len(parts))) + f"concat=n={len(parts)}:v=0:a=1"
    return ";".join([*pieces, joined])


def assert_near(found: tuple[tuple[float, float], ...], expected: list[tuple[float, float]]) -> None:
    assert len(found) == len(expected), found
    np.testing.assert_allclose(found, expected, atol=NEAR)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    """Ten seconds: 2 moving, 3 still, 1 black, 4 moving; tone, pause at 3..4, tone until 8, nothing after."""
    file = tmp_path_factory.mktemp("film") / "film.mkv"
    picture = scenes(("moving", 2), ("red", 3), ("black", 1), ("moving", 4))
    make(file, picture, tones((0, 3), (-100, 1), (0, 4)))
    return scan_video(str(file), duration=10.0, sound=1)


def test_cuts_are_found_where_they_are(film: Scan) -> None:
    np.testing.assert_allclose([cut.t for cut in film.cuts], [2, 5, 6], atol=NEAR)
    assert all(10 <= cut.score <= 100 for cut in film.cuts)


def test_stills_black_and_silence_are_found(film: Scan) -> None:
    assert_near(film.frozen, [(2, 5)])
    assert_near(film.black, [(5, 6)])
    assert_near(film.silences, [(3, 4), (8, 10)])
    assert film.sound_error is None


def test_scores_are_shares_of_the_span(film: Scan) -> None:
    whole = span_scores(film, 0.0, 10.0)
    assert list(whole) == ["motion", "frozen", "black", "silence", "loudness"]
    assert whole["frozen"] == pytest.approx(0.3, abs=0.02)
    assert whole["black"] == pytest.approx(0.1, abs=0.02)
    assert whole["silence"] == pytest.approx(0.3, abs=0.03)
    still = span_scores(film, 2.0, 5.0)
    assert still["frozen"] == pytest.approx(1, abs=0.05)
    assert still["black"] == 0


def test_motion_leaves_the_cut_at_the_start_out(film: Scan) -> None:
    assert span_scores(film, 2.0, 5.0)["motion"] == pytest.approx(0, abs=0.01)
    moving = span_scores(film, 6.0, 10.0)["motion"]
    assert moving is not None
    assert 0.3 < moving < 10


def test_loudness_of_a_sine_is_that_of_the_standard(film: Scan) -> None:
    assert span_scores(film, 0.0, 3.0)["loudness"] == pytest.approx(TONE, abs=0.1)
    assert span_scores(film, 4.0, 8.0)["loudness"] == pytest.approx(TONE, abs=0.1)


def test_loudness_of_silence_is_none(film: Scan) -> None:
    assert span_scores(film, 8.5, 10.0)["loudness"] is None
    assert span_scores(film, 0.0, 0.3)["loudness"] is None  # shorter than a block


def test_loudness_is_that_of_ebur128_over_the_whole(tmp_path: Path) -> None:
    # the relative gate leaves out the part 25 dB down, not the one 6 dB down
    file = make(tmp_path / "a.mkv", f"{MOVING}:d=6", tones((0, 2), (-25, 2), (-6, 2)))
    summary = ffmpeg("-i", file, "-vn", "-af", "ebur128=framelog=quiet", "-f", "null", "-")
    expected = re.search(r"I:\s+(-[\d.]+) LUFS", summary)
    assert expected
    found = span_scores(scan_video(file, duration=6.0, sound=1), 0.0, 6.0)["loudness"]
    assert found == pytest.approx(float(expected[1]), abs=0.1)


def test_a_video_without_sound(tmp_path: Path) -> None:
    file = make(tmp_path / "a.mkv", scenes(("red", 1), ("blue", 1)))
    found = scan_video(file, duration=2.0, sound=None)
    assert [cut.t for cut in found.cuts] == pytest.approx([1.0], abs=NEAR)
    assert not found.has_sound
    assert found.silences == ()
    assert found.sound_error is None
    assert span_scores(found, 0.0, 2.0)["silence"] is None
    assert span_scores(found, 0.0, 2.0)["loudness"] is None


def test_times_count_from_the_start_of_the_container(tmp_path: Path) -> None:
    file = tmp_path / "a.ts"
    picture, sound = scenes(("red", 1), ("blue", 1)), tones((0, 0.5), (-100, 0.5), (0, 1))
    make(file, picture, sound, "-c:a", "mp2", "-output_ts_offset", "5000")
    found = scan_video(str(file), duration=2.0, sound=1)
    assert [cut.t for cut in found.cuts] == pytest.approx([1.0], abs=NEAR)
    assert_near(found.silences, [(0.5, 1)])


def test_times_are_exact_late_in_a_long_video(tmp_path: Path) -> None:
    # ffmpeg has printed times with six digits: 0.1 s at eight hours
    picture = scenes(("red", 1), ("blue", 1)).replace("concat=n=2", "concat=n=2,setpts=PTS+29000.04/TB")
    head = f"color=green:s=160x90:r=25:d=1[h];{picture}[late];[h][late]interleave"
    file = make(tmp_path / "a.mkv", head, None, "-fps_mode", "passthrough")
    found = scan_video(file, duration=29002.0, sound=None)
    assert found.cuts[-1].t == pytest.approx(29001.04, abs=0.002)


def test_holes_count_as_still_and_silent(tmp_path: Path) -> None:
    sound = "aevalsrc=0.1*sin(2000*t):d=1,asetpts=PTS+1.5/TB"
    picture = f"{MOVING}:d=8,select='lt(t,2)+gt(t,6)'"
    file = make(tmp_path / "a.mkv", picture, sound, "-fps_mode", "passthrough")
    found = scan_video(file, duration=8.0, sound=1)
    assert_near(found.silences, [(0, 1.5), (2.5, 8)])
    assert_near(found.frozen, [(2, 6)])


def test_a_change_of_size_is_a_cut(tmp_path: Path) -> None:
    first = Path(make(tmp_path / "1.ts", "color=black:s=160x90:r=25:d=1"))
    second = Path(make(tmp_path / "2.ts", "testsrc2=s=320x180:r=25:d=1", None, "-output_ts_offset", "1"))
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    found = scan_video(str(both), duration=2.0, sound=None)
    assert [cut.t for cut in found.cuts] == pytest.approx([1.0], abs=NEAR)
    assert_near(found.black, [(0, 1)])


def test_cover_art_is_not_the_picture(tmp_path: Path) -> None:
    film = make(tmp_path / "a.mp4", scenes(("red", 1), ("blue", 1)))
    ffmpeg("-f", "lavfi", "-i", "color=white:s=64x64", "-frames:v", "1", str(tmp_path / "art.png"))
    maps = ["-map", "1", "-map", "0", "-c", "copy", "-disposition:v:0", "attached_pic"]
    ffmpeg("-i", film, "-i", str(tmp_path / "art.png"), *maps, str(tmp_path / "b.mp4"))
    assert len(scan_video(str(tmp_path / "b.mp4"), duration=2.0, sound=None).cuts) == 1


def test_a_damaged_middle_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "a.mkv"
    make(file, f"{MOVING}:d=4", tones((0, 4)), "-g", "12")
    content = bytearray(file.read_bytes())
    middle = slice(len(content) * 2 // 5, len(content) * 3 // 5)
    content[middle] = random.Random(0).randbytes(middle.stop - middle.start)
    file.write_bytes(content)
    found = scan_video(str(file), duration=4.0, sound=1)
    assert found.motion.times[0] < 1
    assert found.motion.times[-1] > 3


def test_sound_that_cannot_be_decoded_does_not_lose_the_picture(tmp_path: Path) -> None:
    file = tmp_path / "a.mkv"
    make(file, scenes(("red", 1), ("blue", 1)), tones((0, 2)))
    file.write_bytes(file.read_bytes().replace(b"A_PCM/INT/LIT", b"A_XYZ/INT/LIT"))
    found = scan_video(str(file), duration=2.0, sound=1)
    assert len(found.cuts) == 1
    assert found.sound_error
    assert "decoder" in found.sound_error
    assert span_scores(found, 0.0, 2.0)["silence"] is None


def test_a_file_that_is_no_video_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "notes.mp4"
    file.write_text("not a video\n" * 100)
    with pytest.raises(ScanError, match=r"notes\.mp4 cannot be scanned: .*Invalid data"):
        scan_video(str(file), duration=1.0, sound=None)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="No such file"):
        scan_video(str(tmp_path / "none.mp4"), duration=1.0, sound=1)


def test_a_file_with_an_odd_name(tmp_path: Path) -> None:
    file = make(tmp_path / "a.mkv", f"{MOVING}:d=0.2")
    odd = Path(file).rename(tmp_path / "-i concat:%d 'x'.mkv")
    assert len(scan_video(str(odd), duration=0.2, sound=None).motion.times)


def test_gates_of_bs1770() -> None:
    nothing = Series(np.empty(0), np.empty(0))
    blocks = np.repeat([-20.0, -33.0, -71.0], 10)  # the second is below the relative gate, the third below both
    times = (np.arange(len(blocks)) + 4) / 10
    found = Scan(3.3, (), nothing, (), (), (), Series(times, blocks))
    assert span_scores(found, 0.0, 3.3)["loudness"] == pytest.approx(-20)
    assert span_scores(found, 1.0, 2.3)["loudness"] == pytest.approx(-33)
    assert span_scores(found, 2.0, 3.3)["loudness"] is None


def test_an_ffmpeg_that_the_machine_kills_is_not_the_files_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = tmp_path / "ffmpeg"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    path = numbered("killed.mp4", 4)
    for module in (scanning, subtitles):
        monkeypatch.setattr(module, "ffmpeg_exe", lambda: str(killed))
    with pytest.raises(Unavailable, match="ffmpeg was killed"):
        scan_video(str(path), duration=0.2, sound=None)
    with pytest.raises(Unavailable, match="ffmpeg was killed"):
        subtitles.extract_text_stream(str(path), 0)
