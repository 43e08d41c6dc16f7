"""The candidates of a group's parts, a batch of parts at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from manifests import views
from manifests.blocks import PartFiles
from manifests.ledger import OK, Damaged, Manifest
from pipeline.pack.candidates import create_candidates
from pipeline.pack.duplicate_rows import of_parts, read_duplicates
from pipeline.pack.settings import PackSettings
from pipeline.pack.shortcuts import AnswerShares
from pipeline.plan import Plan

Tables = dict[str, pa.Table]  # of a part, by the name of the step
BATCH = 2048  # clips that are chosen together: some 100 MB


class PartCandidates:
    """The `candidates` of one batch of parts after another, in one DuckDB, since creating its views is slow."""

    def __init__(self, plan: Plan, settings: PackSettings) -> None:
        self.plan, self.settings = plan, settings
        self.manifests = [planned.manifest for planned in plan.steps]
        self.part_files: dict[Manifest, PartFiles] = {}  # listed once; later files are read all the same
        self.schemas: dict[str, pa.Schema] = {}
        self.shares = AnswerShares()
        self.duplicates: pa.Table | None = None
        self.connection: duckdb.DuckDBPyConnection | None = None

    def batches(
        self, parts: Iterable[int], damaged: list[Damaged]
    ) -> Iterator[tuple[list[int], duckdb.DuckDBPyConnection]]:
        """Yield batches of part numbers, each with a connection that shows its candidates until the next batch.

        A batch has parts until they have BATCH clips. damaged: gets the parts that cannot be read and are left out.
        """
        batch_parts: list[int] = []
        tables: list[Tables] = []
        for part in parts:
            batch_parts.append(part)
            tables.append({manifest.name: self._read_rows(manifest, part, damaged) for manifest in self.manifests})
            if sum(len(of_part["extract"]) for of_part in tables) >= BATCH:
                yield batch_parts, self._show(batch_parts, tables)
                batch_parts, tables = [], []
        if batch_parts:
            yield batch_parts, self._show(batch_parts, tables)

    def count_answers(self, parts: Iterable[int]) -> None:
        """Count the answers of all questions of a group's parts, for the column `answer_share`."""
        asked = [manifest for manifest in self.manifests if manifest.name == "ask"]
        tables = (self._read_rows(manifest, part, []) for manifest in asked for part in parts)
        kept = (table.filter(pc.equal(table["status"], OK)) for table in tables)
        self.shares.count(row for table in kept for row in table.select(["kind", "answer", "options"]).to_pylist())

    def of_clips(self, parts: Sequence[int], clips: pa.Array) -> duckdb.DuckDBPyConnection:
        """Return a connection that shows the candidates of some clips of these parts."""
        tables = [{manifest.name: self._read_rows(manifest, part, []) for manifest in self.manifests} for part in parts]
        for of_part in tables:
            of_part["extract"] = of_part["extract"].filter(pc.is_in(of_part["extract"]["clip"], clips))
        return self._show(parts, tables)

    def _show(self, numbers: Sequence[int], parts: Sequence[Tables]) -> duckdb.DuckDBPyConnection:
        names = [manifest.name for manifest in self.manifests]
        tables = {
            name: pa.concat_tables((of_part[name] for of_part in parts), promote_options="permissive") for name in names
        }
        schemas = {name: table.schema for name, table in tables.items()}
        if self.connection is None or schemas != self.schemas:
            self.connection, self.schemas = views.connect_tables(self.manifests, tables), schemas
            self._show_duplicates(numbers)
            create_candidates(self.connection, self.plan, self.settings, shares=self.shares)
        else:
            views.show_tables(self.connection, tables)
            self._show_duplicates(numbers)
        return self.connection

    def _show_duplicates(self, parts: Sequence[int]) -> None:
        if self.duplicates is None:
            self.duplicates = read_duplicates(self.plan)
        assert self.connection is not None
        self.connection.register("duplicates", of_parts(self.duplicates, parts))

    def _read_rows(self, manifest: Manifest, part: int, damaged: list[Damaged]) -> pa.Table:
        try:
            if manifest not in self.part_files:
                self.part_files[manifest] = manifest.listed()
            return manifest.read_listed(part, self.part_files[manifest]).replace_schema_metadata(None)
        except FileNotFoundError:
            return manifest.schema.empty_table()
        except Damaged as damage:
            damaged.append(damage)
            return manifest.schema.empty_table()
