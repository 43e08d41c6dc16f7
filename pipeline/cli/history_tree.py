"""Draw the trees of `ola why`: a source, its video, the video's clips, and the records of each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

from rich.text import Text
from rich.tree import Tree

from pipeline.cli.cell_text import clock, duration, number_text, one_line, value_text

VIDEO, CLIP = 20, 40  # length of their ids, which are prefixes of the ids of all records made of them
NAME = 11  # width of a step's name
LONGEST_LIST = 8  # values that are shown of a step without a text of its own
VIEWS = {"both": "frames and sound", "video": "frames", "audio": "sound", "text": "neither"}
VIEWS |= {"spans": "its spans", "rest": "the rest of the clip"}
Row = dict[str, Any]
History = Sequence[tuple[str, Row]]


def history_trees(history: History, span: str = "") -> list[Tree]:
    """Return a tree per source. history: (step, row), in the order of the steps.

    span: suffix of the ids of the clips to show; "" for all clips.
    """
    trees = []
    for _, source in (each for each in history if each[0] == "source"):
        tree = Tree(Text(f"{one_line(source['uri'])}  {_size_text(source['bytes'])}  source {source['id']}"))
        for _, video in (each for each in history if each[0] == "ingest" and each[1]["input"] == source["id"]):
            _add_video(tree.add(_step_text("ingest", [video])), video["id"], history, span)
        trees.append(tree)
    return trees


def _add_video(tree: Tree, video: str | None, history: History, span: str) -> None:
    """Add the rows of a video's steps to the tree, and its clips by time."""
    below = [each for each in history if each[0] not in {"source", "ingest"} and each[1]["input"][:VIDEO] == video]
    cut = [row for step, row in below if step == "split"]
    if cut:
        tree.add(_step_text("split", cut))
    clips = {row["id"]: row for row in cut if row["id"]}
    by_clip: dict[str, list[tuple[str, Row]]] = {clip: [] for clip in clips}
    for step, row in below:
        if step != "split":
            by_clip.setdefault(row["input"][:CLIP], []).append((step, row))
    for clip, rows in sorted(each for each in by_clip.items() if each[0].endswith(span)):
        branch = tree.add(_clip_text(clip, clips.get(clip)))
        for (step, _), some in groupby(rows, key=lambda each: (each[0], each[1]["input"])):
            _add_step(branch, step, [row for _, row in some])


def _add_step(tree: Tree, step: str, rows: Sequence[Row]) -> None:
    """Add a step's records of one input: one record beside the step's name, several below it."""
    branch = tree.add(_step_text(step, rows))
    for call in rows[0].get("note_calls") or ():  # the same in all rows
        _add_model_call(branch, call)
    for row in rows:
        if row["status"] == "ok" and len(rows) > 1:
            _add_model_call(branch.add(Text(FACTS.get(step, _describe_columns)(row))), row.get("asked"))
        else:
            _add_model_call(branch, row.get("asked"))


def _add_model_call(tree: Tree, call: Row | None) -> None:
    for name, text in ((key, call[key]) for key in ("prompt", "answer") if call):
        tree.add(Text(f"{name}: {text}"))


def _step_text(step: str, rows: Sequence[Row]) -> Text:
    """Return a line with a step's name, its status, its time, and its record or reason."""
    row, seconds = rows[0], sum(each["seconds"] for each in rows)
    text = Text(f"{step:<{NAME}} {row['status']:<7} {duration(seconds):>8}  ")
    if row["status"] != "ok":
        return text.append("\n".join(filter(None, (row["reason"], row["detail"]))))
    if step == "split" or len(rows) > 1:
        noun = {"split": "clip", "pack": "task", "ask": "question"}.get(step, "record")
        return text.append(f"{len(rows)} {noun}{'s' * (len(rows) != 1)}")
    return text.append(FACTS.get(step, _describe_columns)(row))


def _clip_text(clip: str, row: Row | None) -> Text:
    """Return a line with a clip's span, id and measures."""
    start, _, end = clip[VIDEO + 1 :].partition("-")
    if not (start.isdigit() and end.isdigit()):
        return Text(clip)
    span = f"{clock(int(start))} → {clock(int(end))} ({duration((int(end) - int(start)) / 1000)})"
    return Text(f"{span}  {clip}{f'  {_measures_text(row)}' if row else ''}")


def _size_text(count: int) -> str:
    return f"{count:,} bytes" if count < 100_000 else f"{count / 1e6:,.1f} MB"


def _measures_text(row: Row) -> str:
    shares = [f"{name} {row[name]:.0%}" for name in ("frozen", "black", "silence") if row[name] is not None]
    loudness = [f"{row['loudness']:.1f} LUFS"] if row["loudness"] is not None else []
    return ", ".join([f"motion {row['motion']:.2f}", *shares, *loudness])


def _describe_video(row: Row) -> str:
    sound = next((each for each in row["sounds"] if each["index"] == row["sound"]), None)
    heard = f"sound {sound['codec']} {sound['rate'] / 1000:g} kHz" if sound else "no sound"
    turned = [f"rotated {row['rotation']}°"] if row["rotation"] else []
    picture = f"{row['codec']} {row['width']}x{row['height']}"
    rate = f"{row['frames']} frames at {number_text(row['frame_rate'])}/s"
    return ", ".join([clock(round(row["duration"] * 1000)), picture, rate, *turned, heard, f"video {row['id']}"])


def _describe_media(row: Row) -> str:
    heard = "with sound" if row["sound"] else "without sound"
    return f"{len(row['frame_ms'])} frames of {row['width']}x{row['height']}, {heard}"


def _describe_transcript(row: Row) -> str:
    track = PurePosixPath(row["track"] or "").name
    language = row["text_language"] or row["language"]
    count = f"{row['words']} words: {one_line(row['text'])}" if row["words"] else "nothing said"
    return ", ".join([f"{row['origin']} {track}".strip(), *([language] if language else []), count])


def _describe_screening(row: Row) -> str:
    if row["complete"] is None:
        return "nothing to judge"
    return f"complete {row['complete']:.2f}, informative {row['informative']:.2f}"


def _describe_caption(row: Row) -> str:
    return f"{row['view']}: {one_line(row['text'])}"


def _describe_question(row: Row) -> str:
    options = f" [{' | '.join(map(one_line, row['options']))}]" if row["options"] else ""
    spans = [f"{each['sense']} {each['start']:g}-{each['end']:g} s" for each in row.get("times") or ()]
    evidence = f" ({', '.join(spans)})" if spans else ""
    return f"{row['kind']}: {one_line(row['question'])}{options} → {one_line(row['answer'])}{evidence}  {row['id']}"


def _describe_verification(row: Row) -> str:
    shown = {name: row[view] for view, name in VIEWS.items() if row.get(view) is not None}
    answers = [f"{name}: {each['answer']!r} ({each['agreement']:.2f})" for name, each in shown.items()]
    veto = [f"{row['veto_witness']} answers from {row['veto_view']} alone"] if row.get("veto_witness") else []
    fault = [f"left out of the shards: {row['evidence_fault']}"] if row.get("evidence_fault") else []
    return "; ".join([*fault, *veto, *answers])


def _describe_task(row: Row) -> str:
    where = f"shards/{row['stage']} {row['shard']} at byte {row['offset']:,}"
    return f"{row['kind']}, {row['split']}, {row['tokens']} tokens, {where}  {row['id']}"


def _describe_columns(row: Row) -> str:
    """Return the columns of any step's row as text."""
    hidden = {"input", "status", "reason", "detail", "seconds", "asked", "clip", "video"}
    shown = {name: value for name, value in row.items() if name not in hidden and value is not None}
    return ", ".join(f"{name} {one_line(value_text(_shorten_list(value)))}" for name, value in shown.items())


def _shorten_list(value: Any) -> Any:
    """Return a long list as its length, since one of a hundred numbers would fill the screen."""
    return f"[{len(value)} values]" if isinstance(value, list | tuple) and len(value) > LONGEST_LIST else value


FACTS: dict[str, Callable[[Row], str]] = {
    "ingest": _describe_video,
    "extract": _describe_media,
    "transcribe": _describe_transcript,
    "screen": _describe_screening,
    "caption": _describe_caption,
    "ask": _describe_question,
    "verify": _describe_verification,
    "pack": _describe_task,
}
