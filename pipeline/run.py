"""A run: register the sources, bring every part through every step, pack. What is done already is passed over.

    run(Config(inputs=("videos",)), "out")

Kill it at any moment and start it again: it goes on where it was.
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
from manifests.retries import patient_for
from manifests.snapshot import renew, snapshot
from manifests.sources import Registered
from pipeline import config as configuration
from pipeline.checkup.needs import needs_of
from pipeline.checkup.store import conditions_warning
from pipeline.checkup.upfront import has_work
from pipeline.config import Config
from pipeline.engine import lane_states
from pipeline.engine.actor_pool import LanePlan
from pipeline.engine.cluster import say_on_stderr
from pipeline.engine.engines import InlineEngine, RayEngine
from pipeline.engine.lane import StepLane
from pipeline.engine.part_journals import remove_left_journals
from pipeline.error_causes import explain_known_errors
from pipeline.errors import ConfigError, NeedsUnmet, PartsSetAside, SetAside, set_aside_lines
from pipeline.pack.candidates import is_packable
from pipeline.pack.publish import RunLanes, current_manifest, pack
from pipeline.pack.rules import check_where
from pipeline.plan import Plan, Planned
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
SAMPLE = 4  # parts whose times tell what a step costs, until the run has measured its own
Engine = InlineEngine | RayEngine


@dataclass(frozen=True)
class Options:
    """What holds for one run only: limit on videos, the only step to run, and whether failed records run again."""

    limit: int | None = None
    only: str | None = None
    retry: bool = False


def run(config: Config, root: str, options: Options = Options()) -> Plan:
    """Do all there is to do at `root`. Raises ConfigError before anything runs, RunError when it cannot go on."""
    root = storage.normal(root)
    config = config.with_weights()
    plan = config.plan(root)
    names = [*(planned.step.name for planned in plan.steps), PACK]
    if options.only not in (None, *names):
        raise ConfigError(f"--only {options.only}: no such step in this run (choices: {', '.join(names)})")
    if is_packable(plan):
        check_where(plan, config.pack)
    if not config.inputs and not plan.sources.committed():
        raise ConfigError("inputs: nothing to do; name files, folders, globs or lists: ola run INPUT… --root ROOT")
    patience = patient_for(config.store_patience)
    with snapshot(), explain_known_errors(), patience, open_engine(config) as engine:
        passed_over = Counter[str]()
        found = discover(config.inputs, plan.root, passed_over, config.media_column, bool(config.pack.given))
        _check(config, plan, options, engine, found)  # before anything is written
        with exclusive_run(root), _shows_lanes(engine, root):
            renew()  # of what was read before the root was this run's
            check_finished(root)
            removed = removed_videos(root)
            found = expand_containers(found, plan.sources.folder_uri, engine.map, config.media_column, removed)
            parts = _register(config, plan, engine, found, options.limit, [])
            not_media.write(root, passed_over)
            remember_plan(plan, options.only)
            storage.write_bytes(storage.join(root, configuration.RUN), configuration.dump(config).encode())
            if options.retry:
                reopen_failed(plan, options.only)
            work(config, plan, parts, engine, options.only)
    return plan


def _check(config: Config, plan: Plan, options: Options, engine: Engine, found: Sequence[Source]) -> None:
    """Raise ConfigError unless the engine can do what there is to do: a run with nothing to do needs no GPU."""
    needs = needs_of(config, options.only)
    try:
        engine.check(plan.root, [container_of(source.uri) for source in found if not source.fault], needs)
    except NeedsUnmet:
        if options.retry or has_work(plan, needs.steps, found, options.limit):
            raise


@contextmanager
def open_engine(config: Config) -> Iterator[Engine]:
    """Open the engine that the settings ask for, in its cluster if one is named, and close it after the block."""
    engine = RayEngine(config.workers, config.ray_address) if config.engine == "ray" else InlineEngine()
    try:
        engine.join()
        yield engine
    finally:
        engine.close()


@contextmanager
def _shows_lanes(engine: Engine, root: str) -> Iterator[None]:
    """Have a cluster's engine write what its lanes do into the root while the block lasts."""
    if isinstance(engine, InlineEngine):
        yield
        return
    engine.report = partial(lane_states.write, root)
    try:
        yield
    finally:
        lane_states.remove(root)


def work(config: Config, plan: Plan, parts: Sequence[int], engine: Engine, only: str | None = None) -> None:
    """Bring all parts through all steps, then pack; `only` one of them if it is named.

    Raises PartsSetAside in the end, if some parts could not go on.
    """
    aside: list[SetAside] = []
    damaged: Sequence[str] = ()
    steps, numbers = list[Planned](), list[int]()
    try:
        if only != PACK:
            steps = [planned for planned in plan.steps if only in (None, planned.step.name)]
            _tidy(steps)
            numbers = pending(steps, parts)
            if len(numbers) == len(parts) and (warning := conditions_warning(plan.root)):  # all is new
                say_on_stderr(f"warning: {warning}")
            if numbers:
                views.write(plan.root, plan.manifests, current(plan.root))  # to look at while it works
                with compacting(plan, parts):
                    aside = engine.map(lanes(steps, config.isolate), numbers)
                    aside += _compare_what_was_read(config, plan, steps, parts, engine, {each.part for each in aside})
        compact(plan, parts, engine.map)
        if numbers:
            _keep_facts(steps)
        if only in (None, PACK) and is_packable(plan):
            damaged = pack(plan, config.pack, pack_on(engine))
    finally:
        views.write(plan.root, all_manifests(plan), current(plan.root))
    if aside or damaged:
        raise PartsSetAside([*set_aside_lines(aside), *damaged])


def _compare_what_was_read(
    config: Config, plan: Plan, steps: Sequence[Planned], parts: Sequence[int], engine: Engine, aside: Collection[int]
) -> list[SetAside]:
    """Find exact copies among the sources whose bytes no index had read, and bring their parts through the steps again.

    aside: parts that could not go on. Returns the parts that cannot now.
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


def _tidy(steps: Sequence[Planned]) -> None:
    for planned in steps:
        with suppress(OSError):  # files that nobody reads may wait for the next run
            remove_left_journals(planned.manifest)


def _keep_facts(steps: Sequence[Planned]) -> None:
    for planned in steps:
        with suppress(OSError):  # then whoever looks at the run reads a footer for each part
            planned.manifest.keep_facts()


def pack_on(engine: Engine) -> RunLanes:
    """Return what brings the lanes of a pack through an engine."""
    return lambda make, numbers: engine.map([LanePlan(make)], numbers)


def all_manifests(plan: Plan) -> list[Manifest]:
    """Manifests of the steps, and of the last whole pack."""
    packed = current_manifest(plan)
    return plan.manifests + ([packed] if packed is not None else [])


def lanes(steps: Sequence[Planned], isolate: bool) -> list[LanePlan]:
    """Neighbouring steps that ask for the same hardware share a lane."""
    session = uuid.uuid4().hex
    made = []
    for wants, group in groupby(steps, key=lambda planned: (planned.resources.cpus, planned.resources.gpus)):
        held = list(group)
        # they work one after the other: what a lane takes at once is what its largest step takes
        memory = max(planned.resources.memory_gb for planned in held) * 1e9
        make, names = partial(StepLane, held, session, isolate), tuple(planned.step.name for planned in held)
        made.append(LanePlan(make, *wants, memory, retries=-1, seconds=_cost(held), steps=names))  # journals count
    return made


def _cost(steps: Sequence[Planned]) -> float:
    """Seconds that a lane of these steps needs for a part, by the parts it has done; 0 where some step has none."""
    means = []
    for planned in steps:
        found = planned.manifest.more_counts((), SAMPLE).values()
        counts = [each for each in found if isinstance(each, Counts)]
        means.append(sum(each.seconds for each in counts) / len(counts) if counts else 0.0)
    return sum(means) if all(means) else 0.0


def pending(steps: Sequence[Planned], parts: Sequence[int]) -> list[int]:
    """Parts that some step has not committed, of those whose inputs are there."""
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
        measure=digests.measured,
    )
    if not parts:
        raise ConfigError(f"inputs: no file in {', '.join(config.inputs)}")
    return parts


def totals(plan: Plan, counts: PartCounts) -> list[tuple[str, Counts]]:
    """Counts of every step, in order; pack last, once it has run. counts: see `pipeline.state.ledger_law`."""
    counted = [(planned.step.name, Counts.sum(counts[planned.step.name].values())) for planned in plan.steps]
    packed = current_manifest(plan)
    return counted + ([(PACK, packed.total())] if packed is not None else [])
