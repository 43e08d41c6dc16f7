"""Captions of a scene: what is seen, heard, or both, in whole sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.synthetic.world.frames import interpolate_placement
from pipeline.synthetic.world.scenes import SIDE, Placement, Scene, SceneFigure, SceneSound, Sight
from pipeline.synthetic.world.vocabulary import MEETS, SIZES, VOICE

NOTHING = "Nothing is heard."


def captions_by_view(scene: Scene, picture_at: float) -> dict[str, str]:
    """By view, as `caption` names them; none of the sound without a track. picture_at: when the image is shown."""
    told = {
        "image": describe_image(scene, picture_at),
        "video": join_sentence([describe_sight(sight) for sight in scene.sights]),
    }
    if scene.kind == "mute":
        return told
    heard = join_sentence([describe_sound(sound) for sound in scene.sounds]) if scene.sounds else NOTHING
    return told | {"sound": heard, "joint": describe_jointly(scene)}


def describe_image(scene: Scene, seconds: float) -> str:
    """What the picture at that time shows; what moves cannot be seen in it."""
    shown = [sight for sight in scene.sights if sight.start <= seconds < sight.end]
    figures = [
        [add_visible_size(figure, interpolate_placement(sight, figure, seconds)) for figure in sight.figures]
        for sight in shown
    ]
    return (
        join_sentence([" and ".join(map(describe_figure, some)) for some in figures]) if shown else "Nothing is seen."
    )


def add_visible_size(figure: SceneFigure, place: Placement) -> SceneFigure:
    """With a size, where its own changes: the one that is nearest to what is seen of it at a place."""
    nearest = min(SIZES, key=lambda size: abs(SIZES[size] / SIDE - place.radius))
    return figure if figure.size else replace(figure, size=nearest)


def describe_jointly(scene: Scene) -> str:
    """Each sight with the sounds that begin with it."""
    told: set[SceneSound] = set()
    parts = []
    for sight in scene.sights:
        sounds = [sound for sound in scene.sounds_during(sight) if sound not in told]
        told |= set(sounds)
        parts.append(
            " while ".join(
                [describe_sight(sight), *([" and then ".join(map(describe_sound, sounds))] if sounds else [])]
            )
        )
    return join_sentence(parts)


def describe_figure(figure: SceneFigure) -> str:
    """As `a large red circle`, or `an orange star`."""
    words = " ".join(word for word in (figure.size, figure.name) if word)
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def describe_sight(sight: Sight, way: str = "") -> str:
    """As `a large red circle moves left`; with words for its way in front of what it does, if any."""
    shown = " and ".join(map(describe_figure, sight.figures))
    return " ".join(filter(None, (shown, way, sight.motion)))


def describe_sound(sound: SceneSound) -> str:
    """As `a voice says two dogs`, or `a beep is heard`."""
    return f"a voice says {sound.text}" if sound.name == VOICE else f"a {sound.name} is heard"


def sight_clause(sight: Sight) -> str:
    """A sight as what something else happens during: `the red circle is seen`."""
    names = " and ".join(f"the {figure.name}" for figure in sight.figures)
    return f"{names} {MEETS if sight.motion == MEETS else 'is seen'}"


def sound_clause(sound: SceneSound) -> str:
    """A sound as what something else happens during: `the voice says two dogs`."""
    return f"the voice says {sound.text}" if sound.name == VOICE else f"the {sound.name} is heard"


def join_sentence(parts: Sequence[str]) -> str:
    """Parts in a row, as one sentence."""
    text = ", then ".join(parts)
    return f"{text[0].upper()}{text[1:]}."
