"""What is planted is in the films, and the truth files say so."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.media.safety import open_container
from pipeline.media.user_media import load_sound
from pipeline.synthetic.world.frames import draw_frame
from pipeline.synthetic.world.generate import benchmark_folder, make_world
from pipeline.synthetic.world.plants import (
    COPIES,
    CURATION,
    NONE,
    PLANTS,
    QUESTIONS,
    TEXT_PLACES,
    TEXT_SIZES,
    choose_plants,
    compose_film,
    shift_of,
    unplanted,
)
from pipeline.synthetic.world.questions import ambiguous_questions, answerable_questions, is_well_formed, make_questions
from pipeline.synthetic.world.scenes import RATE, Scene, compose_scene
from pipeline.synthetic.world.truth import Truth, read_truth, truth_uri
from tests.runs import ola

SEED = 7
MADE = "subtitles,title,swapped,shifted,still,letterbox,leaked,copy-resize,copy-speed-1-25,none"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a film of each of some plants, by plant."""
    folder = tmp_path_factory.mktemp("planted") / "films"
    said = ola("world", "make", folder, "--clips", "10", "--seed", str(SEED), "--plant", MADE)
    assert said.code == 0, said
    assert said.out == f"10 clips in {folder}: {', '.join(f'1 {name}' for name in (*MADE.split(',')[:-1], 'mute'))}\n"
    names = {str(json.loads(Path(truth_uri(str(film))).read_text()).get("planted", {"name": ""})["name"]): film
             for film in sorted(folder.glob("*.mp4"))}  # fmt: skip
    return {name or NONE: film for name, film in names.items()}


def truth_of(film: Path) -> Truth:
    return read_truth(truth_uri(str(film)))


def planted(film: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(Path(truth_uri(str(film))).read_text(encoding="utf-8"))["planted"]
    return facts


@cache
def pictures(film: Path) -> list[NDArray[Any]]:
    with open_container(str(film)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def changes(film: Path) -> NDArray[Any]:
    """Return the mean difference of neighbouring frames."""
    shown = np.stack(pictures(film)).astype(float)
    return np.asarray(np.abs(np.diff(shown, axis=0)).mean(axis=(1, 2, 3)))


def scenes(plant: str, count: int = 40) -> list[Scene]:
    return [compose_film(SEED, number, plant=plant) for number in range(count)]


def needs(plant: str) -> set[str]:
    return {qa.needs for scene in scenes(plant) for qa in make_questions(scene)}


def test_plants_are_chosen_by_name_group_and_list() -> None:
    of_group = {group: choose_plants([group]) for group in (QUESTIONS, CURATION, COPIES)}
    assert sum(map(len, of_group.values())) == len(PLANTS)
    assert len(of_group[COPIES]) == 15
    assert choose_plants(["still, none", "title"]) == ("still", "none", "title")
    with pytest.raises(ConfigError, match="--plant: expected the name of a plant, got 'tittle'; give one of: none, qu"):
        choose_plants(["tittle"])


def test_a_film_without_a_plant_is_what_it_was(films: dict[str, Path]) -> None:
    scene = truth_of(films[NONE]).scene
    assert (scene, films[NONE].stem) == (compose_scene(SEED, 9), "world-0007-00009")
    assert "planted" not in json.loads(Path(truth_uri(str(films[NONE]))).read_text(encoding="utf-8"))


def test_truth_files_of_planted_films_are_read_as_they_were_written(films: dict[str, Path]) -> None:
    for name, film in films.items():
        truth = truth_of(film)
        assert truth.scene == compose_film(SEED, truth.scene.number, plant=name)
        assert len(pictures(film)) / (8 if name == "copy-fps" else RATE) == pytest.approx(truth.seconds, abs=0.1), name
    Path(truth_uri(str(films["title"]))).write_text(
        Path(truth_uri(str(films["title"]))).read_text(encoding="utf-8").replace('"name": "title"', '"name": "titel"')
    )
    with pytest.raises(ConfigError, match="by another version of the world"):
        truth_of(films.pop("title"))


def test_texts_are_drawn_where_and_while_the_scene_has_them() -> None:
    looks = set()
    for scene in (*scenes("subtitles", 12), *scenes("scene-text", 12), *scenes("sound-labels", 12)):
        for text in scene.texts:
            shown = draw_frame(scene, (text.start + text.end) / 2, 288).astype(int)
            plain = draw_frame(unplanted(scene), (text.start + text.end) / 2, 288).astype(int)
            drawn = np.abs(shown - plain).max(axis=2) > 80
            rows = np.flatnonzero(drawn.any(axis=1)) / 288
            assert abs(rows.mean() - (0.88 if text.place == "bottom" else 0.12)) < 0.03
            box = drawn[drawn.any(axis=1)][:, drawn.any(axis=0)]
            assert (box[0].mean() > 0.9) == text.plate, "a plate fills its box, letters do not"
            looks.add((text.place, text.size))
    assert looks == {(place, size) for place in TEXT_PLACES for size in TEXT_SIZES}


def test_subtitles_say_what_is_said_and_signs_do_not() -> None:
    for scene in scenes("subtitles"):
        assert [text.text for text in scene.texts] == [each.text for each in scene.sounds if each.name == "voice"]
    for scene in scenes("sound-labels"):
        assert [text.text for text in scene.texts] == [each.text for each in scene.sounds]
    for scene in scenes("scene-text"):
        words = {word for text in scene.texts for word in text.text.split()}
        assert words.isdisjoint(word for sound in scene.sounds for word in sound.text.split())


def test_a_planted_shortcut_lowers_what_questions_need() -> None:
    assert needs("sound-labels") == {"video", "text"}
    assert needs("narration") == {"video", "text"}
    assert needs("title") == {"text"}
    assert needs("scene-text") == needs("music") | {"audio"} == {"both", "video", "audio", "text"}
    kept = {qa.question for scene in scenes("subtitles") for qa in make_questions(scene) if qa.needs == "both"}
    assert kept
    assert not any("voice says" in question for question in kept)
    of_signals = {qa.answer for scene in scenes("subtitles") for qa in make_questions(scene) if qa.needs == "both"}
    assert "a beep" in of_signals
    assert "a voice" not in of_signals


def test_sounds_of_two_sources_have_no_single_answer() -> None:
    for scene in scenes("two-sources"):
        [sound] = scene.sounds
        assert scene.sights_during(sound) == list(scene.sights)
        asked = {qa.question for qa in answerable_questions(scene)}
        assert asked.isdisjoint(ambiguous_questions(scene))
    assert sum("What is seen while" in question for scene in scenes("two-sources")
               for question in ambiguous_questions(scene)) == 40  # fmt: skip


def test_music_is_heard_without_words() -> None:
    heard = {sound.name for scene in scenes("music") for sound in scene.sounds}
    assert heard == {"melody", "scale", "chord", "drum"}
    assert all(is_well_formed(qa.question) for scene in scenes("music") for qa in make_questions(scene))


def test_a_swapped_film_has_the_sound_of_another_and_its_own_subtitles(films: dict[str, Path]) -> None:
    truth, facts = truth_of(films["swapped"]), planted(films["swapped"])
    other = compose_scene(SEED, facts["sound_of"], kind="linked")
    assert truth.scene.sounds == other.sounds
    assert truth.scene.sights == unplanted(truth.scene).sights != other.sights
    assert truth.transcript == " ".join(each.text for each in other.sounds if each.name == "voice")
    cues = films["swapped"].with_suffix(".srt").read_text(encoding="utf-8")
    own = [each.text for each in unplanted(truth.scene).sounds if each.name == "voice"]
    assert own
    assert all(text in cues and text not in truth.transcript for text in own)


def test_a_title_gives_the_answers_away(films: dict[str, Path]) -> None:
    found = sorted(films["swapped"].parent.glob("*.info.json"))
    assert [path.name for path in found] == ["world-0007-00001-title.info.json"]
    description = json.loads(found[0].read_text(encoding="utf-8"))["description"]
    for sound in compose_film(SEED, 1, plant="title").sounds:
        assert sound.text in description


def test_each_cut_has_a_sound_and_a_shift_moves_them(films: dict[str, Path]) -> None:
    for name in ("cuts", "shifted"):
        scene, truth = truth_of(films[name]).scene, json.loads(Path(truth_uri(str(films[name]))).read_text())
        cuts = [sight["start"] for sight in truth["sights"]]
        assert len(cuts) >= 5
        jumps = changes(films[name])
        assert sorted(np.argsort(jumps)[1 - len(cuts) :] + 1) == [round(cut * RATE) for cut in cuts[1:]]
        by = {"cuts": 0.0, "shifted": shift_of(scene)}[name]
        starts = [sound["start"] for sound in truth["sounds"]]
        assert len(starts) >= 3
        assert all(min(abs(start - by - cut) for cut in cuts) < 0.005 for start in starts)
        wave = load_sound(str(films[name]))
        for start in starts[1:]:
            at = int((start + 0.1) * wave.rate)
            assert np.abs(wave.samples.astype(float).reshape(-1)[at : at + 2000]).max() > 0.2
    assert 0.5 <= abs(planted(films["shifted"])["shift_s"]) <= 2.0


def test_faults_can_be_seen(films: dict[str, Path]) -> None:
    assert changes(films["still"]).max() < changes(films["cuts"]).max() / 5
    assert pictures(films["letterbox"])[40][:40].max() < 20


def test_copies_lie_beside_their_originals(films: dict[str, Path]) -> None:
    folder = films["cuts"].parent
    small, fast, leak = films["copy-resize"], films["copy-speed-1-25"], films["leaked"]
    assert [planted(film)["relation"] for film in (small, fast, leak)] == ["copy", "copy", "part of"]
    assert pictures(small)[0].shape == (144, 144, 3)
    assert truth_of(fast).seconds == pytest.approx(6.4)
    assert (folder / f"{planted(small)['copy_of']}.mp4").exists()
    [benchmark] = benchmark_folder(folder).glob("*.mp4")
    assert benchmark.stem == planted(leak)["copy_of"]
    assert np.abs(pictures(leak)[0].astype(float) - pictures(benchmark)[RATE]).mean() < 12


def test_plants_choose_the_kind_of_clips(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--wordless: expected no --plant beside it"):
        list(make_world(tmp_path, 1, kind="wordless", plants=["title"]))
