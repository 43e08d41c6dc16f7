"""Export tasks for other trainers, with references into the shards instead of copies.

`ola-json` is the list that the original Ola trainer reads: {id, video, audio, conversations}, where media are patch
references {"patch": file, "start_num": offset, "size": bytes or a list of them}. In the image stage `image` replaces
`video`, with a list of references where there are several. A spoken question is `audio_q`, and `text_q` replaces the
first turn. The original trainer has no system turn, so a system text is put before the first question. Each task is a
record, with only the media that its conversation has tags for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

from manifests import storage
from manifests.records import PackedTask
from pipeline.errors import ConfigError
from pipeline.pack.publish import read_rows
from stages.catalogue import current
from stages.samples import IMAGE, SPEECH, Sample, Turn, leading_tags, members_of, turn

# The original trainer swaps red and blue for paths that hold one of these.
SWAPPED = ("sharegpt4o", "ShareGPT4Video/new_patch", "cinepile", "nextqa", "perceptiontest")


def export_ola_json(root: str, file: Path) -> int:
    """Write the train tasks of all stages to `file`. Returns their number.

    Raises ConfigError for a path for which the original trainer would swap colours, and where nothing was packed.
    """
    root = storage.normal(root)
    folders = current(root)
    if not folders:
        raise ConfigError(f"no shards at {root}: nothing was packed yet")
    records = [record for _, folder in sorted(folders.items()) for record in _export_set(storage.join(root, folder))]
    with storage.draft(str(file)) as path:
        Path(path).write_text(json.dumps(records, ensure_ascii=False, indent=1), encoding="utf-8")
    return len(records)


def _export_set(folder: str) -> Iterator[dict[str, Any]]:
    for word in SWAPPED:
        if word in folder:
            raise ConfigError(f"{folder}: the original trainer swaps red and blue in paths with {word!r}; move the run")
    rows = [row for row in read_rows(folder) if row.split == "train"]
    for shard, of_shard in groupby(rows, key=lambda row: row.shard):
        uri = storage.join(folder, shard)
        with storage.open_random(uri) as tar:
            for row in of_shard:
                sample = Sample.model_validate_json(tar.read_at(row.json_bytes, row.json_offset))
                yield _export_task(uri, row, sample)


def _export_task(uri: str, row: PackedTask, sample: Sample) -> dict[str, Any]:
    task = next(task for task in sample.tasks if task.id == row.id)
    record: dict[str, Any] = {"id": row.id}
    if row.picture_offset is not None and IMAGE in task.tags:
        if "mjpg" in members_of(row.kind):
            record["video"] = {"patch": uri, "start_num": row.picture_offset, "size": list(row.picture_bytes)}
        else:
            starts = accumulate(row.picture_bytes, initial=row.picture_offset)
            images = [
                {"patch": uri, "start_num": at, "size": n} for at, n in zip(starts, row.picture_bytes, strict=False)
            ]
            record["image"] = images if row.kind == "images_chat" else images[0]
    if row.sound_offset is not None and SPEECH in task.tags:
        audio = {"patch": uri, "start_num": row.sound_offset, "size": row.sound_bytes}
        record |= {"audio_q": audio, "text_q": task.conversations[0].value} if task.spoken else {"audio": audio}
    record["conversations"] = [turn.model_dump(by_alias=True) for turn in _merge_system_turn(task.conversations)]
    return record


def _merge_system_turn(turns: Sequence[Turn]) -> list[Turn]:
    """Return the turns with the text of a system turn after the tags of the first question."""
    if turns[0].speaker != "system":
        return list(turns)
    system, first, *others = turns
    tags = leading_tags(first.value)
    return [turn("human", f"{tags}{system.value}\n{first.value[len(tags) :]}"), *others]


FORMS: dict[str, Callable[[str, Path], int]] = {"ola-json": export_ola_json}
