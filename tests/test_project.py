"""Rules of the repository: top-level files, named dependencies, lock, docstrings, no path of one machine.

In: the files that git tracks (in a copy without git, all files). Out: failures that name the file.
Why: these promises are broken by small changes that no other test would see.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("manifests", "ola", "pipeline", "stages")
TOP_LEVEL = frozenset(
    {
        *PACKAGES,
        "docs",
        "examples",
        "tests",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "SECURITY.md",
        "mkdocs.yml",
        "pyproject.toml",
        "requirements.lock",
    }
)
# Each is used for what it is made for; a change that drops one changes what the project is.
NAMED = [
    "torch",
    "transformers",
    "ray",
    "webdataset",
    "decord",
    "ffmpeg-python",
    "whisperx",
    "pyarrow",
    "duckdb",
]
OUTPUTS = ("__pycache__", "build", "dist")
ONE_MACHINE = re.compile(r"(?<![\w.$}~-])/(?:home|Users|root|tmp|private/tmp|var/folders)/[\w.-]+|\b[A-Z]:\\Users\\\w+")


def files_of_git(root: Path) -> list[Path]:
    """Tracked files; none where git is missing or tracks nothing here (an unpacked archive)."""
    git = shutil.which("git")
    if git is None:
        return []
    listing = subprocess.run([git, "ls-files", "-z"], cwd=root, capture_output=True, check=False)
    names = os.fsdecode(listing.stdout).split("\0") if listing.returncode == 0 else []
    return [root / name for name in names if name and (root / name).is_file()]


def files_on_disk(root: Path) -> list[Path]:
    """All files but those in dot-folders (`.ci` excepted) and in build outputs."""
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name == ".ci" or not (name.startswith(".") or name in OUTPUTS)]
        found += [Path(folder, name) for name in names]
    return found


def project_files() -> list[Path]:
    return files_of_git(ROOT) or files_on_disk(ROOT)


def canonical(requirement: str) -> str:
    """`moto[s3,server]>=5.1` to `moto`, `PyYAML` to `pyyaml` (PEP 503)."""
    name = re.match(r"[\w.-]+", requirement)
    assert name, f"no name in requirement {requirement!r}"
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def project_table() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def direct_dependencies(*, locked_only: bool = False) -> list[str]:
    """Names in pyproject.toml. Locked are those of `.[dev]`; the other extras bring their own pins."""
    extras: dict[str, list[str]] = project_table()["optional-dependencies"]
    chosen = [extras["dev"]] if locked_only else extras.values()
    return [canonical(line) for line in (*project_table()["dependencies"], *(x for e in chosen for x in e))]


def lock_lines() -> list[str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def paths_of_one_machine(text: str, checkout: Path) -> Iterator[tuple[int, str]]:
    """Line number and path, for each path of its writer's machine; the checkout's own is one."""
    # A checkout at /app or /src is a path that others may well write about.
    own = str(checkout) if len(checkout.parts) > 2 else None
    for number, line in enumerate(text.splitlines(), start=1):
        yield from ((number, match[0]) for match in ONE_MACHINE.finditer(line))
        if own and own in line:
            yield number, own


@pytest.mark.parametrize("name", NAMED)
def test_named_dependency_is_declared(name: str) -> None:
    assert name in direct_dependencies()


def test_lock_pins_each_direct_dependency() -> None:
    pinned = {canonical(line) for line in lock_lines()}
    missing = sorted(set(direct_dependencies(locked_only=True)) - pinned)
    assert missing == [], "run `make lock`"


def test_lock_is_plain_pins() -> None:
    # A local version ("+cpu"), a hash or an index would tie the lock to one kind of machine or one registry.
    odd = [line for line in lock_lines() if not re.fullmatch(r"[\w.-]+==[\w.!]+", line)]
    assert odd == []
    assert len({canonical(line) for line in lock_lines()}) == len(lock_lines())


def test_top_level_holds_nothing_else() -> None:
    top = {path.relative_to(ROOT).parts[0] for path in project_files()}
    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL


def test_no_file_names_a_path_of_one_machine() -> None:
    found = []
    for path in project_files():
        content = path.read_bytes()
        if b"\0" in content:  # not text
            continue
        places = paths_of_one_machine(content.decode("utf-8", errors="replace"), ROOT)
        found += [f"{path.relative_to(ROOT)}:{number}: {place}" for number, place in places]
    assert found == []


@pytest.mark.parametrize(
    ("text", "caught"),
    [
        ("root: /{}/ada/videos", True),
        ('"/{}/ada"', True),
        ("file:///{}/ada/videos", True),
        ("s3://bucket/{}/ada", False),
        ("$ROOT/{}/ada", False),
        ("./{}/ada", False),
    ],
)
def test_path_of_one_machine_is_caught(text: str, caught: bool) -> None:
    line = text.format("home")
    assert bool(list(paths_of_one_machine(line, Path("/")))) is caught


def test_path_of_the_checkout_is_caught() -> None:
    checkout = Path("/srv/ada/checkout")
    assert list(paths_of_one_machine(f"x\ncd {checkout}/ola", checkout)) == [(2, str(checkout))]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_what_it_is(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"no Python file in {package}/"
    silent = [
        str(path.relative_to(ROOT))
        for path in files
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == [], "open these modules with a docstring: what goes in, what comes out, why it exists"


def test_files_of_git_and_of_disk_agree_on_the_essentials() -> None:
    essentials = {ROOT / "pyproject.toml", ROOT / "Makefile", ROOT / ".ci" / "run", Path(__file__)}
    assert essentials <= set(files_on_disk(ROOT))
    assert essentials <= set(project_files())
