"""Run `make nano`: train ola-nano from scratch with the pipeline and `ola train`.

    world ─ run ─► frames and sound ─ lessons ─ import ─► shards ┐
    scenes ─ texts ────────────────────────────────────► shards ─┴─ train: primer, then text and all media ─► nano
    scenes ─ the encoders' own pre-training ─► blank model ──────┘

Each stage has a folder in the work folder. Completed stages are skipped, so an interrupted run can be started again.
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

from pipeline.synthetic.nano.evaluate import EVALUATED, evaluate_model
from pipeline.synthetic.world.vocabulary import SPLITS, WorldSplit

FILMS, WORDLESS_FILMS = 2400, 600  # numbers of films, and of those with signals alone
SCENES, PRIMER_SCENES = 5000, 3000  # numbers of scenes in text, and of scenes in the primer
SEED, PRIMER_SEED = 0, 5
VISION_STEPS, AUDIO_STEPS = 2000, 1200  # steps of pre-training the encoders
HELD_OUT_FILMS, HELD_OUT_WORDLESS = 60, 20  # of each split but `train`
RECIPES = Path(__file__).with_name("recipes")
DONE_FILE, RESULTS_FILE = "done.json", "marks.json"
TENSORS_FILE = "model.safetensors"


@dataclass(frozen=True)
class WorkFolder:
    """The work folder of `make nano`. report: gets progress as text."""

    folder: Path
    report: Callable[[str], object]

    def run_stage(self, name: str, do: Callable[[Path], object]) -> Path:
        """Run a stage unless it is complete; returns its folder, which may hold files of an interrupted try."""
        folder = self.folder / name
        if not (folder / DONE_FILE).exists():
            began = time.monotonic()
            folder.mkdir(parents=True, exist_ok=True)
            do(folder)
            took = round(time.monotonic() - began)
            (folder / DONE_FILE).write_text(json.dumps({"seconds": took}))
            self.report(f"{name}: done in {took} s")
        return folder


def make_nano(work: WorkFolder) -> Path:
    """Train nano; returns the folder with its float16 weights, its card and its curves."""
    films = make_training_films(work)
    lessons = work.run_stage("lessons", lambda folder: import_lessons(films, folder))
    reader, texts = make_text_model(work)
    trained = work.run_stage("trained", lambda folder: train_recipe("media", reader, [lessons, *texts], folder))
    small = work.run_stage("small", lambda folder: save_half_precision(trained / "model", folder))
    results = {split.name: _evaluate_split(work, small, split) for split in SPLITS[1:]}
    read = work.run_stage("read", lambda folder: _evaluate_text(small, folder)) / RESULTS_FILE
    trainings = [work.folder / "primer", work.folder / "text", trained]
    return work.run_stage("nano", lambda folder: _publish(small, results, read, trainings, folder))


def make_text_model(work: WorkFolder) -> tuple[Path, list[Path]]:
    """Pre-train the encoders and train the decoder on text; returns the model's folder and the roots of the texts."""
    texts = work.run_stage("texts", _write_texts)
    seeing = work.run_stage("seeing", lambda folder: _pretrain_vision(folder, work.report))
    start = work.run_stage("start", lambda folder: _pretrain_audio(seeing, folder, work.report))
    sources = [texts / "told", texts / "primer"]
    primer = work.run_stage("primer", lambda folder: train_recipe("primer", start, sources[1:], folder))
    text = work.run_stage("text", lambda folder: train_recipe("text", primer / "model", sources, folder))
    return text / "model", sources


def make_training_films(work: WorkFolder) -> Path:
    """Make the training films and a run over them."""
    return work.run_stage("films", lambda folder: make_films(folder, FILMS, WORDLESS_FILMS, SEED))


def make_films(folder: Path, clips: int, wordless: int, seed: int) -> None:
    """Make films with subtitles in the subfolder `world`, and a run over them in the subfolder `run`.

    clips, wordless: numbers of films of all kinds, and of films with signals alone.
    """
    run_ola("world", "make", str(folder / "world"), "--clips", str(clips), "--seed", str(seed), "--subtitles")
    run_ola("world", "make", str(folder / "world"), "--clips", str(wordless), "--seed", str(seed), "--wordless")
    run_ola("run", str(folder / "world"), "--root", str(folder / "run"), "--set", "pack.val=0")


def import_lessons(films: Path, folder: Path, names: Collection[str] = ()) -> None:
    """Write and import the lessons of films as shards. names: lessons to write; empty: all."""
    from pipeline.synthetic.nano import lessons

    file = str(folder / "lessons.jsonl")
    lessons.write_lessons(str(films / "run"), file, SEED, names)
    run_ola("import", file, "--root", str(folder), "--val-share", "0")


def make_held_out_films(work: WorkFolder, split: WorldSplit) -> Path:
    """Make held-out films of a split and a run over them; returns the root of the run."""

    def make(folder: Path) -> None:
        make_films(folder, HELD_OUT_FILMS, HELD_OUT_WORDLESS, split.seeds[0])

    return work.run_stage(f"films-{split.name}", make) / "run"


def evaluate_films(model: Path, run: Path, folder: Path, names: Collection[str]) -> None:
    """Evaluate a model on the films of a run and write the results as JSON."""
    from ola.generation import Ola

    (folder / RESULTS_FILE).write_text(
        json.dumps(evaluate_model(str(run), Ola.from_pretrained(model), names=names), indent=1)
    )


def train_recipe(recipe: str, start: Path, sources: Sequence[Path], folder: Path, seed: int = SEED) -> None:
    """Train a model by one of nano's recipes, or resume an interrupted training."""
    shards = [part for source in sources for part in ("--shards", str(source))]
    where = ("--model", str(start), "--out", str(folder), "--seed", str(seed), "--save-every", "100")
    run_ola("train", str(RECIPES / f"{recipe}.yaml"), *shards, *where)


def save_half_precision(source: Path, target: Path) -> None:
    """Copy a model with its weights in float16."""
    from safetensors.torch import load_file, save_file

    for file in source.iterdir():
        if file.suffix == ".json" and not file.name.startswith("training"):
            shutil.copy(file, target)
    tensors = load_file(source / TENSORS_FILE)
    save_file(
        {name: tensor.half() for name, tensor in tensors.items()}, target / TENSORS_FILE, metadata={"format": "pt"}
    )


def run_ola(*arguments: str) -> None:
    """Run an `ola` command in a new process. Raises CalledProcessError."""
    code = "from pipeline.cli import main; main()"
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)


def _write_texts(folder: Path) -> None:
    from pipeline.synthetic.nano.text_scenes import write_text_scenes

    write_text_scenes(str(folder / "told"), "texts", SCENES, SEED)
    write_text_scenes(str(folder / "primer"), "primer", PRIMER_SCENES, PRIMER_SEED, primer=True)


def _pretrain_vision(folder: Path, report: Callable[[str], object]) -> None:
    """Write initial weights with a pre-trained vision tower, and the processor."""
    from ola.processor import OlaProcessor
    from pipeline.synthetic.nano.encoders import pretrain_vision
    from pipeline.synthetic.nano.initial_weights import initial_model
    from pipeline.synthetic.nano.tokenizer import build_tokenizer

    model = initial_model(SEED)
    pretrain_vision(model, VISION_STEPS, SEED, report)
    model.save_pretrained(folder)
    OlaProcessor(build_tokenizer(), model.config).save_pretrained(folder)


def _pretrain_audio(seeing: Path, folder: Path, report: Callable[[str], object]) -> None:
    """Write the weights of the folder `seeing` with pre-trained audio encoders, and the processor."""
    from ola.model import OlaForConditionalGeneration
    from pipeline.synthetic.nano.encoders import pretrain_audio

    model = OlaForConditionalGeneration.from_pretrained(seeing)
    pretrain_audio(model, AUDIO_STEPS, SEED, report)
    shutil.copytree(seeing, folder, ignore=shutil.ignore_patterns(DONE_FILE, TENSORS_FILE), dirs_exist_ok=True)
    model.save_pretrained(folder)


def _evaluate_split(work: WorkFolder, model: Path, split: WorldSplit) -> Path:
    """Evaluate the model on a held-out split; returns the file of the results."""
    films = make_held_out_films(work, split)
    return (
        work.run_stage(f"marks-{split.name}", lambda folder: evaluate_films(model, films, folder, EVALUATED))
        / RESULTS_FILE
    )


def _evaluate_text(model: Path, folder: Path) -> None:
    """Evaluate the model on scenes in text and write the results as JSON."""
    from ola.generation import Ola
    from pipeline.synthetic.nano.text_evaluation import evaluate_on_text

    (folder / RESULTS_FILE).write_text(json.dumps(evaluate_on_text(Ola.from_pretrained(model)), indent=1))


def _publish(model: Path, results: Mapping[str, Path], read: Path, trainings: Sequence[Path], folder: Path) -> None:
    from pipeline.synthetic.nano.card import write_card

    shutil.copytree(model, folder, ignore=shutil.ignore_patterns(DONE_FILE), dirs_exist_ok=True)
    write_card(folder, results, read, trainings)


if __name__ == "__main__":
    print(make_nano(WorkFolder(Path(sys.argv[1]), print)))  # noqa: T201
