"""`ola model`: list the modules in a folder of weights and its faults, from headers alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pipeline.errors import RunError

if TYPE_CHECKING:
    from pathlib import Path

    from ola.model import OlaForConditionalGeneration
    from ola.weights import Loading

# The audio encoders get a row each; every other module of the model is one row.
SEPARATE_PREFIX = "speech_encoder."


def show_model(folder: Path) -> bool:
    """Print sizes and dtypes by module, then each fault. Return whether there is none. Raises RunError."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    loading = prepare_model(folder)
    table = Table(title=Text(str(folder)))
    for name, right in (("module", False), ("parameters", True), ("stored as", False), ("MB", True)):
        table.add_column(name, justify="right" if right else "left")
    for name, *cells in module_rows(loading):
        table.add_row(name, *cells)
    console = Console()
    console.print(table)
    for fault in loading.faults:
        console.print(fault, markup=False, highlight=False, soft_wrap=True)
    return not loading.faults


def prepare_model(folder: Path) -> Loading[OlaForConditionalGeneration]:
    """Compare the folder's tensor names and shapes with the model's. Raises RunError."""
    from ola import locate_model
    from ola.model import OlaForConditionalGeneration
    from ola.weights import config_of, prepare

    try:
        return prepare(OlaForConditionalGeneration, locate_model(folder), config_of(locate_model(folder)))
    except (ValueError, OSError) as error:
        raise RunError(str(error)) from error


def module_rows(loading: Loading[OlaForConditionalGeneration]) -> Iterable[tuple[str, str, str, str]]:
    """Return rows of module, parameters, stored dtypes and megabytes; the last row is the total."""
    parameters: Counter[str] = Counter()
    size: Counter[str] = Counter()
    dtypes: dict[str, set[str]] = {}
    for name, parameter in loading.model.named_parameters():
        stored = loading.stored.get(loading.sources[name])
        for module in (_module_name(name), "all"):
            parameters[module] += parameter.numel()
            size[module] += parameter.numel() * stored.dtype.itemsize if stored else 0
            dtypes.setdefault(module, set()).add(str(stored.dtype).removeprefix("torch.") if stored else "missing")
    for module in [*(name for name in parameters if name != "all"), "all"]:
        yield module, f"{parameters[module]:,}", ", ".join(sorted(dtypes[module])), f"{size[module] / 1e6:,.1f}"


def _module_name(name: str) -> str:
    return ".".join(name.split(".")[: 2 if name.startswith(SEPARATE_PREFIX) else 1])
