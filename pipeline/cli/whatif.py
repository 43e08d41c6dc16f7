"""`ola whatif`: compare the shards under other settings of pack with the present ones.

The rules of pack are evaluated over the manifests; no media are read and nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from manifests import views
from manifests.ledger import Damaged
from pipeline.cli.damaged import collect_damage
from pipeline.config import Config, load, load_run, validate_settings
from pipeline.errors import ConfigError
from pipeline.pack.candidates import create_candidates, is_packable
from pipeline.pack.group_rules import depends_on_group, judge_group
from pipeline.pack.groups import plan_groups
from pipeline.pack.part_candidates import PartCandidates
from pipeline.pack.rules import judge_candidates
from pipeline.pack.settings import Given, PackSettings
from pipeline.plan import Plan

CLIPS = """
SELECT count(*), count(*) FILTER (now), coalesce(sum(seconds) FILTER (now), 0),
       count(*) FILTER (other), coalesce(sum(seconds) FILTER (other), 0)
FROM (SELECT any_value(seconds) AS seconds, bool_or(now IS NULL) AS now, bool_or(other IS NULL) AS other
      FROM verdicts GROUP BY clip)
"""
TASKS = """
SELECT stage, kind, count(*) FILTER (now IS NULL), sum(tokens) FILTER (now IS NULL),
       count(*) FILTER (other IS NULL), sum(tokens) FILTER (other IS NULL)
FROM verdicts GROUP BY stage, kind
"""
BATCH_CLIPS = """
SELECT count(*), count(*) FILTER (packed), coalesce(sum(seconds) FILTER (packed), 0)
FROM (SELECT any_value(seconds) AS seconds, bool_or(reason IS NULL) AS packed FROM verdicts GROUP BY clip)
"""
BATCH_TASKS = "SELECT stage, kind, count(*), sum(tokens) FROM verdicts WHERE reason IS NULL GROUP BY stage, kind"


@dataclass(frozen=True)
class PackYield:
    """The packed clips of all `candidates`, their seconds, and (tasks, tokens) by stage and kind.

    A token counts as often as it is trained on: the frames of a clip once per task that shows them.
    """

    candidates: int
    clips: int
    seconds: float
    tasks: dict[tuple[str, str], tuple[int, int]]

    @property
    def share(self) -> float:
        """Return the share of the candidate clips that have a task in the shards."""
        return self.clips / self.candidates if self.candidates else 0.0

    @property
    def tokens(self) -> int:
        """Return the tokens of all tasks."""
        return sum(tokens for _, tokens in self.tasks.values())


def pack_yields(
    plan: Plan,
    settings: PackSettings,
    where: str,
    damaged: list[Damaged] | None = None,
    given: Sequence[Given] | None = None,
) -> tuple[PackYield, PackYield]:
    """Return the yields with the settings and with another `where`. Raises ConfigError for a wrong `where`.

    given: replaces `pack.given`; None keeps it.
    """
    other = settings.model_copy(update={"where": where, "given": settings.given if given is None else tuple(given)})
    if depends_on_group(settings) or depends_on_group(other):
        found = [] if damaged is None else damaged
        return group_yield(plan, settings, found), group_yield(plan, other, [])
    sorts = {"now": settings.given, "other": settings.given if given is None else tuple(given)}
    every = settings.model_copy(update={"given": tuple(sorted({*sorts["now"], *sorts["other"]}))})
    without = {name: [f"given_{each}" for each in every.given if each not in kept] for name, kept in sorts.items()}
    with views.connect(plan.root, plan.manifests, {}, damaged) as connection:
        create_candidates(connection, plan, every)
        judge_candidates(connection, settings, {"now": settings.where, "other": where}, without)
        ((candidates, *clips),) = connection.sql(CLIPS).fetchall()  # clips and seconds of both yields
        kinds = connection.sql(TASKS).fetchall()
    now, then = ({(stage, kind): (row[n], row[n + 1]) for stage, kind, *row in kinds if row[n]} for n in (0, 2))
    return PackYield(candidates, clips[0], clips[1], now), PackYield(candidates, clips[2], clips[3], then)


def group_yield(plan: Plan, settings: PackSettings, damaged: list[Damaged]) -> PackYield:
    """Return the yield by the rules of pack over each group, as pack applies them. damaged: gets unreadable parts."""
    candidates, totals, tasks = PartCandidates(plan, settings), [0, 0, 0.0], dict[tuple[str, str], tuple[int, int]]()
    for group in plan_groups(plan):
        for _, connection in judge_group(candidates, group, damaged):
            (found,) = connection.sql(BATCH_CLIPS).fetchall()
            totals = [total + value for total, value in zip(totals, found, strict=True)]
            for stage, kind, count, tokens in connection.sql(BATCH_TASKS).fetchall():
                before = tasks.get((stage, kind), (0, 0))
                tasks[stage, kind] = before[0] + count, before[1] + int(tokens)
    return PackYield(int(totals[0]), int(totals[1]), totals[2], tasks)


def show_whatif(
    root: str,
    where: str | None = None,
    given: str | None = None,
    agreement: float | None = None,
    overrides: Sequence[str] = (),
) -> None:
    """Print both yields side by side. where, given, agreement: replace the settings of the same name; None keeps them.

    given: such as `caption,qa`. overrides: other settings, such as `pack.preset=strict`. Raises ConfigError without a
    run, for a run that cannot pack, or for a wrong setting.
    """
    config = load_run(root)
    plan = config.plan(root)
    if not is_packable(plan):
        raise ConfigError(f"{root}: a run without ingest, split, extract and transcribe packs nothing")
    sorts = None if given is None else parse_given(given)
    other = _override(config, [*overrides, *([] if agreement is None else [f"pack.agreement={agreement}"])])
    where = other.where if where is None else where
    with collect_damage() as damaged:
        now, then = pack_yields(plan, config.pack, where, damaged, sorts)
        if other != config.pack:
            _, then = pack_yields(plan, other, where, [], sorts)
        Console().print(comparison_table(now, then))


def _override(config: Config, overrides: Sequence[str]) -> PackSettings:
    """Return the settings of pack with `pack.a=value` overrides. Raises ConfigError for other keys."""
    for override in overrides:
        if not override.startswith("pack."):
            raise ConfigError(f"--set: expected a setting of pack, as in pack.preset=strict, got {override!r}")
    return load(None, overrides, config.model_dump(mode="json")).pack


def parse_given(text: str) -> tuple[Given, ...]:
    """Parse a value of `pack.given` such as `caption,qa`; "" is empty. Raises ConfigError."""
    return validate_settings(PackSettings, {"given": [each for each in text.split(",") if each]}, "pack").given


def comparison_table(now: PackYield, then: PackYield) -> Table:
    """Return a table of both yields, with a row per number."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for head in ("now", "what if"):
        table.add_column(head, justify="right")
    both = (now, then)
    table.add_row(f"clips of {now.candidates:,}", *(f"{each.clips:,} ({each.share:.1%})" for each in both))
    table.add_row("hours", *(f"{each.seconds / 3600:,.2f}" for each in both))
    for stage, kind in sorted({*now.tasks, *then.tasks}):
        counts: list[Any] = [each.tasks.get((stage, kind), (0, 0))[0] for each in both]
        table.add_row(f"{stage}: {kind}", *(f"{count:,}" for count in counts))
    table.add_row("tokens", *(f"{each.tokens:,}" for each in both))
    return table
