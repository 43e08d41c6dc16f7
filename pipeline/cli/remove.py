"""`ola remove`: delete videos from a root, after showing what will be deleted."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import typer

from manifests import storage
from pipeline import config as configuration
from pipeline.cli.removal_text import RemovalReport, print_report
from pipeline.duplicates.lookup import AlikeVideo, FilePrints, find_alike, fingerprint_files
from pipeline.duplicates.relations import OTHER_PICTURE
from pipeline.errors import ConfigError, PartsSetAside
from pipeline.pack.candidates import is_packable
from pipeline.pack.rules import check_where
from pipeline.plan import Plan
from pipeline.removal import record
from pipeline.removal.procedure import Request, find_targets, remove_videos, translate_os_errors
from pipeline.removal.sets import stale_sets
from pipeline.removal.targets import read_names
from pipeline.removal.trainings import find_learned
from pipeline.run import open_engine, pack_writer
from pipeline.state.lease import exclusive_run


@dataclass(frozen=True)
class Removal:
    """What the user asked for. listed: file of names. like: videos whose copies are meant. trained: trainings."""

    names: Sequence[str] = ()
    listed: str = ""
    like: Sequence[str] = ()
    trained: Sequence[str] = ()
    note: str = ""

    def read_all_names(self) -> list[str]:
        """Return the names of the command and of the list. Raises ConfigError for a list that cannot be read."""
        return [*self.names, *(read_names(self.listed) if self.listed else ())]


def remove_and_report(
    root: str, removal: Removal, dry_run: bool = False, as_json: bool = False, yes: bool = False
) -> None:
    """Show what will be removed, ask for confirmation, and remove it. Raises ConfigError if nothing was removed."""
    root = storage.normal(root)
    requested = removal.read_all_names()
    config = configuration.load_run(root)
    plan = config.plan(root)
    _check_request(root, removal, requested, as_json and not (yes or dry_run))
    if is_packable(plan):
        check_where(plan, config.pack)
    prints = fingerprint_files(removal.like, config.split.longest) if removal.like else None
    with exclusive_run(root):
        alike = _find_alike(plan, prints) if prints is not None else []
        copies = sorted({each.video for each in alike if each.relation != OTHER_PICTURE})
        report = _make_report(plan, [*requested, *copies], alike, removal.trained)
        if not as_json:
            print_report(report)
        removes = bool(report.targets.registered) and not dry_run
        damaged: Sequence[str] = ()
        if removes:
            confirm("Remove them for good?", yes)
            learned = [name for phase in report.learned for name in phase.checkpoints] if removal.trained else None
            request = Request([*requested, *copies], removal.note, removal.like, learned)
            with open_engine(config) as engine:
                damaged = remove_videos(plan, config.pack, pack_writer(engine), request)
    if as_json:
        typer.echo(json.dumps({"done": removes, **report.facts()}, ensure_ascii=False, indent=2))
    elif removes:
        many = len(report.targets.registered)
        typer.echo(f"removed {many} source{'s' * (many != 1)}; {record.RECORD} says who asked")
    if damaged:
        raise PartsSetAside(damaged)


def _check_request(root: str, removal: Removal, names: Sequence[str], must_ask: bool) -> None:
    """Raise ConfigError for a command that names nothing, or that would have to ask amid JSON."""
    if must_ask:
        raise ConfigError("remove --json: expected --yes or --dry-run, got neither; it cannot ask")
    told = bool(removal.trained and record.removed_videos(root))
    if not (names or removal.like or told or record.unfinished_sources(root)):
        raise ConfigError(
            "remove: expected ids, paths or names of videos, got none; name some, or give --list FILE or --like FILE"
        )


def _find_alike(plan: Plan, prints: FilePrints) -> list[AlikeVideo]:
    with translate_os_errors():
        return find_alike(plan, prints)


def _make_report(
    plan: Plan, names: Sequence[str], alike: Sequence[AlikeVideo], trained: Sequence[str]
) -> RemovalReport:
    targets = find_targets(plan, names)
    removed = frozenset(video for video in record.removed_videos(plan.root).values() if video)
    videos = targets.videos | removed
    learned = find_learned(trained, videos) if trained else []
    return RemovalReport(targets, alike, stale_sets(plan.root, targets.videos), learned, trained)


def confirm(question: str, yes: bool) -> None:
    """Ask for confirmation, unless `yes`. Raises ConfigError if the answer is no, or without a terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("remove: expected --yes, got no terminal to ask on; nothing was removed; do it with --yes")
    if not typer.confirm(question):
        raise ConfigError("nothing was removed")
