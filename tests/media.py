"""Small videos and sounds made with imageio-ffmpeg's binary: each is made once in a session, and copied where needed.

Frames of `numbered` videos bear their own number as eight black or white stripes, so that a test can tell which frame
a picture is whatever codec, size and quality it went through.
"""

from __future__ import annotations

import atexit
import io
import shutil
import subprocess
import tempfile
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifests.field_types import type_mismatch
from manifests.records import Source, Video
from pipeline.media.safety import ffmpeg_exe
from pipeline.steps.ingest import Ingest

X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "12", "-pix_fmt", "yuv420p")
AAC = ("-c:a", "aac", "-b:a", "64k")
STRIPES = "geq=lum='if(bitand(N,pow(2,floor(X*8/W))),235,16)':cb=128:cr=128"
BITS = 8
LOUD = 0.05 * 32768  # what codecs make of silence stays under it


@cache
def store() -> Path:
    """Folder of what was made in this session."""
    folder = Path(tempfile.mkdtemp(prefix="ola-test-media-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def ffmpeg(*arguments: str | Path) -> None:
    """Run ffmpeg; its complaints are in the error."""
    command = [ffmpeg_exe(), "-nostdin", "-y", "-v", "error", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


@cache
def made(name: str, *arguments: str | Path) -> Path:
    """The file `name` that ffmpeg makes of the arguments; equal calls give the same file."""
    file = Path(tempfile.mkdtemp(dir=store()), name)
    ffmpeg(*arguments, file)
    return file


@cache
def written(name: str, text: str) -> Path:
    """A file of that text."""
    file = Path(tempfile.mkdtemp(dir=store()), name)
    file.write_text(text, encoding="utf-8")
    return file


def numbered(
    name: str,
    frames: int = 100,
    *options: str,
    size: str = "160x120",
    rate: str = "25",
    sound: bool = True,
    codec: tuple[str, ...] = X264,
    filters: str = "",
) -> Path:
    """A video whose frames bear their numbers; `sound` adds one beep of 1 kHz at 1.0..1.1 s in silence."""
    picture = f"color=black:s={size}:r={rate},format=yuv420p,{STRIPES}{filters}"
    length = float(frames / Fraction(rate))
    sounds = ("-f", "lavfi", "-t", f"{length}", "-i", beeps(1.0)) if sound else ()
    codecs = (*codec, *(AAC if sound and "-c:a" not in options else ()))
    return made(name, "-f", "lavfi", "-i", picture, *sounds, "-frames:v", str(frames), *codecs, *options)


def beeps(*times: float, rate: int = 48000) -> str:
    """A source of silence with a tenth of a second of 1 kHz at each time; the tone starts at its full height."""
    inside = "+".join(f"between(t,{t},{t + 0.1})" for t in times)
    return f"aevalsrc='0.5*cos(2*PI*1000*t)*({inside})':s={rate}"


def pattern(name: str, seconds: float = 3, *options: str, size: str = "160x120", sound: bool = True) -> Path:
    """An ordinary short video: ffmpeg's moving test picture, and a tone."""
    tone = ("-f", "lavfi", "-i", "sine=f=440:r=44100") if sound else ()
    codecs = (*X264, *(AAC if sound else ()))
    picture = f"testsrc2=s={size}:r=25"
    return made(name, "-f", "lavfi", "-i", picture, *tone, "-t", str(seconds), *codecs, *options)


def number_of(picture: NDArray[Any]) -> int:
    """The number that a frame of a `numbered` video bears; `picture` is (height, width, 3)."""
    height, width = picture.shape[:2]
    grey = picture[height // 3 : 2 * height // 3].astype(float).mean(axis=(0, 2))
    stripes = [grey[int((n + 0.3) * width / BITS) : int((n + 0.7) * width / BITS)].mean() for n in range(BITS)]
    return sum(1 << n for n, value in enumerate(stripes) if value > 127)


def pixels(jpeg: bytes | memoryview) -> NDArray[Any]:
    """A JPEG as (height, width, 3) uint8."""
    from PIL import Image

    with Image.open(io.BytesIO(bytes(jpeg))) as image:
        return np.asarray(image.convert("RGB"))


def onset(pcm: NDArray[Any], rate: int = 16000) -> float | None:
    """Seconds until the sound first rises to half its height; None for silence."""
    height = np.abs(pcm.astype(float))
    loud = np.flatnonzero(height > max(height.max(initial=0) / 2, LOUD))
    return float(loud[0]) / rate if len(loud) else None


def samples(wav: bytes | memoryview) -> NDArray[np.int16]:
    """The samples of a canonical 16-bit WAV."""
    return np.frombuffer(bytes(wav)[44:], dtype="<i2")


def video_of(path: Path) -> Video:
    """What ingest makes of a file. Raises BadMedia; fails where a rule drops it."""
    step = Ingest()
    step.scratch = tempfile.gettempdir()
    (answer,) = step.run([Source(id="source", uri=str(path), bytes=path.stat().st_size)])
    assert isinstance(answer, list), answer
    assert type_mismatch(Video, answer[0]) is None
    return answer[0]
