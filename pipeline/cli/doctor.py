"""`ola doctor`: check that machine, store and cluster meet a run's requirements, and advise on what is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import typer

from manifests.retries import temporary_patience
from ola import locate_model
from pipeline import config as configuration
from pipeline.annotation.model_sizes import ModelSizes, model_sizes
from pipeline.checkup.cluster import address_of, cluster_findings
from pipeline.checkup.finding import Finding, State, good, missing, unneeded
from pipeline.checkup.gpu import CudaView, TorchView, cuda_fault, cuda_view, gpu_findings, torch_view
from pipeline.checkup.machine import machine_findings
from pipeline.checkup.needs import Needs, needs_of
from pipeline.checkup.store import store_findings
from pipeline.checkup.tools import tool_findings
from pipeline.cli.run import settings
from pipeline.config import Config

PATIENCE = 0.1  # minutes for retries of store requests: enough for one failure


def examine(file: str | None, root: str, model: str, sets: Sequence[str]) -> bool:
    """Check the requirements of a run with these settings and print the findings. Return whether all are met.

    Raises ConfigError for invalid settings.
    """
    with temporary_patience(PATIENCE):
        config = _settings(file, root, [*sets, *([f"annotator.model={model}"] if model else [])])
        return report(findings(config, root))


def _settings(file: str | None, root: str, sets: Sequence[str]) -> Config:
    """Return the settings of the run, with those stored in the root if it can be read."""
    if root:
        try:
            return settings((), root, file, sets)
        except OSError:  # a later finding reports the store's error
            pass
    return configuration.load(file, sets)


def report(found: Iterator[Finding]) -> bool:
    """Print each finding, and at the end what this run does not need. Return whether nothing is missing."""
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
    """Run all checks, fast ones first, and yield their findings. Raises ConfigError as `needs_of`."""
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
    """Return the sizes of the model, or None if its folder is incomplete, and the finding about it."""
    try:
        sizes = model_sizes(locate_model(needs.model), needs.annotator.dtype)
    except (ValueError, OSError) as error:
        return None, missing("model", " ".join(str(error).split())[:300], f"`ola model {needs.model}` names all faults")
    return sizes, good("model", f"{needs.model} is whole: {sizes.weights / 1e9:.1f} GB of weights")


def _gpus(needs: Needs) -> tuple[CudaView, TorchView]:
    """Return the views of CUDA and of torch; torch is started only if no fault of CUDA is known."""
    view = cuda_view()
    asks = needs.gpu and cuda_fault(view, os.environ.get("CUDA_VISIBLE_DEVICES")) is None
    return view, torch_view() if asks else TorchView()
