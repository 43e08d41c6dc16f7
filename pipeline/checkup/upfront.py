"""The fast checks that precede each run; they take milliseconds."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator

from manifests.records import Source
from pipeline.checkup.card_memory import card_memories, room_fault
from pipeline.checkup.gpu import cuda_fault, cuda_view
from pipeline.checkup.needs import Needs
from pipeline.checkup.tools import NAMES, advice_for, missing_package
from pipeline.errors import NeedsUnmet
from pipeline.plan import Plan
from pipeline.sources.containers.members import container_of, split_uri


def check_here(needs: Needs) -> None:
    """Raise NeedsUnmet unless this machine meets the requirements of a run's steps."""
    raise_for(faults_here(needs))


def faults_here(needs: Needs) -> Iterator[str]:
    """Yield a line per requirement of a run that this machine lacks."""
    yield from package_faults(needs)
    fault_of_gpu = cuda_fault(cuda_view(), os.environ.get("CUDA_VISIBLE_DEVICES")) if needs.gpu else None
    if fault_of_gpu:
        yield f"{needs.gpu}: expected a GPU, and {fault_of_gpu[0]}; {fault_of_gpu[1]}"
    elif needs.gpu and (fault := room_fault(needs, card_memories())):
        yield fault


def package_faults(needs: Needs) -> Iterator[str]:
    """Yield a line per setting whose packages are missing on this machine."""
    for key, names in needs.modules.items():
        fault = next(filter(None, map(missing_package, names)), "")
        if fault:
            yield f"{key}: expected {NAMES.get(names[0], names[0])}, and {fault}; {advice_for(key, names[0])}"


def raise_for(faults: Iterable[str]) -> None:
    """Raise NeedsUnmet with all faults, one per line, if there is any."""
    if lines := list(dict.fromkeys(faults)):
        raise NeedsUnmet("\n".join([*lines, "nothing has run; `ola doctor` with the same settings checks more"]))


def has_work(plan: Plan, steps: Collection[str], found: Iterable[Source], limit: int | None = None) -> bool:
    """Return whether these steps have work: a new or changed source, or a part that is not committed.

    limit: most sources of the run. The check reads all sources, so it runs only if a requirement is missing.
    """
    known = {each.source.uri: _facts(each.source) for each in plan.sources.registered()}
    takes_more = limit is None or len(known) < limit
    indexed = {(container_of(uri), stamp.rpartition("@")[0]) for uri, (_, stamp, *_) in known.items() if split_uri(uri)}
    rest = [each for each in found if (container_of(each.uri), each.stamp) not in indexed]
    if any(known[each.uri] != _facts(each) if each.uri in known else takes_more for each in rest):
        return True
    parts = set(plan.sources.committed())
    return any(parts - set(each.manifest.committed()) for each in plan.steps if each.step.name in steps)


def _facts(source: Source) -> tuple[int, str, *tuple[object, ...]]:
    return source.bytes, source.stamp, source.sidecars, source.companions, source.meta
