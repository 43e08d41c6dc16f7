"""Films agree with their truth files: bytes, colours, positions, tones, and times of words."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import BadMedia, ConfigError
from pipeline.media.safety import open_container
from pipeline.media.user_media import load_sound as heard_in
from pipeline.sources.discovery import discover
from pipeline.synthetic.world.audio import synthesise
from pipeline.synthetic.world.generate import make_world, write_clip
from pipeline.synthetic.world.scenes import RATE, SIDE, SceneSound, Voice, compose_scene
from pipeline.synthetic.world.truth import read_truth
from pipeline.synthetic.world.vocabulary import ACCENTS, HELD_OUT_SPEAKERS, SPEAKERS
from tests.runs import ola, rows, status

SEED, CLIPS = 7, 10  # of each kind one, of linked five


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    said = ola("world", "make", folder, "--clips", str(CLIPS), "--seed", str(SEED), "--subtitles")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"{CLIPS} clips in {folder}: 5 linked, ")
    return folder


def truths(world: Path) -> dict[Path, dict[str, Any]]:
    """Return the contents of the truth files by film."""
    found = {}
    for path in sorted(world.glob("*.truth.json")):
        found[path.with_name(path.name.replace(".truth.json", ".mp4"))] = json.loads(path.read_text(encoding="utf-8"))
    assert len(found) == CLIPS
    return found


@cache
def pictures(film: Path) -> list[NDArray[Any]]:
    with open_container(str(film)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@cache
def samples(film: Path) -> tuple[NDArray[Any], int]:
    wave = heard_in(str(film))
    return wave.samples.astype(float).reshape(-1), wave.rate


def loud(film: Path, start: float, end: float) -> float:
    """Return the RMS level of the sound between two times."""
    wave, rate = samples(film)
    part = wave[int(start * rate) : int(end * rate)]
    return float(np.sqrt(np.mean(part**2))) if len(part) else 0.0


def test_equal_seeds_give_equal_bytes(world: Path, tmp_path: Path) -> None:
    list(make_world(tmp_path, CLIPS, SEED, subtitles=True))
    names = sorted(path.name for path in world.iterdir())
    assert names == sorted(path.name for path in tmp_path.iterdir())
    assert all((world / name).read_bytes() == (tmp_path / name).read_bytes() for name in names)


def test_another_seed_gives_other_films(world: Path, tmp_path: Path) -> None:
    [scene] = make_world(tmp_path, 1, SEED + 1)
    films = {film.read_bytes() for film in world.glob("*.mp4")}
    assert (tmp_path / f"{scene.name}.mp4").read_bytes() not in films
    assert not list(tmp_path.glob("*.srt"))


def test_films_have_the_expected_codecs_and_sizes(world: Path) -> None:
    for film, truth in truths(world).items():
        with open_container(str(film)) as container:
            [video] = container.streams.video
            assert (video.codec_context.name, video.width, video.height) == ("h264", SIDE, SIDE)
            assert [stream.codec_context.name for stream in container.streams.audio] == ["aac"] * truth["has_sound"]
        assert len(pictures(film)) == truth["seconds"] * RATE


def test_colours_are_where_the_truth_has_them(world: Path) -> None:
    looked = 0
    for film, truth in truths(world).items():
        shown = pictures(film)
        for sight in truth["sights"]:
            for share in (0.25, 0.75):
                n = int((sight["start"] + share * (sight["end"] - sight["start"])) * RATE)
                way = (n / RATE - sight["start"]) / (sight["end"] - sight["start"])
                for figure in sight["figures"]:
                    x, y = (
                        int((figure["first"][axis] + way * (figure["last"][axis] - figure["first"][axis])) * SIDE)
                        for axis in ("x", "y")
                    )
                    seen = shown[n][y - 1 : y + 2, x - 1 : x + 2].mean(axis=(0, 1))
                    assert seen == pytest.approx(figure["rgb"], abs=25), (film.name, figure)
                    looked += 1
                corner = shown[n][:8, :8].mean()
                assert corner == pytest.approx(truth["grey"], abs=8)
    assert looked > 30


def test_the_first_frame_is_empty_before_the_first_sight(world: Path) -> None:
    for film, truth in truths(world).items():
        first = truth["sights"][0]
        if first["start"] >= 2 / RATE:
            assert float(pictures(film)[0].std()) < 15


def test_words_are_said_when_the_truth_says(world: Path) -> None:
    spoken = 0
    for film, truth in truths(world).items():
        for sound in truth["sounds"]:
            assert loud(film, sound["start"], sound["end"]) > 4 * loud(film, 0.0, 0.15)
            for early, late in ((sound["start"] - 0.1, sound["start"]), (sound["end"], sound["end"] + 0.1)):
                assert loud(film, early, late) < loud(film, sound["start"], sound["end"]) / 2, (film.name, sound)
            for word in sound["words"]:
                assert loud(film, word["start"], word["end"]) > loud(film, 0.0, 0.15) * 2
                assert 0.1 < word["end"] - word["start"] < 1.0
                spoken += 1
        assert truth["transcript"] == " ".join(word["text"] for word in truth["words"])
    assert spoken > 15


def test_signals_have_their_spectrum(tmp_path: Path) -> None:
    names = ("beep", "siren", "hiss", "buzz", "chirp")
    sounds = tuple(SceneSound(n + 0.05, n + 0.95, name, name, 0.0) for n, name in enumerate(names))
    scene = replace(compose_scene(SEED, 0), seconds=5.0, sounds=sounds)
    write_clip(tmp_path, scene)
    wave, rate = samples(tmp_path / f"{scene.name}.mp4")

    def peak(n: int, start: float = 0.1, end: float = 0.5) -> tuple[float, float]:
        """Return the loudest frequency, and the share of power at it and its neighbours."""
        part = wave[int((n + start) * rate) : int((n + end) * rate)]
        power = np.abs(np.fft.rfft(part * np.hanning(len(part)))) ** 2
        at = int(power.argmax())
        return at * rate / len(part), float(power[max(0, at - 3) : at + 4].sum() / power.sum())

    (beep, pure), (siren, _), (_, hiss), (buzz, _) = (peak(n) for n in range(4))
    assert beep == pytest.approx(1000, abs=10)
    assert pure > 0.9
    assert 480 < siren < 920
    assert hiss < 0.1
    assert buzz == pytest.approx(120, abs=5)
    rising = [peak(4, start, start + 0.1)[0] for start in (0.1, 0.2, 0.3, 0.4)]
    assert rising == sorted(set(rising))


def test_silent_clips_have_a_track_and_mute_ones_none(world: Path) -> None:
    kinds = {truth["kind"]: film for film, truth in truths(world).items()}
    assert loud(kinds["silent"], 0.0, 4.0) < 0.02
    with pytest.raises(BadMedia, match="no sound"):
        heard_in(str(kinds["mute"]))


def test_voices_say_the_longest_phrase_within_a_segment() -> None:
    for speaker in (*SPEAKERS, *HELD_OUT_SPEAKERS):
        wave, words = synthesise("seven apples", Voice(f"{ACCENTS[0]}+{speaker}", 140, 50))
        assert [word.text for word in words] == ["seven", "apples"], speaker
        assert 0.5 < len(wave) / 22_050 < 1.7, speaker
    for accent in ACCENTS:
        assert len(synthesise("eleven wheels", Voice(f"{accent}+m1", 140, 50))[1]) == 2


def test_a_run_processes_the_films(world: Path, tmp_path: Path) -> None:
    said = ola("run", world / "*.mp4", "--root", tmp_path / "out", "--set", "pack.val=0", "--set", "isolate=false")
    assert said.code == 0, said
    steps = status(tmp_path / "out")
    assert [steps[name]["ok"] for name in ("ingest", "split", "extract")] == [CLIPS] * 3
    assert rows(tmp_path / "out", "SELECT DISTINCT start_ms, end_ms FROM split") == [(0, 4000)]
    found = rows(
        tmp_path / "out", "SELECT v.uri, t.text FROM transcribe t JOIN ingest v ON starts_with(t.clip, v.id) ORDER BY 1"
    )
    spoken = {str(film): truth["transcript"] for film, truth in truths(world).items() if truth["transcript"]}
    assert dict(found) == spoken


def test_the_truth_is_read_as_it_was_written(world: Path, tmp_path: Path) -> None:
    for film, known in truths(world).items():
        truth = read_truth(str(film).replace(".mp4", ".truth.json"))
        assert truth.scene == compose_scene(known["seed"], known["number"])
        assert truth.transcript == known["transcript"]
        assert [qa.answer for qa in truth.questions] == [each["answer"] for each in known["questions"]]
        assert truth.captions(2.0) == known["captions"]
    changed = tmp_path / "changed.truth.json"
    shutil.copy(world / "world-0007-00000.truth.json", changed)
    changed.write_text(changed.read_text(encoding="utf-8").replace("black", "green"), encoding="utf-8")
    with pytest.raises(ConfigError, match="by another version of the world; write it again: ola world make"):
        read_truth(str(changed))
    old = json.loads((world / "world-0007-00000.truth.json").read_text(encoding="utf-8"))
    questions = [{name: value for name, value in each.items() if name != "part"} for each in old["questions"]]
    changed.write_text(json.dumps({**old, "version": 1, "questions": questions}), encoding="utf-8")
    with pytest.raises(ConfigError, match="by another version of the world"):
        read_truth(str(changed))
    changed.write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="not a truth file of a film"):
        read_truth(str(changed))


def test_errors_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = ola("world", "make", tmp_path / "x", "--seed", "-1")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert said.err.startswith("ola: seed -1 belongs to no split of the world")
    (tmp_path / "file").write_text("")
    said = ola("world", "make", tmp_path / "file")
    assert (said.code, said.err) == (2, f"ola: {tmp_path / 'file'}: cannot make the folder for films (File exists)\n")
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    said = ola("world", "make", tmp_path / "x", "--clips", "1")
    assert said.code == 2
    assert said.err == (
        "ola: the synthetic world cannot synthesise speech: "
        "espeak-ng is missing: pip install 'ola-pipeline[voice]' (GPLv3)\n"
    )


def test_a_truth_file_is_no_source(world: Path, tmp_path: Path) -> None:
    sources = discover([str(world)], str(tmp_path))
    assert len(sources) == CLIPS
    assert all(source.uri.endswith(".mp4") for source in sources)
    (tmp_path / "alone.truth.json").write_text("{}")
    passed_over = Counter[str]()
    assert discover([str(tmp_path)], "", passed_over) == []
    assert passed_over == {"text or metadata": 1}, "a truth file without its film is listed like any other file"


def test_clips_without_a_voice_are_made_on_request(tmp_path: Path) -> None:
    said = ola("world", "make", tmp_path, "--clips", "2", "--seed", str(SEED), "--wordless", "--subtitles")
    assert (said.code, said.out) == (0, f"2 clips in {tmp_path}: 2 wordless\n")
    assert not list(tmp_path.glob("*.srt"))
    for path in tmp_path.glob("*.truth.json"):
        truth = read_truth(str(path))
        assert path.name.endswith("-wordless.truth.json")
        assert (truth.transcript, len({sound.name for sound in truth.scene.sounds})) == ("", 2)
        assert {"both", "video"} <= {qa.needs for qa in truth.questions}
        assert not any("says" in f"{qa.question} {qa.answer}" for qa in truth.questions)
