"""A recipe: which tasks an alignment stage trains on, in which mix, with which modules trainable.

In: the name of a packaged recipe or a YAML file, and settings on top. Out: a checked `Recipe`, whose phases are
trained one after the other, each from the weights that the one before it left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stages.errors import StagesError
from stages.samples import FAMILIES, KINDS

Module = Literal["vision_tower", "visual_projector", "speech_encoder", "speech_projector", "decoder"]
FOLDER = "recipes"
WHOLE = 1e-6  # how far from 1 shares may add up to


class Shape(BaseModel):
    """Base of a recipe's parts."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Phase(Shape):
    """One training run within a recipe."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Name of the phase and of its folder: lower-case letters, digits and hyphens."""
    stages: tuple[str, ...] = Field(min_length=1)
    """Alignment stages whose tasks are trained on."""
    tasks: Literal["all"] | tuple[str, ...] | Mapping[str, float] = "all"
    """Kinds of task; a mapping gives their shares, which add up to 1; else every task comes once an epoch."""
    balance: float = Field(default=1.0, ge=0, le=1)
    """Without shares, exponent of a kind's size in the mix: 1 as they are, 0 all kinds alike."""
    replay: Mapping[str, float] = {}
    """Share of all tasks that is drawn from each earlier stage, as `{image: 0.3}`."""
    cap: Mapping[str, int] = {}
    """Most tasks of a kind, always the same ones."""

    lr: Mapping[Module, float] = Field(min_length=1)
    """Learning rate of each module that is trained; all others are frozen."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Course of the learning rates after the warm-up."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the learning rates rise from 0."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay of AdamW."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Betas of AdamW."""
    clip: float = Field(default=1.0, gt=0)
    """Gradients with a larger norm are scaled down to this norm."""

    frames: int = Field(default=0, ge=0)
    """Most frames of a video; 0: all that are stored."""
    sequence_tokens: int = Field(default=16_384, gt=0)
    """Most tokens of the tasks that are packed into one sequence."""
    together: int = Field(default=1, gt=0)
    """Tasks of a sample that come one after the other, so that their media are read once for all of them."""
    batch: int = Field(default=128, gt=0)
    """Sequences in a step, of all ranks together."""
    epochs: float = Field(default=1.0, gt=0)
    """Length of the phase in epochs, unless `tokens` or `steps` is given."""
    tokens: int | None = Field(default=None, gt=0)
    """Length of the phase in tokens."""
    steps: int | None = Field(default=None, gt=0)
    """Length of the phase in steps."""
    tolerance: float = Field(default=0.0, ge=0, lt=1)
    """Share of the samples that may be unreadable; each is counted and named."""
    spike: float = Field(default=4.0, ge=0)
    """End the training at a loss so many times the usual loss of the step's kinds of task; 0: never."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        known("stages", self.stages, FAMILIES)
        known("replay", self.replay, FAMILIES)
        known("cap", self.cap, KINDS)
        if self.tasks != "all":
            known("tasks", self.tasks, KINDS)
        if isinstance(self.tasks, Mapping) and abs(sum(self.tasks.values()) - 1) > WHOLE:
            raise ValueError(f"tasks: the shares add up to {sum(self.tasks.values()):g}; make it 1")
        if any(share <= 0 for share in self.replay.values()) or sum(self.replay.values()) >= 1:
            raise ValueError(f"replay: shares of {dict(self.replay)}; each is above 0, all together below 1")
        if both := set(self.replay) & set(self.stages):
            raise ValueError(f"replay: {', '.join(sorted(both))} is trained on anyway")
        if self.tokens and self.steps:
            raise ValueError("tokens and steps: give one of them")
        return self


class Recipe(Shape):
    """Phases, trained one after the other."""

    name: str
    """Name of the recipe; default: the name of the file."""
    phases: tuple[Phase, ...] = Field(min_length=1)
    """The phases; each starts from the weights that the one before it left."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise ValueError(f"phases: {', '.join(names)}; each needs a name of its own")
        return self


def known(what: str, given: Sequence[str] | Mapping[str, Any], choices: Mapping[str, Any]) -> None:
    """ValueError unless all that is given is among the choices."""
    if strange := [name for name in given if name not in choices]:
        raise ValueError(f"{what}: no {strange[0]!r} (choices: {', '.join(choices)})")


def packaged() -> list[str]:
    """Names of the recipes that come with this package."""
    folder = resources.files("stages") / FOLDER
    return sorted(Path(file.name).stem for file in folder.iterdir() if file.name.endswith(".yaml"))


def recipe(name: str, settings: Sequence[str] = ()) -> Recipe:
    """A packaged recipe or a YAML file, with `key=value` for all its phases or `phase.key=value` on top.

    Raises StagesError naming what is wrong.
    """
    facts = _facts(name)
    try:
        for setting in settings:
            _set(facts, setting)
        return Recipe.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key) for key in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise StagesError(f"recipe {name}: {f'{where}: ' if where else ''}{message}") from error


def _facts(name: str) -> dict[str, Any]:
    path = Path(name)
    try:
        if path.suffix in (".yaml", ".yml"):
            text = path.read_text(encoding="utf-8")
        elif name in packaged():
            text = (resources.files("stages") / FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
        else:
            raise StagesError(f"recipe {name}: neither a .yaml file nor one of {', '.join(packaged())}")
        facts = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StagesError(f"recipe {name}: {' '.join(str(error).split())}") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("phases"), list):
        raise StagesError(f"recipe {name}: expected `phases:`, a list")
    return {"name": path.stem, **facts}


def _set(facts: dict[str, Any], setting: str) -> None:
    """Lay one setting over the phases it is for."""
    key, equals, text = setting.partition("=")
    if not equals:
        raise StagesError(f"--set {setting}: write it as key=value or phase.key=value, as in batch=64")
    phase, *rest = key.split(".")
    named = [one for one in facts["phases"] if one.get("name") == phase]
    keys = rest if named else [phase, *rest]
    if not keys:
        raise StagesError(f"--set {setting}: which setting of {phase}?")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise StagesError(f"--set {setting}: {' '.join(str(error).split())}") from error
    for one in named or facts["phases"]:
        _put(one, keys, float(value) if isinstance(value, str) and _is_number(value) else value)


def _put(facts: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        under = facts.get(key)
        facts[key] = dict(under) if isinstance(under, Mapping) else {}
        facts = facts[key]
    facts[keys[-1]] = value


def _is_number(text: str) -> bool:
    """YAML 1.1 takes 1e-5 for a word."""
    try:
        float(text)
    except ValueError:
        return False
    return True
