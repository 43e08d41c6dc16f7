"""Measure how often step `hear` names short recordings rightly: of animals, instruments, machines and voices.

    dpkg-deb -x tuxpaint-stamps-default_*.deb FOLDER; dpkg-deb -x sound-theme-freedesktop_*.deb FOLDER
    python -m tests.bench.recordings FOLDER

The recordings are those of two Debian packages, of 0.1 to 10 s. What a recording has is taken from its file name, where
that is clear. Right: a span has an expected label. Others: spans with another label; some of them may be right.
With YAMNet: 60 of 70 right, 4 without a span, and 25 of 93 spans with another label.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.hearing.tagger import open_tagger
from tests.bench.hearing import read_media

# Pattern of the label, to file names.
EXPECTED: Mapping[str, str] = {
    "Speech": "apollo_lander dreydl-hay dreydl-nun dreydl-shin dreydl-gimmel audio-channel-front-center "
    "audio-channel-front-left audio-channel-front-right audio-channel-rear-center audio-channel-rear-left "
    "audio-channel-rear-right audio-channel-side-left audio-channel-side-right",
    "Music|Trumpet": "final-roll-call service-login service-logout",
    "Music|Cello|Bowed": "cello",
    "Music|Violin": "violin",
    "Music|Wind instrument": "bassoon",
    "Music|Drum|Cymbal": "cymbal_crash drum_tomtom_floor drumkit",
    "Vacuum": "vacuum_cleaner",
    "Toilet|Water": "toilet",
    "Fill|Water|Liquid|Pour": "glass",
    "Glass|Dishes|Chink": "bottle",
    "Firework|Explosion|Boom|Thump|Burst": "fireworks",
    "Crumpl|Tear|Crunch": "gift",
    "Jingle|Bell": "santahat",
    "Meow|Cat": "blackcat",
    "Bee|Mosquito|Buzz|Fly|Insect": "bee mosquito hornet",
    "Frog|Croak": "frog",
    "Rodent|Mouse|Squeak|Animal": "squirrel mouse",
    "Roar|Growl": "bear lion tiger",
    "Whale": "whale",
    "Pig|Oink": "pig",
    "Horse|Neigh": "horse",
    "Sheep|Bleat|Goat": "sheep sheep_lamb mountaingoat goat",
    "Cattle|Moo": "cow cow_white",
    "Bark|Dog|Bow-wow|Canidae|Howl": "dog fox",
    "Crow|Caw": "crow",
    "Chicken|Crowing": "rooster",
    "Bird|Chirp|Whistl|Squawk|Owl": "lark blackbird cuckoo seagull",
    "Turkey|Gobble|Fowl": "turkey",
    "Fowl|Chicken|Cluck|Bird": "hen",
    "Duck|Quack|Fowl": "duck",
    "Goose|Honk|Fowl": "gander",
    "Owl|Hoot": "owl",
    "Thunder": "lightningbolt",
    "Siren|Fire engine|Emergency": "firetruck",
    "Buzz|Beep|Alarm": "alarm-clock-elapsed",
    "Camera": "camera-shutter",
    "Telephone|Ring": "phone-incoming-call",
    "Busy|Dial|Telephone": "phone-outgoing-busy phone-outgoing-calling",
    "Ding|Bell|Chime|Music": "complete",
    "noise": "audio-test-signal",
}


def find_recordings(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files below a folder whose content is known, with the pattern of their labels; each name once."""
    patterns = {name: pattern for pattern, names in EXPECTED.items() for name in names.split()}
    files = {path.stem: path for path in sorted(folder.rglob("*.og[ga]")) if path.stem in patterns}
    yield from ((files[name], patterns[name]) for name in sorted(files))


def main() -> None:
    """Print the recordings that were named wrongly, and the counts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    tagger, recordings, right, silent, spans, others = open_tagger(), 0, 0, 0, 0, 0
    for file, pattern in find_recordings(parser.parse_args().folder):
        labels = [span.label for span in tagger.spans(read_media(file))]
        matching = [label for label in labels if re.search(pattern, label)]
        if not matching:
            print(f"{file.stem}: expected {pattern}, got {', '.join(labels) or 'nothing'}")
        recordings, right, silent = recordings + 1, right + bool(matching), silent + (not labels)
        spans, others = spans + len(labels), others + len(labels) - len(matching)
    print(f"{right} of {recordings} right, {silent} without a span, {others} of {spans} spans with another label")


if __name__ == "__main__":
    main()
