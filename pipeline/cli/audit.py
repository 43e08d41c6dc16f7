"""`ola audit`: write a page with sampled questions for people, and read their answers."""

from __future__ import annotations

from pathlib import Path

import typer

from manifests import storage, views
from pipeline.audit.agreement import audit_facts, audit_lines
from pipeline.audit.answers import read_answers, read_audits
from pipeline.audit.page import PAGE, write_page
from pipeline.audit.sample import draw_sample
from pipeline.cli.open_run import plan_of
from pipeline.errors import ConfigError
from pipeline.run import all_manifests
from stages.catalogue import current


def write_audit(root: str, count: int, seed: int, out: Path | None) -> None:
    """Draw a sample and write its page. Raises ConfigError if the folder is not empty."""
    root = storage.normal(root)
    folder = out or Path(f"audit-n{count}-seed{seed}")
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"--out: expected a new or empty folder, got {folder}; name another one")
    sample, rows = draw_sample(root, count, seed)
    write_page(root, folder, sample, rows)
    typer.echo(f"{len(rows)} questions in {folder / PAGE}: open it in a browser, save the answers, and read them with")
    typer.echo(f"  ola audit {root} --read {sample.name}-NAME.jsonl")


def read_audit(root: str, file: Path) -> None:
    """Store the answers of a file in the manifest and print what follows from all audits of the run."""
    root = storage.normal(root)
    sample, auditor, count = read_answers(root, file)
    typer.echo(f"{count} of {len(sample.questions)} answers by {auditor} are in the view audit")
    plan = plan_of(root)
    views.write(plan.root, all_manifests(plan), current(plan.root))
    for line in audit_lines(audit_facts(read_audits(root)), by_kind=True):
        typer.echo(line)
