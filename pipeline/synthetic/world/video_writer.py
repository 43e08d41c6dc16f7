"""Write frames and sound as an .mp4 (H.264, AAC). On one machine the same input gives the same bytes."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ola.speech.speakers import Samples, write_wav
from pipeline.errors import RunError
from pipeline.media.safety import ffmpeg_exe
from pipeline.synthetic.world.frames import Picture
from pipeline.synthetic.world.scenes import RATE, SIDE

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


def write_film(path: Path, pictures: Iterable[Picture], sound: Samples | None, rate: int) -> None:
    """Encode a film and rename it into place when it is complete. sound: at `rate` Hz, None for no track.

    Raises RunError with ffmpeg's message.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        film, wave = Path(folder, "film.mp4"), Path(folder, "sound.wav")
        if sound is not None:
            write_wav(wave, [sound], rate)
        raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIDE}x{SIDE}", "-r", str(RATE), "-i", "pipe:0")
        tracks = ("-i", str(wave), *AUDIO_CODEC) if sound is not None else ()
        command = [ffmpeg_exe(), "-v", "error", *raw, *tracks, *VIDEO_CODEC, *DETERMINISTIC, str(film)]
        data = b"".join(picture.tobytes() for picture in pictures)
        result = subprocess.run(command, input=data, capture_output=True, check=False)
        if result.returncode:
            raise RunError(
                f"{path}: ffmpeg cannot write this film: {' '.join(result.stderr.decode(errors='replace').split())}"
            )
        os.replace(film, path)
