"""Read the files of benchmarks: rows of JSON, JSON lines, CSV and Parquet, and the media beside them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from stages.errors import StagesError


def texts_of(row: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    """Return the fields of a row that have a value, as texts."""
    return tuple(str(row[name]) for name in names if row.get(name))


def find_file(path: Path, name: str) -> Path:
    """Return a file that is named itself, or the file of this name in a folder. Raises StagesError."""
    file = path / name if path.is_dir() else path
    if not file.is_file():
        raise StagesError(f"{path}: expected {name} or a folder that has it")
    return file


def files_below(folder: Path) -> Callable[..., str]:
    """Return a function that finds a file below a folder by one of its names; the first name if there is none."""
    found = {file.name: str(file) for file in sorted(folder.rglob("*")) if file.is_file()}
    return lambda *names: next((found[name] for name in names if name in found), str(folder / names[0]))


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Read the rows of a JSON, JSON lines, CSV or Parquet file. Raises StagesError."""
    rows = list(_iterateread_rows(file))
    if not all(isinstance(row, dict) for row in rows):
        raise StagesError(f"{file}: expected a list of objects")
    return rows


def _iterateread_rows(file: Path) -> Iterator[Any]:
    try:
        if file.suffix == ".parquet":
            yield from pq.read_table(file).to_pylist()
        elif file.suffix == ".csv":
            with open(file, encoding="utf-8-sig", newline="") as lines:
                yield from csv.DictReader(lines)
        elif file.suffix == ".jsonl":
            yield from (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
        else:
            yield from read_json(file)
    except (OSError, ValueError) as error:
        raise StagesError(f"{file}: expected .json, .jsonl, .csv or .parquet: {error}") from error


def read_json(file: Path) -> Any:
    """Return the content of a JSON file. Raises StagesError."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StagesError(f"{file}: expected JSON: {error}") from error
