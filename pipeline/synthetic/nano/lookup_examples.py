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
from pipeline.synthetic.nano.motion_examples import ordinals, path, seen
from pipeline.synthetic.world.questions import parts_of
from pipeline.synthetic.world.scenes import SEGMENT_S, Figure, Scene, Sight, Sound
from pipeline.synthetic.world.vocabulary import VOICE

NOTHING = "nothing"
Words = Mapping[str, str]  # a word -> the part that it belongs to


def over_image(scene: Scene, at: float) -> list[Exchange]:
    """What the figures are like that are seen at a time, seconds; each asked for by what it shares with no other."""
    figures = shown(scene, at)
    colours, shapes = (Counter(names) for names in ([f.colour for f in figures], [f.shape for f in figures]))
    by_shape = [Exchange(f"What colour is the {f.shape}?", f.colour) for f in figures if shapes[f.shape] == 1]
    by_colour = [Exchange(f"Which shape is {f.colour}?", f.shape) for f in figures if colours[f.colour] == 1]
    return [*by_shape, *by_colour]


def shown(scene: Scene, at: float) -> list[Figure]:
    """The figures that are seen at a time, seconds."""
    return [figure for sight in scene.sights if sight.start <= at < sight.end for figure in sight.figures]


def over_video(scene: Scene) -> list[Exchange]:
    """What is seen in which part; of two figures that meet, their words and what they do."""
    values = [(part, kind, value) for part, sight in seen(scene) for kind, value in looks(sight).items()]
    return [*_parts(_words_seen(scene)), *(_value(f"{part} {kind}", value) for part, kind, value in values)]


def over_paths(scene: Scene) -> list[Exchange]:
    """Where a figure is in each picture of a part, and so what it does."""
    found = []
    for part, sight in seen(scene):
        paths = {figure: f"{path(sight, figure, part)} {sight.motion}" for figure in sight.figures}
        if len(paths) == 1:
            found += [_value(f"{part} path", way) for way in paths.values()]
        if sight.end - sight.start <= SEGMENT_S:  # else it has one in each part
            found += [Exchange(f"path of: {f.name}", f"{f.name} {part} {way}") for f, way in paths.items()]
    return found


def over_sound(scene: Scene) -> list[Exchange]:
    """What is heard in which part; `NOTHING` where that is silent."""
    values = [(part, kind, value) for part, sound in heard(scene) for kind, value in says(scene, sound).items()]
    return [*_parts(_words_heard(scene)), *(_value(f"{part} {kind}", value) for part, kind, value in values)]


def over_both(scene: Scene) -> list[Exchange]:
    """From a word that is heard to what is seen with it, and back; none of a sound that two sights share."""
    if any(len(scene.seen_with(sound)) != 1 for sound in scene.sounds):
        return []
    looked = {part: looks(sight) for part, sight in seen(scene)}
    said = {part: says(scene, sound) for part, sound in heard(scene)}
    return [*_with(_words_heard(scene), looked), *_with(_words_seen(scene), said)]


def parts_heard(scene: Scene) -> list[Exchange]:
    """Which part the words that are heard belong to."""
    return _parts(_words_heard(scene))


def heard(scene: Scene) -> list[tuple[str, Sound | None]]:
    """Each part with the sound that is heard in it, if one is."""
    found = {part: sound for sound in scene.sounds for part in parts_of(sound)}
    return [(part, found.get(part)) for part in ordinals(scene)]


def looks(sight: Sight) -> dict[str, str]:
    """What a sight is like, by kind; two figures have no one colour, and one that grows no size."""
    figure = sight.figures[0]
    if len(sight.figures) > 1:
        return {"name": sight.name, "motion": sight.motion}
    sized = {"size": figure.size} if figure.size else {}
    return {"name": sight.name, "colour": figure.colour, "shape": figure.shape, "motion": sight.motion, **sized}


def says(scene: Scene, sound: Sound | None) -> dict[str, str]:
    """What is heard of a sound, by kind."""
    if sound is None:
        return {"sound": NOTHING}
    if sound.name != VOICE:
        return {"sound": f"a {sound.name}"}
    first, last = sound.text.split()
    return {"sound": sound.text} if scene.kind == "named" else {"sound": sound.text, "number": first, "noun": last}


def _words_seen(scene: Scene) -> Words:
    figures = [(part, figure) for part, sight in seen(scene) for figure in sight.figures]
    names = [(word, part) for part, figure in figures for word in (figure.colour, figure.shape)]
    return _telling([*names, *((sight.motion, part) for part, sight in seen(scene))])


def _words_heard(scene: Scene) -> Words:
    return _telling([(word, " and ".join(parts_of(sound))) for sound in scene.sounds for word in sound.text.split()])


def _telling(found: Sequence[tuple[str, str]]) -> Words:
    """Those that belong to one sight or sound alone."""
    pairs = dict.fromkeys(found)
    counts = Counter(word for word, _ in pairs)
    return {word: part for word, part in pairs if counts[word] == 1}


def _value(asked: str, value: str) -> Exchange:
    return Exchange(asked, f"{asked} {value}")


def _parts(words: Words) -> list[Exchange]:
    return [Exchange(f"part of: {word}", f"{word} {part}") for word, part in words.items()]


def _with(words: Words, values: Mapping[str, Mapping[str, str]]) -> Iterator[Exchange]:
    for word, part in words.items():
        for kind, value in values.get(part, {}).items():
            if word not in value.split():  # a named clip says what it shows
                yield Exchange(f"{kind} with: {word}", f"{word} {part} {kind} {value}")
