"""Make look-up prompts about a scene: single facts that answers to questions are composed of.

    prompt               answer
    part of: circle      circle second              the part of the clip that a word belongs to
    second colour        second colour blue         an attribute of a part
    colour with: dogs    dogs second colour blue    both steps, between sound and picture

An answer repeats the words of its prompt, so that each word follows from those right before it. With values alone a
text decoder of this size did not learn the part of a word in 600 steps; with the repetition it takes 200.
A part is a segment of the clip. Prompts contain only words of a single sight or sound. A sound that spans a cut has two
parts: `dogs first and second`.
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
WordParts = Mapping[str, str]  # word -> part that it belongs to


def image_lookups(scene: Scene, at: float) -> list[Exchange]:
    """Make look-ups of the figures shown at a time, seconds, by a colour or shape that no other figure has."""
    figures = figures_at(scene, at)
    colours, shapes = (Counter(names) for names in ([f.colour for f in figures], [f.shape for f in figures]))
    by_shape = [Exchange(f"What colour is the {f.shape}?", f.colour) for f in figures if shapes[f.shape] == 1]
    by_colour = [Exchange(f"Which shape is {f.colour}?", f.shape) for f in figures if colours[f.colour] == 1]
    return [*by_shape, *by_colour]


def figures_at(scene: Scene, at: float) -> list[SceneFigure]:
    """Return the figures shown at a time, seconds."""
    return [figure for sight in scene.sights if sight.start <= at < sight.end for figure in sight.figures]


def video_lookups(scene: Scene) -> list[Exchange]:
    """Make look-ups of the parts of seen words, and of the attributes of each part's sight."""
    values = [
        (part, kind, value) for part, sight in sights_by_part(scene) for kind, value in sight_attributes(sight).items()
    ]
    return [
        *_part_lookups(_seen_words(scene)),
        *(_value_lookup(f"{part} {kind}", value) for part, kind, value in values),
    ]


def path_lookups(scene: Scene) -> list[Exchange]:
    """Make look-ups of the paths of figures, with their motions."""
    found = []
    for part, sight in sights_by_part(scene):
        paths = {figure: f"{figure_path(sight, figure, part)} {sight.motion}" for figure in sight.figures}
        if len(paths) == 1:
            found += [_value_lookup(f"{part} path", way) for way in paths.values()]
        if sight.end - sight.start <= SEGMENT_S:  # a longer sight has a path in each part
            found += [Exchange(f"path of: {f.name}", f"{f.name} {part} {way}") for f, way in paths.items()]
    return found


def sound_lookups(scene: Scene) -> list[Exchange]:
    """Make look-ups of the parts of heard words, and of the attributes of each part's sound."""
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
    """Make look-ups from a heard word to the sight, and from a seen word to the sound; none if a sound spans a cut."""
    if any(len(scene.sights_during(sound)) != 1 for sound in scene.sounds):
        return []
    sight_values = {part: sight_attributes(sight) for part, sight in sights_by_part(scene)}
    sound_values = {part: sound_attributes(scene, sound) for part, sound in sounds_by_part(scene)}
    return [*_cross_lookups(_heard_words(scene), sight_values), *_cross_lookups(_seen_words(scene), sound_values)]


def heard_part_lookups(scene: Scene) -> list[Exchange]:
    """Make look-ups of the parts of heard words."""
    return _part_lookups(_heard_words(scene))


def sounds_by_part(scene: Scene) -> list[tuple[str, SceneSound | None]]:
    """Return each part with its sound, or None."""
    found = {part: sound for sound in scene.sounds for part in sound_parts(sound)}
    return [(part, found.get(part)) for part in part_names(scene)]


def sight_attributes(sight: Sight) -> dict[str, str]:
    """Return the attributes of a sight by name; two figures have no colour, shape or size."""
    figure = sight.figures[0]
    if len(sight.figures) > 1:
        return {"name": sight.name, "motion": sight.motion}
    sized = {"size": figure.size} if figure.size else {}
    return {"name": sight.name, "colour": figure.colour, "shape": figure.shape, "motion": sight.motion, **sized}


def sound_attributes(scene: Scene, sound: SceneSound | None) -> dict[str, str]:
    """Return the attributes of a sound by name."""
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
    """Return the words that belong to a single part, with this part."""
    pairs = dict.fromkeys(found)
    counts = Counter(word for word, _ in pairs)
    return {word: part for word, part in pairs if counts[word] == 1}


def _value_lookup(prompt: str, value: str) -> Exchange:
    return Exchange(prompt, f"{prompt} {value}")


def _part_lookups(words: WordParts) -> list[Exchange]:
    return [Exchange(f"part of: {word}", f"{word} {part}") for word, part in words.items()]


def _cross_lookups(words: WordParts, values: Mapping[str, Mapping[str, str]]) -> Iterator[Exchange]:
    for word, part in words.items():
        for kind, value in values.get(part, {}).items():
            if word not in value.split():  # in a named clip the voice says the words shown
                yield Exchange(f"{kind} with: {word}", f"{word} {part} {kind} {value}")
