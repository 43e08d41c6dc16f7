"""Write frames and sound as an .mp4 (H.264, AAC). On one machine the same input gives the same bytes."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ola.speech.speakers import Samples, write_wav
from pipeline.errors import RunError
from pipeline.media.safety import ffmpeg_exe
from pipeline.synthetic.world.frames import Picture
from pipeline.synthetic.world.scenes import RATE

# The output must not depend on the number of threads, nor hold versions or dates in its header.
DETERMINISTIC = (
    "-threads",
    "1",
    "-fflags",
    "+bitexact",
    "-flags:v",
    "+bitexact",
    "-flags:a",
    "+bitexact",
    "-map_metadata",
    "-1",
)
VIDEO_CODEC = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "24", "-pix_fmt", "yuv420p", "-g", str(2 * RATE))
AUDIO_CODEC = ("-c:a", "aac", "-b:a", "64k")


def write_film(
    path: Path, pictures: Sequence[Picture], sound: Samples | None, rate: int, options: Sequence[str] = ()
) -> None:
    """Encode a film and rename it into place when it is complete. sound: at `rate` Hz, None for no track.

    options: further ones of ffmpeg. Raises RunError with ffmpeg's message.
    """
    height, width, _ = pictures[0].shape
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        film, wave = Path(folder, "film.mp4"), Path(folder, "sound.wav")
        if sound is not None:
            write_wav(wave, [sound], rate)
        size = ("-s", f"{width}x{height}", "-r", str(RATE))
        raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", *size, "-i", "pipe:0")
        tracks = ("-i", str(wave), *AUDIO_CODEC) if sound is not None else ()
        data = b"".join(picture.tobytes() for picture in pictures)
        _run_ffmpeg(path, film, (*raw, *tracks, *VIDEO_CODEC, *options), data)


def change_film(film: Path, path: Path, options: Sequence[str]) -> None:
    """Encode a changed copy of a film. options: of ffmpeg. Raises RunError with ffmpeg's message."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        _run_ffmpeg(path, Path(folder, "film.mp4"), ("-i", str(film), *VIDEO_CODEC, *AUDIO_CODEC, *options))


def _run_ffmpeg(path: Path, film: Path, arguments: Sequence[str], data: bytes = b"") -> None:
    """Encode a film and rename it into place."""
    command = [ffmpeg_exe(), "-v", "error", *arguments, *DETERMINISTIC, str(film)]
    result = subprocess.run(command, input=data, capture_output=True, check=False)
    if result.returncode:
        raise RunError(
            f"{path}: ffmpeg cannot write this film: {' '.join(result.stderr.decode(errors='replace').split())}"
        )
    os.replace(film, path)
