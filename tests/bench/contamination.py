"""How much of a benchmark is found in a run, as clips and as texts, and how much else is taken for it.

    python -m tests.bench.contamination clips 5200 100    made films of 100 seeds from 5200 on, and 1,000 unlike clips
    python -m tests.bench.contamination texts 9000 1000   texts of 1,000 seeds from 4000 on, and 1,000 unlike texts

Clips: each film is a clip of the benchmark. The run has a copy of it that is encoded again at a low rate, a cut of it,
and a cut that is made smaller and encoded again. Unlike are films of other seeds, each as a whole, mirrored, and its
halves: 1,000 clips of 250 films.
Texts: the run has each text of the benchmark with a share of its words changed, alone and inside of unlike texts.

Of texts of 1,000 seeds from 9000 on, found alone and inside others; of 1,000 unlike texts none was a hit:

| words changed | alone | inside |
|---|---|---|
| 5 % | 1,000 | 1,000 |
| 10 % | 999 | 999 |
| 20 % | 751 | 762 |
| 50 % | 0 | 2 |

Of clips of 100 seeds from 5200 on, 100 of each kind of leak were found, and none under another film. Of 1,000 unlike
clips with music none was a hit (run with 30 seeds). With unlike films that speak, 6 of 1,000 clips were hits: the
synthetic world's signals, such as its buzz, sound the same in many films.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from manifests.duplicate_records import Fingerprint
from pipeline.duplicates.candidates import find_matches
from pipeline.duplicates.fingerprints import from_tables
from pipeline.duplicates.relations import relate
from pipeline.hashing.clip import make_fingerprint
from pipeline.media.audio import RATE
from pipeline.pack.near_text import NearTexts
from pipeline.synthetic.world.audio import RATE as WORLD_RATE
from tests.bench.domain_text import change_words, make_text
from tests.bench.duplicate_films import FPS, HEIGHT, WIDTH, change_film, frames, make_film, music
from tests.bench.duplicate_recall import fingerprint_film, table_of

SECONDS = 12.0
UNLIKE_SEED = 1_000_000  # seeds of texts that no benchmark has begin here
UNLIKE_FILM = 30_000  # and of films, whose sound is music: the voice and the signals of the world say the same again
LEAKS: Mapping[str, Sequence[str]] = {
    "re-encode": ("-crf", "36", "-b:a", "32k"),
    "cut": ("-ss", "2.7", "-t", "6"),
    "cut and re-encode": ("-ss", "4.3", "-t", "6", "-vf", "scale=192:144", "-crf", "34", "-b:a", "32k"),
}
CLIPS_A_FILM = 4


def leaked_prints(folder: Path, seed: int) -> list[Fingerprint]:
    """Fingerprint the film of a seed, as `benchmark`, and its leaks; the files are deleted."""
    film = make_film(folder / f"{seed}.mp4", seed, SECONDS, speech=seed % 4 == 0)
    found = [fingerprint_film(film, f"{seed}/benchmark")]
    for number, (name, options) in enumerate(LEAKS.items()):
        copy = change_film(film, folder / f"{seed}-{number}.mp4", options)
        found.append(fingerprint_film(copy, f"{seed}/{name}"))
        copy.unlink()
    film.unlink()
    return found


def unlike_prints(seed: int) -> list[Fingerprint]:
    """Fingerprint clips of a film that no benchmark has: all of it, its mirror, and its halves."""
    draw = np.random.default_rng([seed, 7])
    sound = music(draw, SECONDS)
    resampled = np.interp(np.arange(round(SECONDS * RATE)) * WORLD_RATE / RATE, np.arange(len(sound)), sound)
    shown = [
        np.frombuffer(frame, np.uint8).reshape(HEIGHT, WIDTH, 3) for frame in frames(draw, SECONDS)[FPS // 2 :: FPS]
    ]
    half = len(shown) // 2
    parts = {"whole": shown, "mirror": [each[:, ::-1] for each in shown], "first": shown[:half], "last": shown[half:]}
    found = []
    for name, pictures in parts.items():
        first = len(shown) - len(pictures) if name == "last" else 0
        samples = resampled[first * RATE :][: len(pictures) * RATE].astype(np.int16)
        times = [1000 * n + 500 for n in range(len(pictures))]
        jpegs = [jpeg_of(each) for each in pictures]
        found.append(make_fingerprint(f"{seed}/unlike {name}", float(len(pictures)), times, jpegs, samples))
    return found


def jpeg_of(picture: NDArray[np.uint8]) -> bytes:
    """Encode a picture as `extract` does by default."""
    with io.BytesIO() as file:
        Image.fromarray(np.ascontiguousarray(picture)).save(file, "JPEG", quality=90)
        return file.getvalue()


def match(benchmark: Sequence[Fingerprint], run: Sequence[Fingerprint]) -> Iterator[tuple[str, str, str]]:
    """Yield (clip of the benchmark, clip of the run, relation) of all that are alike."""
    prints = from_tables([table_of(benchmark), table_of(run)])
    for a, b in find_matches(prints, len(benchmark)).tolist():
        if (found := relate(prints, b, a)) is not None:
            yield str(prints.ids[a]), str(prints.ids[b]), found.name


def measure_clips(seeds: Sequence[int], unlike: int) -> None:
    """Print the recall of each kind of leak, and the hits among unlike clips."""
    with tempfile.TemporaryDirectory(prefix="ola-bench-") as name, ThreadPoolExecutor(2) as pool:
        families = list(pool.map(partial(leaked_prints, Path(name)), seeds))
        others = range(UNLIKE_FILM, UNLIKE_FILM + -(-unlike // CLIPS_A_FILM))
        strange = [each for of in pool.map(unlike_prints, others) for each in of][:unlike]
    benchmark = [family[0] for family in families]
    hits = list(match(benchmark, [each for family in families for each in family[1:]]))
    for kind in LEAKS:
        found = {one for one, other, _ in hits if other == one.replace("benchmark", kind)}
        print(f"{kind:20} found {len(found)} of {len(families)}", flush=True)
    wrong = [(one, other) for one, other, _ in hits if one.split("/")[0] != other.split("/")[0]]
    strange_hits = list(match(benchmark, strange))
    false = {other for _, other, _ in strange_hits}
    print(f"leaks under another film {len(wrong)} of {len(families) * len(LEAKS)}")
    print(f"unlike clips that are hits {len(false)} of {len(strange)}", flush=True)
    for hit in strange_hits:
        print("  ", *hit)


def measure_texts(seeds: Sequence[int], unlike: int) -> None:
    """Print the recall of changed texts, and the hits among unlike texts."""
    texts = [make_text(seed) for seed in seeds]
    near = NearTexts(texts)
    for share in (0.05, 0.1, 0.2, 0.5):
        changed = [change_words(text, share, seed) for seed, text in zip(seeds, texts, strict=True)]
        found = [near.find(text) for text in changed]
        inside = [
            near.find(f"{make_text(UNLIKE_SEED * 3 + n)} {text} {make_text(UNLIKE_SEED * 4 + n)}")
            for n, text in enumerate(changed)
        ]
        counts = [sum(hit is not None for hit in hits) for hits in (found, inside)]
        print(
            f"{share:.0%} of the words changed: alone {counts[0]}, inside others {counts[1]} of {len(texts)}",
            flush=True,
        )
    false = sum(near.find(make_text(UNLIKE_SEED * 2 + n)) is not None for n in range(unlike))
    print(f"unlike texts that are hits {false} of {unlike}")


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.contamination", description=__doc__)
    parser.add_argument("what", choices=("clips", "texts"))
    parser.add_argument("seed", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--unlike", type=int, default=1000)
    chosen = parser.parse_args()
    seeds = range(chosen.seed, chosen.seed + chosen.count)
    (measure_clips if chosen.what == "clips" else measure_texts)(seeds, chosen.unlike)


if __name__ == "__main__":
    main()
