"""Generate a folder of films, each with a truth file and, if wanted, with subtitles.

The same seed and number always give the same files, so a folder can be extended by more films.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.sources.metadata import INFO
from pipeline.synthetic.world.audio import RATE, RenderedSound, render_sound
from pipeline.synthetic.world.captions import captions_by_view
from pipeline.synthetic.world.changes import fault_options
from pipeline.synthetic.world.frames import draw_frames
from pipeline.synthetic.world.plants import (
    LEAKED,
    NONE,
    PLANTS,
    SWAPPED,
    TITLE,
    choose_plants,
    compose_film,
    original,
    unplanted,
)
from pipeline.synthetic.world.scenes import RATE as FRAME_RATE
from pipeline.synthetic.world.scenes import Scene
from pipeline.synthetic.world.truth import TRUTH_SUFFIX, build_truth, dump_truth
from pipeline.synthetic.world.video_writer import change_film, write_film
from pipeline.synthetic.world.vocabulary import split_of_seed


def make_world(
    folder: Path, clips: int, seed: int = 0, subtitles: bool = False, kind: str = "", plants: Sequence[str] = ()
) -> Iterator[Scene]:
    """Write the clips 0 to `clips` - 1 of a seed into a folder; yields each scene once its files are written.

    kind: of all clips; empty: by their numbers. plants: what is planted in the clips, which take them in turn.

    Raises ConfigError for a seed outside of all splits, for an unknown plant, for a folder that cannot be made, and
    without espeak-ng.
    """
    split_of_seed(seed)
    chosen = choose_plants(plants) or (NONE,)
    if kind and plants:
        raise ConfigError(f"--{kind}: expected no --plant beside it, since plants choose the kind of clips; give one")
    _make_folder(folder)
    scenes = [compose_film(seed, n, kind=kind, plant=chosen[n % len(chosen)]) for n in range(clips)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # most of the time goes to ffmpeg, which runs on one thread a film
        yield from pool.map(partial(write_clip, folder, subtitles=subtitles), scenes)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot make the folder for films ({error.strerror})") from error


def write_clip(folder: Path, scene: Scene, subtitles: bool = False) -> Scene:
    """Write the files of a clip. The film is written last, so every film has a truth file.

    A copy is written beside its original; the original of a leak goes into a folder of its own (`benchmark_folder`).
    """
    sound, rendered = render_sound(scene)
    _write_text(folder / f"{scene.name}{TRUTH_SUFFIX}", dump_truth(build_truth(scene, rendered)))
    _write_companions(folder, scene, rendered, subtitles)
    change = PLANTS[scene.plant].change if scene.plant else None
    film = folder / f"{scene.name}.mp4"
    if change is None:
        options = fault_options(scene.plant, scene.seconds, FRAME_RATE)
        write_film(film, draw_frames(scene), None if scene.kind == "mute" else sound, RATE, options)
        return scene
    beside = benchmark_folder(folder) if scene.plant == LEAKED else folder
    _make_folder(beside)
    first = write_clip(beside, original(scene))
    change_film(beside / f"{first.name}.mp4", film, change.options)
    return scene


def benchmark_folder(folder: Path) -> Path:
    """Return the folder of the films of a made benchmark, beside the folder of films."""
    return folder.with_name(f"{folder.name}-benchmark")


def _write_companions(folder: Path, scene: Scene, rendered: list[RenderedSound], subtitles: bool) -> None:
    """Write subtitles and metadata. A film with a swapped sound track always has subtitles, those of its own sound."""
    if scene.plant == SWAPPED:
        rendered = render_sound(unplanted(scene))[1]
    cues = format_srt(rendered)
    if (subtitles or scene.plant == SWAPPED) and cues:  # an .srt file without cues could not be parsed
        _write_text(folder / f"{scene.name}.srt", cues)
    if scene.plant == TITLE:
        captions = captions_by_view(scene, scene.seconds / 2)
        meta = {"title": captions["sound"], "description": captions["joint"]}
        _write_text(folder / f"{scene.name}{INFO}", json.dumps(meta))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def format_srt(rendered: list[RenderedSound]) -> str:
    """Format the spoken phrases as SRT, a cue for each phrase."""
    spoken = [each for each in rendered if each.words]
    cues = (
        f"{n}\n{_format_timestamp(each.start)} --> {_format_timestamp(each.end)}\n{each.sound.text}\n"
        for n, each in enumerate(spoken, 1)
    )
    return "\n".join(cues)


def _format_timestamp(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d},{ms % 1000:03d}"
