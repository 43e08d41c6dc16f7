"""Run the pipeline: register the sources, bring every part through every step, pack. Committed parts are skipped.

    run(Config(inputs=("videos",)), "out")

A run that was killed continues when it is started again.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from manifests import storage, views
from manifests.ledger import Counts, Manifest
from manifests.records import Source
from manifests.retries import temporary_patience
from manifests.snapshot import renew, snapshot
from manifests.sources import Registered
from pipeline import config as configuration
from pipeline.audit.answers import audit_manifest
from pipeline.checkup.needs import needs_of
from pipeline.checkup.store import conditions_warning
from pipeline.checkup.upfront import has_work
from pipeline.config import Config
from pipeline.duplicates.grouping import check_dedup, update_duplicates
from pipeline.engine import lane_states
from pipeline.engine.cluster import say_on_stderr
from pipeline.engine.engines import InlineEngine, RayEngine
from pipeline.engine.lane import StepLane
from pipeline.engine.lane_plan import LanePlan
from pipeline.engine.part_journals import remove_left_journals
from pipeline.error_causes import explain_known_errors
from pipeline.errors import ConfigError, NeedsUnmet, PartsSetAside, SetAside, set_aside_lines
from pipeline.pack.candidates import is_packable
from pipeline.pack.publish import RunLanes, current_manifest, pack
from pipeline.pack.rules import check_where
from pipeline.plan import Plan, PlannedStep
from pipeline.removal.media import PartMedia, part_tars
from pipeline.removal.record import check_finished, removed_videos
from pipeline.sources import not_media
from pipeline.sources.containers.members import container_of
from pipeline.sources.discovery import discover
from pipeline.state.compaction import compact, compacting
from pipeline.state.container_index import expand_containers
from pipeline.state.content_digests import SourceDigests, live_uris
from pipeline.state.keys import remember_plan
from pipeline.state.lease import exclusive_run
from pipeline.state.ledger_law import PartCounts
from pipeline.state.registration import Changes, register
from pipeline.state.reopen import reopen_changed, reopen_failed
from stages.catalogue import current

PACK = "pack"
SAMPLE = 4  # committed parts whose times estimate a step's cost, until the run has measured it
Engine = InlineEngine | RayEngine


@dataclass(frozen=True)
class Options:
    """Options of a single run. limit: of sources. only: the one step to run. retry: run failed records again."""

    limit: int | None = None
    only: str | None = None
    retry: bool = False


def run(config: Config, root: str, options: Options = Options()) -> Plan:
    """Run all pending work at `root`. Raises ConfigError before any step runs, RunError if the run cannot go on."""
    root = storage.normal(root)
    config = config.with_weights()
    plan = config.plan(root)
    names = [*(planned.step.name for planned in plan.steps), PACK]
    if options.only not in (None, *names):
        raise ConfigError(f"--only {options.only}: no such step in this run (choices: {', '.join(names)})")
    check_dedup(plan, config.dedup, config.decontaminate)
    if is_packable(plan):
        check_where(plan, config.pack)
    if not config.inputs and not plan.sources.committed():
        raise ConfigError("inputs: expected files, folders, globs or lists, got none; do ola run INPUT… --root ROOT")
    patience = temporary_patience(config.store_patience)
    with snapshot(), explain_known_errors(), patience, open_engine(config) as engine:
        passed_over = Counter[str]()
        found = discover(config.inputs, plan.root, passed_over, config.media_column, bool(config.pack.given))
        _check_engine(config, plan, options, engine, found)  # before anything is written
        with exclusive_run(root), _lane_states_written(engine, root):
            renew()  # drop answers from before the root was locked
            check_finished(root)
            removed = removed_videos(root)
            found = expand_containers(found, plan.sources.folder_uri, engine.map, config.media_column, removed)
            parts = _register(config, plan, engine, found, options.limit, [])
            not_media.write(root, passed_over)
            remember_plan(plan, options.only)
            storage.write_bytes(storage.join(root, configuration.RUN), configuration.dump(config).encode())
            if options.retry:
                reopen_failed(plan, options.only)
            process_parts(config, plan, parts, engine, options.only)
    return plan


def _check_engine(config: Config, plan: Plan, options: Options, engine: Engine, found: Sequence[Source]) -> None:
    """Raise ConfigError unless the engine can do the pending work; a run without pending work needs no GPU."""
    needs = needs_of(config, options.only)
    try:
        engine.check(plan.root, [container_of(source.uri) for source in found if not source.fault], needs)
    except NeedsUnmet:
        if options.retry or has_work(plan, needs.steps, found, options.limit):
            raise


@contextmanager
def open_engine(config: Config) -> Iterator[Engine]:
    """Open the configured engine, in its cluster if one is named, and close it after the block."""
    engine = RayEngine(config.workers, config.ray_address) if config.engine == "ray" else InlineEngine()
    try:
        engine.join()
        yield engine
    finally:
        engine.close()


@contextmanager
def _lane_states_written(engine: Engine, root: str) -> Iterator[None]:
    """Have a Ray engine write the states of its lanes into the root until the block ends."""
    if isinstance(engine, InlineEngine):
        yield
        return
    engine.report = partial(lane_states.write, root)
    try:
        yield
    finally:
        lane_states.remove(root)


def process_parts(config: Config, plan: Plan, parts: Sequence[int], engine: Engine, only: str | None = None) -> None:
    """Bring all parts through all steps, then pack. only: the one step to run, or pack.

    Raises PartsSetAside at the end if some parts could not go on.
    """
    aside: list[SetAside] = []
    damaged: Sequence[str] = ()
    steps, numbers = list[PlannedStep](), list[int]()
    try:
        if only != PACK:
            steps = [planned for planned in plan.steps if only in (None, planned.step.name)]
            _remove_unread_files(steps)
            numbers = pending(steps, parts)
            if len(numbers) == len(parts) and (warning := conditions_warning(plan.root)):  # a new run
                say_on_stderr(f"warning: {warning}")
            if numbers:
                views.write(plan.root, plan.manifests, current(plan.root))  # for users who query the run while it works
                with compacting(plan, parts):
                    aside = engine.map(lanes(steps, config.isolate), numbers)
                # not while blocks are compacted: parts are reopened
                aside += _compare_new_digests(config, plan, steps, parts, engine, {each.part for each in aside})
        compact(plan, parts, engine.map)
        if numbers:
            _write_facts(steps)
        if only in (None, PACK):
            update_duplicates(plan, config.dedup, config.decontaminate, pack_writer(engine))
        if only in (None, PACK) and is_packable(plan):
            damaged = pack(plan, config.pack, pack_writer(engine))
    finally:
        views.write(plan.root, all_manifests(plan), current(plan.root))
    if aside or damaged:
        raise PartsSetAside([*set_aside_lines(aside), *damaged])


def _compare_new_digests(
    config: Config,
    plan: Plan,
    steps: Sequence[PlannedStep],
    parts: Sequence[int],
    engine: Engine,
    aside: Collection[int],
) -> list[SetAside]:
    """Find exact copies among sources that no index has read, and run the steps on their parts again.

    aside: parts that were set aside before. Returns the parts that are set aside now.
    """
    if not plan.sources.has_unread():
        return []
    changes = list[tuple[Registered, Registered]]()
    _register(config, plan, engine, (), None, changes)
    again = [part for part in pending(steps, parts) if part not in aside]
    failed = engine.map(lanes(steps, config.isolate), again) if again else []
    for part in {new.part for _, new in changes if new.source.removed}:
        for manifest in {planned.manifest for planned in plan.steps if planned.step.keeps_media}:
            PartMedia(manifest, part, part_tars(manifest)[part]).remove_unreferenced()
    return failed


def _remove_unread_files(steps: Sequence[PlannedStep]) -> None:
    for planned in steps:
        with suppress(OSError):  # the next run deletes them
            remove_left_journals(planned.manifest)


def _write_facts(steps: Sequence[PlannedStep]) -> None:
    for planned in steps:
        with suppress(OSError):  # readers then read each part's footer
            planned.manifest.write_facts()


def pack_writer(engine: Engine) -> RunLanes:
    """Return a function that runs the lanes of a pack on an engine."""
    return lambda make, numbers: engine.map([LanePlan(make)], numbers)


def all_manifests(plan: Plan) -> list[Manifest]:
    """Return the manifests of the sources, of the steps, of the last complete pack, and of audits."""
    packed = current_manifest(plan)
    return [*plan.manifests, *([packed] if packed is not None else []), audit_manifest(plan.root)]


def lanes(steps: Sequence[PlannedStep], isolate: bool) -> list[LanePlan]:
    """Group the steps into lanes: neighbouring steps with the same CPUs and GPUs share a lane."""
    session = uuid.uuid4().hex
    plans = []
    for wants, group in groupby(steps, key=lambda planned: (planned.resources.cpus, planned.resources.gpus)):
        members = list(group)
        # the steps of a lane run one after the other, so the largest step determines the lane's memory
        memory = max(planned.resources.memory_gb for planned in members) * 1e9
        make, names = (
            partial(StepLane, members, session, isolate),
            tuple(planned.step.name for planned in members),
        )
        seconds = _seconds_per_part(members)
        plans.append(LanePlan(make, *wants, memory, retries=-1, seconds=seconds, steps=names))  # journals limit retries
    return plans


def _seconds_per_part(steps: Sequence[PlannedStep]) -> float:
    """Return the seconds per part of a lane of these steps, from committed parts; 0 if a step has none."""
    means = []
    for planned in steps:
        found = planned.manifest.more_counts((), SAMPLE).values()
        counts = [each for each in found if isinstance(each, Counts)]
        means.append(sum(each.seconds for each in counts) / len(counts) if counts else 0.0)
    return sum(means) if all(means) else 0.0


def pending(steps: Sequence[PlannedStep], parts: Sequence[int]) -> list[int]:
    """Return the parts that some step has not committed although its inputs are."""
    done = [set(planned.manifest.committed()) for planned in steps]
    before = {manifest for planned in steps[:1] for manifest in planned.reads.values() if manifest.key}
    ready = set(parts).intersection(*(manifest.committed() for manifest in before))
    return [part for part in parts if part in ready and not all(part in committed for committed in done)]


def _register(
    config: Config,
    plan: Plan,
    engine: Engine,
    found: Sequence[Source],
    limit: int | None,
    changed: list[tuple[Registered, Registered]],
) -> list[int]:
    """Register what was found; the sources that change are added to `changed`. Returns the numbers of all parts."""

    def reopen(changes: Changes) -> None:
        reopen_changed(plan, changes)
        changed.extend(changes)

    digests = SourceDigests(plan, engine.map)
    parts = register(
        plan.sources,
        found,
        limit,
        config.videos_per_part,
        digests=digests,
        live=partial(live_uris, found),
        reopen=reopen,
        measure=digests.measure,
    )
    if not parts:
        raise ConfigError(f"inputs: expected at least one file, got none in {', '.join(config.inputs)}")
    return parts


def totals(plan: Plan, counts: PartCounts) -> list[tuple[str, Counts]]:
    """Return the summed counts of every step, in order, and of pack if it has run. counts: by manifest and part."""
    counted = [(planned.step.name, Counts.sum(counts[planned.step.name].values())) for planned in plan.steps]
    packed = current_manifest(plan)
    return counted + ([(PACK, packed.total())] if packed is not None else [])
