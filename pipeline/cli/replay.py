"""`ola replay`: run one record again and compare the outcome with the committed one."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from manifests.records import TIMINGS, Drop, Media
from manifests.schema import from_rows
from pipeline.cli.open_run import plan_of
from pipeline.engine.outcomes import run_batch
from pipeline.errors import BadMedia, ConfigError
from pipeline.media.media_store import MediaReader, MediaTar
from pipeline.plan import PlannedStep


def replay(root: str, name: str, step: str) -> bool:
    """Run a record again and print each field that differs. Return whether none does. Raises ConfigError."""
    planned = plan_of(root).find_step(step)
    value, rows = _find_input(planned, name)
    before, after = _committed_fields(root, planned, rows), _run_again(planned, value)
    differences = list(_differences(before, after))
    print("\n".join(differences) if differences else f"{step} {name}: the same as committed")
    return not differences


def _find_input(planned: PlannedStep, name: str) -> tuple[Any, list[dict[str, Any]]]:
    """Return the input whose id starts with `name`, and its committed rows. Raises ConfigError."""
    for part in planned.manifest.committed():
        rows = [row for row in planned.manifest.read(part).to_pylist() if row["input"].startswith(name)]
        if not rows:
            continue
        names = sorted({row["input"] for row in rows})
        if len(names) > 1:
            some = ", ".join(names[:5])
            raise ConfigError(f"{name!r}: expected one input of {planned.step.name}, got {len(names)}: {some}, …")
        return next(value for value in planned.inputs(part) if planned.input_id(value) == names[0]), rows
    raise ConfigError(f"{name!r}: expected the start of an id of an input of {planned.step.name}; do ola why")


def _committed_fields(root: str, planned: PlannedStep, rows: list[dict[str, Any]]) -> dict[str, Any]:
    if rows[0]["status"] != "ok":
        return {"status": rows[0]["status"], "reason": rows[0]["reason"]}
    records: list[Any] = from_rows(planned.manifest.record, rows)
    return _flatten([_digest_media(asdict(record), MediaReader(root)) for record in records])


def _run_again(planned: PlannedStep, value: Any) -> dict[str, Any]:
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
        return _flatten([_digest_media(asdict(record), MediaReader(folder)) for record in answer])


def _digest_media(value: Any, read: MediaReader) -> Any:
    """Replace each reference to media by the size and the digest of the bytes, which may lie in different tars."""
    if isinstance(value, list | tuple):
        return [_digest_media(each, read) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {field.name for field in fields(Media)}:
        return f"{value['size']:,} bytes, sha256 {hashlib.sha256(read(Media(**value))).hexdigest()}"
    return {name: _digest_media(each, read) for name, each in value.items()}


def _flatten(value: Any, name: str = "") -> dict[str, Any]:
    """Return nested fields as one dict with dotted keys."""
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value:
        return {name: value}
    inner = value.items()
    return {key: leaf for part, nested in inner for key, leaf in _flatten(nested, f"{name}.{part}".lstrip(".")).items()}


def _differences(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys([*before, *after]):
        if before.get(key) != after.get(key) and key.rpartition(".")[2] not in TIMINGS:
            yield f"{key}:\n  - {before.get(key)!r}\n  + {after.get(key)!r}"
