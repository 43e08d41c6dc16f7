"""Write the report of a run: gather its facts, draw clips, write data and media, and copy styles and scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb

from manifests import storage, views
from manifests.ledger import Damaged, digest
from pipeline.config import Config, load_run
from pipeline.errors import ConfigError
from pipeline.monitoring.run_facts import RunFacts, read_facts
from pipeline.pack.candidates import is_packable
from pipeline.plan import Plan
from pipeline.removal.report_copies import REPORT
from pipeline.report import page, reviews
from pipeline.report.cards import Card, make_cards
from pipeline.report.distributions import histograms, languages
from pipeline.report.markup import Markup
from pipeline.report.media import write_media
from pipeline.report.sample import Drawn, draw
from pipeline.report.score_table import ScoreTable, page_table, read_scores
from pipeline.report.training import read_training
from pipeline.run import all_manifests

FILES = ("report.css", "icon.svg", *(name for name in page.SCRIPTS if name != "data.js"))
MEMORY = "1GB"  # of each query; larger ones spill to disk
OWN = frozenset({"index.html", "data.js", "media", *FILES})


@dataclass(frozen=True)
class ReportOptions:
    """What goes into a report.

    out: its folder; None: `report` in the root. clips: number of cards, drawn by `seed`. step, where: see
    `pipeline.report.sample.draw`. megabytes: limit of the folder's size. training: folder of a training, of evaluations
    or of both.
    """

    out: Path | None = None
    clips: int = 200
    step: str | None = None
    where: str | None = None
    megabytes: int = 60
    training: Path | None = None
    seed: int = 0


@dataclass(frozen=True)
class _Gathered:
    facts: RunFacts
    table: ScoreTable
    drawn: list[Drawn]
    reviews: Markup


def write_report(root: str, options: ReportOptions, damaged: list[Damaged] | None = None) -> Path:
    """Write the report. Return the path of its page. damaged: gets the files of the run that cannot be read.

    Raises ConfigError without a run, for a folder that holds other files, and for wrong options.
    """
    config = load_run(root)
    plan = config.plan(root)
    if not is_packable(plan) or not plan.find_step("extract").manifest.committed():
        raise ConfigError(f"{root}: expected clips of ingest, split, extract and transcribe; run these steps first")
    folder = _prepare(plan.root, options.out)
    learned = read_training(options.training) if options.training is not None else None
    gathered = views.query(lambda: _connect(plan, damaged), lambda found: _gather(found, plan, config, options))
    cards = views.query(
        lambda: _connect(plan, damaged), lambda found: make_cards(found, plan, config.pack, gathered.drawn)
    )
    sections = [
        ("funnel", "Funnel", page.funnel(gathered.facts, _choice(options))),
        ("yield", "Yield", page.yields()),
        ("scores", "Scores", page.distributions(histograms(gathered.table, config.model_dump()),
                                                languages(gathered.table))),
        ("needs", "Needs", page.needs(gathered.facts.needs, config.pack.agreement)),
        ("clips", "Clips", page.clips()),
        ("review", "Review", gathered.reviews),
    ]  # fmt: skip
    if learned is not None:
        sections.append(("training", "Training", page.training(*learned)))
    name = plan.root.rstrip("/").rpartition("/")[2]
    (folder / "index.html").write_text(page.page(f"Report: {name}", plan.root, sections), encoding="utf-8")
    _copy_files(folder)
    _write_cards(plan, config, options, gathered, cards, folder)
    return folder / "index.html"


def _choice(options: ReportOptions) -> str:
    """Return the options that choose cards, as they were given."""
    given = (("--step", options.step), ("--where", options.where))
    return " and ".join(f"{name} {value}" for name, value in given if value is not None)


def _connect(plan: Plan, damaged: list[Damaged] | None) -> duckdb.DuckDBPyConnection:
    connection = views.connect(plan.root, all_manifests(plan), {}, damaged)
    connection.execute(f"SET memory_limit = '{MEMORY}'")
    return connection


def _gather(connection: duckdb.DuckDBPyConnection, plan: Plan, config: Config, options: ReportOptions) -> _Gathered:
    facts = read_facts(connection, plan, config.pack)
    marks = reviews.read_reviews(plan.root)
    agreement = reviews.agreement_with_verify(connection, marks, config.pack.agreement)
    table = read_scores(connection, plan, config.pack)
    drawn = draw(connection, plan, options.clips, options.seed, options.step, options.where)
    return _Gathered(facts, table, drawn, page.reviews(marks, agreement))


def _prepare(root: str, out: Path | None) -> Path:
    """Make the folder of the report, without the media of an older report. Raises ConfigError for other files there."""
    if out is None and not storage.is_local(root):
        raise ConfigError(f"--out: expected a local folder, since {root} is in a store; do --out DIR")
    folder = out or Path(root) / REPORT
    if folder.is_dir() and (others := sorted({path.name for path in folder.iterdir()} - OWN)):
        raise ConfigError(f"--out {folder}: expected a new folder or that of a report, got one with {others[0]}")
    folder.mkdir(parents=True, exist_ok=True)
    for old in (folder / "media").glob("*"):
        old.unlink()
    return folder


def _copy_files(folder: Path) -> None:
    packaged = resources.files("pipeline.report") / "page"
    for name in FILES:
        (folder / name).write_bytes((packaged / name).read_bytes())


def _write_cards(
    plan: Plan, config: Config, options: ReportOptions, gathered: _Gathered, cards: list[Card], folder: Path
) -> None:
    table = page_table(gathered.table, config.pack.where)
    facts: dict[str, Any] = {"root": plan.root, "key": digest([plan.root, plan.key])}
    facts |= {"agreement": config.pack.agreement, "yield": table}
    left = options.megabytes * 1_000_000 - len(_script(facts | {"cards": cards})) - _size(folder)
    write_media(cards, plan.root, folder, left)
    (folder / "data.js").write_bytes(_script(facts | {"cards": cards}))


def _script(facts: Mapping[str, Any]) -> bytes:
    """Return a script that holds data. Pure ASCII, so that no character of a text can end a line or a script."""
    text = json.dumps(facts, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    return f"window.olaReport = {text};\n".encode()


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file() and path.name != "data.js")
