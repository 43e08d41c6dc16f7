"""Run `make demo`: annotate films of known content with ola-nano, score the result, and train on it.

    films ─ clips ─ captions, transcripts, questions ─ shards ─ scores against the truth ─ training ─ report

Takes a few minutes on two cores. The films are of a split that nano was not trained on; three more files are bad.
"""

from __future__ import annotations

import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

from pipeline.synthetic.nano import train

SEED, HELD_OUT_SEED = 2026, 2027  # seeds of the split `test`
CLIPS, HELD_OUT_CLIPS = 12, 4
STEPS = 6  # training steps
TRANSCRIBERS = ("whisperx", "ola")  # sources of transcripts that are used if installed
CAPTIONS = "SELECT \"view\", any_value(text) AS one FROM caption WHERE status = 'ok' GROUP BY ALL ORDER BY 1"


def run_ola(*arguments: str) -> None:
    """Print a command and run it."""
    print(f"\n$ ola {' '.join(repr(a) if ' ' in a else a for a in arguments)}", flush=True)  # noqa: T201
    train.run_ola(*arguments)


def announce(text: str) -> None:
    """Print a line between two commands."""
    print(f"\n{text}", flush=True)  # noqa: T201


def add_bad_files(films: Path) -> None:
    """Add a copy of a film, a truncated film, and a playlist that refers to a local file."""
    first = min(films.glob("*.mp4"))
    shutil.copy(first, films / "again.mp4")
    (films / "cut off.mp4").write_bytes(first.read_bytes()[:20000])
    (films / "playlist.mp4").write_text("#EXTM3U\n#EXTINF:4,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n")


def transcribe_setting() -> str:
    """Return the setting `transcribe.sources` with the installed sources."""
    names = [name for name in TRANSCRIBERS if name == "ola" or find_spec(name)]
    return f"transcribe.sources=[{', '.join(names)}]"


def annotate(folder: Path) -> str:
    """Run the pipeline over new films and show its results; returns the root of the run."""
    films, root = folder / "films", str(folder / "run")
    run_ola("world", "make", str(films), "--clips", str(CLIPS), "--seed", str(SEED))
    add_bad_files(films)
    settings = ("annotator.model=nano", transcribe_setting(), "screen.least_words=2", "pack.val=0")
    run_ola("run", str(films), "--root", root, *(part for setting in settings for part in ("--set", setting)))
    run_ola("why", root, str(films / "playlist.mp4"))
    run_ola("sql", root, CAPTIONS)
    announce("Score of nano's annotations against the content of the films:")
    run_ola("world", "score", root, "--questions", "3", "--faults", "3")
    run_ola("check", root)
    return root


def train_and_compare(folder: Path, root: str) -> None:
    """Train a few steps on the shards of a run; evaluate on other films before and after."""
    from pipeline.synthetic.nano.lessons import write_lessons

    announce("Evaluation on questions about other films, with true answers:")
    films, other_root, lessons = folder / "other films", str(folder / "other"), str(folder / "questions.jsonl")
    run_ola("world", "make", str(films), "--clips", str(HELD_OUT_CLIPS), "--seed", str(HELD_OUT_SEED), "--subtitles")
    run_ola("run", str(films), "--root", other_root)
    write_lessons(other_root, lessons, 0)
    run_ola("import", lessons, "--root", str(folder / "exam"), "--val-share", "1")
    before, after, trained = (str(folder / name) for name in ("before", "after", "trained"))
    run_ola("evaluate", "--model", "nano", "--out", before, "--suite", f"shards={folder / 'exam'}", "--limit", "24")
    announce("A few steps of training on the run's shards: the speech MLP first, then everything but the encoders.")
    settings = (f"steps={STEPS}", "batch=2", "omni.replay={}")
    run_ola("train", "omni", "--shards", root, "--model", "nano", "--out", trained,
        *(part for setting in settings for part in ("--set", setting)))  # fmt: skip
    model = f"{trained}/model"
    run_ola("evaluate", "--model", model, "--out", after, "--suite", f"shards={folder / 'exam'}", "--limit", "24")
    run_ola("compare", before, after)


def main() -> None:
    """Run the demo in a new temporary folder, which is kept."""
    folder = Path(tempfile.mkdtemp(prefix="ola-demo-"))
    root = annotate(folder)
    train_and_compare(folder, root)
    announce(f"All results are in {folder}. The report of the run; open its page in a browser:")
    run_ola("report", root, "--training", str(folder))


if __name__ == "__main__":
    main()
