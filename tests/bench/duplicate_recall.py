"""How many changed copies of films are found, under which name, and how many unlike films are taken for alike.

    python -m tests.bench.duplicate_recall 900 40            40 made films from seed 900 on, each with 15 changes
    python -m tests.bench.duplicate_recall 900 0 FOLDER      the films of a folder, cut to pieces of 10 seconds

Every film is fingerprinted whole, as one clip. Films of unlike seeds are unlike, but for those made of the picture of
one film and the sound of another.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from manifests.duplicate_records import DuplicatePair, Fingerprint
from manifests.schema import record_schema
from pipeline.duplicates.fingerprints import from_tables
from pipeline.duplicates.grouping import find_pairs
from pipeline.hashing.clip import make_fingerprint
from pipeline.media.audio_extraction import ClipRequest
from pipeline.media.extraction import extract_clips
from pipeline.media.render import FrameRenderer
from pipeline.media.video_file import fetch_original
from pipeline.steps.extract import Frames
from pipeline.synthetic.world.changes import CHANGES
from tests.bench.duplicate_films import CODECS, change_film, make_film, swap_sound
from tests.media import ffmpeg, video_of

DUB, COVER = "dub", "cover"  # another film's sound, another film's picture
RELATIONS: Mapping[str, str] = {name: each.relation for name, each in CHANGES.items()} | {
    DUB: "same picture, other sound",
    COVER: "same sound, other picture",
}
ORIGINAL = "original"


def fingerprint_film(file: Path, name: str) -> Fingerprint:
    """Fingerprint a whole film as one clip, from the frames and the sound that `extract` would store."""
    video = video_of(file)
    request = ClipRequest(0, int(video.duration * 1000), Frames().times(0, video.duration))
    local = fetch_original(video, tempfile.gettempdir())
    (clip,) = extract_clips(local, video, [request], FrameRenderer.for_video(video, 90))
    samples = np.frombuffer(b"" if clip.pcm is None else bytes(clip.pcm), "<i2")
    times, jpegs = [ms for ms, _ in clip.frames], [jpeg for _, jpeg in clip.frames]
    return make_fingerprint(name, video.duration, times, jpegs, samples)


def changed_films(film: Path, other: Path, changes: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Yield (change, file) for a film and its changed copies, beside it. other: for its picture and sound."""
    yield ORIGINAL, film
    for number, change in enumerate(changes):
        file = film.with_name(f"{film.stem}-{number}.mp4")
        if change in {DUB, COVER}:
            picture, sound = (film, other) if change == DUB else (other, film)
            yield change, swap_sound(picture, sound, file)
        else:
            yield change, change_film(film, file, CHANGES[change].options)


def fingerprint_family(
    film: Path, other_of: Mapping[Path, Path], changes: Sequence[str] = tuple(RELATIONS)
) -> list[Fingerprint]:
    """Fingerprint a film and its changed copies, as `<film>/<change>`. The copies are deleted."""
    found = []
    for change, file in changed_films(film, other_of[film], changes):
        found.append(fingerprint_film(file, f"{film.stem}/{change}"))
        if change != ORIGINAL:
            file.unlink()
    return found


def table_of(prints: Sequence[Fingerprint]) -> pa.Table:
    """The rows of some fingerprints."""
    return pa.Table.from_pylist([asdict(each) for each in prints], schema=record_schema(Fingerprint))


@dataclass(frozen=True)
class Recall:
    """Of `films` films: how many changed copies were found, and under their right name, by change.

    unlike: pairs of unlike clips. false: those of them that were found.
    """

    films: int
    found: Mapping[str, int]
    right: Mapping[str, int]
    unlike: int
    false: Sequence[DuplicatePair]


def measure_recall(families: Sequence[Sequence[Fingerprint]], changes: Sequence[str] = tuple(RELATIONS)) -> Recall:
    """Compare the clips of all families with each other."""
    prints = from_tables([table_of([each for family in families for each in family])])
    found, right, false = defaultdict[str, int](int), defaultdict[str, int](int), []
    for pair in find_pairs(prints, [""]):
        (film, change), (other_film, other_change) = (name.split("/") for name in (pair.clip, pair.other))
        if film == other_film and ORIGINAL in {change, other_change}:
            name = other_change if change == ORIGINAL else change
            found[name] += 1
            right[name] += pair.relation == RELATIONS[name]
        elif film != other_film and not {DUB, COVER} & {change, other_change}:
            false.append(pair)
    plain = [sum(not each.id.endswith((f"/{DUB}", f"/{COVER}")) for each in family) for family in families]
    unlike = (sum(plain) ** 2 - sum(count**2 for count in plain)) // 2
    found_of, right_of = ({name: counted[name] for name in changes} for counted in (found, right))
    return Recall(len(families), found_of, right_of, unlike, false)


def make_films(folder: Path, seeds: Iterable[int]) -> list[Path]:
    """Make the films of some seeds; those of even seeds speak."""
    return [make_film(folder / f"made{seed}.mp4", seed, speech=seed % 2 == 0) for seed in seeds]


def cut_films(folder: Path, source: Path, seconds: float = 10.0) -> list[Path]:
    """Cut the videos of a folder into pieces of some seconds."""
    found = []
    for video in sorted(source.glob("*.mp4")):
        for number in range(int(video_of(video).duration / seconds)):
            file = folder / f"{video.stem}{number}.mp4"
            ffmpeg("-ss", f"{number * seconds}", "-t", f"{seconds}", "-i", video, *CODECS, file)
            found.append(file)
    return found


def main() -> None:
    """Print recall and right names by change, and the false pairs."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.duplicate_recall", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("films", type=int)
    parser.add_argument("folder", type=Path, nargs="?")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ola-bench-") as name, ThreadPoolExecutor(2) as pool:
        folder = Path(name)
        films = make_films(folder, range(chosen.seed, chosen.seed + chosen.films))
        films += cut_films(folder, chosen.folder) if chosen.folder else []
        other_of = dict(zip(films, films[1:] + films[:1], strict=True))
        report(measure_recall(list(pool.map(partial(fingerprint_family, other_of=other_of), films))))


def report(recall: Recall) -> None:
    """Print what was measured."""
    for name, found in recall.found.items():
        print(f"{name:16} found {found} of {recall.films}, right relation {recall.right[name]}")
    print(f"unlike pairs {recall.unlike:,}, of which taken for alike {len(recall.false)}")
    for pair in recall.false[:20]:
        print("  ", pair)


if __name__ == "__main__":
    main()
