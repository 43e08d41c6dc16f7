"""Read a recipe: the tasks that an alignment stage trains on, their mix, and the trained modules.

In: the name of a packaged recipe or a YAML file, and settings that override it. Out: a validated `Recipe`. Its phases
are trained in order; each begins with the weights of the previous phase.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from stages.errors import StagesError
from stages.samples import FAMILIES, KINDS

Module = Literal["vision_tower", "visual_projector", "speech_encoder", "speech_projector", "decoder"]
FOLDER = "recipes"
SUM_TOLERANCE = 1e-6  # allowed difference between 1 and the sum of shares


class RecipePart(BaseModel):
    """Base of the parts of a recipe: frozen, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Lora(RecipePart):
    """Adapters that are trained in place of a module's own weights."""

    rank: int = Field(default=16, gt=0)
    """Rank of the adapters."""
    alpha: float = Field(default=32.0, gt=0)
    """The adapters are scaled by alpha / rank."""
    parts: tuple[Literal["decoder", "vision_tower"], ...] = Field(default=("decoder",), min_length=1)
    """Modules whose layers get adapters; each needs a learning rate in `lr`."""


class Phase(RecipePart):
    """One training run of a recipe."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Name of the phase and of its folder: lower-case letters, digits and hyphens."""
    stages: tuple[str, ...] = Field(min_length=1)
    """Alignment stages whose tasks are trained on."""
    tasks: Literal["all"] | tuple[str, ...] | Mapping[str, float] = "all"
    """Kinds of task; a mapping gives their shares, which add up to 1; else every task comes once an epoch."""
    balance: float = Field(default=1.0, ge=0, le=1)
    """Exponent of a kind's size in a mix without shares: 1 keeps the sizes, 0 makes all kinds equal."""
    replay: Mapping[str, float] = {}
    """Share of all tasks that is drawn from each earlier stage, as `{image: 0.3}`."""
    cap: Mapping[str, int] = {}
    """Most tasks of a kind, always the same ones."""

    lr: Mapping[Module, float] = Field(min_length=1)
    """Learning rate of each module that is trained; all others are frozen."""
    lora: Lora | None = None
    """Train adapters of some modules in place of their weights (package peft), as `{rank: 16, parts: [decoder]}`."""
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
    micro_batch: Literal["auto"] | PositiveInt = "auto"
    """Sequences that a rank reads in one pass; `auto`: as many as fit in the memory of its GPU, on a CPU one."""
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
        check_choices("stages", self.stages, FAMILIES)
        check_choices("replay", self.replay, FAMILIES)
        check_choices("cap", self.cap, KINDS)
        if self.tasks != "all":
            check_choices("tasks", self.tasks, KINDS)
        if isinstance(self.tasks, Mapping) and abs(sum(self.tasks.values()) - 1) > SUM_TOLERANCE:
            raise ValueError(f"tasks: expected shares with sum 1, got {sum(self.tasks.values()):g}")
        if any(share <= 0 for share in self.replay.values()) or sum(self.replay.values()) >= 1:
            raise ValueError(f"replay: expected shares above 0 with a sum below 1, got {dict(self.replay)}")
        if both := set(self.replay) & set(self.stages):
            raise ValueError(f"replay: expected earlier stages, got {', '.join(sorted(both))} of this phase's `stages`")
        if self.lora and (fixed := [part for part in self.lora.parts if part not in self.lr]):
            raise ValueError(f"lora.parts: expected modules with a learning rate in lr, got {fixed[0]}")
        if self.tokens and self.steps:
            raise ValueError("tokens and steps: expected only one of them")
        return self


class Recipe(RecipePart):
    """Phases, trained one after the other."""

    name: str
    """Name of the recipe; default: the name of the file."""
    phases: tuple[Phase, ...] = Field(min_length=1)
    """The phases; each begins with the weights of the previous phase."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise ValueError(f"phases: expected different names, got {', '.join(names)}")
        return self


def check_choices(setting: str, names: Sequence[str] | Mapping[str, Any], choices: Mapping[str, Any]) -> None:
    """Raise ValueError for a name that is not among the choices."""
    if unknown := [name for name in names if name not in choices]:
        raise ValueError(f"{setting}: no {unknown[0]!r} (choices: {', '.join(choices)})")


def packaged_recipes() -> list[str]:
    """Return the names of the recipes in this package."""
    folder = resources.files("stages") / FOLDER
    return sorted(Path(file.name).stem for file in folder.iterdir() if file.name.endswith(".yaml"))


def read_recipe(name: str, settings: Sequence[str] = ()) -> Recipe:
    """Read a packaged recipe or a YAML file, with settings `key=value` for all phases or `phase.key=value` for one.

    Raises StagesError for an unknown recipe or an invalid setting.
    """
    facts = _read_yaml(name)
    try:
        for setting in settings:
            _apply_setting(facts, setting)
        return Recipe.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key) for key in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise StagesError(f"recipe {name}: {f'{where}: ' if where else ''}{message}") from error


def _read_yaml(name: str) -> dict[str, Any]:
    path = Path(name)
    try:
        if path.suffix in (".yaml", ".yml"):
            text = path.read_text(encoding="utf-8")
        elif name in packaged_recipes():
            text = (resources.files("stages") / FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
        else:
            raise StagesError(f"recipe {name}: expected a .yaml file or one of {', '.join(packaged_recipes())}")
        facts = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StagesError(f"recipe {name}: {' '.join(str(error).split())}") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("phases"), list):
        raise StagesError(f"recipe {name}: expected `phases:`, a list")
    return {"name": path.stem, **facts}


def _apply_setting(facts: dict[str, Any], setting: str) -> None:
    """Apply one setting to its phase, or to all phases."""
    key, equals, text = setting.partition("=")
    if not equals:
        raise StagesError(f"--set {setting}: expected key=value or phase.key=value, such as batch=64")
    phase, *rest = key.split(".")
    matching = [entry for entry in facts["phases"] if entry.get("name") == phase]
    keys = rest if matching else [phase, *rest]
    if not keys:
        raise StagesError(f"--set {setting}: expected {phase}.key=value with a setting of this phase")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise StagesError(f"--set {setting}: {' '.join(str(error).split())}") from error
    for entry in matching or facts["phases"]:
        _set_nested(entry, keys, float(value) if isinstance(value, str) and _is_number(value) else value)


def _set_nested(facts: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        nested = facts.get(key)
        facts[key] = dict(nested) if isinstance(nested, Mapping) else {}
        facts = facts[key]
    facts[keys[-1]] = value


def _is_number(text: str) -> bool:
    """Return whether a text is a number: YAML 1.1 reads 1e-5 as a text."""
    try:
        float(text)
    except ValueError:
        return False
    return True
