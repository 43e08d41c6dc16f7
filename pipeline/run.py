"""A run: register the sources, bring every part through every step, pack. What is done already is passed over.

    run(Config(inputs=("videos",)), "out")

Kill it at any moment and start it again: it goes on where it was.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from manifests import storage, views
from manifests.journal import Journal, journal_path
from manifests.ledger import FAILED, Counts, Manifest
from manifests.records import Outcome
from manifests.schema import from_rows
from pipeline import config as configuration
from pipeline.blame import Incomplete
from pipeline.config import Config
from pipeline.damage import write_views
from pipeline.discover import discover
from pipeline.engines import Inline, LanePlan, OnRay
from pipeline.errors import ConfigError, RunError
from pipeline.pack.candidates import packable
from pipeline.pack.choose import check_where
from pipeline.pack.publish import current_manifest, pack
from pipeline.plan import Plan, Planned
from pipeline.register import register
from pipeline.worker import Lane, memory_of
from stages.catalogue import current

PACK = "pack"


@dataclass(frozen=True)
class Options:
    """What holds for one run only: limit on videos, the only step to run, and whether failed records run again."""

    limit: int | None = None
    only: str | None = None
    retry: bool = False


def run(config: Config, root: str, options: Options = Options()) -> Plan:
    """Do all there is to do at `root`. Raises ConfigError before anything runs, RunError when it cannot go on.

    Raises Incomplete at the end if all is done but what some parts, which are set aside, would need.
    """
    root = storage.normal(root)
    config = config.model_copy(update={"annotator": config.annotator.resolved()})
    plan = config.plan(root)
    names = [*(planned.step.name for planned in plan.steps), PACK]
    if options.only not in (None, *names):
        raise ConfigError(f"--only {options.only}: no such step in this run (choices: {', '.join(names)})")
    if packable(plan):
        check_where(plan, config.pack)
    with alone(root):
        parts = _register(config, plan, options)
        storage.write_bytes(storage.join(root, configuration.RUN), configuration.dump(config).encode())
        if options.retry:
            _reopen(plan, options.only)
        work(config, plan, parts, options.only)
    return plan


def work(config: Config, plan: Plan, parts: Sequence[int], only: str | None = None) -> None:
    """Bring all parts through all steps, then pack; `only` one of them if it is named.

    Raises Incomplete at the end if some parts are set aside.
    """
    engine = OnRay(config.workers, config.ray_address) if config.engine == "ray" else Inline()
    try:
        aside = write_views(plan, current(plan.root))  # to look at while it works
        if only != PACK:
            steps = [planned for planned in plan.steps if only in (None, planned.step.name)]
            stopped = {found.part for found in aside}
            numbers = [part for part in pending(steps, parts) if part not in stopped]
            aside += engine.map(lanes(steps, config.isolate), numbers)
        if only in (None, PACK) and packable(plan):
            pack(plan, config.pack, lambda make, count: engine.map([LanePlan(make)], range(count)))
    finally:
        engine.close()
        views.write(plan.root, all_manifests(plan), current(plan.root))
    if aside:
        raise Incomplete(plan, aside)


def all_manifests(plan: Plan) -> list[Manifest]:
    """Manifests of the steps, and of the last whole pack."""
    packed = current_manifest(plan)
    return plan.manifests + ([packed] if packed is not None else [])


def lanes(steps: Sequence[Planned], isolate: bool) -> list[LanePlan]:
    """Neighbouring steps that ask for the same hardware share a lane."""
    session = uuid.uuid4().hex
    shared = groupby(steps, key=lambda planned: (planned.resources.cpus, planned.resources.gpus))
    made = [(wants, list(group)) for wants, group in shared]
    return [LanePlan(partial(Lane, steps, session, isolate), *wants, memory_of(steps), -1) for wants, steps in made]


def pending(steps: Sequence[Planned], parts: Sequence[int]) -> list[int]:
    """Parts that some step has not committed, of those whose inputs are there."""
    done = [set(planned.manifest.committed()) for planned in steps]
    before = {manifest for planned in steps[:1] for manifest in planned.reads.values() if manifest.key}
    ready = set(parts).intersection(*(manifest.committed() for manifest in before))
    return [part for part in parts if part in ready and not all(part in committed for committed in done)]


def _register(config: Config, plan: Plan, options: Options) -> list[int]:
    if not config.inputs and not plan.sources.committed():
        raise ConfigError("inputs: nothing to do; name files, folders, globs or lists: ola run INPUT… --root ROOT")
    found = discover(config.inputs, plan.root)
    parts = register(plan.sources, found, options.limit, config.videos_per_part)
    if not parts:
        raise ConfigError(f"inputs: no file in {', '.join(config.inputs)}")
    return parts


def _reopen(plan: Plan, only: str | None) -> None:
    """Make every part with a failed record pending again, from the failed step on; what went well is kept."""
    for part in plan.sources.committed():
        again = False
        for planned in plan.steps:
            manifest = planned.manifest
            if not manifest.has(part):
                break
            again = again or (manifest.counts(part).failed > 0 and only in (None, planned.step.name))
            if again:
                _reopen_part(planned, part)


def _reopen_part(planned: Planned, part: int) -> None:
    """Back from manifest to journal, without the failed rows. A step that keeps media does its part anew."""
    manifest = planned.manifest
    if not planned.step.keeps_media:
        path = journal_path(manifest.root, manifest.path(part, "journal"))
        path.unlink(missing_ok=True)
        journal = Journal(path, manifest.record, session="", life="")
        for outcome in stored_outcomes(manifest, part):
            if outcome.status != FAILED:
                journal.done(outcome)
        journal.close(delete=False)
    storage.remove(manifest.uri(part))


def stored_outcomes(manifest: Manifest, part: int) -> Iterator[Outcome]:
    """The outcomes that a part was committed with."""
    for name, group in groupby(manifest.read(part).to_pylist(), key=lambda row: str(row["input"])):
        rows = list(group)
        status, seconds = rows[0]["status"], sum(row["seconds"] for row in rows)
        records = tuple(from_rows(manifest.record, rows)) if status == "ok" else ()
        yield Outcome(name, status, seconds, records, rows[0]["reason"], rows[0]["detail"])


@contextmanager
def alone(root: str) -> Iterator[None]:
    """Hold the root for this process; the kernel lets go when the process ends, however it ends. Raises RunError."""
    if not storage.is_local(root):
        yield  # writes to an object store are atomic and equal: two runs waste work, but harm nothing
        return
    import fcntl

    folder = Path(storage.normal(root))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "a+")  # noqa: SIM115  held until the end of the block
    except OSError as error:
        raise ConfigError(f"--root {root}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise RunError(f"another run is at work at {root} (process {lock.read().strip() or '?'})") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        storage.remove_drafts(root)
        yield


def totals(plan: Plan) -> list[tuple[str, Counts]]:
    """Counts of every step, in order; pack last, once it has run."""
    counted = [(planned.step.name, planned.manifest.total()) for planned in plan.steps]
    packed = current_manifest(plan)
    return counted + ([(PACK, packed.total())] if packed is not None else [])
