"""Step `sync`: compare the picture's changes with the beginnings of sounds, for `pack.where`.

Takes the stored sound of a clip and the packets of its video, which are read and not decoded. It is a step of its own
because it reads the video again, which `inspect` does not need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from manifests.records import Clip, ClipMedia, Video
from manifests.sync_records import ClipSync
from pipeline import step
from pipeline.errors import BadMedia
from pipeline.inspection.synchrony import NOTHING, measure_synchrony, picture_activity, sound_activity
from pipeline.media.audio import WAV_HEAD
from pipeline.media.libav_errors import translate_libav_errors
from pipeline.media.media_store import MediaReader
from pipeline.media.packet_sizes import PacketSizes, read_packet_sizes
from pipeline.media.recordings import list_recordings
from pipeline.media.video_file import fetch_original


@dataclass(frozen=True)
class SyncInput:
    """The stored media of a clip, the clip, and its video."""

    media: ClipMedia
    clip: Clip
    video: Video


class Sync(step.Step[SyncInput, ClipSync]):
    """Compare picture and sound of a clip in time."""

    name, takes, gives = "sync", SyncInput, ClipSync
    beside = True
    # A clip of 30 s takes 0.05 s, and its share of reading the video's bytes.
    resources = step.Resources(batch=16)

    def open(self) -> None:
        """Open no file yet: media are read by reference."""
        self.read = MediaReader(self.root)
        self.packets: tuple[str, list[PacketSizes]] = ("", [])  # of the last video, whose clips come one after another

    def allowance(self, record: SyncInput) -> float:
        """Return seconds for reading the video from a slow disk."""
        return record.video.bytes / 5e6

    def original_uri(self, record: SyncInput) -> str:
        """Return the URI of the clip's video."""
        return record.video.uri

    def run(self, batch: Sequence[SyncInput]) -> list[list[ClipSync] | BadMedia]:
        """Return the scores of each clip, or BadMedia for stored sound that cannot be read."""
        with translate_libav_errors():
            return [self._compare(entry) for entry in batch]

    def _compare(self, entry: SyncInput) -> list[ClipSync] | BadMedia:
        name = entry.clip.id
        if entry.media.sound is None:
            return [ClipSync(id=name, clip=name)]
        wav = self.read(entry.media.sound)
        if bytes(wav[:4]) != b"RIFF" or len(wav) < WAV_HEAD or len(wav) % 2:
            return BadMedia("the stored sound is no WAV of 16 bits")
        heard = sound_activity(np.frombuffer(wav[WAV_HEAD:], "<i2"))
        start, end = entry.clip.start_ms / 1000, entry.clip.end_ms / 1000
        found_in = [picture_activity(packets, start, end) for packets in self._read_packets(entry.video)]
        seen = max(found_in, key=lambda activity: len(activity.curve), default=NOTHING)
        found = measure_synchrony(seen, heard)
        counts = {"seen_events": seen.events, "heard_events": heard.events}
        if found is None:
            return [ClipSync(id=name, clip=name, **counts)]
        lag, sync, peak = round(found.lag * 1000), round(found.sync, 4), round(found.peak, 4)
        return [ClipSync(id=name, clip=name, av_sync=sync, av_lag_ms=lag, av_peak=peak, **counts)]

    def _read_packets(self, video: Video) -> list[PacketSizes]:
        """Return the packets of each recording of a video."""
        if self.packets[0] != video.id:
            recordings = list_recordings(fetch_original(video, self.scratch), video)
            found = [read_packet_sizes(each.local, each.video.picture, each.start_ms / 1000) for each in recordings]
            self.packets = (video.id, found)
        return self.packets[1]
