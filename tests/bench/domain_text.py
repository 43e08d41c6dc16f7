"""Made questions, answers and transcripts about videos, for the truth about near-copies of benchmark texts.

A text has two to five sentences of unlike frames, whose slots are drawn from lists of words. The same seed gives the
same text; texts of unlike seeds share frames and words, and longer stretches only by chance.
"""

from __future__ import annotations

import re

import numpy as np

WORDS = {
    "person": "driver teacher brother neighbour guitarist nurse referee fisherman speaker tourist baker goalkeeper "
    "uncle reporter carpenter visitor singer girl waiter painter guide officer farmer cousin coach doctor "
    "pilot clerk dancer mechanic grandmother student captain plumber twin actor lawyer gardener postman "
    "barber",
    "like": "young old tall tired angry cheerful nervous second clumsy quiet famous curious wet sleepy friendly "
    "proud bored rich lonely gentle strict lucky shy rude brave silly polite careless hungry elegant",
    "did": "opens lifts drops repairs carries throws paints measures washes hides sells cuts wraps turns pushes "
    "watches forgets borrows kicks folds breaks fills empties finds polishes ignores photographs weighs "
    "returns burns",
    "thing": "box kettle bicycle lamp suitcase blanket coin hose boat door radio bottle umbrella rope boots cake "
    "camera map ladder mirror wallet guitar carpet letter knife basket clock trumpet bucket candle jacket "
    "engine parcel chair shovel violin ticket helmet pillow fence",
    "kind": "wooden red broken heavy silver wet loud yellow long empty new dusty plastic round sharp tiny green "
    "stolen warm cracked striped borrowed rusty expensive blue soft square golden dirty light",
    "side": "behind near under beside above outside across against beyond inside",
    "place": "station barn harbour window roof bridge market classroom river stage bus staircase workshop "
    "fireplace museum yard playground airport cellar pier church hotel stadium library tunnel hospital "
    "garage beach kitchen tower",
    "event": "rain song match storm speech dinner race lesson concert interview parade film meeting game wedding "
    "shower flight dance sale journey",
    "ends": "stops begins ends pauses fails changes improves repeats slows grows",
    "how": "slowly silently hurriedly carefully gladly secretly twice suddenly badly alone again proudly calmly "
    "nearly rarely softly bravely lazily roughly neatly",
}
WHO, WHAT, WHERE = "the {like} {person}", "the {kind} {thing}", "{side} the {place}"
WHEN, WHY = "after the {event} {ends}", "the {thing} {ends} {side} the {place}"
FRAMES = (
    f"What does {WHO} do {WHEN}, and why is {WHAT} left {WHERE}?",
    f"{WHO} {{did}} {WHAT} {WHERE} {WHEN}.",
    f"Because {WHY}, {WHO} {{did}} {WHAT} {{how}}.",
    f"You can hear {WHO} {WHERE}, and then {WHO} {{did}} {WHAT}.",
    f"{WHEN} {WHO} says that {WHY}.",
    f"Which of these is true: {WHO} {{did}} {WHAT}, or {WHO} {{did}} {WHAT} {WHERE}?",
    f"So I told {WHO} that {WHY}, and we took {WHAT} {WHERE}.",
    f"{{how}}, {WHO} {{did}} {WHAT}; {WHEN} it happens once more.",
    f"Why does {WHO} smile {WHEN} although {WHY}?",
    f"First {WHO} {{did}} {WHAT}, then {WHAT} is {WHERE}, and {WHO} {{did}} it {{how}}.",
    f"It was {WHERE} that {WHO} {{did}} {WHAT} {WHEN}, since {WHY}.",
    f"Nobody knew that {WHY} until {WHO} {{did}} {WHAT} {{how}}.",
)


def make_text(seed: int) -> str:
    """Return the text of a seed, of 20 to 120 words."""
    draw = np.random.default_rng([seed, 77])
    frames = draw.choice(len(FRAMES), int(draw.integers(2, 6)), replace=False)
    return " ".join(_fill(FRAMES[int(frame)], draw) for frame in frames)


def _fill(frame: str, draw: np.random.Generator) -> str:
    return re.sub(r"{(\w+)}", lambda slot: str(draw.choice(WORDS[slot[1]].split())), frame)


def change_words(text: str, share: float, seed: int) -> str:
    """Return the text with a share of its words changed to others, at random places."""
    draw = np.random.default_rng([seed, 78])
    found = text.split()
    for place in draw.choice(len(found), max(1, round(share * len(found))), replace=False):
        found[int(place)] = f"{draw.choice(WORDS['thing'].split())}s"
    return " ".join(found)
