"""A model that invents facts when it describes clips of the world, and a judge that errs, both at known rates.

Described at once, frames and sound make it invent a sound in `JOINT_SOUND` and a sight in `JOINT_SIGHT` of the
captions; each alone makes it invent a fact of that sense in `ALONE`. When it merges captions it invents as often as
when it describes both. As a judge it confirms all that it invented from the same sense, and errs on other claims.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from random import Random

from ola.prompt import Request
from pipeline.synthetic.world.captions import NOTHING, describe_sight, describe_sound, join_sentence
from pipeline.synthetic.world.scenes import Scene, compose_scene
from pipeline.synthetic.world.vocabulary import COLOURS, MEETS, MOTIONS, NOUNS, NUMBERS, SHAPES, SIZES, SOUNDS
from tests.pipeline.scripted import Scripted, inside, prompt_of
from tests.pipeline.world.media import media_digest

JOINT_SOUND, JOINT_SIGHT, ALONE = 0.54, 0.3, 0.1
YES, NO = 0.9, 0.1
NOTHING_HEARD = NOTHING.lower().rstrip(".")


def _any(words: tuple[str, ...]) -> str:
    return f"(?:{'|'.join(words)})"


_FIGURE = rf"an? (?:{_any(tuple(SIZES))} )?{_any(tuple(COLOURS))} {_any(SHAPES)}"
_SIGHT = rf"{_FIGURE}(?: and {_FIGURE})? {_any((*MOTIONS, MEETS))}"
_SPOKEN = rf"{_any(NUMBERS)} {_any(NOUNS)}|{_any(tuple(COLOURS))} {_any(SHAPES)}"
FACT = re.compile(rf"{_SIGHT}|a voice says (?:{_SPOKEN})|a {_any(SOUNDS)} is heard|{NOTHING_HEARD}")


def facts_in(text: str) -> list[str]:
    """The facts that a text states, in order: the only forms in which the world has facts."""
    return FACT.findall(text.lower())


@dataclass(frozen=True)
class Facts:
    """What is true of a clip, by sense."""

    picture: tuple[str, ...]
    sound: tuple[str, ...]

    @classmethod
    def of(cls, scene: Scene) -> Facts:
        """The facts of a scene."""
        heard = tuple(map(describe_sound, scene.sounds)) or (NOTHING_HEARD,)
        return cls(tuple(map(describe_sight, scene.sights)), heard)


class Inventing:
    """The model. clips: scenes by the digests of their media. error: how often the judge errs."""

    def __init__(self, clips: Mapping[str, Scene], error: float) -> None:
        self.clips, self.error = clips, error
        self.texts: dict[tuple[str, str], Scene] = {}  # what was said of a clip: the merging call has no media

    def reply(self, request: Request) -> str:
        """The answer to a request for a caption."""
        name = prompt_of(request)
        if name == "caption_merge":
            return self._merge(inside(request.text))
        scene = self._scene(request)
        facts = Facts.of(scene)
        if name == "caption_joint":
            return _tell(facts.picture, facts.sound, self._invent(scene, "joint"))
        sense = "sound" if name == "caption_sound" else "picture"
        told = (*getattr(facts, sense), *self._invent_alone(scene, sense))
        text = join_sentence(told)
        self.texts[sense, text] = scene
        return text

    def _merge(self, data: Mapping[str, str]) -> str:
        scene = self.texts["picture", data["picture"]]
        return _tell(facts_in(data["picture"]), facts_in(data["sound"]), self._invent(scene, "merge"))

    def judged(self, request: Request) -> float:
        """The probability that a sense supports a claim."""
        sense = "picture" if prompt_of(request) == "caption_seen" else "sound"
        scene, claim = self._scene(request), inside(request.text)["statement"]
        told = {*getattr(Facts.of(scene), sense), *self._invent_alone(scene, sense)}
        facts = facts_in(claim)
        supported = bool(facts) and told.issuperset(facts)
        errs = not set(facts) & set(self._invent_alone(scene, sense)) and (
            Random(f"judge {scene.name} {sense} {claim}").random() < self.error
        )
        return YES if supported is not errs else NO

    def _scene(self, request: Request) -> Scene:
        medium = request.video if request.video is not None else request.sounds[0]
        return self.clips[media_digest(medium)]

    def _invent(self, scene: Scene, why: str) -> list[str]:
        """Facts that are not of a clip, for a text about both senses."""
        rng, others = Random(f"{why} {scene.name}"), _other_facts(scene, why)
        picked = [(others.sound, JOINT_SOUND), (others.picture, JOINT_SIGHT)]
        return [rng.choice(facts) for facts, rate in picked if rng.random() < rate]

    def _invent_alone(self, scene: Scene, sense: str) -> list[str]:
        rng = Random(f"{sense} {scene.name}")
        return [rng.choice(getattr(_other_facts(scene, sense), sense))] if rng.random() < ALONE else []


def _other_facts(scene: Scene, why: str) -> Facts:
    """Facts of other clips that are not true of this one."""
    rng, true = Random(f"others {why} {scene.name}"), Facts.of(scene)
    kinds = [Facts.of(compose_scene(scene.seed, rng.randrange(10_000), kind="linked")) for _ in range(5)]
    pictures = tuple(fact for each in kinds for fact in each.picture if fact not in true.picture)
    return Facts(pictures, tuple(fact for each in kinds for fact in each.sound if fact not in true.sound))


def _tell(seen: Sequence[str], heard: Sequence[str], more: Sequence[str]) -> str:
    """Sights with sounds beside them, and further facts: at the end of a clause, then in a sentence of their own."""
    first, *others = [" while ".join(filter(None, pair)) for pair in zip_longest(seen, heard)]
    clauses = [", ".join([first, *more[:1]]), *others]
    return " ".join([join_sentence(clauses), *(join_sentence([fact]) for fact in more[1:])])


def inventing(clips: Mapping[str, Scene], error: float = 0.0) -> Scripted:
    """A model that knows these clips."""
    model, inner = Scripted(), Inventing(clips, error)
    model.reply, model.judged = inner.reply, inner.judged
    return model
