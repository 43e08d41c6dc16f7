"""`ola evaluate`: run a model on benchmarks and print its scores."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from pipeline.errors import BadMedia, ConfigError, RunError

if TYPE_CHECKING:
    from rich.progress import TaskID
    from rich.table import Table

    from stages.evaluation.cross_modal import ChoiceQuestion
    from stages.evaluation.questions import MediaReaders, Suite
    from stages.evaluation.runner import Result

UNPARSED, LONGEST = 3, 100  # unparsed answers shown per suite, and characters of each
CROSS_MODAL = ("daily-omni", "worldsense", "omnibench", "mcq", "avhbench", "cmm")
SUITES = ("mmbench", "videomme", "librispeech", "shards", *CROSS_MODAL)

P = ParamSpec("P")
R = TypeVar("R")


class EvaluationOptions(NamedTuple):
    """The options of `ola evaluate`."""

    limit: int | None = None
    frames: int | None = None
    views: bool = False
    device: str | None = None
    dtype: str = "auto"
    fields: str = ""


def evaluate(folder: Path, named: Sequence[str], out: Path, options: EvaluationOptions) -> bool:
    """Evaluate a model on suites and print its scores. Return whether each suite had a question without an error.

    named: suites as `NAME=PATH`. Raises ConfigError, RunError and StagesError, if possible before weights are read.
    """
    from ola import locate_model
    from ola.generation import Ola
    from ola.weights import config_of
    from pipeline.annotation.model_digest import digest_of
    from pipeline.cli.chat import device_of
    from stages.evaluation.runner import evaluate as ask

    folder, places = locate_model(folder), [_parse_suite(each) for each in named]
    if not folder.is_dir():
        raise ConfigError(f"--model: expected a folder of weights, got {str(folder)!r}, which does not exist")
    try:
        config = config_of(folder)
        readers = _media_readers(options.frames or config.max_frames, config.has_speech)
        suites = [suite for name, place in places for suite in _open_suites(name, place, readers, options)]
        ola = Ola.from_pretrained(folder, dtype=options.dtype, device=device_of(options.device))
    except (ValueError, OSError) as error:  # errors about the folder
        raise RunError(str(error)) from error
    with _Progress() as progress:
        found = ask(ola, suites, out, f"{digest_of(str(folder))[:16]} {options.dtype}", options.limit, progress.tell)
    _print_results(found, out)
    return all(facts["errors"] < facts["n"] for facts in found.values())


def _parse_suite(pair: str) -> tuple[str, str]:
    name, _, place = pair.partition("=")
    if name not in SUITES or not place:
        raise ConfigError(f"--suite: expected NAME=PATH with a NAME of {', '.join(SUITES)}, got {pair!r}")
    if "://" not in place and not Path(place).exists():
        raise ConfigError(f"--suite: expected a file or folder that exists, got {pair!r}")
    return name, place


def _open_suites(name: str, place: str, readers: MediaReaders, options: EvaluationOptions) -> Sequence[Suite]:
    from stages.evaluation import benchmarks, cross_modal, yes_no
    from stages.evaluation.held_out import held_out_suites

    if name == "shards":
        return held_out_suites(place, readers, options.views)
    choices: Mapping[str, Callable[[Path], Sequence[ChoiceQuestion]]] = {
        "daily-omni": cross_modal.daily_omni,
        "worldsense": cross_modal.worldsense,
        "omnibench": cross_modal.omnibench,
        "mcq": partial(cross_modal.own_file, names=parse_fields(options.fields)),
    }
    if name in choices:
        return cross_modal.cross_modal_suites(name, choices[name](Path(place)), readers, options.views)
    judged = {"avhbench": yes_no.avhbench, "cmm": yes_no.cmm}
    if name in judged:
        return yes_no.yes_no_suites(name, judged[name](Path(place)), readers, options.views)
    by_name = {
        "mmbench": benchmarks.mmbench,
        "videomme": benchmarks.videomme,
        "librispeech": benchmarks.librispeech,
    }
    return [by_name[name](Path(place), readers)]


def parse_fields(text: str) -> dict[str, str]:
    """Parse `question=Q,options=Choices` into the file's fields. Raises ConfigError for an unknown name."""
    from stages.evaluation.cross_modal import MAPPED

    pairs = dict(each.partition("=")[::2] for each in text.split(",") if each)
    if unknown := [name for name, field in pairs.items() if name not in MAPPED or not field]:
        raise ConfigError(f"--map: expected NAME=FIELD with a NAME of {', '.join(MAPPED)}, got {unknown[0]!r}")
    return pairs


def _media_readers(frames: int, has_speech: bool) -> MediaReaders:
    from pipeline.media.user_media import load_sound, load_video
    from stages.evaluation.questions import MediaReaders

    return MediaReaders(_raising_unreadable(load_video), _raising_unreadable(load_sound), frames, has_speech)


def _raising_unreadable(read: Callable[P, R]) -> Callable[P, R]:
    """Wrap a reader so that it raises Unreadable in place of BadMedia."""
    from stages.evaluation.questions import Unreadable

    @wraps(read)
    def reading(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return read(*args, **kwargs)
        except BadMedia as error:
            raise Unreadable(str(error)) from error

    return reading


class _Progress:
    """Shows a progress bar per suite, in a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bars = Progress(*columns, console=Console(file=sys.stderr), disable=not sys.stderr.isatty())
        self.suites: dict[str, TaskID] = {}

    def __enter__(self) -> _Progress:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def tell(self, suite: str, done: int, of: int) -> None:
        """Update the bar of a suite. done, of: answered questions, and all questions."""
        if suite not in self.suites:
            self.suites[suite] = self.bars.add_task(suite, total=of)
        self.bars.update(self.suites[suite], completed=done)


def _print_results(found: Mapping[str, Result], out: Path) -> None:
    from rich.console import Console

    from stages.evaluation.gain import gains_of

    console = Console()
    console.print(score_table(found))
    for suite, facts in found.items():
        for line in unparsed_answers(out, suite) if facts["unparsed"] else ():
            console.print(f"{suite}, not read: {line}", markup=False, highlight=False)
    for suite, facts in found.items():
        for line in yes_no_lines(suite, facts):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    for suite in found:
        for gain in gains_of(str(out), suite, found):
            console.print(f"{suite}: {gain}", markup=False, highlight=False)
    places = f"answers: {out / 'answers'}; for scripts: {out / 'results.json'}"
    console.print(places, markup=False, highlight=False, soft_wrap=True)


def yes_no_lines(suite: str, facts: Result) -> list[str]:
    """Return lines with precision, recall and share of yes, for all questions of a suite and by category."""
    return [
        f"{suite}, {name}: precision of yes {scores['precision']:.3f}, recall {scores['recall']:.3f}, "
        f"F1 {scores['f1']:.3f}, recall of no {scores['recall_of_no']:.3f}; yes {scores['yes_share']:.1%} of the "
        f"answers, {scores['yes_share_of_references']:.1%} of the references"
        for name, scores in facts.get("details", {}).items()
    ]


def unparsed_answers(out: Path, suite: str) -> list[str]:
    """Return the first answers of a suite that could not be parsed; the file of answers has all of them."""
    from manifests.parquet_files import read_parquet

    rows = read_parquet(str(out / "answers" / f"{suite}.parquet")).to_pylist()
    answers = [row["answer"] for row in rows if row["parsed"] is None and row["error"] is None]
    return [repr(" ".join(answer.split())[:LONGEST]) for answer in answers[:UNPARSED]]


def score_table(found: Mapping[str, Result]) -> Table:
    """Return a table with a row per suite. Unparsed answers and failed questions count as wrong."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, caption="↓: less is better; unparsed answers and errors count as wrong")
    table.add_column("suite", no_wrap=True)
    table.add_column("metric", no_wrap=True)
    for name in ("score", "exact", "asked", "unparsed", "errors"):
        table.add_column(name, justify="right", no_wrap=True)
    for suite, facts in found.items():
        exact = "" if facts["exact_match"] is None else f"{facts['exact_match']:.4f}"
        counts = (str(facts["n"]), str(facts["unparsed"]), str(facts["errors"]))
        table.add_row(suite, facts["metric"] + " ↓" * facts["falls"], f"{facts['value']:.4f}", exact, *counts)
    return table
