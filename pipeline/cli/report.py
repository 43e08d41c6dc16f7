"""`ola report` and `ola review`: write a report to look at, and read back what people marked in it."""

from __future__ import annotations

from pathlib import Path

from manifests import views
from pipeline.cli.damaged import collect_damage
from pipeline.cli.open_run import connect, has_run, plan_of
from pipeline.errors import ConfigError
from pipeline.report import reviews
from pipeline.report.build import ReportOptions, write_report
from pipeline.run import all_manifests
from stages.catalogue import current


def report_run(root: str, options: ReportOptions) -> Path:
    """Write the report of a run; return the path of its page."""
    with collect_damage() as damaged:
        return write_report(root, options, damaged)


def read_reviews(root: str, file: Path) -> int:
    """Keep the exported reviews of a file in the root. Return their number.

    Raises ConfigError for a file that cannot be read, a line that is no review, and an id that the run does not have.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: expected exported reviews as UTF-8 text: {error}") from error
    found = reviews.parse_reviews(text, str(file))
    with collect_damage() as damaged, connect(root, damaged) as connection:
        unknown = reviews.unknown_ids(connection, found)
    if unknown:
        raise ConfigError(f"{file}: expected ids of {root}, got {unknown[0]} ({len(unknown)} such); name its root")
    reviews.store_reviews(root, found)
    if has_run(root):
        _write_views(root)
    return len(found)


def _write_views(root: str) -> None:
    """Write `views.sql` and `manifest.duckdb` anew, with `review`."""
    plan = plan_of(root)
    views.write(plan.root, all_manifests(plan), current(plan.root))
