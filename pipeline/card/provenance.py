"""Name the models and prompts of a run, with their digests; addresses and folders of models are left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from manifests.ledger import digest
from pipeline.annotation.witnesses import ANNOTATOR, Witness
from pipeline.config import Config
from pipeline.plan import Plan
from pipeline.state.keys import load

DIGITS = 16  # hex digits of a prompt's digest


@dataclass(frozen=True)
class Provenance:
    """What made the texts. models: rows of use, name, digest. prompts: rows of step, prompt, digest. keys: by step."""

    models: list[tuple[str, str, str]]
    prompts: list[tuple[str, str, str]]
    keys: Mapping[str, str]


def read_provenance(plan: Plan, config: Config) -> Provenance:
    """Read the provenance from the settings of a run, and from its `keys.json` that of its last pack."""
    facts = {planned.step.name: planned.facts for planned in plan.steps}
    packs = {folder: found for folder, found in load(plan.root).facts.items() if found.get("step") == "pack"}
    facts |= {found["step"]: found for found in packs.values()}
    prompts = [
        (step, name, digest(words, DIGITS))
        for step, found in facts.items()
        for name, words in sorted((found.get("prompts") or {}).items())
    ]
    keys = {planned.step.name: planned.manifest.key for planned in plan.steps}
    keys |= {found["step"]: folder.rpartition("-")[2] for folder, found in packs.items()}
    return Provenance(_models(config), prompts, keys)


def _models(config: Config) -> list[tuple[str, str, str]]:
    asking = [name for name in config.step_names if config.asks_model(name)]
    found = []
    if asking:
        annotator = config.annotator
        name = Witness(annotator.model).label if annotator.model else annotator.engine
        found.append((f"annotator ({', '.join(asking)})", name, annotator.digest))
    if "verify" in config.step_names:
        others = [Witness(name) for name in config.verify.witnesses if name != ANNOTATOR]
        found += [("witness (verify)", each.label, "") for each in others]
    if "whisperx" in config.transcribe.sources:
        found.append(("recogniser (transcribe)", Witness(config.transcribe.whisperx.model).label, ""))
    return found
