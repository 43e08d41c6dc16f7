"""`ola whatif`: what another `pack.where` or `pack.given` would put into the shards, beside the present ones.

The very rules of pack are asked, over the manifests alone: no media are read, nothing is run, nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from manifests import views
from manifests.ledger import Damaged
from pipeline.cli.damaged import damage_named
from pipeline.config import of_run, validate_settings
from pipeline.errors import ConfigError
from pipeline.pack.candidates import create_candidates, is_packable
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


@dataclass(frozen=True)
class Harvest:
    """What a `where` brings in: clips of all `candidates`, their seconds, and (tasks, tokens) by stage and kind.

    A token is counted as often as it is trained on: the frames of a clip once for each of its tasks that shows them.
    """

    candidates: int
    clips: int
    seconds: float
    tasks: dict[tuple[str, str], tuple[int, int]]

    @property
    def share(self) -> float:
        """Of the clips that could be packed, how many have a task in the shards."""
        return self.clips / self.candidates if self.candidates else 0.0

    @property
    def tokens(self) -> int:
        """Of all tasks."""
        return sum(tokens for _, tokens in self.tasks.values())


def harvests(
    plan: Plan,
    settings: PackSettings,
    where: str,
    damaged: list[Damaged] | None = None,
    given: Sequence[Given] | None = None,
) -> tuple[Harvest, Harvest]:
    """What the settings bring in, and what `where` in the place of theirs would. Raises ConfigError for `where`.

    given: in the place of `pack.given`; None: the same.
    """
    sorts = {"now": settings.given, "other": settings.given if given is None else tuple(given)}
    every = settings.model_copy(update={"given": tuple(sorted({*sorts["now"], *sorts["other"]}))})
    without = {name: [f"given_{each}" for each in every.given if each not in kept] for name, kept in sorts.items()}
    with views.connect(plan.root, plan.manifests, {}, damaged) as connection:
        create_candidates(connection, plan, every)
        judge_candidates(connection, settings, {"now": settings.where, "other": where}, without)
        ((candidates, *clips),) = connection.sql(CLIPS).fetchall()  # clips and seconds now, clips and seconds then
        kinds = connection.sql(TASKS).fetchall()
    now, other = ({(stage, kind): (row[n], row[n + 1]) for stage, kind, *row in kinds if row[n]} for n in (0, 2))
    return Harvest(candidates, clips[0], clips[1], now), Harvest(candidates, clips[2], clips[3], other)


def show_whatif(root: str, where: str | None = None, given: str | None = None) -> None:
    """Print both, side by side. where, given: in the place of the settings of this name; None: the same.

    given: as `caption,qa`. Raises ConfigError where there is no run, none that packs, or a setting is none.
    """
    config = of_run(root)
    plan = config.plan(root)
    if not is_packable(plan):
        raise ConfigError(f"{root}: a run without ingest, split, extract and transcribe packs nothing")
    sorts = None if given is None else given_of(given)
    with damage_named() as damaged:
        now, then = harvests(plan, config.pack, config.pack.where if where is None else where, damaged, sorts)
        Console().print(compared(now, then))


def given_of(text: str) -> tuple[Given, ...]:
    """Return the sorts that a text names, as `caption,qa`; none for "". Raises ConfigError."""
    return validate_settings(PackSettings, {"given": [each for each in text.split(",") if each]}, "pack").given


def compared(now: Harvest, then: Harvest) -> Table:
    """A line for each number, with both columns."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for head in ("now", "what if"):
        table.add_column(head, justify="right")
    both = (now, then)
    table.add_row(f"clips of {now.candidates:,}", *(f"{one.clips:,} ({one.share:.1%})" for one in both))
    table.add_row("hours", *(f"{one.seconds / 3600:,.2f}" for one in both))
    for stage, kind in sorted({*now.tasks, *then.tasks}):
        counts: list[Any] = [one.tasks.get((stage, kind), (0, 0))[0] for one in both]
        table.add_row(f"{stage}: {kind}", *(f"{count:,}" for count in counts))
    table.add_row("tokens", *(f"{one.tokens:,}" for one in both))
    return table
