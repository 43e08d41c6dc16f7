"""Measure how well scores part films with a planted fault from others, and how many copies and leaks are found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from pipeline.synthetic.world.plants import (
    COPIES,
    FOREIGN_SOUND,
    LEAKED,
    LINKED,
    NAMED,
    NARRATION,
    PLAIN_CUTS,
    PLANTS,
    SCENE_TEXT,
    SHIFTED,
    SOUND_LABELS,
    SUBTITLES,
    SWAPPED,
    TITLE,
    plant_facts,
    sound_giver,
    unplanted,
)
from pipeline.synthetic.world.scenes import Scene

CONTROLS = ("", PLAIN_CUTS, SCENE_TEXT)  # plants of films without a fault
# The columns of `candidates` that are made for a fault; True: the fault lowers it.
COLUMNS: Mapping[str, Mapping[str, bool]] = {
    "still": {"still": False, "frozen": False},
    "slides": {"slideshow": False},
    "letterbox": {"bars": False},
    "blurred": {"sharpness": True, "spatial_information": True},
    "noisy": {"spatial_information": False, "temporal_information": False},
    SHIFTED: {"av_sync": True},
    FOREIGN_SOUND: {"av_sync": True},
    SUBTITLES: {"words_on_screen": False},
    NARRATION: {"described": False},
    SOUND_LABELS: {"words_on_screen": False, "answer_on_screen": False},
    TITLE: {"answer_in_meta": False},
}
BESIDE = {NAMED: LINKED}  # kind of the films beside which those of a kind are scored, if it is another one
Scores = Mapping[str, float | None]


def auc(plain: Sequence[float | None], faulty: Sequence[float | None], low: bool = False) -> float | None:
    """Return the share of pairs in which the faulty one is higher (low: lower); equal ones count half.

    None if there is no pair.
    """
    a, b = (np.array([value for value in values if value is not None], float) for values in (plain, faulty))
    if not len(a) or not len(b):
        return None
    difference = (b[:, None] - a[None]) * (-1 if low else 1)
    return round(float((difference > 0).mean() + (difference == 0).mean() / 2), 4)


def separations(clips: Iterable[tuple[str, str, Scores]]) -> dict[str, dict[str, Any]]:
    """Return by plant how well each column parts its clips from those of the same kind without a fault.

    clips: plant, kind of the scene, and scores by column of each clip. auc: of the columns that are made for the fault,
    the higher the better; a column that a run does not have is left out. all: of all columns, high where the fault is.
    """
    known = list(clips)
    found = {}
    for plant in dict.fromkeys(plant for plant, _, _ in known if plant):
        faulty = [scores for name, _, scores in known if name == plant]
        kinds = {BESIDE.get(kind, kind) for name, kind, _ in known if name == plant}
        plain = [scores for name, kind, scores in known if name in CONTROLS and name != plant and kind in kinds]
        if plant == PLAIN_CUTS or PLANTS[plant].group == COPIES or not plain:
            continue
        columns = list(dict.fromkeys(column for scores in (*plain, *faulty) for column in scores))
        values = {column: ([s.get(column) for s in plain], [s.get(column) for s in faulty]) for column in columns}
        areas = {column: auc(*pair) for column, pair in values.items()}
        wanted = {column: low for column, low in COLUMNS.get(plant, {}).items() if areas.get(column) is not None}
        found[plant] = {
            "clips": len(faulty),
            "beside": len(plain),
            "auc": {column: auc(*values[column], low) for column, low in wanted.items()},
            "all": {column: area for column, area in areas.items() if area is not None},
        }
    return found


@dataclass(frozen=True)
class FilmOrigin:
    """Where picture and sound of a film are from. picture, sound: names of scenes; empty without a sound track.

    original, relation: of a copy; else empty.
    """

    plant: str
    picture: str
    sound: str
    original: str = ""
    relation: str = ""

    def is_unlike(self, other: FilmOrigin) -> bool:
        """Return whether two films share neither picture nor sound."""
        return self.picture != other.picture and (not self.sound or self.sound != other.sound)


def film_origin(scene: Scene) -> FilmOrigin:
    """Return where picture and sound of a film are from."""
    own = unplanted(scene).name
    sound = sound_giver(scene).name if scene.plant in (SWAPPED, FOREIGN_SOUND) else own
    facts = plant_facts(scene) if scene.plant else {}
    return FilmOrigin(
        scene.plant, own, sound if scene.sounds else "", facts.get("copy_of", ""), facts.get("relation", "")
    )


def copy_metrics(
    films: Mapping[str, FilmOrigin], pairs: Iterable[tuple[str, str, str]], leaked: Iterable[str]
) -> dict[str, Any]:
    """Return how many planted copies and leaks were found, and how many pairs of unlike films were taken for alike.

    films: by name, without a suffix. pairs: two films and their relation. leaked: films of `leaked_from`.
    """
    related = {frozenset(pair[:2]): pair[2] for pair in pairs}
    copies: dict[str, Counter[str]] = {}
    for film, origin in films.items():
        if origin.plant and PLANTS[origin.plant].group == COPIES:
            found = related.get(frozenset((film, origin.original)), "")
            counts = {"copies": 1, "found": int(bool(found)), "right_relation": int(found == origin.relation)}
            copies.setdefault(origin.plant, Counter()).update(counts)
    unlike = {frozenset(pair) for pair in combinations(films, 2) if films[pair[0]].is_unlike(films[pair[1]])}
    leaks, hits = {film for film, origin in films.items() if origin.plant == LEAKED}, set(leaked)
    return {
        "copies": {plant: dict(counts) for plant, counts in copies.items()},
        "unlike_pairs": len(unlike),
        "false_pairs": len(unlike & related.keys()),
        "leaks": {"leaks": len(leaks), "found": len(leaks & hits), "false": len(hits - leaks)},
    }
