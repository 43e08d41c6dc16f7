"""The families of scores that need a package: which one, the extra that installs it, and what its scores are.

Nothing is imported here, so that a plan can be checked before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import ConfigError


@dataclass(frozen=True)
class Package:
    """What a family of scores needs. modules: what it imports. extra: of this project. columns: that it fills."""

    modules: tuple[str, ...]
    extra: str
    columns: tuple[str, ...]

    @property
    def advice(self) -> str:
        """Return the command that installs it."""
        return f"pip install 'ola-pipeline[{self.extra}]'"


FAMILIES: Mapping[str, Package] = {
    "text": Package(("rapidocr", "onnxruntime"), "inspect-text", ()),
}


def explain_missing(family: str, error: ImportError) -> ConfigError:
    """Return the error for a family whose package cannot be imported."""
    package = FAMILIES[family]
    return ConfigError(
        f"inspect.{family}: expected the packages {' and '.join(package.modules)}, got none ({error}); "
        f"{package.advice}, or set inspect.{family}=false"
    )
