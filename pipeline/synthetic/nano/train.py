"""`make nano`: ola-nano from nothing, by the pipeline and the trainer themselves.

    world ─ run ─► frames and sound ─ lessons ─ import ─► shards ┐
    scenes ─ texts ────────────────────────────────────► shards ─┴─ train: primer, then text and all media ─► nano
    scenes ─ the encoders' own pre-training ─► blank model ──────┘

Each stage has a folder below the work folder and is passed over where that is whole: kill it and give it again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.synthetic.nano.evaluate import ASKED, examine
from pipeline.synthetic.world.vocabulary import SPLITS, Split

CLIPS, SCENES, PRIMERS = 2400, 5000, 3000  # films, written scenes, and written scenes of the primer
SEED, PRIMER_SEED = 0, 5
SEEING, HEARING = 2000, 1200  # steps of the encoders' own pre-training
EXAMINED = 60  # films of each held-out split
RECIPES = Path(__file__).with_name("recipes")
DONE, MARKS = "done.json", "marks.json"
TENSORS = "model.safetensors"


@dataclass(frozen=True)
class Work:
    """The folder in which nano is made, and who is told."""

    folder: Path
    say: Callable[[str], object]

    def stage(self, name: str, do: Callable[[Path], object]) -> Path:
        """A stage's folder; it is filled unless it is whole. What a kill left of it is there for the stage to use."""
        folder = self.folder / name
        if not (folder / DONE).exists():
            began = time.monotonic()
            folder.mkdir(parents=True, exist_ok=True)
            do(folder)
            took = round(time.monotonic() - began)
            (folder / DONE).write_text(json.dumps({"seconds": took}))
            self.say(f"{name}: done in {took} s")
        return folder


def make(work: Work) -> Path:
    """Make nano; returns the folder of its weights in float16, its card and its curves."""
    films = learned(work)
    lessons = work.stage("lessons", lambda folder: write_lessons(films, folder))
    reader, texts = make_reader(work)
    trained = work.stage("trained", lambda folder: train("media", reader, [lessons, *texts], folder))
    small = work.stage("small", lambda folder: halve(trained / "model", folder))
    marks = {split.name: _examined(work, small, split) for split in SPLITS[1:]}
    read = work.stage("read", lambda folder: _read(small, folder)) / MARKS
    trainings = [work.folder / "primer", work.folder / "text", trained]
    return work.stage("nano", lambda folder: _publish(small, marks, read, trainings, folder))


def make_reader(work: Work) -> tuple[Path, list[Path]]:
    """The folder of a model whose encoders see and hear and whose decoder reads, and the roots of what it read."""
    texts = work.stage("texts", _texts)
    seeing = work.stage("seeing", lambda folder: _see(folder, work.say))
    start = work.stage("start", lambda folder: _hear(seeing, folder, work.say))
    sources = [texts / "told", texts / "primer"]
    primer = work.stage("primer", lambda folder: train("primer", start, sources[1:], folder))
    text = work.stage("text", lambda folder: train("text", primer / "model", sources, folder))
    return text / "model", sources


def learned(work: Work) -> Path:
    """The films that are learned from, and a run over them."""
    return work.stage("films", lambda folder: make_films(folder, CLIPS, SEED))


def make_films(folder: Path, clips: int, seed: int) -> None:
    """Films of the world in `world`, with subtitles, and a run over them in `run`."""
    ola("world", "make", str(folder / "world"), "--clips", str(clips), "--seed", str(seed), "--subtitles")
    ola("run", str(folder / "world"), "--root", str(folder / "run"), "--set", "pack.val=0")


def write_lessons(films: Path, folder: Path, names: Collection[str] = ()) -> None:
    """Shards of what is to be learned from films: of the lessons of these names, or of all."""
    from pipeline.synthetic.nano import lessons

    file = str(folder / "lessons.jsonl")
    lessons.write_lessons(str(films / "run"), file, SEED, names)
    ola("import", file, "--root", str(folder), "--val-share", "0")


def held_out(work: Work, split: Split) -> Path:
    """The run over the films of a split that are asked about."""
    return work.stage(f"films-{split.name}", lambda folder: make_films(folder, EXAMINED, split.seeds[0])) / "run"


def examined(model: Path, run: Path, folder: Path, asked: Collection[str]) -> None:
    """Ask a model about the films of a run; the marks as JSON."""
    from ola.generation import Ola

    (folder / MARKS).write_text(json.dumps(examine(str(run), Ola.from_pretrained(model), asked=asked), indent=1))


def train(recipe: str, start: Path, sources: Sequence[Path], folder: Path, seed: int = SEED) -> None:
    """Train a model by one of nano's recipes into a folder, or go on where a kill left it."""
    shards = [part for source in sources for part in ("--shards", str(source))]
    where = ("--model", str(start), "--out", str(folder), "--seed", str(seed), "--save-every", "100")
    ola("train", str(RECIPES / f"{recipe}.yaml"), *shards, *where)


def halve(source: Path, target: Path) -> None:
    """Copy a model with its weights in float16, which is half of what they were trained in."""
    from safetensors.torch import load_file, save_file

    for file in source.iterdir():
        if file.suffix == ".json" and not file.name.startswith("training"):
            shutil.copy(file, target)
    tensors = load_file(source / TENSORS)
    save_file({name: tensor.half() for name, tensor in tensors.items()}, target / TENSORS, metadata={"format": "pt"})


def ola(*arguments: str) -> None:
    """Run a command as a user would. Raises CalledProcessError."""
    code = "from pipeline.cli import main; main()"
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)


def _texts(folder: Path) -> None:
    from pipeline.synthetic.nano.text_scenes import write_texts

    write_texts(str(folder / "told"), "texts", SCENES, SEED)
    write_texts(str(folder / "primer"), "primer", PRIMERS, PRIMER_SEED, primer=True)


def _see(folder: Path, say: Callable[[str], object]) -> None:
    """Blank weights with an encoder that sees."""
    from ola.processor import OlaProcessor
    from pipeline.synthetic.nano.blank import blank
    from pipeline.synthetic.nano.encoders import pretrain_vision
    from pipeline.synthetic.nano.tokenizer import tokenizer

    model = blank(SEED)
    pretrain_vision(model, SEEING, SEED, say)
    model.save_pretrained(folder)
    OlaProcessor(tokenizer(), model.config).save_pretrained(folder)


def _hear(seeing: Path, folder: Path, say: Callable[[str], object]) -> None:
    """The same with encoders that hear, too: weights to start from."""
    from ola.model import OlaForConditionalGeneration
    from pipeline.synthetic.nano.encoders import pretrain_hearing

    model = OlaForConditionalGeneration.from_pretrained(seeing)
    pretrain_hearing(model, HEARING, SEED, say)
    shutil.copytree(seeing, folder, ignore=shutil.ignore_patterns(DONE, TENSORS), dirs_exist_ok=True)
    model.save_pretrained(folder)


def _examined(work: Work, model: Path, split: Split) -> Path:
    """The marks of the model in a split that it did not learn from, as JSON."""
    films = held_out(work, split)
    return work.stage(f"marks-{split.name}", lambda folder: examined(model, films, folder, ASKED)) / MARKS


def _read(model: Path, folder: Path) -> None:
    """The marks of the model over scenes in words, as JSON."""
    from ola.generation import Ola
    from pipeline.synthetic.nano.text_evaluation import read

    (folder / MARKS).write_text(json.dumps(read(Ola.from_pretrained(model)), indent=1))


def _publish(model: Path, marks: Mapping[str, Path], read: Path, trainings: Sequence[Path], folder: Path) -> None:
    from pipeline.synthetic.nano.card import write_card

    shutil.copytree(model, folder, ignore=shutil.ignore_patterns(DONE), dirs_exist_ok=True)
    write_card(folder, marks, read, trainings)


if __name__ == "__main__":
    print(make(Work(Path(sys.argv[1]), print)))  # noqa: T201
