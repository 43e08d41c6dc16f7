"""A lost GPU ends the process, and a record fails only if it loses the GPU twice."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from manifests.records import Source
from pipeline.engine.device_faults import is_device_lost
from pipeline.engine.engines import InlineEngine, RayEngine
from pipeline.engine.lane_plan import Lane, LanePlan
from pipeline.engine.worker import TWICE
from pipeline.errors import RunError, SetAside
from tests import toys
from tests.toy_faults import deed
from tests.toys import Pebble, Toy, Traced, good

LOST = "CUDA error: an illegal memory access was encountered"
broken: list[str] = []  # of this process: what its GPU answers from now on


class OnCard(Toy):
    """A step on a GPU: `lose` loses it at every try, `lose once PATH` at the first; from then on all in its process."""

    name, takes, gives = "on_card", Source, Pebble

    def open(self) -> None:
        """A context of its own."""
        broken.clear()

    def run(self, batch: Sequence[Source]) -> list[list[Pebble]]:
        return [self._pebble(source) for source in batch]

    def _pebble(self, source: Source) -> list[Pebble]:
        self.note(source.id)
        what, _, path = deed(source).partition(" once ")
        if (what == "lose" and not (path and Path(path).exists())) or (what == "need" and not Path(path).exists()):
            broken.append(LOST)
            if path and what == "lose":
                Path(path).touch()
        if broken:
            raise RuntimeError(broken[0])
        return good(source)


def test_a_record_that_loses_the_gpu_takes_no_other_along(tmp_path: Path) -> None:
    deeds = ["lose" if n == 7 else f"lose once {tmp_path / 'lost'}" if n == 21 else "ok" for n in range(40)]
    plan, parts = toys.planned(tmp_path, [OnCard(Traced(trace=str(tmp_path / "trace")))], deeds, per_part=40, batch=8)
    assert toys.apply(plan, parts, InlineEngine()) == []
    (step,) = plan.steps
    assert toys.failures(step.manifest) == {"s0007": TWICE}
    (outcome,) = (each for each in toys.outcomes(step.manifest) if each.input == "s0007")
    assert outcome.detail is not None
    assert outcome.detail.startswith(f"RuntimeError: {LOST}")
    assert step.manifest.total().ok == 39
    assert max(toys.traced(tmp_path / "trace").values()) == 3  # of the one that did it: with its batch, and twice alone


def test_a_gpu_that_is_broken_is_nobodys_fault(tmp_path: Path) -> None:
    """Until another record is answered, the first record may or may not be at fault; it has no row."""
    mended = tmp_path / "mended"
    deeds = ["ok" if n < 1 else f"need once {mended}" for n in range(4)]
    plan, parts = toys.planned(tmp_path, [OnCard()], deeds, per_part=4, batch=1)
    (aside,) = toys.apply(plan, parts, InlineEngine())
    assert str(aside) == (
        "part 0 at step 'on_card': the GPU failed for 2 records in a row, for each of them twice "
        f"(RuntimeError: {LOST})"
    )
    mended.touch()
    assert toys.apply(plan, parts, InlineEngine()) == []
    assert plan.steps[0].manifest.total().ok == 4


def test_the_last_record_of_a_part_may_be_to_blame(tmp_path: Path) -> None:
    plan, parts = toys.planned(tmp_path, [OnCard()], ["ok", "lose"], per_part=2, batch=1)
    assert toys.apply(plan, parts, InlineEngine()) == []
    assert toys.failures(plan.steps[0].manifest) == {"s0001": TWICE}


class AcceleratorError(RuntimeError):
    """As torch names it."""


class EngineDeadError(Exception):
    """As vLLM names it."""


def raised(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (
            AcceleratorError("CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later"),
            True,
        ),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx(...)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True),
        (EngineDeadError("EngineCore encountered an issue. See stack trace (above) for the root cause."), True),
        (raised(ValueError("the answer cannot be read"), RuntimeError("CUDA error: unknown error")), True),
        (AcceleratorError("CUDA error: out of memory"), False),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"), False),
        (ValueError("a film about CUDA error: 700"), False),
    ],
)
def test_what_means_that_the_gpu_is_lost(error: Exception, lost: bool) -> None:
    assert is_device_lost(error) == lost


class OnBrokenCard(Lane):
    """A lane whose GPU is broken where it was the first to say so, or everywhere."""

    def __init__(self, folder: Path, everywhere: bool = False) -> None:
        self.folder = folder
        try:
            (folder / "broken").mkdir()
            self.is_broken = True
        except FileExistsError:
            self.is_broken = everywhere

    def __call__(self, number: int) -> None:
        if self.is_broken:
            raise SetAside(number, "caption", LOST, by_gpu=True)
        time.sleep(0.1)
        (self.folder / str(number)).touch()


def test_a_worker_whose_gpu_fails_again_and_again_is_taken_out(
    ray_here: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lane = LanePlan(partial(OnBrokenCard, tmp_path), cpus=0.5, steps=("caption",))
    aside = RayEngine(workers=2).map([lane], range(20))
    assert len(aside) == 2
    assert len([path for path in tmp_path.iterdir() if path.name != "broken"]) == 18
    assert f"caption: the GPU of a worker failed in 2 parts one after the other ({LOST}); it" in capsys.readouterr().err


def test_where_no_gpu_is_left_the_run_ends(ray_here: None, tmp_path: Path) -> None:
    everywhere = LanePlan(partial(OnBrokenCard, tmp_path, everywhere=True), cpus=0.5, steps=("caption",))
    with pytest.raises(RunError, match=r"^caption: the GPU .* and no other worker is left"):
        RayEngine(workers=2).map([everywhere], range(20))
    with pytest.raises(RunError, match=r"^the GPU failed in 2 parts one after the other: part 1 at step 'caption'"):
        InlineEngine().map([everywhere], range(20))
