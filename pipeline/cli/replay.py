"""`ola replay`: run one record again and show how the outcome differs from the committed one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from manifests.records import TIMINGS, Drop
from manifests.schema import from_rows
from pipeline.cli.open_run import plan_of
from pipeline.engine.outcomes import run_batch
from pipeline.errors import BadMedia, ConfigError
from pipeline.media.media_store import MediaTar
from pipeline.plan import Planned


def replay(root: str, name: str, step: str) -> bool:
    """Print each field that differs, and the record's new answer; whether it is the same. Raises ConfigError."""
    planned = plan_of(root).named(step)
    value, rows = _found(planned, name)
    before, after = _told(planned, rows), _again(planned, value)
    differences = list(_differences(before, after))
    print("\n".join(differences) if differences else f"{step} {name}: the same as committed")
    return not differences


def _found(planned: Planned, name: str) -> tuple[Any, list[dict[str, Any]]]:
    """The input whose id begins so, and its committed rows."""
    for part in planned.manifest.committed():
        rows = [row for row in planned.manifest.read(part).to_pylist() if row["input"].startswith(name)]
        if not rows:
            continue
        names = sorted({row["input"] for row in rows})
        if len(names) > 1:
            raise ConfigError(f"{name!r} is {len(names)} inputs of {planned.step.name}: {', '.join(names[:5])}, …")
        return next(value for value in planned.inputs(part) if planned.name_of(value) == names[0]), rows
    raise ConfigError(f"no input of {planned.step.name} begins with {name!r} (try: ola why)")


def _told(planned: Planned, rows: list[dict[str, Any]]) -> dict[str, Any]:
    if rows[0]["status"] != "ok":
        return {"status": rows[0]["status"], "reason": rows[0]["reason"]}
    records: list[Any] = from_rows(planned.manifest.record, rows)
    return _flat([asdict(record) for record in records])


def _again(planned: Planned, value: Any) -> dict[str, Any]:
    step = planned.step
    with tempfile.TemporaryDirectory() as folder:
        step.scratch, step.notes = folder, ""
        step.media = MediaTar("replay.tar", str(Path(folder, "replay.tar")))
        step.open()
        try:
            [answer] = run_batch(step, [value])
        except Exception as error:  # noqa: BLE001  what becomes a row in a run is shown here
            answer = BadMedia(str(error))
    if isinstance(answer, Drop):
        return {"status": "dropped", "reason": answer.reason}
    if isinstance(answer, BadMedia):
        return {"status": "failed", "reason": str(answer)}
    return _flat([asdict(record) for record in answer])


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested fields by dotted names."""
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value:
        return {name: value}
    inner = value.items()
    return {key: leaf for part, held in inner for key, leaf in _flat(held, f"{name}.{part}".lstrip(".")).items()}


def _differences(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys([*before, *after]):
        if before.get(key) != after.get(key) and key.rpartition(".")[2] not in TIMINGS:
            yield f"{key}:\n  - {before.get(key)!r}\n  + {after.get(key)!r}"
