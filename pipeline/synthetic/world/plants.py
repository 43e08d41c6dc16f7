"""Plant in films what filters must find: shortcuts of questions, faults of media, copies, and leaks of benchmarks.

A planted film is composed from its seed, its number and the name of its plant. Films take the plants in turn. A plant
may ask for a kind of clip, in which its fault matters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any

from pipeline.errors import ConfigError
from pipeline.synthetic.world.changes import CHANGES, LEAK, Change
from pipeline.synthetic.world.scenes import (
    CUTS,
    MUSICAL,
    SEGMENT_S,
    TWO_SOURCES,
    Scene,
    SceneSound,
    SceneText,
    compose_scene,
)
from pipeline.synthetic.world.vocabulary import VOICE, split_of_seed

NONE = "none"
QUESTIONS, CURATION, COPIES = "questions", "curation", "copies"  # groups, which stand for all their plants
GROUPS = (QUESTIONS, CURATION, COPIES)
LINKED, NAMED = "linked", "named"  # kinds of clips
TEXT_SIZES = (0.056, 0.083, 0.125)  # height of the letters: 16, 24 and 36 pixels of 288
TEXT_PLACES = ("bottom", "top")
SHIFTS_S = (0.5, 2.0)  # smallest and largest shift of a sound track
CUTS_SEGMENTS = 4  # of `SEGMENT_S` each: 8 s, for four events and more

SOUND_LABELS, SUBTITLES, SCENE_TEXT = "sound-labels", "subtitles", "scene-text"
NARRATION, TITLE, SOURCES, SWAPPED, MUSIC = "narration", "title", "two-sources", "swapped", "music"
PLAIN_CUTS, SHIFTED, FOREIGN_SOUND, LEAKED = "cuts", "shifted", "foreign-sound", "leaked"
FAULTS = ("still", "slides", "letterbox", "blurred", "noisy")


@dataclass(frozen=True)
class Plant:
    """What is planted in a film. kind: of the clip; empty: by its number. segments: of the clip.

    apply: changes the scene. change: what the film is, compared with the film `cuts` of its number, if it is a copy.
    """

    group: str
    kind: str = ""
    segments: int = 2
    apply: Callable[[Scene], Scene] = lambda scene: scene
    change: Change | None = None


def _voices(scene: Scene) -> list[SceneSound]:
    return [sound for sound in scene.sounds if sound.name == VOICE]


def _rng(scene: Scene) -> Random:
    return Random(f"plant {scene.plant} {scene.seed} {scene.number}")


def _write(scene: Scene, sounds: Sequence[SceneSound]) -> Scene:
    """Write what is heard into the picture, while it is heard."""
    rng = _rng(scene)
    size, place = rng.choice(TEXT_SIZES), rng.choice(TEXT_PLACES)
    texts = (SceneText(sound.start, sound.end, sound.text, place, size) for sound in sounds)
    return replace(scene, texts=tuple(texts))


def _write_sounds(scene: Scene) -> Scene:
    return _write(scene, scene.sounds)


def _write_words(scene: Scene) -> Scene:
    """Subtitle what is said; in a clip without words, the first sound becomes a voice."""
    if not _voices(scene):
        text = " ".join(_rng(scene).choice(split_of_seed(scene.seed).phrases))
        scene = replace(scene, sounds=(replace(scene.sounds[0], name=VOICE, text=text), *scene.sounds[1:]))
    return _write(scene, _voices(scene))


def _write_sign(scene: Scene) -> Scene:
    """Show a sign with words that are not said in the clip."""
    rng, said = _rng(scene), {word for sound in scene.sounds for word in sound.text.split()}
    text = " ".join(rng.choice([pair for pair in split_of_seed(scene.seed).phrases if said.isdisjoint(pair)]))
    sign = SceneText(0.0, scene.seconds, text, rng.choice(TEXT_PLACES), rng.choice(TEXT_SIZES), plate=True)
    return replace(scene, texts=(sign,))


def sound_giver(scene: Scene) -> Scene:
    """Return the scene whose sound track a swapped film has: that of the next number."""
    return compose_scene(scene.seed, scene.number + 1, round(scene.seconds / SEGMENT_S), scene.kind)


def _swap(scene: Scene) -> Scene:
    other = sound_giver(scene)
    return replace(scene, sounds=other.sounds, voice=other.voice, noise_db=other.noise_db)


def shift_of(scene: Scene) -> float:
    """Return by how many seconds the sound of a shifted film is late; below 0: early."""
    rng = _rng(scene)
    return round(rng.choice((-1, 1)) * rng.uniform(*SHIFTS_S), 3)


def _shift(scene: Scene) -> Scene:
    """Move the sounds; those that would begin outside of the film are not heard."""
    by = shift_of(scene)
    moved = (replace(sound, start=sound.start + by, end=sound.end + by) for sound in scene.sounds)
    return replace(scene, sounds=tuple(sound for sound in moved if 0 <= sound.start < scene.seconds - 0.1))


def _of_cuts(**facts: Any) -> Plant:
    return Plant(kind=CUTS, segments=CUTS_SEGMENTS, **facts)


def copy_name(change: str) -> str:
    """Return the name of the plant of a change: `copy-crop-5` of `crop 5 %`, `copy-speed-1-25` of `speed 1.25`."""
    return f"copy-{'-'.join(change.replace('%', '').replace('.', ' ').split())}"


PLANTS: Mapping[str, Plant] = {
    SOUND_LABELS: Plant(QUESTIONS, LINKED, apply=_write_sounds),
    SUBTITLES: Plant(QUESTIONS, LINKED, apply=_write_words),
    SCENE_TEXT: Plant(QUESTIONS, LINKED, apply=_write_sign),
    NARRATION: Plant(QUESTIONS, NAMED),
    TITLE: Plant(QUESTIONS, LINKED),
    SOURCES: Plant(QUESTIONS, TWO_SOURCES),
    SWAPPED: Plant(QUESTIONS, LINKED, apply=_swap),
    MUSIC: Plant(QUESTIONS, MUSICAL),
    PLAIN_CUTS: _of_cuts(group=CURATION),
    **{name: _of_cuts(group=CURATION) for name in FAULTS},
    SHIFTED: _of_cuts(group=CURATION, apply=_shift),
    FOREIGN_SOUND: _of_cuts(group=CURATION, apply=_swap),
    LEAKED: _of_cuts(group=CURATION, change=LEAK),
    **{copy_name(name): _of_cuts(group=COPIES, change=change) for name, change in CHANGES.items()},
}


def choose_plants(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of plants, groups replaced by their members and lists split. Raises ConfigError."""
    groups = {group: [name for name, each in PLANTS.items() if each.group == group] for group in GROUPS}
    chosen = [name.strip() for given in names for name in given.split(",")]
    for name in chosen:
        if name not in PLANTS and name not in (NONE, *GROUPS):
            choices = ", ".join((NONE, *GROUPS, *PLANTS))
            raise ConfigError(f"--plant: expected the name of a plant, got {name!r}; give one of: {choices}")
    return tuple(name for given in chosen for name in groups.get(given, [given]))


def compose_film(seed: int, number: int, segments: int = 2, kind: str = "", plant: str = "") -> Scene:
    """Compose the scene of a film with its plant. Raises ConfigError for a seed outside of all splits."""
    if plant in ("", NONE):
        return compose_scene(seed, number, segments, kind)
    planted = PLANTS[plant]
    scene = compose_scene(seed, number, planted.segments, planted.kind or kind)
    return planted.apply(replace(scene, plant=plant))


def plant_facts(scene: Scene) -> dict[str, Any]:
    """Return what a truth file says about the plant of a film."""
    change, facts = PLANTS[scene.plant].change, {"name": scene.plant}
    return facts | {
        **({"texts": list(map(asdict, scene.texts))} if scene.texts else {}),
        **({"shift_s": shift_of(scene)} if scene.plant == SHIFTED else {}),
        **({"sound_of": sound_giver(scene).number} if scene.plant in (SWAPPED, FOREIGN_SOUND) else {}),
        **({"copy_of": original(scene).name, "relation": change.relation} if change else {}),
    }


def original(scene: Scene) -> Scene:
    """Return the scene of the film that a copy is made of."""
    return compose_film(scene.seed, scene.number, plant=PLAIN_CUTS)


def unplanted(scene: Scene) -> Scene:
    """Return the scene of a film as it would be without its plant."""
    return compose_scene(scene.seed, scene.number, round(scene.seconds / SEGMENT_S), scene.kind)


def film_seconds(scene: Scene) -> float:
    """Return how long the film of a scene is: a copy may be faster or shorter."""
    change = PLANTS[scene.plant].change if scene.plant else None
    return change.length(scene.seconds) if change else scene.seconds
