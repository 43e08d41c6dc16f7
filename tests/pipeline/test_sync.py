"""Step `sync`: sound in sync, shifted and foreign, too few events, its rows, and keys of other steps."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import load
from pipeline.inspection.synchrony import (
    NOTHING,
    Activity,
    count_events,
    measure_synchrony,
    picture_activity,
    sound_activity,
)
from pipeline.media.audio import RATE
from pipeline.media.packet_sizes import PacketSizes, read_packet_sizes
from pipeline.plan import Plan
from pipeline.run import run
from tests.bench.sync_films import plan_film, write_film
from tests.media import ffmpeg
from tests.runs import ola, rows, shards_of, status, talking

SETS = ("steps=[ingest,split,extract,transcribe]", "split.longest=20", "split.shortest=8", "isolate=false")
STEP = "extra_steps=[sync]"
TIMES = np.array([1.0, 2.7, 4.1, 6.6, 7.9, 9.2, 11.0])


def packets(
    events: np.ndarray, seconds: float = 12.0, rate: int = 25, b_frames: int = 2, noise: float = 0.05
) -> PacketSizes:
    """Packets of a codec with B frames: a change has its bytes in the picture that ends its group."""
    draw = np.random.default_rng(5)
    count = round(seconds * rate)
    rows_of = []
    for first in range(0, count, b_frames + 1):
        shown = np.arange(first, min(first + b_frames + 1, count))
        changed = bool(((events > (shown[0] - 1) / rate) & (events <= shown[-1] / rate)).any())
        size = 4000.0 * (6 if changed else 1) * np.exp(noise * draw.standard_normal())
        rows_of += [(shown[-1] / rate, size, first == 0), *((n / rate, size / 10, False) for n in shown[:-1])]
    times, sizes, keys = (np.array(column) for column in zip(*rows_of, strict=True))
    return PacketSizes(times, sizes, keys)


def strokes(events: np.ndarray, seconds: float = 12.0) -> np.ndarray:
    draw = np.random.default_rng(6)
    total = 20 * draw.standard_normal(round(seconds * RATE))
    wave = 8000 * np.exp(-np.arange(RATE // 4) / 800) * draw.standard_normal(RATE // 4)
    for event in events:
        first = round(event * RATE)
        total[first : first + len(wave)] += wave[: max(0, len(total) - first)]
    return np.asarray(total.astype(np.int16))


@pytest.mark.parametrize("shift", [-1.5, -0.5, 0.0, 0.5, 0.8])
def test_a_shift_is_found_with_its_sign(shift: float) -> None:
    found = measure_synchrony(picture_activity(packets(TIMES), 0, 12), sound_activity(strokes(TIMES + shift)))
    assert found is not None
    assert found.lag == pytest.approx(shift, abs=0.09)
    assert found.peak > 0.6
    assert (found.sync > 0.6) == (shift == 0)


def test_foreign_sound_has_a_low_score() -> None:
    other = np.array([0.6, 1.7, 3.4, 5.2, 7.2, 8.5, 10.1])
    found = measure_synchrony(picture_activity(packets(TIMES), 0, 12), sound_activity(strokes(other)))
    assert found is not None
    assert found.sync < 0.2


def test_too_few_events_have_no_score() -> None:
    seen, heard = picture_activity(packets(TIMES), 0, 12), sound_activity(strokes(TIMES))
    assert (seen.events, heard.events) == (7, 7)
    for few in (TIMES[:3], TIMES[:0]):
        assert measure_synchrony(picture_activity(packets(few), 0, 12), heard) is None
        assert measure_synchrony(seen, sound_activity(strokes(few))) is None
    assert measure_synchrony(seen, sound_activity(np.zeros(12 * RATE, np.int16))) is None
    assert measure_synchrony(NOTHING, heard) is None
    assert sound_activity(np.zeros(5, np.int16)) == NOTHING
    assert picture_activity(PacketSizes(np.zeros(0), np.zeros(0), np.zeros(0, np.bool_)), 0, 12) == NOTHING


def test_regular_key_frames_are_no_events() -> None:
    plain = packets(TIMES[:0])
    keys, sizes = plain.keys.copy(), plain.sizes.copy()
    anchors = np.flatnonzero(plain.sizes > 1000)
    keys[anchors[::20]] = True
    sizes[keys] *= 8
    assert picture_activity(PacketSizes(plain.times, sizes, keys), 0, 12).events == 0
    keys[anchors[30]] = True  # between two of them: a cut
    sizes[anchors[30]] *= 8
    assert picture_activity(PacketSizes(plain.times, sizes, keys), 0, 12).events == 1


def test_events_are_counted_once() -> None:
    curve = np.zeros(100)
    curve[[10, 11, 40, 42, 80]] = [1.0, 1.0, 0.9, 0.5, 0.05]
    assert count_events(curve) == 2
    assert count_events(np.zeros(0)) == 0
    assert Activity(curve, 2).events == 2


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film in sync, the same with late sound, a still, and one without sound; with subtitles."""
    folder = tmp_path_factory.mktemp("films")
    plan = plan_film(71, "cut", 14.0, events=7)
    write_film(plan, folder / "sync.mp4")
    write_film(plan, folder / "late.mp4", shift=1.3)
    write_film(plan_film(73, "still", 14.0), folder / "still.mp4")
    ffmpeg("-i", folder / "sync.mp4", "-an", "-c:v", "copy", folder / "silent.mp4")
    for name in ("sync", "late", "still", "silent"):
        talking(folder / "in", name, folder / f"{name}.mp4", 12)
    return folder / "in"


def made(films: Path, root: Path, *sets: str) -> Plan:
    return run(load(None, [*SETS, *sets], {"inputs": [str(films)]}), str(root))


def test_a_run_scores_its_clips_and_runs_no_other_step_again(films: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    before = made(films, root, "extra_steps=[inspect]")
    shards = {path.name: path.read_bytes() for path in shards_of(root)}
    after = made(films, root, "extra_steps=[inspect,sync]")
    folders = [planned.manifest.folder for planned in before.steps]
    assert [planned.manifest.folder for planned in after.steps][:-1] == folders
    assert {path.name: path.read_bytes() for path in shards_of(root)} == shards
    step = status(root)["sync"]
    assert step["inputs"] == step["ok"] == status(root)["extract"]["ok"] == 4
    columns = "SELECT v.uri, s.av_sync, s.av_lag_ms, s.heard_events FROM sync s JOIN ingest v ON v.id = s.clip[:20]"
    found = {Path(uri).stem: values for uri, *values in rows(root, columns)}
    assert found["sync"][0] > found["late"][0] + 0.15
    assert found["sync"][1] == pytest.approx(0, abs=120)
    assert found["late"][1] == pytest.approx(1300, abs=120)
    assert found["still"][:2] == found["silent"][:2] == [None, None]
    assert found["silent"][2] is None
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    made(films, copy, "extra_steps=[inspect,sync]", "pack.where=abs(av_lag_ms) < 300")
    packed = rows(copy, "SELECT DISTINCT v.uri FROM shards s JOIN ingest v ON v.id = s.video")
    assert [Path(uri).stem for (uri,) in packed] == ["sync"]
    assert ola("whatif", root, "coalesce(av_sync > 0.3, true)").code == 0


def test_times_of_packets_are_those_of_the_video_s_clock(films: Path, tmp_path: Path) -> None:
    late = tmp_path / "late.ts"
    ffmpeg("-i", films / "sync.mp4", "-c", "copy", "-muxdelay", "0", "-output_ts_offset", "30", late)
    plain, offset = (read_packet_sizes(str(file), 0) for file in (films / "sync.mp4", late))
    assert len(plain.times) == len(offset.times) == 14 * 25
    assert np.sort(offset.times) == pytest.approx(np.sort(plain.times), abs=0.1)
    assert read_packet_sizes(str(films / "sync.mp4"), 0, 5.0).times == pytest.approx(plain.times + 5)
