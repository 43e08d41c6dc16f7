"""Look-up questions about a scene: one fact each, from which other questions are composed.

    part of: circle      circle second              which part of the clip a word belongs to
    second colour        second colour blue         what a part has
    colour with: dogs    dogs second colour blue    both, from what is heard to what is seen or back

An answer says once more what it is about: the next word then follows from those right before it. Where the answer was
the value alone, a text decoder of this size did not find the part of a word in 600 steps; so, it does in 200.
A part is a segment of the clip. Only words that are seen or heard in one part alone are asked for, or those of a sound
that lies across a cut: `dogs first and second`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pipeline.synthetic.nano.answers import Exchange
from pipeline.synthetic.nano.motion_examples import figure_path, part_names, sights_by_part
from pipeline.synthetic.world.questions import sound_parts
from pipeline.synthetic.world.scenes import SEGMENT_S, Scene, SceneFigure, SceneSound, Sight
from pipeline.synthetic.world.vocabulary import VOICE

NOTHING = "nothing"
WordParts = Mapping[str, str]  # a word -> the part that it belongs to


def image_lookups(scene: Scene, at: float) -> list[Exchange]:
    """What the figures are like that are seen at a time, seconds; each asked for by what it shares with no other."""
    figures = figures_at(scene, at)
    colours, shapes = (Counter(names) for names in ([f.colour for f in figures], [f.shape for f in figures]))
    by_shape = [Exchange(f"What colour is the {f.shape}?", f.colour) for f in figures if shapes[f.shape] == 1]
    by_colour = [Exchange(f"Which shape is {f.colour}?", f.shape) for f in figures if colours[f.colour] == 1]
    return [*by_shape, *by_colour]


def figures_at(scene: Scene, at: float) -> list[SceneFigure]:
    """The figures that are seen at a time, seconds."""
    return [figure for sight in scene.sights if sight.start <= at < sight.end for figure in sight.figures]


def video_lookups(scene: Scene) -> list[Exchange]:
    """What is seen in which part; of two figures that meet, their words and what they do."""
    values = [
        (part, kind, value) for part, sight in sights_by_part(scene) for kind, value in sight_attributes(sight).items()
    ]
    return [
        *_part_lookups(_seen_words(scene)),
        *(_value_lookup(f"{part} {kind}", value) for part, kind, value in values),
    ]


def path_lookups(scene: Scene) -> list[Exchange]:
    """Where a figure is in each picture of a part, and so what it does."""
    found = []
    for part, sight in sights_by_part(scene):
        paths = {figure: f"{figure_path(sight, figure, part)} {sight.motion}" for figure in sight.figures}
        if len(paths) == 1:
            found += [_value_lookup(f"{part} path", way) for way in paths.values()]
        if sight.end - sight.start <= SEGMENT_S:  # else it has one in each part
            found += [Exchange(f"path of: {f.name}", f"{f.name} {part} {way}") for f, way in paths.items()]
    return found


def sound_lookups(scene: Scene) -> list[Exchange]:
    """What is heard in which part; `NOTHING` where that is silent."""
    values = [
        (part, kind, value)
        for part, sound in sounds_by_part(scene)
        for kind, value in sound_attributes(scene, sound).items()
    ]
    return [
        *_part_lookups(_heard_words(scene)),
        *(_value_lookup(f"{part} {kind}", value) for part, kind, value in values),
    ]


def cross_modal_lookups(scene: Scene) -> list[Exchange]:
    """From a word that is heard to what is seen with it, and back; none of a sound that two sights share."""
    if any(len(scene.sights_during(sound)) != 1 for sound in scene.sounds):
        return []
    looked = {part: sight_attributes(sight) for part, sight in sights_by_part(scene)}
    said = {part: sound_attributes(scene, sound) for part, sound in sounds_by_part(scene)}
    return [*_cross_lookups(_heard_words(scene), looked), *_cross_lookups(_seen_words(scene), said)]


def heard_part_lookups(scene: Scene) -> list[Exchange]:
    """Which part the words that are heard belong to."""
    return _part_lookups(_heard_words(scene))


def sounds_by_part(scene: Scene) -> list[tuple[str, SceneSound | None]]:
    """Each part with the sound that is heard in it, if one is."""
    found = {part: sound for sound in scene.sounds for part in sound_parts(sound)}
    return [(part, found.get(part)) for part in part_names(scene)]


def sight_attributes(sight: Sight) -> dict[str, str]:
    """What a sight is like, by kind; two figures have no one colour, and one that grows no size."""
    figure = sight.figures[0]
    if len(sight.figures) > 1:
        return {"name": sight.name, "motion": sight.motion}
    sized = {"size": figure.size} if figure.size else {}
    return {"name": sight.name, "colour": figure.colour, "shape": figure.shape, "motion": sight.motion, **sized}


def sound_attributes(scene: Scene, sound: SceneSound | None) -> dict[str, str]:
    """What is heard of a sound, by kind."""
    if sound is None:
        return {"sound": NOTHING}
    if sound.name != VOICE:
        return {"sound": f"a {sound.name}"}
    first, last = sound.text.split()
    return {"sound": sound.text} if scene.kind == "named" else {"sound": sound.text, "number": first, "noun": last}


def _seen_words(scene: Scene) -> WordParts:
    figures = [(part, figure) for part, sight in sights_by_part(scene) for figure in sight.figures]
    names = [(word, part) for part, figure in figures for word in (figure.colour, figure.shape)]
    return _unique_words([*names, *((sight.motion, part) for part, sight in sights_by_part(scene))])


def _heard_words(scene: Scene) -> WordParts:
    return _unique_words(
        [(word, " and ".join(sound_parts(sound))) for sound in scene.sounds for word in sound.text.split()]
    )


def _unique_words(found: Sequence[tuple[str, str]]) -> WordParts:
    """Those that belong to one sight or sound alone."""
    pairs = dict.fromkeys(found)
    counts = Counter(word for word, _ in pairs)
    return {word: part for word, part in pairs if counts[word] == 1}


def _value_lookup(asked: str, value: str) -> Exchange:
    return Exchange(asked, f"{asked} {value}")


def _part_lookups(words: WordParts) -> list[Exchange]:
    return [Exchange(f"part of: {word}", f"{word} {part}") for word, part in words.items()]


def _cross_lookups(words: WordParts, values: Mapping[str, Mapping[str, str]]) -> Iterator[Exchange]:
    for word, part in words.items():
        for kind, value in values.get(part, {}).items():
            if word not in value.split():  # a named clip says what it shows
                yield Exchange(f"{kind} with: {word}", f"{word} {part} {kind} {value}")
