"""`make bench`: compare the speed of the pipeline with alternatives on this machine.

    python -m tests.bench                 all benchmarks, a quarter of an hour on two cores
    python -m tests.bench shards scan     some of them
    python -m tests.bench --json FILE     raw values go there (default: bench.json in this folder)

Prints a table of ratios. A missed target fails nothing, since a shared machine is no judge.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import (
    again,
    annotate,
    containers,
    duplicates,
    engine,
    features,
    footage,
    generation,
    hearing,
    inspection,
    lanes,
    loading,
    outside,
    prefixes,
    run_report,
    scale,
    scan,
    shards,
    store,
    training,
    vllm_engine,
)
from tests.bench.measure import Figure
from tests.bench.videos import Videos

BENCHES: dict[str, Callable[[Videos], Iterator[Figure]]] = {
    "footage": footage.measure,
    "scan": scan.measure,
    "shards": shards.measure,
    "again": again.measure,
    "scale": scale.measure,
    "report": run_report.measure,
    "containers": containers.measure,
    "duplicates": duplicates.measure,
    "inspection": inspection.measure,
    "hearing": hearing.measure,
    "store": store.measure,
    "loading": loading.measure,
    "training": training.measure,
    "features": features.measure,
    "generation": generation.measure,
    "annotate": annotate.measure,
    "outside": outside.measure,
    "prefixes": prefixes.measure,
    "vllm": vllm_engine.measure,
    "ray": engine.measure,
    "lanes": lanes.measure,
}
WIDE = 170  # columns; where the output is no terminal, rich would fold the table to 80


def table_of(figures: Sequence[Figure]) -> Table:
    """A row for each figure."""
    table = Table(show_lines=True, title="ours beside others: median of the rounds, with least..most")
    for name in ("bench", "ours", "against", "rounds", "ours", "theirs", "ratio", "target", ""):
        table.add_column(name)
    for figure in figures:
        table.add_row(*figure.row())
    return table


def measured(names: Sequence[str]) -> Iterator[Figure]:
    """The figures of the named benchmarks, made in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="ola-bench-") as folder:
        videos = Videos(Path(folder))
        for name in names:
            started = time.monotonic()
            yield from BENCHES[name](videos)
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Ratios against other tools.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHES)}; default: all")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), metavar="FILE", help="raw values")
    chosen = parser.parse_args()
    if unknown := sorted(set(chosen.names) - set(BENCHES)):
        parser.error(f"no benchmark {', '.join(unknown)} (choices: {', '.join(BENCHES)})")
    figures: list[Figure] = []
    try:
        figures.extend(measured(chosen.names or list(BENCHES)))
    finally:  # what was measured before something broke is shown all the same
        report(figures, chosen.json)


def report(figures: Sequence[Figure], file: Path) -> None:
    """Print the table, and write the raw values to `file`."""
    console = Console()
    console.width = console.width if console.is_terminal else WIDE
    console.print(table_of(figures))
    machine = {"cpus": os.cpu_count(), "load": os.getloadavg(), "python": platform.python_version()}
    facts = {"machine": machine, "figures": [figure.facts() for figure in figures]}
    file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
