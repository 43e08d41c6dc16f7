"""From decoded sound to the one form Ola hears: 16 kHz, one channel, 16 bits, without gaps, on the video's clock."""

from __future__ import annotations

import struct
from typing import Any

RATE = 16000
GAP = RATE // 20  # samples; a stamp that is off by less than 50 ms is jitter of the muxer, not a hole


class Tape:
    """A growing stretch of sound from which the front is cut off as clips are done.

    Sample 0 is time 0 of the video's clock; holes between packets become silence, overlaps are cut.
    """

    def __init__(self, longest: int) -> None:
        """An empty tape that never gets longer than `longest` samples, whatever stamps say."""
        self.longest = longest
        self.samples = bytearray()
        self.front = 0  # number of the first sample still held
        self.heard = False
        self.resampler: Any = None

    @property
    def end(self) -> int:
        """Number of the sample after the last one."""
        return self.front + len(self.samples) // 2

    def add(self, frame: Any, start: float) -> None:
        """Add a decoded `av.AudioFrame`; `start` is the container's start time in seconds."""
        import av

        if frame.time is not None:
            expected = round((frame.time - start) * RATE)
            if self.resampler is None or abs(expected - self.end) > GAP:
                self.flush()
                self._move_to(expected)
        if self.resampler is None:
            self.resampler = av.AudioResampler("s16", "mono", RATE)
        self._take(self.resampler.resample(frame))

    def flush(self) -> None:
        """Take out what the resampler still holds."""
        if self.resampler is not None:
            self._take(self.resampler.resample(None))
            self.resampler = None

    def cut(self, first: int, last: int) -> bytes:
        """PCM of samples first..last; what was never there is silence. Forgets everything before `last`."""
        begin, end = (max(0, n - self.front) * 2 for n in (first, last))
        piece = bytes(self.samples[begin:end])
        del self.samples[:end]
        self.front = max(self.front, last)
        return piece.ljust((last - first) * 2, b"\0")

    def _move_to(self, sample: int) -> None:
        missing = min(sample, self.longest) - self.end
        if missing > 0:
            self.samples += bytes(2 * missing)
        elif missing < 0:
            del self.samples[max(0, len(self.samples) + 2 * missing) :]

    def _take(self, frames: list[Any]) -> None:
        for frame in frames:
            self.heard = True
            self.samples += bytes(frame.planes[0])[: frame.samples * 2]


def wav(pcm: bytes) -> bytes:
    """A WAV file of 16 kHz mono PCM16: the canonical 44-byte header, then the samples."""
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(pcm), b"WAVE", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    return head + struct.pack("<4sI", b"data", len(pcm)) + pcm
