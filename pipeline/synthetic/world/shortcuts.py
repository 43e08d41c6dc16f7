"""Tell which views of a planted film give the answer to a question away, and what the question then needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.synthetic.world.plants import NARRATION, SOUND_LABELS, SUBTITLES, TITLE
from pipeline.synthetic.world.scenes import Scene
from pipeline.synthetic.world.vocabulary import VOICE

if TYPE_CHECKING:
    from pipeline.synthetic.world.questions import QAPair

LEAST = ("text", "video", "audio", "both")  # needs, the least first
NEEDS_OF_VIEWS: Mapping[str, str] = {"title": "text", "video": "video", "audio": "audio"}
SPOKEN_FORMS = ("said while", "counted while", "said", "counted")
NAMED_FORMS = ("seen while", "colour while", "shape while", "colour of", "shape of", "seen after", "colour named")


def giving_views(scene: Scene, pair: QAPair) -> tuple[str, ...]:
    """Return the views of `verify` that suffice for a question because of what is planted in its film."""
    if pair.needs == "text":
        return ()
    found = {
        TITLE: {"title": True},
        SOUND_LABELS: {"video": pair.needs in ("both", "audio")},
        SUBTITLES: {"video": pair.needs in ("both", "audio") and is_about_speech(pair)},
        NARRATION: {"audio": pair.form in NAMED_FORMS},
    }.get(scene.plant, {})
    return tuple(view for view, gives in found.items() if gives)


def is_about_speech(pair: QAPair) -> bool:
    """Return whether subtitles tell what is asked: what is said, when it is said, or that a voice is heard."""
    asks_when = f"the {VOICE} says" in pair.question
    return pair.form in SPOKEN_FORMS or asks_when or (pair.form == "heard while" and pair.answer == f"a {VOICE}")


def least_needs(scene: Scene, pair: QAPair) -> str:
    """Return the least that suffices to answer a question of a film with its plant."""
    found = (pair.needs, *(NEEDS_OF_VIEWS[view] for view in giving_views(scene, pair)))
    return min(found, key=LEAST.index)
