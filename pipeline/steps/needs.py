"""SQL for what a question needs, over the rows of `verify`: thresholds change without a model run."""

from __future__ import annotations

from typing import Literal

Judges = Literal["witnesses", "others", "annotator"]

# The least that suffices: a question answered from text or frames alone does not need the sound.
NEEDS = """CASE
    WHEN {of}text.agreement IS NULL THEN NULL
    WHEN {of}text.agreement >= {threshold} THEN 'text'
    WHEN {of}video.agreement >= {threshold} THEN 'video'
    WHEN {of}audio.agreement >= {threshold} THEN 'audio'
    WHEN {of}"both".agreement >= {threshold} THEN 'both'
    ELSE 'none-agrees'
END"""
"""SQL for what a question needs, over the columns of `verify`; NULL where the question was not verified.

threshold: of agreement, 0..1. of: prefix of the columns, `verify.` or empty."""

WITNESSED = """CASE WHEN len({of}witnesses) > 0 THEN CASE
    WHEN {text} THEN 'text' WHEN {video} THEN 'video' WHEN {audio} THEN 'audio'
    WHEN {both} AND {swap} THEN 'video' WHEN {both} THEN 'both' ELSE 'none-agrees' END
ELSE {old} END"""
CLASSES = {"text": "('text', 'title')", "video": "('video', 'frame', 'words')", "audio": "('audio', 'transcript')"}
CLASSES |= {"both": "('both')", "swap": "('swap')", "spans": "('spans')", "rest": "('rest')"}
RIGHT = 'len(list_filter({of}witnesses, lambda w: w."view" IN {views} AND w.agreement >= {threshold})) > 0'

BY_OTHERS = """len(list_filter({of}witnesses,
    lambda w: w.witness <> 'annotator' AND w."view" = 'both' AND w.agreement >= {threshold})) > 0"""


def needs_sql(threshold: float, of: str = "verify.", judges: Judges = "witnesses") -> str:
    """Return SQL for what a question needs. judges: whose answers count, where there are witnesses.

    With `others`, a right answer of the annotator from both senses is not enough: it may repeat its own mistake.
    """
    old = NEEDS.format(of=of, threshold=threshold)
    if judges == "annotator":
        return old
    right = {name: RIGHT.format(of=of, views=views, threshold=threshold) for name, views in CLASSES.items()}
    if judges == "others":
        right["both"] = BY_OTHERS.format(of=of, threshold=threshold)
    return WITNESSED.format(of=of, old=old, **right)


def agreement_sql(view: str, of: str = "verify.", judges: Judges = "witnesses") -> str:
    """Return SQL for the agreement of a view: the highest of all witnesses and of the views that count like it."""
    old = f'{of}"{view}".agreement'
    if judges == "annotator":
        return old
    answers = f'[w.agreement FOR w IN {of}witnesses IF w."view" IN {CLASSES[view]}]'
    return f"CASE WHEN len({of}witnesses) > 0 THEN list_max({answers}) ELSE {old} END"


EVIDENCE_FAULT = """CASE WHEN len({times}) > 0 THEN CASE
    WHEN {spans} IS NULL THEN 'spans not checked'
    WHEN {spans} < {threshold} THEN 'not found from its spans'
    WHEN {rest} >= {threshold} THEN 'found without its spans' END
END"""


def evidence_fault_sql(threshold: float, times: str, spans: str, rest: str) -> str:
    """Return SQL for why the spans of a question do not hold; NULL if they do, or if it names none.

    times: of the question. spans, rest: agreements of these views.
    """
    return EVIDENCE_FAULT.format(threshold=threshold, times=times, spans=spans, rest=rest)
