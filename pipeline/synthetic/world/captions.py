"""Write the captions of a scene: of its pictures, its sound, or both, in whole sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.synthetic.world.frames import interpolate_placement
from pipeline.synthetic.world.scenes import SIDE, Placement, Scene, SceneFigure, SceneSound, Sight
from pipeline.synthetic.world.vocabulary import MEETS, SIZES, VOICE

NOTHING = "Nothing is heard."


def captions_by_view(scene: Scene, picture_at: float) -> dict[str, str]:
    """Return captions by the views of the step `caption`; views with sound are left out for clips without a track.

    picture_at: time of the captioned image, seconds.
    """
    captions = {
        "image": describe_image(scene, picture_at),
        "video": join_sentence([describe_sight(sight) for sight in scene.sights]),
    }
    if scene.kind == "mute":
        return captions
    sounds = join_sentence([describe_sound(sound) for sound in scene.sounds]) if scene.sounds else NOTHING
    return captions | {"sound": sounds, "joint": describe_jointly(scene)}


def describe_image(scene: Scene, seconds: float) -> str:
    """Describe the frame at a time, seconds; motions are left out, since one frame cannot show them."""
    clauses = []
    for sight in scene.sights:
        if sight.start <= seconds < sight.end:
            placed = [(figure, interpolate_placement(sight, figure, seconds)) for figure in sight.figures]
            clauses.append(" and ".join(describe_figure(add_visible_size(*each)) for each in placed))
    return join_sentence(clauses) if clauses else "Nothing is seen."


def add_visible_size(figure: SceneFigure, place: Placement) -> SceneFigure:
    """Return a figure with a size. If the figure grows or shrinks, its size is the nearest to the visible radius."""
    nearest = min(SIZES, key=lambda size: abs(SIZES[size] / SIDE - place.radius))
    return figure if figure.size else replace(figure, size=nearest)


def describe_jointly(scene: Scene) -> str:
    """Describe each sight together with the sounds that are first heard during it."""
    described: set[SceneSound] = set()
    clauses = []
    for sight in scene.sights:
        sounds = [sound for sound in scene.sounds_during(sight) if sound not in described]
        described |= set(sounds)
        heard = [" and then ".join(map(describe_sound, sounds))] if sounds else []
        clauses.append(" while ".join([describe_sight(sight), *heard]))
    return join_sentence(clauses)


def describe_figure(figure: SceneFigure) -> str:
    """Return a figure with its article: `a large red circle`, `an orange star`."""
    words = " ".join(word for word in (figure.size, figure.name) if word)
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def describe_sight(sight: Sight, way: str = "") -> str:
    """Describe a sight: `a large red circle moves left`. way: words that are put before the motion."""
    shown = " and ".join(map(describe_figure, sight.figures))
    return " ".join(filter(None, (shown, way, sight.motion)))


def describe_sound(sound: SceneSound) -> str:
    """Describe a sound: `a voice says two dogs`, `a beep is heard`."""
    return f"a voice says {sound.text}" if sound.name == VOICE else f"a {sound.name} is heard"


def sight_clause(sight: Sight) -> str:
    """Return a sight as a clause after `while`: `the red circle is seen`."""
    names = " and ".join(f"the {figure.name}" for figure in sight.figures)
    return f"{names} {MEETS if sight.motion == MEETS else 'is seen'}"


def sound_clause(sound: SceneSound) -> str:
    """Return a sound as a clause after `while`: `the voice says two dogs`."""
    return f"the voice says {sound.text}" if sound.name == VOICE else f"the {sound.name} is heard"


def join_sentence(clauses: Sequence[str]) -> str:
    """Join clauses with `then` to one sentence."""
    text = ", then ".join(clauses)
    return f"{text[0].upper()}{text[1:]}."
