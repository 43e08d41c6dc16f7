"""Generate a folder of films, each with a truth file and, if wanted, with subtitles.

The same seed and number always give the same files, so a folder can be extended by more films.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.synthetic.world.audio import RATE, RenderedSound, render_sound
from pipeline.synthetic.world.frames import draw_frames
from pipeline.synthetic.world.scenes import Scene, compose_scene
from pipeline.synthetic.world.truth import TRUTH_SUFFIX, build_truth, dump_truth
from pipeline.synthetic.world.video_writer import write_film
from pipeline.synthetic.world.vocabulary import split_of_seed


def make_world(folder: Path, clips: int, seed: int = 0, subtitles: bool = False, kind: str = "") -> Iterator[Scene]:
    """Write the clips 0 to `clips` - 1 of a seed into a folder; yields each scene once its files are written.

    kind: of all clips; empty: by their numbers.

    Raises ConfigError for a seed outside of all splits, for a folder that cannot be made, and without espeak-ng.
    """
    split_of_seed(seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot make the folder for films ({error.strerror})") from error
    scenes = [compose_scene(seed, number, kind=kind) for number in range(clips)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # most of the time goes to ffmpeg, which runs on one thread a film
        yield from pool.map(partial(write_clip, folder, subtitles=subtitles), scenes)


def write_clip(folder: Path, scene: Scene, subtitles: bool = False) -> Scene:
    """Write the files of a clip. The film is written last, so every film has a truth file."""
    sound, rendered = render_sound(scene)
    (folder / f"{scene.name}{TRUTH_SUFFIX}").write_text(dump_truth(build_truth(scene, rendered)), encoding="utf-8")
    cues = format_srt(rendered)
    if subtitles and cues:  # an .srt file without cues could not be parsed
        (folder / f"{scene.name}.srt").write_text(cues, encoding="utf-8")
    write_film(folder / f"{scene.name}.mp4", draw_frames(scene), None if scene.kind == "mute" else sound, RATE)
    return scene


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
