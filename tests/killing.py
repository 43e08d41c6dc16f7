"""Simulate the death of a process at one of its writes, within this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from manifests import storage
from pipeline.engine import lane
from pipeline.engine.batch_call import InProcess
from pipeline.engine.outcomes import error_detail, error_line
from pipeline.errors import StepFault, StepRaised, Unavailable

WRITES = ("create", "write_bytes", "place", "remove")  # of `manifests.storage`: what a killed run has done or not


class _Tame(InProcess):
    """A step in this process whose errors become rows, as those of a process of its own do."""

    def run(self, *arguments: Any) -> list[Any]:
        try:
            return super().run(*arguments)
        except (Unavailable, StepFault):
            raise
        except Exception as error:
            raise StepRaised(error_line(error), error_detail(error)) from error


@contextmanager
def errors_as_rows() -> Iterator[None]:
    """Steps that are not isolated fail as isolated ones do; without, what they raise ends the run, for a debugger."""
    with pytest.MonkeyPatch.context() as context:
        context.setattr(lane, "InProcess", _Tame)
        yield


class Killed(BaseException):
    """The end of a process, at a write."""


@contextmanager
def killed_at(moment: int, after: bool) -> Iterator[None]:
    """From the write of this number on nothing is written any more. after: that one still is."""
    count = 0

    def dying(write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count < moment or (after and count == moment):
                done = write(*arguments)
                if count < moment:
                    return done
            raise Killed

        return call

    with pytest.MonkeyPatch.context() as context:
        for name in WRITES:
            context.setattr(storage, name, dying(getattr(storage, name)))
        yield
