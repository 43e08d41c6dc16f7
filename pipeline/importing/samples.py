"""A sample of records of others that have the same media: what is fetched once, and a task a record."""

from __future__ import annotations

import json
from collections.abc import Sequence

from manifests.ledger import OK
from manifests.retries import StoreAway
from pipeline.errors import BadMedia
from pipeline.importing.entries import Entry
from pipeline.importing.media import Film, Media, pcm_samples
from pipeline.importing.shard_stream import ImportedSample, ImportOutcome, failed
from pipeline.media.audio import RATE
from pipeline.pack.build import ORIGINS, SCORES
from stages.samples import IMPORTED, PICTURES, Pictures, Sample, Sound, Task, key_of, members_of, turn


def make_sample(media: str, frames: int, key: str, entries: Sequence[Entry]) -> ImportedSample:
    """The sample of entries with the same media, at most `frames` of a video; `key` names the import."""
    try:
        return _made(_gathered(Media(media), entries[0], frames), key, entries)
    except BadMedia as error:
        reason, detail = str(error), error.detail
    except StoreAway:
        raise
    except Exception as error:  # noqa: BLE001  one file must not end an import of a million; it is named, with its row
        reason, detail = f"raised {type(error).__name__}", " ".join(str(error).split())
    return ImportedSample(tuple(failed(entry.number, entry.name, reason, detail) for entry in entries))


def _made(gathered: tuple[Film, bytes | None], key: str, entries: Sequence[Entry]) -> ImportedSample:
    film, sound = gathered
    first = entries[0]
    clip = f"{first.identity}-{key}-{first.number:09d}"
    samples = 0 if sound is None else pcm_samples(sound)
    pictures = _pictures(film)
    fates, kept, tokens = list[ImportOutcome](), list[Entry](), list[int]()
    for entry in entries:
        try:
            tokens.append(entry.tokens(pictures, samples / RATE))
        except BadMedia as error:
            fates.append(failed(entry.number, entry.name, str(error), error.detail))
            continue
        task = _task_id(clip, entry, len(kept))
        fates.append(ImportOutcome(number=entry.number, id=entry.name, status=OK, task=task, mended=entry.mends))
        kept.append(entry)
    if not kept:
        return ImportedSample(tuple(fates))
    sample = _sample(film, samples if sound is not None else None, clip, key, kept)
    text = sample.model_dump_json(by_alias=True, exclude_none=False).encode()
    contents = {"json": text, **dict.fromkeys(PICTURES, b"".join(film.jpegs)), "wav": sound or b""}
    return ImportedSample(tuple(fates), sample, {name: contents[name] for name in members_of(first.kind)}, tokens)


def _sample(film: Film, samples: int | None, clip: str, key: str, entries: Sequence[Entry]) -> Sample:
    """samples: of the sound; None: there is none."""
    first, stage = entries[0], IMPORTED[entries[0].kind].stage
    origin = {"uri": str(first.media[0] if first.media else ""), "origin": "import", "key": key}
    return Sample(
        key=key_of(clip, stage),
        stage=stage,
        clip=clip,
        video=first.identity,
        start_ms=0,
        end_ms=film.length if samples is None else round(1000 * samples / RATE),
        pictures=_pictures(film),
        sound=None if samples is None else Sound(rate=RATE, samples=samples),
        tasks=tuple(_task(clip, entry, number) for number, entry in enumerate(entries)),
        scores=SCORES,
        provenance={**dict.fromkeys(ORIGINS, ""), **origin},
        meta=json.dumps({"records": [dict(entry.meta) for entry in entries]}, default=str),
    )


def _pictures(film: Film) -> Pictures:
    width, height = film.size
    return Pictures(width=width, height=height, bytes=tuple(map(len, film.jpegs)), ms=film.ms, sizes=film.sizes)


def _task(clip: str, entry: Entry, number: int) -> Task:
    turns = tuple(turn(speaker, text) for speaker, text in entry.turns)
    return Task(id=_task_id(clip, entry, number), kind=entry.kind, conversations=turns)


def _task_id(clip: str, entry: Entry, number: int) -> str:
    return f"{clip}-{entry.kind}-{number}"


def _gathered(media: Media, entry: Entry, frames: int) -> tuple[Film, bytes | None]:
    sound = None if entry.heard is None else media.sound(entry.heard)
    if not entry.seen:
        return Film((), (0, 0), (), 0), sound
    if entry.kind == "images_chat":
        return media.pictures(entry.seen), sound
    if "jpg" in members_of(entry.kind):
        return media.picture(entry.seen[0]), sound
    film = media.film(entry.seen[0], frames)
    if sound is None or not (entry.seen[0].sizes or entry.seen[0].frames):
        return film, sound
    # such frames have no times: spread over what is heard with them
    stretch = 1000 * pcm_samples(sound) / RATE / len(film.jpegs)
    return Film(film.jpegs, film.size, tuple(int((n + 0.5) * stretch) for n in range(len(film.jpegs))), 0), sound
