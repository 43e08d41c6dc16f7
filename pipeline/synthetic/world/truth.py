"""Write and read the truth file of a film: its content as JSON, `world-0007-00003.truth.json`.

    seed, number, split, kind, seconds, width, height, rate, voice, noise_db, has_sound
    sights      start, end, motion, figures: colour, shape, size, rgb, and `first` and `last` place (x, y, radius)
    sounds      start, end, name, text, words with start and end; times as rendered, to the ms
    transcript  all spoken words as text; words: each with its start and end
    captions    by view (image: of the frame in the middle)
    questions   form, kind, question, answer, needs, chance, part
    planted     only of films with a plant (`plants`): its name; texts that are drawn into the frames; shift_s of the
                sound; sound_of, the number of the film whose sound is heard; copy_of, the original, and the relation

Times are seconds of the film, coordinates are shares of the frame's side.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from manifests import storage
from manifests.records import Word
from pipeline.errors import ConfigError
from pipeline.synthetic.world.audio import RenderedSound
from pipeline.synthetic.world.captions import captions_by_view
from pipeline.synthetic.world.frames import side_of
from pipeline.synthetic.world.plants import PLANTS, compose_film, film_seconds, plant_facts
from pipeline.synthetic.world.questions import QAPair, make_questions
from pipeline.synthetic.world.scenes import RATE, SEGMENT_S, Scene

TRUTH_SUFFIX = ".truth.json"  # replaces the suffix of a film
VERSION = 2  # version 1 has no `part` in questions


@dataclass(frozen=True)
class Truth:
    """The content of a film, read from its truth file. sound_spans: start and end of each sound, as rendered."""

    scene: Scene
    transcript: str
    words: tuple[Word, ...]
    questions: tuple[QAPair, ...]
    sound_spans: tuple[tuple[float, float], ...] = ()

    @property
    def seconds(self) -> float:
        """Length of the film."""
        return film_seconds(self.scene)

    def captions(self, picture_at: float) -> dict[str, str]:
        """Return captions by view. picture_at: time of the captioned image, seconds."""
        return captions_by_view(self.scene, picture_at)


def build_truth(scene: Scene, rendered: Sequence[RenderedSound]) -> dict[str, Any]:
    """Return the content of a truth file for a scene and its rendered sounds."""
    words = [word for each in rendered for word in each.words]
    content = asdict(scene)
    sounds = [
        {
            "start": h.start,
            "end": h.end,
            "name": h.sound.name,
            "text": h.sound.text,
            "words": list(map(asdict, h.words)),
        }
        for h in rendered
    ]
    return {
        "version": VERSION,
        **{key: content[key] for key in ("seed", "number", "split", "kind", "seconds")},
        "width": side_of(scene),
        "height": side_of(scene),
        "rate": RATE,
        "has_sound": scene.kind != "mute",
        **{key: content[key] for key in ("voice", "noise_db", "grey", "sights")},
        "sounds": sounds,
        "transcript": " ".join(word.text for word in words),
        "words": list(map(asdict, words)),
        "captions": captions_by_view(scene, scene.seconds / 2),
        "questions": list(map(asdict, make_questions(scene))),
        **({"planted": plant_facts(scene)} if scene.plant else {}),
    }


def dump_truth(content: dict[str, Any]) -> str:
    """Format the content of a truth file as JSON text."""
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def truth_uri(film: str) -> str:
    """Return the URI of a film's truth file."""
    return film.rpartition(".")[0] + TRUTH_SUFFIX


def read_truth(uri: str) -> Truth:
    """Read a truth file. Raises ConfigError if it is invalid or was written by another version of the world."""
    try:
        content = json.loads(storage.read_bytes(uri))
        version, seed, number = content["version"], content["seed"], content["number"]
        segments, kind = round(content["seconds"] / SEGMENT_S), str(content["kind"])
        words = tuple(Word(**word) for word in content["words"])
        questions = tuple(QAPair(**pair) for pair in content["questions"]) if version == VERSION else ()
        transcript = str(content["transcript"])
        plant = str(content.get("planted", {}).get("name", ""))
        spans = tuple((float(sound["start"]), float(sound["end"])) for sound in content["sounds"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{uri}: not a truth file of a film ({error!r}); write it again: ola world make") from error
    known = not plant or plant in PLANTS
    scene = compose_film(seed, number, segments, kind, plant if known else "")
    if not known or version != VERSION or asdict(scene)["sights"] != _lists_to_tuples(content["sights"]):
        raise ConfigError(f"{uri}: written by another version of the world; write it again: ola world make")
    return Truth(scene, transcript, words, questions, spans)


def _lists_to_tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_lists_to_tuples, value))
    return {key: _lists_to_tuples(each) for key, each in value.items()} if isinstance(value, dict) else value
