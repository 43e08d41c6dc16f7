"""Compose a scene from a seed and a number: the content of a clip over time.

A scene has a timeline of sights and a timeline of sounds. At any time there is at most one of each. A sight and a sound
belong together if their times overlap (`Scene.sights_during`, `Scene.sounds_during`). Times are seconds, coordinates
are shares of the frame's side.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from pipeline.synthetic.world.vocabulary import (
    BELL,
    COLOURS,
    MEETS,
    MOTIONS,
    MUSIC,
    SIZES,
    SOUNDS,
    VOICE,
    WorldSplit,
    split_of_seed,
)

SIDE = 96  # pixels of a frame's side; the radii in `SIZES` refer to it
RATE = 12  # frames a second
SEGMENT_S = 2.0  # a phrase of two words at 140 words a minute takes up to 1.5 s
KINDS = ("linked", "loose", "linked", "silent", "linked", "named", "linked", "still", "linked", "mute")
"""Kinds of clips by number, repeating. linked: each sight has its own sound. named: the voice names the figure shown.
loose: picture and sound are independent. still: nothing moves. silent: only background noise. mute: no sound track.
"""
WORDLESS = "wordless"
"""Kind of clips that are made on request only: each sight has its own signal, and no voice is heard."""
MUSICAL, TWO_SOURCES, CUTS = "musical", "two sources", "cuts"
"""Further kinds that are made on request only. musical: each sight has its own music. two sources: the one sound is
heard with both sights. cuts: shots of uneven length over textured backgrounds, each of which begins with a bell.
"""
SHOT_S = (1.0, 1.7)  # shortest and longest shot of `cuts`; the last one is up to 2.4 s long
LAST_SHOT_S = 2.4


@dataclass(frozen=True)
class Placement:
    """Centre and radius, as shares of the frame's side."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class SceneFigure:
    """A coloured shape that moves on a straight line from `first` to `last`.

    size: None if it changes. rgb: the drawn colour, a random variation of `colour`.
    """

    colour: str
    shape: str
    size: str | None
    rgb: tuple[int, int, int]
    first: Placement
    last: Placement

    @property
    def name(self) -> str:
        """Colour and shape: `red circle`."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Sight:
    """One figure with its motion, or two figures that meet, shown from start to end."""

    start: float
    end: float
    figures: tuple[SceneFigure, ...]
    motion: str

    @property
    def name(self) -> str:
        """Names of all figures: `red circle and blue square`."""
        return " and ".join(figure.name for figure in self.figures)


@dataclass(frozen=True)
class SceneSound:
    """A voice that says `text`, or one of `SOUNDS`, placed between start and end.

    lag: position within this span, from 0 (as early as possible) to 1 (as late as possible).
    """

    start: float
    end: float
    name: str
    text: str
    lag: float


@dataclass(frozen=True)
class SceneText:
    """A text that is drawn into the frames from start to end.

    place: `top` or `bottom`. size: height of its letters, as a share of the frame's side. plate: whether it is a sign
    in the scene, black on a white plate; else white with an outline, as subtitles are.
    """

    start: float
    end: float
    text: str
    place: str
    size: float
    plate: bool = False


@dataclass(frozen=True)
class Voice:
    """A voice of espeak-ng: its name, words a minute, and pitch from 0 to 99."""

    name: str
    words_a_minute: int
    pitch: int


@dataclass(frozen=True)
class Scene:
    """The content of a clip. noise_db: background noise below full scale. grey: background of the frames, 0..255.

    texts, plant: what is planted, see `plants`.
    """

    seed: int
    number: int
    split: str
    kind: str
    seconds: float
    voice: Voice
    noise_db: float
    grey: int
    sights: tuple[Sight, ...]
    sounds: tuple[SceneSound, ...] = field(default=())
    texts: tuple[SceneText, ...] = ()
    plant: str = ""

    @property
    def name(self) -> str:
        """Stem of the clip's files, made of seed, number and plant."""
        suffix = self.plant or (WORDLESS if self.kind == WORDLESS else "")
        return f"world-{self.seed:04d}-{self.number:05d}{f'-{suffix}' if suffix else ''}"

    def sights_during(self, sound: SceneSound) -> list[Sight]:
        """Return the sights that overlap a sound in time."""
        return [sight for sight in self.sights if sight.start < sound.end and sound.start < sight.end]

    def sounds_during(self, sight: Sight) -> list[SceneSound]:
        """Return the sounds that overlap a sight in time."""
        return [sound for sound in self.sounds if sight in self.sights_during(sound)]


def compose_scene(seed: int, number: int, segments: int = 2, kind: str = "") -> Scene:
    """Compose the scene of a seed and a number. Raises ConfigError for a seed outside of all splits.

    segments: number of segments of `SEGMENT_S` each, at most five (`questions.ORDINALS`). kind: of the clip; empty: by
    its number.
    """
    split, rng = split_of_seed(seed), Random(f"world {seed} {number}")
    kind = kind or KINDS[number % len(KINDS)]
    alone = kind == "still" or (kind == "loose" and rng.random() < 0.5)
    sights = _choose_sights(rng, split, 1 if alone else segments, segments * SEGMENT_S, kind)
    return Scene(
        seed=seed,
        number=number,
        split=split.name,
        kind=kind,
        seconds=segments * SEGMENT_S,
        voice=Voice(rng.choice(split.voices), rng.randrange(140, 191, 10), rng.randrange(25, 80, 5)),
        noise_db=rng.choice((40, 50, 60)),
        grey=rng.randrange(100, 160),
        sights=sights,
        sounds=_choose_sounds(rng, split, kind, sights, segments),
    )


def _choose_sights(rng: Random, split: WorldSplit, count: int, seconds: float, kind: str) -> tuple[Sight, ...]:
    """Choose sights that follow each other and share no figure name: `count` of the same length, or those of shots."""
    if kind == CUTS:
        return _choose_shots(rng, split, seconds)
    sights: list[Sight] = []
    names: set[str] = set()
    length = seconds / count
    while len(sights) < count:
        pair = rng.sample(split.figures, 2)
        meets = kind not in ("still", "named") and rng.random() < 0.15
        # Starts with the cut or shortly after, but before the first of six sampled frames.
        start = len(sights) * length + rng.choice((0.0, 0.1, 0.2))
        chosen = (
            _choose_meeting(rng, pair)
            if meets
            else _choose_single(rng, pair[0], "stays still" if kind == "still" else None)
        )
        if names.isdisjoint({figure.name for figure in chosen[0]}):
            names |= {figure.name for figure in chosen[0]}
            sights.append(Sight(start, (len(sights) + 1) * length, *chosen))
    return tuple(sights)


def _choose_shots(rng: Random, split: WorldSplit, seconds: float) -> tuple[Sight, ...]:
    """Choose sights that begin with a cut, on the grid of the frames."""
    times = [0.0]
    while seconds - times[-1] > LAST_SHOT_S:
        times.append(round((times[-1] + rng.uniform(*SHOT_S)) * RATE) / RATE)
    pairs = rng.sample(split.figures, len(times))
    ends = [*times[1:], seconds]
    return tuple(
        Sight(start, end, *_choose_single(rng, pair, None)) for start, end, pair in zip(times, ends, pairs, strict=True)
    )


def _choose_single(rng: Random, pair: tuple[str, str], motion: str | None) -> tuple[tuple[SceneFigure], str]:
    motion = motion or rng.choice(MOTIONS)
    size = rng.choice(list(SIZES))
    radius, (x, y) = SIZES[size] / SIDE, (rng.uniform(0.35, 0.65), rng.uniform(0.35, 0.65))
    far, near = rng.uniform(0.70, 0.76), rng.uniform(0.24, 0.30)
    ways: dict[str, tuple[Placement, Placement]] = {
        "stays still": (Placement(x, y, radius), Placement(x, y, radius)),
        "moves left": (Placement(far, y, radius), Placement(near, y, radius)),
        "moves right": (Placement(near, y, radius), Placement(far, y, radius)),
        "rises": (Placement(x, far, radius), Placement(x, near, radius)),
        "falls": (Placement(x, near, radius), Placement(x, far, radius)),
        "grows": (Placement(x, y, 0.08), Placement(x, y, 0.28)),
        "shrinks": (Placement(x, y, 0.28), Placement(x, y, 0.08)),
    }
    changes = motion in ("grows", "shrinks")
    return (SceneFigure(*pair, None if changes else size, _vary_colour(rng, pair[0]), *ways[motion]),), motion


def _choose_meeting(rng: Random, pairs: list[tuple[str, str]]) -> tuple[tuple[SceneFigure, SceneFigure], str]:
    """Choose two figures that move from left and right until they touch. They are smaller, to have room to move."""
    y = rng.uniform(0.35, 0.65)
    sizes = [rng.choice(list(SIZES)) for _ in pairs]
    radii = [0.75 * SIZES[size] / SIDE for size in sizes]
    ways = ((0.17, 0.5 - radii[0]), (0.83, 0.5 + radii[1]))
    left, right = (
        SceneFigure(*pair, size, _vary_colour(rng, pair[0]), Placement(first, y, radius), Placement(last, y, radius))
        for pair, size, radius, (first, last) in zip(pairs, sizes, radii, ways, strict=True)
    )
    return (left, right), MEETS


def _vary_colour(rng: Random, colour: str) -> tuple[int, int, int]:
    red, green, blue = (max(0, min(255, value + rng.randrange(-12, 13))) for value in COLOURS[colour])
    return red, green, blue


def _choose_sounds(
    rng: Random, split: WorldSplit, kind: str, sights: tuple[Sight, ...], segments: int
) -> tuple[SceneSound, ...]:
    """Choose a different sound for each segment; for a loose clip with several sights, one sound across a cut."""
    if kind in ("silent", "mute"):
        return ()
    if kind in (WORDLESS, MUSICAL):
        names = rng.sample(SOUNDS if kind == WORDLESS else MUSIC, segments)
        return tuple(_make_signal(rng, n, name) for n, name in enumerate(names))
    if kind == CUTS:
        return tuple(SceneSound(sight.start, sight.end, BELL, BELL, 0.0) for sight in sights)
    if kind == "named":
        return tuple(_make_voice_sound(rng, n, sight.figures[0].name) for n, sight in enumerate(sights))
    if kind == TWO_SOURCES or (kind == "loose" and len(sights) > 1):
        return (replace(_choose_sound(rng, split, 0.5), lag=0.5),)  # centred on the cut between two sights
    sounds: list[SceneSound] = []
    for n in range(segments):
        sound = _choose_sound(rng, split, n)
        if sound.text not in [other.text for other in sounds] and (rng.random() < 0.9 or not n):
            sounds.append(sound)
    return tuple(sounds)


def _choose_sound(rng: Random, split: WorldSplit, place: float) -> SceneSound:
    if rng.random() < 0.75:
        return _make_voice_sound(rng, place, " ".join(rng.choice(split.phrases)))
    return _make_signal(rng, place, rng.choice(SOUNDS))


def _make_signal(rng: Random, place: float, name: str) -> SceneSound:
    return SceneSound(place * SEGMENT_S + 0.2, (place + 1) * SEGMENT_S - 0.1, name, name, rng.random())


def _make_voice_sound(rng: Random, place: float, text: str) -> SceneSound:
    return SceneSound(place * SEGMENT_S + 0.2, (place + 1) * SEGMENT_S - 0.1, VOICE, text, rng.random())
