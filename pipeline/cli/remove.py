"""`ola remove`: delete videos from a root, after showing what will be deleted."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer
from rich.console import Console

from manifests import storage
from pipeline import config as configuration
from pipeline.cli.tables import result_table
from pipeline.errors import ConfigError, PartsSetAside
from pipeline.pack.candidates import is_packable
from pipeline.pack.rules import check_where
from pipeline.removal import record
from pipeline.removal.procedure import Request, find_targets, remove_videos
from pipeline.removal.sets import stale_sets
from pipeline.removal.targets import Targets, read_names
from pipeline.run import open_engine, pack_writer
from pipeline.state.lease import exclusive_run


def remove_and_report(root: str, names: Sequence[str], listed: str, note: str, yes: bool) -> None:
    """Show what will be removed, ask for confirmation, and remove it. Raises ConfigError if nothing was removed."""
    root = storage.normal(root)
    requested = [*names, *(read_names(listed) if listed else ())]
    config = configuration.load_run(root)
    plan = config.plan(root)
    if not requested and not record.unfinished_sources(root):
        raise ConfigError("remove: expected ids, paths or names of videos, got none; name some, or give --list FILE")
    if is_packable(plan):
        check_where(plan, config.pack)
    console = Console()
    with exclusive_run(root):
        targets = find_targets(plan, requested)
        show(console, targets, stale_sets(root, targets.videos))
        confirm("Remove them for good?", yes)
        with open_engine(config) as engine:
            damaged = remove_videos(plan, config.pack, pack_writer(engine), Request(requested, note))
    many = len(targets.registered)
    console.print(f"removed {many} source{'s' * (many != 1)}; {record.RECORD} says who asked", highlight=False)
    if damaged:
        raise PartsSetAside(damaged)


def show(console: Console, targets: Targets, sets: Sequence[str]) -> None:
    """Print a table of the sources to remove, and the shard sets to delete."""
    rows = [(targets.ids[each.source.uri], each.source.uri, each.part) for each in targets.registered]
    console.print(result_table(("video", "uri", "part"), rows))
    for folder in sets:
        console.print(f"{folder} is deleted: whoever reads it must stop", markup=False, highlight=False)


def confirm(question: str, yes: bool) -> None:
    """Ask for confirmation, unless `yes`. Raises ConfigError if the answer is no, or without a terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("remove: expected --yes, got no terminal to ask on; nothing was removed; do it with --yes")
    if not typer.confirm(question):
        raise ConfigError("nothing was removed")
