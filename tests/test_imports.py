"""Imports go in one direction, and module names shadow nothing.

In: every Python file of the five folders, read with `ast`, never run. Out: failures that name file and line.
Why: an arrow that points the other way, or a `queue.py`, works until somebody runs from another folder.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.test_project import ROOT, canonical, direct_dependencies

MAY_IMPORT: dict[str, frozenset[str]] = {
    "manifests": frozenset(),
    "ola": frozenset(),
    "stages": frozenset({"manifests", "ola"}),
    "pipeline": frozenset({"manifests", "ola", "stages"}),
    "tests": frozenset({"manifests", "ola", "stages", "pipeline"}),
}


# The layers of `pipeline/`, lowest first: a module imports from its own layer and those below. `media` knows neither
# steps nor annotation; a step does not reach into the engine; only the command line knows the synthetic world.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("sources",),
    ("media",),
    ("step", "prompts", "annotation", "hashing", "inspection", "hearing"),
    ("steps",),
    (
        "plan",
        "config",
        "run",
        "forecast",
        "error_causes",
        "monitoring",
        "checkup",
        "engine",
        "state",
        "duplicates",
        "pack",
        "audit",
        "removal",
        "importing",
    ),
    ("synthetic",),
    ("cli", "report", "card", "harness", "__main__", "deploy"),
)


def imported_modules(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield line and absolute dotted name of each import, also of `import_module` with a literal name.

    `package` is the dotted path of the file's folder. A relative import that leaves the top yields "..".
    """
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=str(module), level=0, names=names):
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in names)
            case ast.ImportFrom(module=module, level=level):
                base = package[: len(package) - level + 1] if level <= len(package) else ("..",)
                yield node.lineno, ".".join((*base, module) if module else base)
            case ast.Call(
                func=ast.Attribute(attr="import_module" | "__import__") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def wrong_arrows(root: Path) -> list[str]:
    """One line for each import under `root` that MAY_IMPORT does not allow."""
    found = []
    for folder, allowed in MAY_IMPORT.items():
        forbidden = MAY_IMPORT.keys() - allowed - {folder} | {""}  # "": a relative import out of the package
        for path in sorted((root / folder).rglob("*.py")):
            name = path.relative_to(root)
            tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(name))
            found += [
                f"{name}:{line}: {folder} must not import {module}"
                for line, module in imported_modules(tree, name.parent.parts)
                if module.split(".")[0] in forbidden
            ]
    return found


def layer_of(module: str) -> int:
    """Return the layer of `pipeline.X…`. Raises StopIteration for a module that LAYERS does not name."""
    name = module.split(".")[1]
    return next(number for number, names in enumerate(LAYERS) if name in names)


def wrong_layers(root: Path) -> list[str]:
    """Return one line for each import in `pipeline/` of a module in a higher layer."""
    found = []
    for path in sorted((root / "pipeline").rglob("*.py")):
        place = path.relative_to(root)
        module = ".".join(place.with_suffix("").parts)
        if module == "pipeline.__init__":
            continue
        for line, target in imported_modules(ast.parse(path.read_text(encoding="utf-8")), place.parent.parts):
            if target.startswith("pipeline.") and layer_of(target) > layer_of(module):
                found.append(f"{place}:{line}: {module.split('.')[1]} must not import {target}")
    return found


def taken_names() -> frozenset[str]:
    """Top-level module names of the standard library and of each direct dependency."""
    direct = {canonical(name) for name in direct_dependencies()}
    modules = {
        module for module, owners in packages_distributions().items() if direct & {canonical(owner) for owner in owners}
    }
    return frozenset(sys.stdlib_module_names) | modules | {name.replace("-", "_") for name in direct}


def shadowing_names(root: Path, taken: frozenset[str]) -> list[str]:
    """One line for each module or folder of the five packages that bears a taken name."""
    files = (path for folder in MAY_IMPORT for path in sorted((root / folder).rglob("*.py")))
    places = {place for path in files for place in (path, path.parent) if place.parent != root}
    return [
        f"{place.relative_to(root)} is named after the standard library or a dependency: rename it"
        for place in sorted(places)
        if place.stem in taken
    ]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_imports_point_one_way() -> None:
    assert wrong_arrows(ROOT) == []


def test_layers_of_the_pipeline_point_down() -> None:
    assert wrong_layers(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("pipeline/media/a.py", "from pipeline.annotation import annotator"),
        ("pipeline/media/a.py", "from pipeline.step import Step"),
        ("pipeline/steps/a.py", "from pipeline.engine import worker"),
        ("pipeline/sources/containers/a.py", "def f() -> None:\n    import pipeline.media.scan"),
        ("pipeline/run.py", "from pipeline import cli"),
    ],
)
def test_a_wrong_layer_is_caught(tmp_path: Path, file: str, line: str) -> None:
    write(tmp_path / file, line)
    [found] = wrong_layers(tmp_path)
    assert found.startswith(f"{file}:")


def test_no_module_shadows_another() -> None:
    assert shadowing_names(ROOT, taken_names()) == []


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_every_folder_is_read(folder: str) -> None:
    assert (ROOT / folder / "__init__.py").is_file(), f"{folder}/ is no package: nothing of it was checked"


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("manifests/a.py", "import ola.model"),
        ("ola/a.py", "from manifests import records"),
        ("ola/deep/a.py", "from ...pipeline import steps"),
        ("ola/a.py", "from .. import pipeline"),
        ("stages/a.py", "def f() -> None:\n    from pipeline.cli import main"),
        ("stages/a.py", "if TYPE_CHECKING:\n    import tests.toys"),
        ("pipeline/a.py", "importlib.import_module('tests.toys')"),
    ],
)
def test_a_wrong_arrow_is_caught(tmp_path: Path, file: str, line: str) -> None:
    write(tmp_path / file, line)
    [found] = wrong_arrows(tmp_path)
    assert found.startswith(f"{file}:")


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("stages/a.py", "import ola, manifests.records"),
        ("pipeline/deep/a.py", "from ..media import decode\nfrom . import b"),
        ("ola/a.py", "import olap\nfrom ola.model import decoder"),
        ("tests/ola/a.py", "from pipeline import cli"),
    ],
)
def test_a_right_arrow_passes(tmp_path: Path, file: str, line: str) -> None:
    write(tmp_path / file, line)
    assert wrong_arrows(tmp_path) == []


@pytest.mark.parametrize("file", ["pipeline/queue.py", "stages/ray.py", "ola/types/__init__.py", "tests/yaml.py"])
def test_a_shadowing_name_is_caught(tmp_path: Path, file: str) -> None:
    write(tmp_path / file, "")
    assert len(shadowing_names(tmp_path, taken_names())) == 1


def test_a_name_of_our_own_passes(tmp_path: Path) -> None:
    write(tmp_path / "pipeline" / "steps" / "ingest.py", "")
    write(tmp_path / "pipeline" / "__main__.py", "")
    assert shadowing_names(tmp_path, taken_names()) == []
