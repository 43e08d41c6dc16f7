"""Define the vocabulary of the world: colours, shapes, motions, phrases, voices, and the splits that hold some out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from pipeline.errors import ConfigError

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (205, 35, 40),
    "green": (40, 160, 60),
    "blue": (45, 70, 215),
    "yellow": (235, 215, 50),
    "purple": (135, 45, 160),
    "orange": (240, 135, 30),
    "white": (240, 240, 240),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross")
MOTIONS = ("stays still", "moves left", "moves right", "rises", "falls", "grows", "shrinks")
MEETS = "meet"  # the motion of two figures
SIZES = {"small": 10, "large": 20}  # radius in pixels of a frame of 96
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
NOUNS = ("apples", "birds", "books", "cars", "dogs", "eggs", "houses", "keys", "lamps", "ships", "trees", "wheels")
SOUNDS = ("beep", "siren", "hiss", "buzz", "chirp")
MUSIC = ("melody", "scale", "chord", "drum")  # of films that are made on request
BELL = "bell"  # of another pitch and timbre each time; of films that are made on request
VOICE = "voice"

ACCENTS = ("en-us", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-us-nyc", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
SPEAKERS = (
    *("m1", "m2", "m3", "m4", "m5", "m7", "m8", "f1", "f2", "f3", "f5", "Alex", "Annie", "Michael", "Lee", "Denis"),
    *("Mario", "adam", "belinda", "benjamin", "caleb", "ed", "aunty", "grandpa"),
)
HELD_OUT_SPEAKERS = ("m6", "f4", "linda", "Andy", "steph", "john")

FIGURES = tuple(product(COLOURS, SHAPES))
PHRASES = tuple(product(NUMBERS, NOUNS))
# A diagonal: each held-out colour, shape, number and noun still occurs in other pairs.
HELD_OUT_FIGURES = tuple((c, s) for c, s in FIGURES if (list(COLOURS).index(c) - SHAPES.index(s)) % len(COLOURS) == 3)
HELD_OUT_PHRASES = tuple((n, w) for n, w in PHRASES if (NUMBERS.index(n) - NOUNS.index(w)) % len(NUMBERS) == 3)


@dataclass(frozen=True)
class WorldSplit:
    """A range of seeds, and whether its scenes use the held-out voices and pairs (then only these) or all others."""

    name: str
    seeds: range
    held_out_voices: bool = False
    held_out_pairs: bool = False

    @property
    def voices(self) -> tuple[str, ...]:
        """Names of espeak-ng's voices."""
        speakers = HELD_OUT_SPEAKERS if self.held_out_voices else SPEAKERS
        return tuple(f"{accent}+{speaker}" for accent, speaker in product(ACCENTS, speakers))

    @property
    def figures(self) -> tuple[tuple[str, str], ...]:
        """Pairs (colour, shape)."""
        return HELD_OUT_FIGURES if self.held_out_pairs else remove_pairs(FIGURES, HELD_OUT_FIGURES)

    @property
    def phrases(self) -> tuple[tuple[str, str], ...]:
        """Pairs (number, noun)."""
        return HELD_OUT_PHRASES if self.held_out_pairs else remove_pairs(PHRASES, HELD_OUT_PHRASES)


SPLITS = (
    WorldSplit("train", range(1000)),
    WorldSplit("val", range(1000, 2000)),
    WorldSplit("test", range(2000, 3000)),
    WorldSplit("test-voices", range(3000, 4000), held_out_voices=True),
    WorldSplit("test-pairs", range(4000, 5000), held_out_pairs=True),
    WorldSplit("test-both", range(5000, 6000), held_out_voices=True, held_out_pairs=True),
)


def split_of_seed(seed: int) -> WorldSplit:
    """Return the split that a seed belongs to. Raises ConfigError if there is none."""
    for split in SPLITS:
        if seed in split.seeds:
            return split
    ranges = ", ".join(f"{split.name} {split.seeds[0]}-{split.seeds[-1]}" for split in SPLITS)
    raise ConfigError(f"seed {seed} belongs to no split of the world (choices: {ranges})")


def find_split(name: str) -> WorldSplit:
    """Return the split with a name. Raises StopIteration if there is none."""
    return next(split for split in SPLITS if split.name == name)


def remove_pairs(
    pairs: tuple[tuple[str, str], ...], held_out: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    """Return the pairs that are not held out, in order."""
    return tuple(pair for pair in pairs if pair not in held_out)
