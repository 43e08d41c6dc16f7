"""Commands, options, settings, files and links in the documentation exist, and the quickstart runs.

In: README.md, CONTRIBUTING.md, SECURITY.md and all pages of docs/. Out: failures that name the page and the word.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from pipeline.cli import app, exit_codes
from pipeline.config import load
from pipeline.errors import ConfigError
from pipeline.monitoring.metrics import METRICS
from pipeline.steps.ingest import IngestSettings
from stages.recipe import read_recipe
from tests.bench.__main__ import BENCHES
from tests.media import ffmpeg
from tests.reference_pages import FOLDER, PAGES, meanings
from tests.test_project import ROOT

PLACES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(?:sh|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
FOLDERS = "pipeline|ola|stages|manifests|tests|examples|docs"
FILE = re.compile(rf"(?:{FOLDERS})/[\w./-]*\w(?:\.(?:py|md|yaml|svg))?")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[str]:
    """Lines of the shell blocks of a page, without comments."""
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        yield from (line.strip() for line in block.splitlines() if line.strip() and not line.startswith("#"))


def commands(page: Path) -> Iterator[list[str]]:
    """Words of each command that a page names, in a block or between backticks."""
    text = page.read_text(encoding="utf-8")
    inline = [found for found in INLINE.findall(BLOCK.sub("", text)) if re.match(r"(ola|make|python -m) ", found)]
    for line in [*blocks(page), *inline]:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        if words:
            words[0] = words[0].removeprefix(".venv/bin/")
            yield words


@cache
def command_tree() -> Any:
    return typer.main.get_command(app)


def faults_of_command(words: list[str]) -> Iterator[str]:
    """What of a command does not exist."""
    command, rest = command_tree(), words[1:]
    while hasattr(command, "commands"):
        if not rest or not re.fullmatch(r"[a-z-]+", rest[0]):
            return
        if rest[0] not in command.commands:
            yield f"no command {rest[0]!r}"
            return
        command, rest = command.commands[rest[0]], rest[1:]
    options = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
    yield from (f"no option {word}" for word in rest if word.startswith("--") and word.split("=")[0] not in options)
    for option, value in pairwise(rest):
        if option == "--set" and command.name in ("run", "doctor") and "…" not in value:
            yield from setting_faults(value)


def setting_faults(assignment: str) -> Iterator[str]:
    try:
        load(None, [assignment])
    except ConfigError as error:
        if "no such setting" in str(error) or "expected" in str(error):
            yield str(error)


def faults(words: list[str]) -> list[str]:
    """What a command names that is not there."""
    match words:
        case ["ola", *_]:
            return [f"{shlex.join(words)}: {fault}" for fault in faults_of_command(words)]
        case ["make", target, *_] if re.fullmatch(r"[a-z0-9-]+", target):
            return [] if target in TARGETS else [f"make {target}: no such target"]
        case ["python", "-m", "tests.bench", *names]:
            return [f"no bench {each}" for each in names if each.isalpha() and each.islower() and each not in BENCHES]
        case ["python", "-m", module, *_] if module.split(".")[0] in FOLDERS.split("|"):
            path = ROOT.joinpath(*module.split("."))
            there = path.is_dir() or path.with_suffix(".py").is_file()
            return [] if there else [f"python -m {module}: no such module"]
    return []


@pytest.mark.parametrize("page", PLACES, ids=name)
def test_commands_and_settings_exist(page: Path) -> None:
    assert [fault for words in commands(page) for fault in faults(words)] == []


@pytest.mark.parametrize("page", PLACES, ids=name)
def test_files_and_links_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [f for f in FILE.findall(" ".join(INLINE.findall(text))) if not (ROOT / f).exists() and "<" not in f]
    for link in LINK.findall(text):
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        if not link.startswith(("http", "mailto")) and (not target.exists() or not has_anchor(target, anchor)):
            missing.append(link)
    assert missing == []


def has_anchor(page: Path, anchor: str) -> bool:
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
    return not anchor or anchor in {re.sub(r"[^\w -]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_a_generated_page_is_what_the_code_says(page: str) -> None:
    assert (FOLDER / page).read_text(encoding="utf-8") == PAGES[page](), "run `make reference`"


@pytest.mark.parametrize(
    "page", ["settings.md", "recipes.md", "commands.md", "records.md", "metrics.md", "exit-codes.md"]
)
def test_a_generated_page_gives_a_meaning_to_each_row(page: str) -> None:
    rows = [line for line in PAGES[page]().splitlines() if line.startswith("| ")]
    assert len(rows) > len(METRICS)
    assert [row for row in rows if re.search(r"\|\s*\|$", row)] == []


def test_a_field_has_the_text_below_it_as_its_meaning() -> None:
    found = meanings(IngestSettings)
    assert set(found) == set(IngestSettings.model_fields)
    assert meanings(exit_codes)["GOOD"] == "Done."


def yaml_block(page: str) -> str:
    [block] = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "how-to" / page).read_text("utf-8"), re.M | re.S)
    return str(block)


def test_the_settings_and_the_recipe_on_the_pages_are_valid(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(yaml_block("settings.md"), encoding="utf-8")
    assert load(str(tmp_path / "run.yaml"), []).step_resources()["ingest"].memory_gb == 4.0
    (tmp_path / "own.yaml").write_text(yaml_block("train.md"), encoding="utf-8")
    assert [phase.name for phase in read_recipe(str(tmp_path / "own.yaml")).phases] == ["video"]


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"[\w/-]+\.md", yaml.safe_dump(yaml.safe_load(nav)["nav"])))
    assert listed == {str(page.relative_to(ROOT / "docs")) for page in PLACES if ROOT / "docs" in page.parents}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the quickstart's commands have run, on a small film with subtitles."""
    folder = tmp_path_factory.mktemp("quickstart")
    (folder / "videos").mkdir()
    film = folder / "videos" / "film.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=320x240:duration=5", "-f", "lavfi", "-i", "sine=duration=5", str(film))
    words = "1\n00:00:01,000 --> 00:00:04,000\nWhat is said in this film of five seconds.\n"
    film.with_suffix(".srt").write_text(words, encoding="utf-8")
    ola = f"{shlex.quote(sys.executable)} -m pipeline"
    for line in blocks(ROOT / "docs" / "quickstart.md"):
        command = re.sub(r"^ola ", f"{ola} ", line)
        done = subprocess.run(
            command, shell=True, cwd=folder, env=environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
    return folder


def environment() -> dict[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def test_the_quickstart_runs_as_it_stands(quickstart: Path) -> None:
    assert list(quickstart.glob("out/shards/omni/*/train-*.tar"))
    assert (quickstart / "ola.json").stat().st_size > 0


@pytest.mark.parametrize(
    ("example", "argument", "said"),
    [
        ("own_step.py", "", "too short"),
        ("query_manifests.py", "out", "film.mp4"),
        ("read_shards.py", "out/shards/omni/*/train-*.tar", "of sound"),
    ],
)
def test_an_example_runs(quickstart: Path, example: str, argument: str, said: str) -> None:
    path = ROOT / "examples" / example
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60
    command = [sys.executable, str(path), *filter(None, [argument])]
    done = subprocess.run(command, cwd=quickstart, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, said in done.stdout) == (0, True), done.stdout + done.stderr


def python_blocks() -> dict[str, str]:
    """Return the first Python block of each section on reading shards, by its heading."""
    sections = (ROOT / "docs" / "how-to" / "read-shards.md").read_text(encoding="utf-8").split("\n## ")[1:]
    found = {text.partition("\n")[0]: re.findall(r"^```python\n(.*?)^```", text, re.M | re.S) for text in sections}
    return {name: blocks[0] for name, blocks in found.items() if blocks}


@pytest.mark.parametrize("reader", python_blocks())
def test_a_block_reads_the_shards(quickstart: Path, reader: str) -> None:
    if reader == "Megatron-Energon":
        pytest.importorskip("megatron.energon", reason="megatron-energon is not among the project's packages")
    command = [sys.executable, "-c", python_blocks()[reader]]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(quickstart / "hub")}
    own_ray = {"RAY_ADDRESS": "local"}  # a cluster of other tests on this machine would be joined
    environ = environment() | offline | own_ray
    done = subprocess.run(
        command, cwd=quickstart, env=environ, capture_output=True, text=True, check=False, timeout=240
    )
    assert (done.returncode, "-omni" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("ola runs videos/", "no command 'runs'"),
        ("ola run videos/ --rooot out", "no option --rooot"),
        ("ola run videos/ --set split.longst=3", "no such setting"),
        ("ola run videos/ --set split.longest=long", "expected a number"),
        ("make tests", "no such target"),
        ("python -m tests.bench prefix", "no bench prefix"),
        ("python -m pipeline.synthetic.demos", "no such module"),
    ],
)
def test_what_does_not_exist_is_caught(command: str, fault: str) -> None:
    [found] = faults(shlex.split(command))
    assert fault in found
