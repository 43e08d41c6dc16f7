"""`ola hashes`: write the fingerprints of videos, or of a run, to a file that holds no media."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import typer

from manifests import storage
from manifests.records import ID_DIGITS
from pipeline.config import RUN, load_run
from pipeline.duplicates.grouping import STEP, has_fingerprints
from pipeline.duplicates.hash_files import rows_of, write_hashes
from pipeline.duplicates.lookup import fingerprint_videos
from pipeline.errors import ConfigError
from pipeline.plan import Plan


def write_hash_file(inputs: Sequence[str], out: str, sets: Sequence[str]) -> int:
    """Write the fingerprints of a run, or of videos, and say how many. Returns the number of clips.

    Raises ConfigError for a run without fingerprints.
    """
    if len(inputs) == 1 and storage.exists(storage.join(storage.normal(inputs[0]), RUN)):
        return _write_rows(load_run(inputs[0]).plan(storage.normal(inputs[0])), out)
    with tempfile.TemporaryDirectory(prefix="ola-hashes-") as folder:
        return _write_rows(fingerprint_videos(inputs, str(Path(folder, "root")), sets), out)


def _write_rows(plan: Plan, out: str) -> int:
    if not has_fingerprints(plan):
        raise ConfigError(
            f"{plan.root}: expected a run with the step '{STEP}'; do ola run … --set extra_steps=[{STEP}]"
        )
    rows = rows_of(plan.find_step(STEP).manifest).drop_columns("part")
    names = _file_names(plan)
    videos = [clip[:ID_DIGITS] for clip in rows["id"].to_pylist()]
    write_hashes(out, rows, [names[video] for video in videos])
    typer.echo(f"{len(rows):,} clips of {len(set(videos)):,} videos in {out}")
    return len(rows)


def _file_names(plan: Plan) -> dict[str, str]:
    """Return the file name of each video."""
    manifest = plan.find_step("ingest").manifest
    tables = [manifest.read(part).select(["id", "uri"]) for part in manifest.committed()]
    rows = pa.concat_tables(tables).to_pylist() if tables else []
    return {row["id"]: row["uri"].rpartition("/")[2] for row in rows if row["id"]}
