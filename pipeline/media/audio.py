"""From decoded sound to the one form Ola hears: 16 kHz, one channel, 16 bits, without gaps, on the video's clock."""

from __future__ import annotations

import io
import struct
import wave
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RATE = 16000
GAP = RATE // 20  # samples; a stamp that is off by less than 50 ms is jitter of the muxer, not a hole


class AudioTimeline:
    """A growing stretch of sound from which the front is cut off as clips are done.

    Sample 0 is time 0 of the video's clock. Holes between packets are silence, and take no memory however long a
    broken stamp makes them; of sounds that overlap the later one counts.
    """

    def __init__(self, first: int, last: int, layout: Any = "mono", channels: int = 1) -> None:
        """Only samples first..last are ever asked for; nothing else is held. layout: of what is kept, interleaved."""
        self.front, self.last = first, last
        self.layout, self.width = layout, 2 * channels  # bytes of a sample
        self.form: tuple[Any, ...] = ()  # of the frames: a stream may change it midway
        self.end = 0  # number of the sample after the newest one
        self.pieces: list[tuple[int, bytearray]] = []  # number of the first sample, and the samples
        self.heard = False
        self.resampler: Any = None

    def add(self, frame: Any, start: float) -> None:
        """Add a decoded `av.AudioFrame`; `start` is the container's start time in seconds."""
        import av

        if frame.time is not None:
            expected = round((frame.time - start) * RATE)
            if self.resampler is None or abs(expected - self.end) > GAP:
                self.flush()
                self._move_to(expected)
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self.resampler is None or form != self.form:
            self.flush()
            self.resampler, self.form = av.AudioResampler("s16", self.layout, RATE), form
        self._take(self.resampler.resample(frame))

    def flush(self) -> None:
        """Take out what the resampler still holds."""
        if self.resampler is not None:
            self._take(self.resampler.resample(None))
            self.resampler = None

    def cut(self, first: int, last: int, following: int | None = None) -> bytes:
        """PCM of samples first..last; what was never there is silence.

        Forgets everything before `last`, or before `following`, where the next cut begins, if that comes earlier.
        """
        width = self.width
        sound = bytearray(width * (last - first))
        for start, piece in self.pieces:
            begin, end = max(start, first), min(start + len(piece) // width, last)
            if begin < end:
                inside = piece[width * (begin - start) : width * (end - start)]
                sound[width * (begin - first) : width * (end - first)] = inside
        self.front = max(self.front, last if following is None else min(last, following))
        self._forget()
        return bytes(sound)

    def _forget(self) -> None:
        kept = []
        for start, piece in self.pieces:
            del piece[: max(0, self.width * (self.front - start))]
            if piece:
                kept.append((max(start, self.front), piece))
        self.pieces = kept

    def _move_to(self, sample: int) -> None:
        """The next sound begins at `sample`: what was there from it on is taken back."""
        for start, piece in self.pieces:
            del piece[max(0, self.width * (sample - start)) :]
        self.pieces = [(start, piece) for start, piece in self.pieces if piece]
        self.end = sample

    def _take(self, frames: list[Any]) -> None:
        for frame in frames:
            self.heard = True
            start, data = self.end, bytes(frame.planes[0])[: frame.samples * self.width]
            self.end += frame.samples
            skipped = max(0, self.front - start)
            data = data[self.width * skipped : max(0, self.width * (self.last - start))]
            if not data:
                continue
            if self.pieces and self.pieces[-1][0] + len(self.pieces[-1][1]) // self.width == start + skipped:
                self.pieces[-1][1].extend(data)
            else:
                self.pieces.append((start + skipped, bytearray(data)))


def samples(data: bytes | memoryview) -> NDArray[np.float32]:
    """The samples of a WAV of 16 kHz mono PCM16, -1..1."""
    import numpy as np

    with wave.open(io.BytesIO(data)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return pcm.astype(np.float32) / np.float32(32768)


def wav(pcm: bytes) -> bytes:
    """A WAV file of 16 kHz mono PCM16: the canonical 44-byte header, then the samples."""
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(pcm), b"WAVE", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    return head + struct.pack("<4sI", b"data", len(pcm)) + pcm
