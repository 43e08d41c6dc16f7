"""Step `inspect`: both ends of its scores on planted media, its rows, its columns in `pack.where`."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from manifests.inspection_records import Inspection
from manifests.ledger import Manifest
from manifests.records import ClipMedia, Media
from pipeline.config import load
from pipeline.errors import BadMedia
from pipeline.inspection import picture, sound
from pipeline.inspection.changes import Changes, measure_changes
from pipeline.inspection.packages import FAMILIES
from pipeline.media.audio import RATE, wav_bytes
from pipeline.media.render import GREY
from pipeline.media.safety import ffmpeg_exe
from pipeline.plan import Plan, ok_records
from pipeline.run import run
from pipeline.steps.inspection import Inspect, InspectSettings, choose_frames, decode_luma
from tests.media import ffmpeg
from tests.runs import ola, rows, shards_of, status, talking

Luma = NDArray[np.float32]
SETS = ("steps=[ingest,split,extract,transcribe]", "split.longest=12", "split.shortest=2", "isolate=false")
STEP = "extra_steps=[inspect]"
MADE_BY_PACK = {"words_on_screen", "answer_on_screen"}


def noise(seed: int, height: int = 96, width: int = 128) -> Luma:
    """A picture of noise of two scales."""
    draw = np.random.default_rng([seed, 25])
    coarse, fine = (draw.uniform(30, 210, (height // 8, width // 8)), draw.uniform(-25, 25, (height // 2, width // 2)))
    return smoothed((np.kron(coarse, np.ones((8, 8))) + np.kron(fine, np.ones((2, 2)))).astype(np.float32), 1)


def smoothed(frame: Luma, times: int) -> Luma:
    """The frame after so many blurs over 3 x 3 pixels."""
    for _ in range(times):
        padded = np.pad(frame, 1, mode="edge")
        moved = [padded[y : y + frame.shape[0], x : x + frame.shape[1]] for y in range(3) for x in range(3)]
        frame = np.mean(moved, axis=0, dtype=np.float32)
    return frame


def jpeg(frame: Luma, quality: int = 90) -> bytes:
    from PIL import Image

    with io.BytesIO() as file:
        Image.fromarray(frame.clip(0, 255).astype(np.uint8)).convert("RGB").save(file, "JPEG", quality=quality)
        return file.getvalue()


@pytest.mark.parametrize("seed", range(8100, 8110))
def test_a_blurred_frame_is_less_sharp(seed: int) -> None:
    frames = [smoothed(noise(seed), times) for times in (0, 2, 8)]
    sharp = [known(picture.measure_sharpness(frame)) for frame in frames]
    detail = [picture.measure_spatial_information(frame) for frame in frames]
    assert sharp == sorted(sharp, reverse=True)
    assert sharp[0] > 3 * sharp[1]
    assert detail == sorted(detail, reverse=True)
    assert picture.measure_sharpness(frames[0] * 0.3) == pytest.approx(sharp[0], rel=1e-4), "contrast is no sharpness"


def test_a_frame_without_contrast_has_no_sharpness() -> None:
    grey = np.full((96, 128), 90, np.float32)
    assert picture.measure_sharpness(grey) is None
    assert picture.measure_spatial_information(grey) == picture.measure_combing(grey) == 0


def test_spatial_and_temporal_information_are_those_of_ffmpeg() -> None:
    frames = [np.round(noise(seed)).clip(0, 255) for seed in (8201, 8202)]
    command = [ffmpeg_exe(), "-v", "info", "-f", "rawvideo", "-pix_fmt", "gray", "-s", "128x96", "-i", "pipe:0"]
    data = b"".join(frame.astype(np.uint8).tobytes() for frame in frames)
    command += ["-vf", "scale=out_range=pc,format=yuvj420p,siti=print_summary=1", "-f", "null", "-"]
    said = subprocess.run(command, input=data, capture_output=True, check=True).stderr.decode()
    averages = [float(value) for value in re.findall(r"Average: ([\d.]+)", said)]
    ours = np.mean([picture.measure_spatial_information(frame) for frame in frames])
    assert ours == pytest.approx(averages[0], rel=0.02)
    between = picture.measure_temporal_information(frames[0], frames[1])
    assert between / 2 == pytest.approx(averages[1], rel=0.02), "ffmpeg counts 0 for the first frame"


@pytest.mark.parametrize(("top", "left"), [(0, 0), (12, 0), (0, 16), (12, 16)])
def test_bars_are_measured_and_cut_off(top: int, left: int) -> None:
    frames = np.stack([np.pad(noise(seed) + 20, ((top, top), (left, left))) for seed in (8301, 8302)])
    share = 1 - 96 * 128 / ((96 + 2 * top) * (128 + 2 * left))
    assert picture.measure_bars(frames) == pytest.approx(share, abs=1e-6)
    assert frames[:, *picture.find_bars(frames)].shape == (2, 96, 128)


def test_padding_is_no_bar() -> None:
    padded = np.pad(np.pad(noise(8304) + 20, ((12, 12), (0, 0))), ((8, 8), (0, 0)), constant_values=GREY)
    frames = picture.cut_padding(np.stack([decode_luma(memoryview(jpeg(padded)))] * 2))
    assert frames.shape == (2, 120, 128)
    assert picture.measure_bars(frames) == pytest.approx(24 / 120, abs=0.01)


def test_a_black_clip_or_a_border_that_lights_up_is_no_bar() -> None:
    assert picture.measure_bars(np.zeros((2, 96, 128), np.float32)) == 0
    frames = np.pad(np.stack([noise(8303), noise(8304)]) + 20, ((0, 0), (12, 12), (0, 0)))
    frames[1, :12] = 80
    assert picture.measure_bars(frames) == pytest.approx(12 / 120, abs=1e-6)


def test_woven_fields_have_combs_and_textures_have_none() -> None:
    for seed in range(8400, 8410):
        whole = smoothed(noise(seed, 96, 160), 1)
        woven = whole[:, :128].copy()
        woven[1::2] = whole[1::2, 16:144]
        assert picture.measure_combing(woven) > 0.05
        assert picture.measure_combing(whole) < 0.005
    lines = np.tile(np.array([[0, 255], [255, 0]], np.float32), (48, 64))
    assert picture.measure_combing(lines) == 0, "a chequered texture alternates along both axes"


def changes_of(frames: list[Luma]) -> Changes:
    found = measure_changes(np.stack([decode_luma(memoryview(jpeg(frame)), 8) for frame in frames]))
    assert found is not None
    return found


def test_stills_slides_and_films() -> None:
    """With grain, 25 clips of each: at least 0.98 of them right."""
    right = 0
    for seed in range(8530, 8555):
        draw = np.random.default_rng([seed, 26])
        wide = noise(seed, 96, 256)
        slides = [noise(seed + 1000 * (n // 4), 96, 128) for n in range(12)]
        moving = [wide[:, 3 * n : 3 * n + 128] for n in range(12)]
        cut = [noise(seed + 1000 * n, 96, 128) for n in range(12)]
        still, shown, moved, cuts = (
            changes_of([(frame + draw.normal(0, 6, frame.shape)).astype(np.float32) for frame in frames])
            for frames in ([wide[:, :128]] * 12, slides, moving, cut)
        )
        right += still.still > 0.9 and still.slideshow == 0
        right += shown.slideshow > 0.9 and shown.still < 0.9
        right += moved.still < 0.1 and moved.slideshow == 0
        right += cuts.still < 0.1 and cuts.slideshow == 0
    assert right >= 0.98 * 100
    assert measure_changes(np.zeros((1, 4, 4), np.float32)) is None


def test_a_small_motion_is_no_still_picture() -> None:
    frames = [noise(8600, 256, 256) for _ in range(6)]
    for n, frame in enumerate(frames):
        frame[100:132, 40 * n : 40 * n + 32] = 255
    assert changes_of(frames).still == 0
    assert changes_of(frames).still_area > 0.9


def speech(seed: int, seconds: float = 4.0) -> NDArray[np.float64]:
    """Bursts of coloured noise over a quiet floor, below 0.5 of full scale."""
    draw = np.random.default_rng([seed, 27])
    count = int(seconds * RATE)
    spectrum = np.fft.rfft(draw.normal(size=count)) / (1 + np.arange(count // 2 + 1) * RATE / count / 500)
    bursts = np.repeat(draw.integers(0, 2, int(seconds * 5)), RATE // 5)[:count]
    spectrum[: int(80 * seconds)] = 0  # no voice is deeper than 80 Hz
    voice = np.fft.irfft(spectrum, count)
    return np.asarray(0.5 * voice / np.abs(voice).max() * bursts + draw.normal(0, 1e-4, count))


def pcm(wave: NDArray[np.float64]) -> sound.Samples:
    return (np.clip(wave, -1, 1) * 32767).astype(np.int16)


def low_passed(wave: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(wave)
    spectrum[np.fft.rfftfreq(len(wave), 1 / RATE) > limit] = 0
    return np.fft.irfft(spectrum, len(wave))


@pytest.mark.parametrize("seed", range(8710, 8715))
def test_both_ends_of_the_scores_of_sound(seed: int) -> None:
    wave, time = speech(seed), np.arange(4 * RATE) / RATE
    assert sound.measure_clipping(pcm(wave)) == 0
    assert sound.measure_clipping(pcm(8 * wave)) > 0.001
    assert known(sound.measure_bandwidth(pcm(wave))) > 7000
    for limit in (2000, 3400, 5500):
        assert sound.measure_bandwidth(pcm(low_passed(wave, limit))) == pytest.approx(limit, abs=130)
    for mains in (50, 60):
        lines = sum(0.003 / n * np.sin(2 * np.pi * mains * n * time) for n in (1, 2, 3))
        assert known(sound.measure_hum(pcm(wave + lines))) > 10
        assert known(sound.measure_hum(pcm(wave))) < 10
    assert sound.measure_dc_offset(pcm(wave)) < 0.002
    assert sound.measure_dc_offset(pcm(wave + 0.02)) == pytest.approx(0.02, abs=0.002)
    (floor, range_of), (noisy, less) = (sound.measure_levels(pcm(each)) for each in (wave, wave + loud_noise(seed)))
    assert [floor, noisy] == pytest.approx([-80, -40], abs=3)
    assert less < range_of - 30


def loud_noise(seed: int) -> NDArray[np.float64]:
    return np.random.default_rng([seed, 28]).normal(0, 0.01, 4 * RATE)


def test_dropouts_are_gaps_amid_sound() -> None:
    wave = np.random.default_rng(8800).normal(0, 0.1, 60 * RATE)
    assert sound.count_dropouts(pcm(wave)) == 0
    for start in (5, 20, 40):
        wave[start * RATE : start * RATE + RATE // 20] = 0
    assert sound.count_dropouts(pcm(wave)) == 3
    wave[: 2 * RATE] = wave[30 * RATE : 32 * RATE] = 0
    assert sound.count_dropouts(pcm(wave)) == 3, "a long pause is none"


def test_silence_has_no_bandwidth_and_no_hum() -> None:
    silent = np.zeros(4 * RATE, np.int16)
    assert sound.measure_bandwidth(silent) is sound.measure_hum(silent) is None
    assert sound.measure_levels(silent) == (-96.0, 0.0)
    assert sound.measure_clipping(silent) == sound.measure_dc_offset(silent) == sound.count_dropouts(silent) == 0


def test_frames_are_sampled_evenly() -> None:
    assert choose_frames(48, 4) == [6, 18, 30, 42]
    assert choose_frames(3, 12) == [0, 1, 2]
    assert choose_frames(1, 12) == [0]


def stored(folder: Path, *jpegs: bytes, wav: bytes | None) -> ClipMedia:
    data = b"".join(jpegs)
    (folder / "clip.mjpg").write_bytes(data)
    (folder / "clip.wav").write_bytes(wav or b"")
    return ClipMedia(
        id="c", clip="c", width=128, height=96, frame_bytes=tuple(map(len, jpegs)), frame_ms=tuple(range(len(jpegs))),
        frames=Media(uri="clip.mjpg", offset=0, size=len(data)),
        sound=None if wav is None else Media(uri="clip.wav", offset=0, size=len(wav)),
    )  # fmt: skip


def scores_of(step: Inspect, media: ClipMedia) -> Inspection:
    (answer,) = step.run([media])
    assert not isinstance(answer, BadMedia)
    return answer[0]


def known(value: float | None) -> float:
    assert value is not None
    return value


def opened(folder: Path, **settings: bool | int) -> Inspect:
    step = Inspect(InspectSettings.model_validate(settings))
    step.root = str(folder)
    step.open()
    return step


def test_each_family_can_be_switched_off(tmp_path: Path) -> None:
    media = stored(tmp_path, jpeg(noise(1)), jpeg(noise(2)), wav=wav_bytes(pcm(speech(1)).tobytes()))
    one_each = {"picture": "sharpness", "changes": "still", "sound": "clipping"}
    for off in one_each:
        scores = scores_of(opened(tmp_path, **{off: False}), media)
        assert {name for name, score in one_each.items() if getattr(scores, score) is None} == {off}
    scores = scores_of(opened(tmp_path), media)
    of_packages = {column for family in FAMILIES.values() for column in family.columns} - MADE_BY_PACK
    assert {name for name in Inspection.__slots__ if getattr(scores, name) in (None, ())} == of_packages


def test_damaged_media_give_bad_media_and_their_neighbours_scores(tmp_path: Path) -> None:
    good, short = jpeg(noise(1)), wav_bytes(b"")
    (tmp_path / "good").mkdir()
    for frames, wav, reason in (
        ([good, b"no jpeg"], None, "frame"), ([good[: len(good) // 2]], None, "frame"), ([good], b"RIFX" * 20, "sound")
    ):  # fmt: skip
        (answer,) = opened(tmp_path).run([stored(tmp_path, *frames, wav=wav)])
        assert isinstance(answer, BadMedia)
        assert reason in str(answer)
    scores = scores_of(opened(tmp_path / "good"), stored(tmp_path / "good", good, wav=short))
    assert scores.sharpness is not None
    assert scores.still is scores.clipping is None


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film in a letterbox with clipped sound, and one without faults; both with subtitles."""
    folder = tmp_path_factory.mktemp("films")
    for name, faults in (
        ("faulty", ("-vf", "pad=iw:ih*4/3:0:(oh-ih)/2", "-af", "volume=30dB,aformat=s16")),
        ("good", ()),
    ):
        source = ("-f", "lavfi", "-i", "testsrc2=s=320x240:r=10", "-f", "lavfi", "-i", "sine=f=440:r=44100")
        ffmpeg(*source, "-t", "5", *faults, "-c:v", "libx264", "-preset", "ultrafast", folder / f"{name}.mp4")
        talking(folder / "in", name, folder / f"{name}.mp4", 5)
    return folder / "in"


def made(films: Path, root: Path, *sets: str) -> Plan:
    return run(load(None, [*SETS, *sets], {"inputs": [str(films)]}), str(root))


@pytest.fixture(scope="module")
def plain(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without the step."""
    root = tmp_path_factory.mktemp("plain") / "root"
    made(films, root)
    return root


@pytest.fixture(scope="module")
def finished(films: Path, plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run after the step was added."""
    root = Path(shutil.copytree(plain, tmp_path_factory.mktemp("run") / "root"))
    made(films, root, STEP)
    return root


def test_every_input_of_the_step_has_a_row(finished: Path) -> None:
    steps = status(finished)
    assert steps["inspect"]["inputs"] == steps["inspect"]["ok"] == steps["extract"]["ok"] == 2
    query = "SELECT v.uri LIKE '%faulty%', i.bars, i.clipping FROM inspect i JOIN ingest v ON v.id = i.clip[:20]"
    assert {faulty: (round(bars, 2), clipping > 0.01) for faulty, bars, clipping in rows(finished, query)} == {
        True: (0.25, True),
        False: (0.0, False),
    }


def test_adding_the_step_changes_no_shard(plain: Path, finished: Path) -> None:
    before, after = ({path.name: path.read_bytes() for path in shards_of(root)} for root in (plain, finished))
    assert before == after


def test_its_scores_choose_what_is_packed(films: Path, plain: Path, finished: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(finished, tmp_path / "root"))
    made(films, root, STEP, "pack.where=bars < 0.1 AND clipping < 0.001")
    packed = rows(root, "SELECT DISTINCT v.uri FROM shards s JOIN ingest v ON v.id = s.video")
    assert [Path(uri).stem for (uri,) in packed] == ["good"]
    assert ola("whatif", finished, "bars > 0.1").code == 0
    said = ola("whatif", plain, "bars > 0.1")
    assert said.code != 0
    assert "bars" in said.err, "no column without the step"


def test_ray_gives_the_same_rows(films: Path, finished: Path, tmp_path: Path, ray_here: None) -> None:
    root = Path(shutil.copytree(finished, tmp_path / "root"))
    shutil.rmtree(root / inspections(root).folder)
    made(films, root, STEP, "engine=ray", "isolate=true")
    assert records(root) == records(finished) != []


def records(root: Path) -> list[Inspection]:
    manifest = inspections(root)
    return [each for part in sorted(manifest.committed()) for each in ok_records(Inspection, manifest.read(part))]


def inspections(root: Path) -> Manifest:
    return load(None, [*SETS, STEP]).plan(str(root)).find_step("inspect").manifest
