"""Convert decoded audio to what Ola takes: 16 kHz mono PCM16 without gaps, on the video's clock."""

from __future__ import annotations

import io
import struct
import wave
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RATE = 16000
WAV_HEAD = 44  # bytes before the samples of a canonical WAV file
GAP = RATE // 20  # samples; a timestamp off by less than 50 ms is jitter of the muxer


class AudioTimeline:
    """PCM on the video's clock: sample 0 is time 0. Samples before the last `take_pcm` are dropped.

    Holes between packets are silence and take no memory, however long a broken timestamp makes them. Where packets
    overlap, the later one counts.
    """

    def __init__(self, first: int, last: int, layout: Any = "mono", channels: int = 1) -> None:
        """Keep only samples first..last. layout, channels: of the samples, which are interleaved."""
        self.front, self.last = first, last
        self.layout, self.sample_bytes = layout, 2 * channels  # sample_bytes: of all channels
        self.frame_format: tuple[Any, ...] = ()  # of the last frame: a stream may change midway
        self.end = 0  # number of the sample after the last added
        self.pieces: list[tuple[int, bytearray]] = []  # number of the first sample, PCM
        self.has_sound = False
        self.resampler: Any = None

    def add(self, frame: Any, start: float) -> None:
        """Add a decoded `av.AudioFrame`; `start` is the container's start time in seconds."""
        import av

        if frame.time is not None:
            expected = round((frame.time - start) * RATE)
            if self.resampler is None or abs(expected - self.end) > GAP:
                self.flush()
                self._move_to(expected)
        frame_format = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self.resampler is None or frame_format != self.frame_format:
            self.flush()
            self.resampler, self.frame_format = av.AudioResampler("s16", self.layout, RATE), frame_format
        self._append(self.resampler.resample(frame))

    def flush(self) -> None:
        """Append the samples that are still in the resampler."""
        if self.resampler is not None:
            self._append(self.resampler.resample(None))
            self.resampler = None

    def take_pcm(self, first: int, last: int, following: int | None = None) -> bytes:
        """Return the PCM of samples first..last; samples that were never added are silence.

        Drops all samples before `last`, or before `following`, the first sample of the next call, if that is earlier.
        """
        sample_bytes = self.sample_bytes
        sound = bytearray(sample_bytes * (last - first))
        for start, piece in self.pieces:
            begin, end = max(start, first), min(start + len(piece) // sample_bytes, last)
            if begin < end:
                inside = piece[sample_bytes * (begin - start) : sample_bytes * (end - start)]
                sound[sample_bytes * (begin - first) : sample_bytes * (end - first)] = inside
        self.front = max(self.front, last if following is None else min(last, following))
        self._drop_front()
        return bytes(sound)

    def _drop_front(self) -> None:
        kept = []
        for start, piece in self.pieces:
            del piece[: max(0, self.sample_bytes * (self.front - start))]
            if piece:
                kept.append((max(start, self.front), piece))
        self.pieces = kept

    def _move_to(self, sample: int) -> None:
        """Set the position of the next frame to `sample`, and delete later samples."""
        for start, piece in self.pieces:
            del piece[max(0, self.sample_bytes * (sample - start)) :]
        self.pieces = [(start, piece) for start, piece in self.pieces if piece]
        self.end = sample

    def _append(self, frames: list[Any]) -> None:
        for frame in frames:
            self.has_sound = True
            start, data = self.end, bytes(frame.planes[0])[: frame.samples * self.sample_bytes]
            self.end += frame.samples
            skipped = max(0, self.front - start)
            data = data[self.sample_bytes * skipped : max(0, self.sample_bytes * (self.last - start))]
            if not data:
                continue
            if self.pieces and self.pieces[-1][0] + len(self.pieces[-1][1]) // self.sample_bytes == start + skipped:
                self.pieces[-1][1].extend(data)
            else:
                self.pieces.append((start + skipped, bytearray(data)))


def read_samples(data: bytes | memoryview) -> NDArray[np.float32]:
    """Decode a WAV file of 16 kHz mono PCM16. Returns samples in -1..1."""
    import numpy as np

    with wave.open(io.BytesIO(data)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return pcm.astype(np.float32) / np.float32(32768)


def sound_seconds(size: int) -> float:
    """Return the length of a WAV file of 16 kHz mono PCM16 by its size in bytes."""
    return max(0, size - WAV_HEAD) / (2 * RATE)


def wav_bytes(pcm: bytes) -> bytes:
    """Make a WAV file of 16 kHz mono PCM16: the canonical 44-byte header, then the samples."""
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(pcm), b"WAVE", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    return head + struct.pack("<4sI", b"data", len(pcm)) + pcm
