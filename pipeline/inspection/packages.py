"""The families of scores that need packages: which ones, the extra that installs them, and the columns of the scores.

Nothing is imported here, so that a plan can be checked before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError


@dataclass(frozen=True)
class Family:
    """What a family of scores needs and gives. modules: what it imports, or takes the weights from.

    extra: of this project, which installs them. columns: of `inspect`, and those of `pack.where` made of these.
    version: increase it when the same media give other scores; it is part of the key of runs with the family.
    """

    name: str
    modules: tuple[str, ...]
    extra: str
    columns: tuple[str, ...]
    version: int = 1

    @property
    def advice(self) -> str:
        """Return what to do where a module is missing, and which columns are lost else."""
        return (
            f"pip install 'ola-pipeline[{self.extra}]', or set inspect.{self.name}=false and do without its columns "
            f"{', '.join(self.columns)}"
        )


TEXT_COLUMNS = ("text_area", "subtitles", "logos", "slides", "scene_text", "text_times", "screen_text",
                "words_on_screen", "answer_on_screen")  # fmt: skip
FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family("text", ("rapidocr", "onnxruntime"), "inspect-text", TEXT_COLUMNS),
        Family("speech", ("silero_vad", "onnxruntime"), "inspect-speech", ("speech_share",)),
        Family(
            "quality",
            ("speechmos", "onnxruntime"),
            "inspect-quality",
            ("speech_quality", "speech_clarity", "speech_background"),
        ),
        Family("nudity", ("nudenet", "onnxruntime"), "inspect-nudity", ("nudity",)),
    )
}


def explain_missing(family: str, fault: object) -> ConfigError:
    """Return the error for a family whose packages cannot be used."""
    return ConfigError(f"inspect.{family}: expected its packages, got: {fault}; {FAMILIES[family].advice}")


def open_weights(family: str, file: str) -> Any:
    """Open a model that a family's package carries, with one thread, and return its ONNX session.

    file: below the folder of the package, which is not imported. Raises ConfigError.
    """
    package = FAMILIES[family].modules[0]
    try:
        from onnxruntime import InferenceSession, SessionOptions
    except ImportError as error:
        raise explain_missing(family, error) from error
    spec = find_spec(package)
    paths = [Path(folder, file) for folder in (spec.submodule_search_locations or ())] if spec else []
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise explain_missing(family, f"no {file} of {package}" if spec else f"no module named {package!r}")
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a worker has one core
    options.log_severity_level = 3
    return InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
