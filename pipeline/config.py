"""Load and check the configuration of a run: a YAML file and dotted overrides; errors name key, value and choices.

Sections named after steps determine the output and are part of the steps' keys. All other settings (engine, workers,
resources) change only the speed and may differ from run to run.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from manifests import storage
from manifests.retries import StoreUnreachable
from pipeline.annotation.annotator import ModelStep
from pipeline.annotation.annotator_settings import CUDA, AnnotatorSettings
from pipeline.duplicates.settings import DedupSettings
from pipeline.errors import ConfigError
from pipeline.hearing.settings import HearSettings
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan, build_plan
from pipeline.state.keys import load as load_keys
from pipeline.step import Resources, Settings, Step
from pipeline.steps import STEPS
from pipeline.steps.ask import Ask, AskSettings
from pipeline.steps.caption import CaptionSettings
from pipeline.steps.extract import ExtractSettings
from pipeline.steps.ingest import IngestSettings
from pipeline.steps.inspection import InspectSettings
from pipeline.steps.screen import ScreenSettings
from pipeline.steps.split import SplitSettings
from pipeline.steps.transcribe import TranscribeSettings
from pipeline.steps.verify import VerifySettings

RUN = "run.yaml"
M = TypeVar("M", bound=BaseModel)


class Config(BaseModel):
    """All settings of a run, with the defaults of `ola run INPUT --root ROOT`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: tuple[str, ...] = ()
    """Files, folders, globs, URIs, or lists of them."""
    media_column: str = ""
    """Column of Parquet and Arrow files that holds the videos; empty: found by type and name."""
    steps: tuple[str, ...] = ()
    """Steps of the run; empty: all but the extra ones, those that ask a model only if there is a model."""
    extra_steps: tuple[str, ...] = ()
    """Steps that run beside those, as `[fingerprint, inspect, hear]`: adding one reruns no other step."""
    engine: Literal["inline", "ray"] = "inline"
    """`inline`: in the process of the command; `ray`: on a Ray cluster."""
    workers: int | dict[str, int] = 0
    """Workers of each lane under `ray`, or of the lanes of the named steps, as `{extract: 64}`; 0: by measured cost."""
    ray_address: str = ""
    """Address of a Ray cluster; empty: `RAY_ADDRESS` if set, else a Ray of this machine that the run starts."""
    isolate: bool = True
    """Run steps in processes of their own; false: in the engine's process, for a debugger."""
    videos_per_part: int | None = Field(default=None, gt=0)
    """Videos of a part; null: 1 to 32, by the number of new videos."""
    resources: dict[str, dict[str, float]] = {}
    """Limits of each step, as `{caption: {gpus: 1}}`: see `resources.<step>`."""
    store_patience: float | None = Field(default=None, ge=0)
    """Minutes for which failed requests to a store are tried again; null: `OLA_STORE_PATIENCE`, or 5."""
    ask_above_hours: float = Field(default=1.0, ge=0)
    """Hours of finished work that `ola run` does again without asking."""

    annotator: AnnotatorSettings = AnnotatorSettings()
    ingest: IngestSettings = IngestSettings()
    split: SplitSettings = SplitSettings()
    extract: ExtractSettings = ExtractSettings()
    transcribe: TranscribeSettings = TranscribeSettings()
    screen: ScreenSettings = ScreenSettings()
    caption: CaptionSettings = CaptionSettings()
    ask: AskSettings = AskSettings()
    verify: VerifySettings = VerifySettings()
    fingerprint: Settings = Settings()
    inspect: InspectSettings = InspectSettings()
    hear: HearSettings = HearSettings()
    dedup: DedupSettings = DedupSettings()
    decontaminate: tuple[str, ...] = ()
    """Files of `ola hashes`, or roots of runs, with benchmarks: clips alike are marked in `leaked_from`."""
    pack: PackSettings = PackSettings()

    @field_validator("steps", "extra_steps")
    @classmethod
    def _check_step_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in STEPS:
                raise ValueError(f"no step '{name}' (choices: {', '.join(STEPS)})")
        return names

    @field_validator("workers", mode="before")
    @classmethod
    def _check_workers(cls, workers: Any) -> Any:
        for name, count in workers.items() if isinstance(workers, dict) else [(None, workers)]:
            if name not in (None, *STEPS):
                raise ValueError(f"no step '{name}' (choices: {', '.join(STEPS)})")
            if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                raise ValueError(f"expected a number from 0, or one for each step as in {{extract: 64}}, got {count!r}")
        return workers

    @property
    def step_names(self) -> tuple[str, ...]:
        """Return the names of the run's steps. Raises ConfigError if a step asks a model and none is configured."""
        main = self._main_steps()
        return main + tuple(name for name in self.extra_steps if name not in main)

    def _main_steps(self) -> tuple[str, ...]:
        usual = tuple(name for name, step in STEPS.items() if not step.beside)
        asking = [name for name in usual if self.asks_model(name)]
        if self.annotator.model or self.annotator.engine != "torch":
            return self.steps or usual
        if "transcribe" in asking and "transcribe" in (self.steps or usual):
            raise ConfigError("transcribe.sources: ola asks a model; set annotator.model to its folder")
        if lacking := [name for name in self.steps if name in asking]:
            raise ConfigError(f"step '{lacking[0]}' asks a model; set annotator.model to its folder")
        return self.steps or tuple(name for name in usual if name not in asking)

    def step_resources(self) -> dict[str, Resources]:
        """Return each step's resources: its defaults, overridden by the `resources` section. Raises ConfigError."""
        for name in self.resources:
            if name not in STEPS:
                raise ConfigError(f"resources.{name}: no such step (choices: {', '.join(STEPS)})")
        return {name: self._resources(name) for name in self.step_names}

    def _resources(self, name: str) -> Resources:
        facts = {**self._make_step(name).resources.model_dump(), **self.resources.get(name, {})}
        asks, device = self.asks_model(name), self._cuda_setting(name)
        if asks:
            facts["gpus"] = facts["gpus"] or self.annotator.share
        elif device and "gpus" not in self.resources.get(name, {}):
            facts["gpus"] = 1.0
        if self.engine == "ray" and device and not facts["gpus"]:
            share = "annotator.gpus" if asks else f"resources.{name}.gpus"
            raise ConfigError(f"{share}: expected more than 0 with {device} and engine=ray, got 0; set {share}=1")
        return validate_settings(Resources, facts, f"resources.{name}")

    def _cuda_setting(self, name: str) -> str:
        """Return the setting that puts a step on CUDA; "" for none. On Ray such a worker needs a share of a GPU."""
        devices = {"annotator.device": self.annotator.device if self.asks_model(name) else ""}
        if name == "transcribe" and "whisperx" in self.transcribe.sources:
            devices["transcribe.whisperx.device"] = self.transcribe.whisperx.device
        return next((f"{key}={device}" for key, device in devices.items() if device.startswith(CUDA)), "")

    def plan(self, root: str) -> Plan:
        """Build and check the plan of this configuration below `root`, with the root's remembered keys."""
        remembered = load_keys(root).facts
        uri = storage.join(storage.normal(root), RUN)
        stored = _yaml_file(uri) if not remembered and storage.exists(uri) else {}
        return build_plan(
            root, [self._make_step(name) for name in self.step_names], self.step_resources(), remembered, stored
        )

    def with_weights(self) -> Config:
        """Return this configuration with the digest of the annotator's weights. Raises ConfigError without weights."""
        gpus = self._annotator_gpus() if self.engine == "ray" and self.annotator.model else None
        return self.model_copy(update={"annotator": self.annotator.resolve(gpus)})

    def _annotator_gpus(self) -> float:
        """Return the GPUs that a worker of the steps that ask takes."""
        resources = self.step_resources()
        return max((resources[name].gpus for name in self.step_names if self.asks_model(name)), default=0.0)

    def _make_step(self, name: str) -> Step[Any, Any]:
        step = STEPS[name](getattr(self, name))
        if isinstance(step, ModelStep):
            step.annotator = self.annotator
            if self.transcribe.wordless == "drop":  # no clip without words comes: the keys of older versions
                step.later_prompts = ()
        if isinstance(step, Ask):
            step.hearing = self.hear
        return step

    def asks_model(self, name: str) -> bool:
        """Return whether a step asks the annotator under these settings."""
        step = self._make_step(name)
        return isinstance(step, ModelStep) and step.asks


def load(file: str | None, overrides: Sequence[str], base: Mapping[str, Any] | None = None) -> Config:
    """Merge `base` (the stored settings), a YAML file and `a.b=value` overrides, in this order. Raises ConfigError."""
    facts: dict[str, Any] = dict(base or {})
    if file is not None:
        facts = merge_settings(facts, _yaml_file(file))
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set: expected key=value, as in split.longest=20, got {override!r}")
        facts = merge_settings(facts, nest_value(key.split("."), _yaml_value(override, value)))
    return validate_settings(Config, facts)


def merge_settings(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` overridden by `top`, section by section."""
    both = dict(base)
    for key, value in top.items():
        under = both.get(key)
        both[key] = merge_settings(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return both


def nest_value(keys: Sequence[str], value: Any) -> dict[str, Any]:
    """Return nested dicts: {'a': {'b': value}} for keys a, b."""
    return {keys[0]: nest_value(keys[1:], value) if len(keys) > 1 else value}


def _yaml_file(file: str) -> dict[str, Any]:
    try:
        facts = yaml.safe_load(storage.read_bytes(file))
    except StoreUnreachable:
        raise
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: {' '.join(str(error).split())}") from error
    if not isinstance(facts, dict):
        raise ConfigError(f"{file}: expected keys and values, got {type(facts).__name__}")
    return facts


def _yaml_value(override: str, text: str) -> Any:
    try:
        return yaml.safe_load(text) if text else ""
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: {' '.join(str(error).split())}") from error


def validate_settings(model: type[M], facts: Mapping[str, Any], prefix: str = "") -> M:
    """Validate settings against a pydantic model. Raises ConfigError with one line: key, value and choices."""
    try:
        return model.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        keys = [*prefix.split("."), *map(str, first["loc"])] if prefix else [str(key) for key in first["loc"]]
        raise ConfigError(_error_line(model, keys, first)) from error


def _error_line(model: type[BaseModel], keys: list[str], error: Any) -> str:
    key = ".".join(keys)
    if error["type"] == "extra_forbidden":
        section = _find_section(model, [str(k) for k in error["loc"][:-1]])
        choices = list(section.model_fields)
        near = difflib.get_close_matches(keys[-1], choices, n=1)
        return f"{key}: no such setting{f', did you mean {near[0]!r}?' if near else ''} (choices: {', '.join(choices)})"
    if error["type"] in {"value_error", "missing"}:
        message = error["msg"].removeprefix("Value error, ")
        return f"{key}: {message[0].lower()}{message[1:]}" if key else message
    return f"{key or 'settings'}: expected {_expected(error)}, got {error['input']!r}"


def _expected(error: Any) -> str:
    """Return the expected value from pydantic's message, such as `Input should be a valid number, unable to …`."""
    if error["type"] in {"model_type", "model_attributes_type"}:
        return "a section of settings"
    message = re.sub(r"^(Input|Value|\w+) should (be|have) ", "", error["msg"])
    if error["type"] != "literal_error":
        message = message.partition(", ")[0]
    return message.replace("a valid ", "a ").replace("a integer", "an integer")


def _find_section(model: type[BaseModel], keys: Sequence[str]) -> type[BaseModel]:
    for key in keys:
        annotation = model.model_fields[key].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        model = annotation
    return model


def dump(config: Config) -> str:
    """Return the resolved configuration as YAML, for `run.yaml`."""
    text: str = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return text


def load_run(root: str) -> Config:
    """Load the configuration of the run at `root`. Raises ConfigError if there is no run."""
    uri = storage.join(storage.normal(root), RUN)
    if not storage.exists(uri):
        raise ConfigError(f"no run at {root}: expected {RUN} there; name the root of a run")
    return load(uri, ())
