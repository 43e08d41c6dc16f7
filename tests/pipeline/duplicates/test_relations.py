"""Copies of films are found under the right name, unlike films are not, and hashes do not depend on left and right."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.duplicates import candidates
from pipeline.duplicates.candidates import find_candidates
from pipeline.duplicates.fingerprints import Fingerprints, from_tables
from pipeline.duplicates.groups import UnionFind, best_of
from pipeline.hashing.pictures import REGIONS, hash_frames, mirrored, trim_bars
from pipeline.hashing.sounds import TEMPOS, hash_sound
from pipeline.synthetic.world.textures import landscape
from tests.bench.duplicate_films import make_film
from tests.bench.duplicate_recall import COVER, DUB, Recall, fingerprint_family, measure_recall, table_of

CHANGES = ("re-encode", "crop 10 %", "letterbox", "mirror", "subtitle bar", "speed 1.25", "trim", DUB, COVER)


@pytest.fixture(scope="module")
def recall(tmp_path_factory: pytest.TempPathFactory) -> Recall:
    folder = tmp_path_factory.mktemp("films")
    films = [make_film(folder / f"film{seed}.mp4", seed, 10.0) for seed in (5001, 5003)]
    other_of = {films[0]: films[1], films[1]: films[0]}
    return measure_recall([fingerprint_family(film, other_of, CHANGES) for film in films], CHANGES)


def test_changed_copies_are_found_under_their_name(recall: Recall) -> None:
    assert recall.found == dict.fromkeys(CHANGES, recall.films)
    assert recall.right == dict.fromkeys(CHANGES, recall.films)


def test_unlike_films_are_not_related(recall: Recall) -> None:
    assert recall.unlike == 64
    assert recall.false == []


def pictures() -> np.ndarray:
    draw = np.random.default_rng(3)
    return np.stack([landscape(draw, 120, 160).mean(2) for _ in range(3)])


def test_the_hash_of_a_mirrored_frame_follows_from_its_hash() -> None:
    plain, _ = hash_frames(pictures())
    flipped, _ = hash_frames(pictures()[:, :, ::-1])
    swapped = mirrored(plain)[:, [0, 1, 2, 3, 5, 4]]  # the left region and the right one
    assert np.bitwise_count(flipped ^ swapped).max() <= 1
    assert np.bitwise_count(flipped ^ plain).min() > 8


def test_black_bars_are_cut_off_and_black_frames_kept_whole() -> None:
    frames = pictures()
    barred = np.pad(frames, ((0, 0), (20, 20), (0, 0)))
    assert np.array_equal(trim_bars(barred), frames)
    assert trim_bars(np.zeros((2, 40, 60))).shape == (2, 40, 60)


def test_silence_has_no_landmarks() -> None:
    for samples in (np.zeros(0, np.int16), np.zeros(100, np.int16), np.zeros(48000, np.int16)):
        times, hashes = hash_sound(samples)
        assert len(times) == len(hashes) == 0


def crowd(clips: int) -> Fingerprints:
    """Clips with one frame, the same in all, and no sound."""
    hashes = np.arange(1, len(REGIONS) + 1) * 12345678901
    row = {"id": "", "clip": "", "length": 2.0, "frame_ms": [500], "texture": [40], "landmark_ms": [], "landmarks": []}
    rows = [{**row, "id": f"{n:03d}", "frames": hashes.tolist()} for n in range(clips)]
    return from_tables([table_of([]).from_pylist(rows, schema=table_of([]).schema)])


def test_a_frame_of_many_clips_makes_few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "CROWD", 4)
    assert len(find_candidates(crowd(4))) == 6
    assert find_candidates(crowd(5)).tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]]
    assert len(find_candidates(crowd(1))) == 0


def test_frames_without_texture_make_no_candidates() -> None:
    prints = crowd(3)
    prints.texture[:] = 3
    assert len(find_candidates(prints)) == 0


def test_groups_are_named_after_their_first_member() -> None:
    groups = UnionFind({name: place for place, name in enumerate("dacb")})
    groups.join("a", "b")
    groups.join("c", "b")
    assert groups.groups() == {"a": ["a", "c", "b"]}
    assert groups.find("d") == "d"
    groups.join("b", "d")
    assert groups.groups() == {"d": ["d", "a", "c", "b"]}


def test_the_best_of_a_group_follows_the_order_of_preferences() -> None:
    qualities = {
        "small": {"resolution": 1.0, "subtitles": 1.0, "length": 9.0},
        "large": {"resolution": 2.0, "subtitles": 0.0, "length": 5.0},
        "later": {"resolution": 2.0, "subtitles": 0.0, "length": 5.0},
    }
    members = list(qualities)
    assert best_of(members, qualities, ("resolution", "subtitles", "length")) == "large"
    assert best_of(members, qualities, ("subtitles",)) == "small"
    assert best_of(members[1:], qualities, ()) == "large"


def test_landmarks_have_a_hash_for_each_tempo() -> None:
    draw = np.random.default_rng(1)
    beats = np.repeat(draw.uniform(0, 8000, 40), 2000)
    times, hashes = hash_sound((beats * draw.standard_normal(len(beats))).clip(-30000, 30000).astype(np.int16))
    assert len(times) > 3
    assert hashes.shape == (len(times), len(TEMPOS))
