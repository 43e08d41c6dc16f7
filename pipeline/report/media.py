"""Write the frames and the sound of cards beside the page, until the limit of bytes is reached.

Frames become small JPEGs, sound becomes MP3 with a waveform of `PEAKS` numbers; all in memory of one clip at a time.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifests.records import Media
from pipeline.media.audio import RATE, WAV_HEAD
from pipeline.media.media_store import MediaReader
from pipeline.report.cards import Card

FRAMES = 8  # shown of a clip, evenly over its length
WIDTH = 256  # pixels of a shown frame
QUALITY = 72
PEAKS = 240
BIT_RATE = 48_000  # of MP3 at 16 kHz: speech without audible loss
LEFT_OUT = "left out by --megabytes"


def write_media(cards: Sequence[Card], root: str, folder: Path, limit: int) -> int:
    """Write the media of the cards in their order and put their names into the cards. Return the bytes written.

    folder: of the page; the media go below `media/`. limit: of bytes; cards after it have a note in place of media.
    """
    (folder / "media").mkdir(exist_ok=True)
    read, written = MediaReader(root), 0
    for card in cards:
        pictures, sizes, times, sound = (card.pop(name, None) for name in MEDIA_FIELDS)
        if pictures is None:
            continue
        if written >= limit:
            card["note"] = LEFT_OUT
            continue
        try:
            files = _frame_files(card, bytes(read(Media(**pictures))), sizes, times)
            if sound is not None:
                files |= _sound_files(card, bytes(read(Media(**sound))))
        except OSError as error:
            card["note"] = f"media cannot be read: {error}"
            continue
        size = sum(map(len, files.values()))
        if written + size > limit:
            written = limit
            card["note"] = LEFT_OUT
            card["frames"], card["sound"] = [], None
            continue
        for name, data in files.items():
            (folder / name).write_bytes(data)
        written += size
    return sum(path.stat().st_size for path in (folder / "media").iterdir())


MEDIA_FIELDS = ("pictures", "frame_bytes", "frame_ms", "sound")


def _frame_files(card: Card, data: bytes, sizes: Sequence[int], times: Sequence[int]) -> dict[str, bytes]:
    """Return the files of a clip's shown frames by name; the card gets their names and times."""
    starts = [0, *accumulate(sizes)]
    count = min(FRAMES, len(sizes))
    chosen = [round((n + 0.5) * len(sizes) / count - 0.5) for n in range(count)]
    files = {f"media/{card['id']}-{n}.jpg": _small(data[starts[n] : starts[n + 1]]) for n in chosen}
    card["frames"] = [[name, times[n]] for name, n in zip(files, chosen, strict=True)]
    return files


def _small(jpeg: bytes) -> bytes:
    """Return a JPEG at most WIDTH pixels wide; unreadable bytes as they are."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(jpeg)) as image:
            image.draft("RGB", (WIDTH, WIDTH))
            image.thumbnail((WIDTH, WIDTH))
            sink = io.BytesIO()
            image.convert("RGB").save(sink, "JPEG", quality=QUALITY)
    except (UnidentifiedImageError, OSError):
        return jpeg
    return sink.getvalue()


def _sound_files(card: Card, wav: bytes) -> dict[str, bytes]:
    samples = np.frombuffer(wav[WAV_HEAD : len(wav) - (len(wav) - WAV_HEAD) % 2], "<i2")
    name = f"media/{card['id']}.mp3"
    card["sound"] = {"src": name, "peaks": waveform(samples), "seconds": len(samples) / RATE}
    return {name: encode_mp3(samples)}


def waveform(samples: NDArray[np.int16]) -> list[int]:
    """Return the largest absolute sample of each of PEAKS spans, 0..99, relative to the loudest."""
    spans = np.array_split(np.abs(samples.astype(np.int32)), min(PEAKS, max(1, len(samples))))
    peaks = np.array([span.max() if len(span) else 0 for span in spans])
    return [int(peak) for peak in peaks * 99 // max(1, int(peaks.max()))]


def encode_mp3(samples: NDArray[np.int16]) -> bytes:
    """Encode mono sound of RATE Hz as MP3, whose header makes players skip the encoder's delay."""
    import av

    sink = io.BytesIO()
    with av.open(sink, "w", format="mp3") as container:
        stream: Any = container.add_stream("libmp3lame", rate=RATE)
        stream.bit_rate, stream.layout = BIT_RATE, "mono"
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16p", layout="mono")
        frame.sample_rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return sink.getvalue()
