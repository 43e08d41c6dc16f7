"""Make one sample of external records with the same media: the media are read once, each record becomes a task."""

from __future__ import annotations

import json
from collections.abc import Sequence

from manifests.ledger import OK
from manifests.retries import StoreUnreachable
from pipeline.errors import BadMedia
from pipeline.importing.entries import Entry
from pipeline.importing.media import FrameSequence, MediaReader, count_pcm_samples
from pipeline.importing.shard_stream import ImportedSample, ImportOutcome, failed_outcome
from pipeline.media.audio import RATE
from pipeline.pack.build import ORIGINS, SCORES
from stages.samples import IMPORTED, PICTURES, Pictures, Sample, Sound, Task, key_of, members_of, turn


def make_sample(media: str, frames: int, key: str, entries: Sequence[Entry]) -> ImportedSample:
    """Make the sample of entries with the same media, with at most `frames` of a video; `key` names the import.

    A record that cannot be used, and every record if the media cannot be read, becomes a `failed` outcome.
    """
    try:
        return _build_sample(_read_media(MediaReader(media), entries[0], frames), key, entries)
    except BadMedia as error:
        reason, detail = str(error), error.detail
    except StoreUnreachable:
        raise
    except Exception as error:  # noqa: BLE001  one bad file must not end an import of a million; its rows name the error
        reason, detail = f"raised {type(error).__name__}", " ".join(str(error).split())
    return ImportedSample(tuple(failed_outcome(entry.number, entry.name, reason, detail) for entry in entries))


def _build_sample(read: tuple[FrameSequence, bytes | None], key: str, entries: Sequence[Entry]) -> ImportedSample:
    sequence, sound = read
    first = entries[0]
    clip = f"{first.identity}-{key}-{first.number:09d}"
    samples = 0 if sound is None else count_pcm_samples(sound)
    pictures = _picture_layout(sequence)
    outcomes, kept, tokens = list[ImportOutcome](), list[Entry](), list[int]()
    for entry in entries:
        try:
            tokens.append(entry.tokens(pictures, samples / RATE))
        except BadMedia as error:
            outcomes.append(failed_outcome(entry.number, entry.name, str(error), error.detail))
            continue
        task = _task_id(clip, entry, len(kept))
        outcomes.append(ImportOutcome(number=entry.number, id=entry.name, status=OK, task=task, mended=entry.mended))
        kept.append(entry)
    if not kept:
        return ImportedSample(tuple(outcomes))
    sample = _make_sample_record(sequence, samples if sound is not None else None, clip, key, kept)
    text = sample.model_dump_json(by_alias=True, exclude_none=False).encode()
    contents = {"json": text, **dict.fromkeys(PICTURES, b"".join(sequence.jpegs)), "wav": sound or b""}
    return ImportedSample(tuple(outcomes), sample, {name: contents[name] for name in members_of(first.kind)}, tokens)


def _make_sample_record(
    sequence: FrameSequence, samples: int | None, clip: str, key: str, entries: Sequence[Entry]
) -> Sample:
    """Return the sample without its members. samples: number of PCM samples; None: no sound."""
    first, stage = entries[0], IMPORTED[entries[0].kind].stage
    origin = {"uri": str(first.media[0] if first.media else ""), "origin": "import", "key": key}
    return Sample(
        key=key_of(clip, stage),
        stage=stage,
        clip=clip,
        video=first.identity,
        start_ms=0,
        end_ms=sequence.length if samples is None else round(1000 * samples / RATE),
        pictures=_picture_layout(sequence),
        sound=None if samples is None else Sound(rate=RATE, samples=samples),
        tasks=tuple(_make_task(clip, entry, number) for number, entry in enumerate(entries)),
        scores=SCORES,
        provenance={**dict.fromkeys(ORIGINS, ""), **origin},
        meta=json.dumps({"records": [dict(entry.meta) for entry in entries]}, default=str),
    )


def _picture_layout(sequence: FrameSequence) -> Pictures:
    width, height = sequence.size
    return Pictures(
        width=width, height=height, bytes=tuple(map(len, sequence.jpegs)), ms=sequence.ms, sizes=sequence.sizes
    )


def _make_task(clip: str, entry: Entry, number: int) -> Task:
    turns = tuple(turn(speaker, text) for speaker, text in entry.turns)
    return Task(id=_task_id(clip, entry, number), kind=entry.kind, conversations=turns)


def _task_id(clip: str, entry: Entry, number: int) -> str:
    return f"{clip}-{entry.kind}-{number}"


def _read_media(media: MediaReader, entry: Entry, frames: int) -> tuple[FrameSequence, bytes | None]:
    sound = None if entry.sound is None else media.read_sound(entry.sound)
    if not entry.visuals:
        return FrameSequence((), (0, 0), (), 0), sound
    if entry.kind == "images_chat":
        return media.read_images(entry.visuals), sound
    if "jpg" in members_of(entry.kind):
        return media.read_image(entry.visuals[0]), sound
    sequence = media.read_video(entry.visuals[0], frames)
    if sound is None or not (entry.visuals[0].sizes or entry.visuals[0].frames):
        return sequence, sound
    # frames of patches and of image lists have no times: spread them over the sound
    stretch = 1000 * count_pcm_samples(sound) / RATE / len(sequence.jpegs)
    return FrameSequence(
        sequence.jpegs, sequence.size, tuple(int((n + 0.5) * stretch) for n in range(len(sequence.jpegs))), 0
    ), sound
