"""`ola run`: settings, the run with its progress, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from manifests import storage, views
from pipeline import config as configuration
from pipeline.blame import Incomplete
from pipeline.cli.looking import funnel
from pipeline.config import Config
from pipeline.errors import SetAside
from pipeline.pack.candidates import packable
from pipeline.pack.publish import own
from pipeline.plan import Plan
from pipeline.progress import Progress
from pipeline.run import PACK, Options, run, totals


def run_and_report(
    inputs: Sequence[str], root: str, file: str | None, sets: Sequence[str], options: Options, min_yield: float
) -> int:
    """Exit code of the run: 0; 1 where too little came out; 4 where parts are set aside, whatever came out."""
    config = settings(inputs, root, file, sets)
    console = Console()
    with Progress(config.plan(root), console):
        plan, aside = run_whole(config, root, options)
    console.print(funnel(totals(plan)), markup=False, highlight=False)
    made, given, what = run_yield(plan, options.only)
    share = made / given if given else 0.0
    console.print(f"{made} of {given} {what} ({share:.0%})", highlight=False)
    if made == 0 or share < min_yield:
        bound = "zero" if made == 0 else f"under {min_yield:.0%}"
        console.print(f"the yield is {bound}: `ola status` and `ola why` tell where it went", highlight=False)
    show_aside(aside, console)
    return 4 if aside else int(made == 0 or share < min_yield)


def run_whole(config: Config, root: str, options: Options) -> tuple[Plan, tuple[SetAside, ...]]:
    """Run, and return the plan with the parts that are set aside."""
    try:
        return run(config, root, options), ()
    except Incomplete as error:
        return error.plan, error.aside


def show_aside(aside: Sequence[SetAside], console: Console) -> None:
    """Name each part that is set aside, with its reason in one line, and the traceback where there is one."""
    for found in aside:
        console.print(str(found), markup=False, highlight=False, soft_wrap=True)
        if found.detail:
            console.print(found.detail.rstrip(), markup=False, highlight=False, soft_wrap=True)
    if aside:
        again = "the next run takes them up again" if len(aside) > 1 else "the next run takes it up again"
        console.print(f"{len({found.part for found in aside})} of the parts set aside: {again}", highlight=False)


def settings(inputs: Sequence[str], root: str, file: str | None, sets: Sequence[str]) -> Config:
    """The YAML file, or without one the settings that the run at `root` had; then overrides, then named inputs."""
    stored = storage.join(storage.normal(root), configuration.RUN)
    base = configuration.of_run(root).model_dump(mode="json") if file is None and storage.exists(stored) else {}
    config = configuration.load(file, sets, base)
    named = tuple(storage.normal(name) for name in inputs or config.inputs)
    return config.model_copy(update={"inputs": named})


def run_yield(plan: Plan, only: str | None) -> tuple[int, int, str]:
    """How much of what came out: videos that reached the shards, or of one step alone the inputs that went well."""
    if only in (None, PACK) and packable(plan):
        with views.connect(plan.root, [], own(plan.root)) as connection:
            there = "shards" in views.names(connection)
            rows = connection.sql("SELECT count(DISTINCT video) FROM shards").fetchall() if there else [(0,)]
        return rows[0][0], plan.steps[0].manifest.total().inputs, "videos reached the shards"
    planned = plan.named(only) if only else plan.steps[-1]
    counts = planned.manifest.total()
    return counts.ok, counts.inputs, f"inputs of '{planned.step.name}' went well"
