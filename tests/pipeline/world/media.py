"""Clips of the world as `extract` leaves them, without making films first."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from manifests.records import ClipMedia
from pipeline.media.audio import wav_bytes
from pipeline.media.media_store import MediaTar
from pipeline.synthetic.world.audio import render_sound
from pipeline.synthetic.world.frames import draw_frame
from pipeline.synthetic.world.scenes import SIDE, Scene

FRAMES = 6


def write_clips(folder: Path, scenes: Sequence[Scene]) -> list[ClipMedia]:
    """The frames and the sound of each scene, in one tar."""
    tar = MediaTar("clips.tar", str(folder / "clips.tar"))
    clips = [_write_clip(tar, scene) for scene in scenes]
    tar.close()
    return clips


def _write_clip(tar: MediaTar, scene: Scene) -> ClipMedia:
    times = [(n + 0.5) / FRAMES * scene.seconds for n in range(FRAMES)]
    jpegs = []
    for seconds in times:
        file = io.BytesIO()
        Image.fromarray(draw_frame(scene, seconds)).save(file, "JPEG", quality=90)
        jpegs.append(file.getvalue())
    mute = scene.kind == "mute"
    return ClipMedia(
        id=scene.name,
        clip=scene.name,
        width=SIDE,
        height=SIDE,
        frames=tar.add(f"{scene.name}.mjpg", b"".join(jpegs)),
        frame_bytes=tuple(map(len, jpegs)),
        frame_ms=tuple(round(1000 * seconds) for seconds in times),
        sound=None if mute else tar.add(f"{scene.name}.wav", wav_bytes(render_sound(scene)[0].tobytes())),
    )


def media_digest(medium: Any) -> str:
    """What tells a list of frames, or a sound, from others."""
    data = np.asarray(medium[0]).tobytes() if isinstance(medium, list) else np.asarray(medium.samples).tobytes()
    return hashlib.sha256(data).hexdigest()
