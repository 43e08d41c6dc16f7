"""Recipes: packaged ones load, settings override them, and each mistake is one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from stages.errors import StagesError
from stages.recipe import packaged_recipes, read_recipe
from stages.samples import FAMILIES


def written(folder: Path, **phase: object) -> str:
    """A recipe file of one phase."""
    facts = {"name": "one", "stages": ["image"], "lr": {"decoder": 1e-5}} | phase
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump({"phases": [facts]}))
    return str(file)


def test_the_packaged_recipes_are_the_papers() -> None:
    assert packaged_recipes() == ["balanced", "direct", "image", "omni", "progressive", "video"]


@pytest.mark.parametrize("name", packaged_recipes())
def test_a_packaged_recipe_loads(name: str) -> None:
    found = read_recipe(name)
    assert found.name == name
    assert all(phase.lr and set(phase.stages) <= set(FAMILIES) for phase in found.phases)


def test_progressive_is_its_stages_in_turn() -> None:
    parts = [phase for name in ("image", "video", "omni") for phase in read_recipe(name).phases]
    assert read_recipe("progressive").phases == tuple(parts)


def test_the_projector_alone_is_trained_first() -> None:
    first, *_, warm_up, _ = read_recipe("progressive").phases
    assert dict(first.lr) == {"visual_projector": 1e-3}
    assert dict(warm_up.lr) == {"speech_projector": 1e-3}


def test_a_file_is_named_after_itself(tmp_path: Path) -> None:
    found = read_recipe(written(tmp_path))
    assert (found.name, found.phases[0].tasks, found.phases[0].batch) == ("mine", "all", 128)


def test_settings_lie_on_top_for_all_phases_or_for_one() -> None:
    found = read_recipe("image", ["batch=8", "image-align.lr.visual_projector=5e-4", "image.cap={image_caption: 10}"])
    assert [phase.batch for phase in found.phases] == [8, 8]
    assert dict(found.phases[0].lr) == {"visual_projector": 5e-4}
    assert dict(found.phases[1].cap) == {"image_caption": 10}
    assert not found.phases[0].cap


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ({"tasks": {"image_caption": 0.5, "video_qa": 0.4}}, "tasks: expected shares with sum 1, got 0.9"),
        ({"tasks": ["captions"]}, "tasks: no 'captions' .choices: .*image_caption"),
        ({"stages": ["pictures"]}, "stages: no 'pictures' .choices: image, video, omni"),
        ({"stages": []}, "stages: .*at least 1"),
        ({"replay": {"video": 1.0}}, "replay: expected shares above 0 with a sum below 1"),
        ({"replay": {"video": 0.0}}, "replay: expected shares above 0"),
        ({"replay": {"image": 0.2}}, "replay: expected earlier stages, got image"),
        ({"cap": {"captions": 5}}, "cap: no 'captions'"),
        ({"steps": 5, "tokens": 5}, "tokens and steps: expected only one"),
        ({"lr": {"head": 1e-5}}, "lr.head"),
        ({"lr": {}}, "lr: .*at least 1"),
        ({"learning_rate": 1e-5}, "learning_rate: Extra inputs"),
        ({"tolerance": 1.0}, "tolerance: .*less than 1"),
        ({"name": "Two Words"}, "name: .*match pattern"),
    ],
)
def test_what_is_wrong_is_named(phase: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(StagesError, match=rf"recipe .*mine.yaml: phases\.0(\.\w+)?.*{message}|{message}") as error:
        read_recipe(written(tmp_path, **phase))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("phases: [", "recipe .*mine.yaml: while parsing"),
        ("steps: 5", "expected `phases:`, a list"),
        ("phases: []", "phases: .*at least 1"),
        (
            "phases: [{name: a, stages: [image], lr: {decoder: 1}}, {name: a, stages: [image], lr: {decoder: 1}}]",
            "phases: expected different names, got a, a",
        ),
    ],
)
def test_files_that_are_no_recipes_are_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(StagesError, match=message) as error:
        read_recipe(str(tmp_path / "mine.yaml"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["batch"], "--set batch: expected key=value"),
        (["image=5"], "--set image=5: expected image.key=value"),
        (["batch=["], "--set batch=.: while parsing"),
        (["batch=many"], "phases.0.batch: .*integer"),
        (["second.batch=5"], "second: Extra inputs"),
    ],
)
def test_settings_that_are_wrong_are_named(settings: list[str], message: str) -> None:
    with pytest.raises(StagesError, match=message):
        read_recipe("image", settings)


def test_names_that_are_nowhere_are_named(tmp_path: Path) -> None:
    with pytest.raises(StagesError, match=r"recipe audio: expected a .yaml file or one of balanced, direct, image"):
        read_recipe("audio")
    with pytest.raises(StagesError, match=r"recipe .*absent.yaml: .*No such file"):
        read_recipe(str(tmp_path / "absent.yaml"))
