"""The classes of AudioSet: their kinds, and groups of classes that name the same sound.

`audioset.csv` has a row for each of the 527 classes. Ids and names are AudioSet's (Google, CC BY 4.0); kinds and groups
are ours:

    speech            all its classes are one group
    music             `Music` and singing are a group; those of the group `instrument` (instruments, genres) only name
                      the span: pure tones score as `Synthesizer`, and not as `Music`
    event             a sound: `Bark` and `Dog` are one group, so that one bark is one span
    event, `general`  a wide class such as `Animal` or `Vehicle`: used only where no other sound event is heard
    scene             a place or a recording, such as `Inside, small room` or `Silence`: never a span
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SPEECH, MUSIC, EVENT, SCENE = "speech", "music", "event", "scene"
GENERAL, NAMING = "general", "instrument"  # groups
# Classes that name a span only where no narrower class of their group scores half as high.
WIDE = frozenset(
    {
        "Music", "Musical instrument", "Plucked string instrument", "Bowed string instrument", "Brass instrument",
        "Wind instrument, woodwind instrument", "Keyboard (musical)", "Percussion", "Dog", "Cat", "Horse", "Pig",
        "Bird", "Insect", "Frog", "Emergency vehicle", "Rail transport", "Aircraft", "Engine", "Telephone", "Door",
    }
)  # fmt: skip


@dataclass(frozen=True)
class SoundClass:
    """A class of AudioSet. mid: its id, such as `/m/09x0r`. name: as displayed, such as `Speech`."""

    mid: str
    name: str
    kind: str
    group: str


@cache
def read_classes() -> Mapping[str, SoundClass]:
    """Return all classes by id."""
    with Path(__file__).with_name("audioset.csv").open(encoding="utf-8", newline="") as file:
        return {row["mid"]: SoundClass(**row) for row in csv.DictReader(file)}
