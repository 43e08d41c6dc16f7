"""`ola doctor`: whether machine, store and cluster have what a run needs, and how to get what is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import typer

from manifests.retries import patient_for
from ola import located
from pipeline import config as configuration
from pipeline.checkup.cluster import address_of, cluster_findings
from pipeline.checkup.finding import Finding, State, good, missing, unneeded
from pipeline.checkup.gpu import CudaView, TorchView, cuda_fault, cuda_view, gpu_findings, torch_view
from pipeline.checkup.machine import machine_findings
from pipeline.checkup.model_sizes import ModelSizes, model_sizes
from pipeline.checkup.needs import Needs, needs_of
from pipeline.checkup.store import store_findings
from pipeline.checkup.tools import tool_findings
from pipeline.cli.run import settings
from pipeline.config import Config

PATIENCE = 0.1  # minutes that a store which fails is asked again: enough for one bad answer


def examine(file: str | None, root: str, model: str, sets: Sequence[str]) -> bool:
    """Print what there is of what a run with these settings needs. Returns whether nothing is missing.

    Raises ConfigError for settings that no run would take.
    """
    with patient_for(PATIENCE):
        config = _settings(file, root, [*sets, *([f"annotator.model={model}"] if model else [])])
        return report(findings(config, root))


def _settings(file: str | None, root: str, sets: Sequence[str]) -> Config:
    """Return the settings of the run; those that a root has stored count where it can be read."""
    if root:
        try:
            return settings((), root, file, sets)
        except OSError:  # what is wrong with the store is one of the findings
            pass
    return configuration.load(file, sets)


def report(found: Iterator[Finding]) -> bool:
    """Print each finding as it comes, and last what this run does not need. Returns whether nothing is missing."""
    states, idle = set(), []
    for finding in found:
        states.add(finding.state)
        if finding.state is State.UNNEEDED:
            idle.append(finding.name)
        else:
            typer.echo(f"{finding.state.value:7} {finding}")
    if idle:
        typer.echo(f"not needed for this run: {', '.join(idle)}")
    return State.MISSING not in states


def findings(config: Config, root: str) -> Iterator[Finding]:
    """Yield all that is found; the quick checks come first. Raises ConfigError as `needs_of`."""
    needs, cluster = needs_of(config), address_of(config)
    yield from tool_findings(needs, here=not cluster)
    sizes, whole = _sizes(needs) if needs.model else (None, unneeded("model"))
    yield whole
    decoder = sizes.decoder if sizes is not None and needs.annotator.engine == "vllm" else 0
    yield from machine_findings(config, root, config.engine == "ray" and not cluster, decoder)
    yield from store_findings(root)
    if not cluster:
        yield from gpu_findings(needs, *_gpus(needs), sizes)
    yield from cluster_findings(config, root, needs, sizes)


def _sizes(needs: Needs) -> tuple[ModelSizes | None, Finding]:
    """Return the sizes of the model that is asked, or None where it is not whole; and which of the two it is."""
    try:
        sizes = model_sizes(located(needs.model), needs.annotator.dtype)
    except (ValueError, OSError) as error:
        return None, missing("model", " ".join(str(error).split())[:300], f"`ola model {needs.model}` names all faults")
    return sizes, good("model", f"{needs.model} is whole: {sizes.weights / 1e9:.1f} GB of weights")


def _gpus(needs: Needs) -> tuple[CudaView, TorchView]:
    """Return what is known of CUDA here; torch is asked only where nothing keeps it from a GPU."""
    view = cuda_view()
    asks = needs.gpu and cuda_fault(view, os.environ.get("CUDA_VISIBLE_DEVICES")) is None
    return view, torch_view() if asks else TorchView()
