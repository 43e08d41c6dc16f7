"""`ola doctor`: what this machine has of what a run needs, and how to get what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

NEEDED = ("torch", "transformers", "ray", "webdataset", "ffmpeg-python", "decord", "pyarrow", "duckdb", "av")
FILTERS = ("scdet", "freezedetect", "blackdetect", "silencedetect", "ebur128")
DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "aac", "mp3", "opus", "flac", "vorbis")
DEPLOY = Path(__file__).parents[1] / "deploy"
ROOM = 10e9  # bytes free: an hour of video makes about 150 MB of frames and sound


@dataclass(frozen=True)
class Finding:
    """One line of the report; `advice` is how to get what is missing."""

    good: bool
    what: str
    advice: str = ""
    needed: bool = True


def examine() -> int:
    """Print the report; returns how many needed things are missing."""
    missing = 0
    for finding in (finding for look in LOOKS for finding in look()):
        mark = "ok     " if finding.good else "MISSING" if finding.needed else "absent "
        print(f"{mark} {finding.what}" + (f": {finding.advice}" if finding.advice and not finding.good else ""))
        missing += finding.needed and not finding.good
    return missing


def packages() -> Iterator[Finding]:
    """The named dependencies, and WhisperX, which is an extra."""
    for name in (*NEEDED, "whisperx"):
        needed = name != "whisperx"
        advice = f"pip install {name}" if needed else "pip install 'ola-pipeline[whisperx]' for speech recognition"
        try:
            yield Finding(True, f"{name} {version(name)}")
        except PackageNotFoundError:
            yield Finding(False, name, advice, needed)


def ffmpeg() -> Iterator[Finding]:
    """The ffmpeg of imageio-ffmpeg, and the filters that the scan of a video uses."""
    from pipeline.media.safety import ffmpeg_exe

    try:
        exe = ffmpeg_exe()
        listed = subprocess.run([exe, "-hide_banner", "-filters"], capture_output=True, text=True, check=True).stdout
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        yield Finding(False, f"ffmpeg ({error})", "pip install --force-reinstall imageio-ffmpeg")
        return
    yield Finding(True, f"ffmpeg {exe}")
    for name in FILTERS:
        advice = "unset IMAGEIO_FFMPEG_EXE, or let it name an ffmpeg that has the filter"
        yield Finding(f" {name} " in listed, f"ffmpeg filter {name}", advice)


def codecs() -> Iterator[Finding]:
    """Decoders that PyAV brings."""
    import av

    for name in DECODERS:
        yield Finding(name in av.codecs_available, f"decoder {name}", "pip install --force-reinstall av")


def ray_ready() -> Iterator[Finding]:
    """Whether Ray can be imported, and which cluster a run would use."""
    address = os.environ.get("RAY_ADDRESS")
    try:
        import ray

        where = f"cluster at {address}" if address else "its own, on this machine"
        yield Finding(True, f"ray {ray.__version__}: {where}")
    except ImportError as error:
        yield Finding(False, f"ray ({error})", "pip install 'ray[default,data,train]'")


def room() -> Iterator[Finding]:
    """Free disk where drafts and copies of remote files go, and here."""
    for name, path in (("the temporary folder", tempfile.gettempdir()), ("this folder", os.getcwd())):
        free = shutil.disk_usage(path).free
        what = f"{free / 1e9:.0f} GB free in {name} ({path})"
        yield Finding(free > ROOM, what, "free some, or set TMPDIR to a larger disk", needed=False)


def accelerators() -> Iterator[Finding]:
    """GPUs: not needed before a model annotates or trains."""
    import torch

    count = torch.cuda.device_count()
    names = ", ".join(torch.cuda.get_device_name(n) for n in range(count))
    advice = "nothing here needs one yet; install torch's CUDA build to use one"
    yield Finding(count > 0, f"{count} GPUs {names}".rstrip(), advice, needed=False)


def deployment() -> Iterator[Finding]:
    """Where the container files and the RayJob lie."""
    there = (DEPLOY / "rayjob.yaml").is_file()
    yield Finding(there, f"files for containers and Kubernetes: {DEPLOY}", "install the package again", needed=False)


LOOKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    packages,
    ffmpeg,
    codecs,
    ray_ready,
    room,
    accelerators,
    deployment,
)
