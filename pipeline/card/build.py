"""Write the dataset card: gather its facts, then write `README.md` and `croissant.json`."""

from __future__ import annotations

from dataclasses import dataclass

from manifests import storage
from manifests.ledger import Damaged
from manifests.snapshot import snapshot
from pipeline.card.croissant import croissant, croissant_bytes
from pipeline.card.facts import read_card_facts
from pipeline.card.header import header
from pipeline.card.markdown import clean
from pipeline.card.page import page, summary
from pipeline.card.provenance import read_provenance
from pipeline.cli.open_run import has_run
from pipeline.config import Config, load_run
from pipeline.errors import ConfigError
from pipeline.removal.card_copies import CROISSANT, README, is_card


@dataclass(frozen=True)
class CardOptions:
    """Where a card is written. out: folder or URI; empty: the root. name: of the data set; empty: the root's folder."""

    out: str = ""
    name: str = ""


@snapshot()
def write_card(root: str, options: CardOptions, damaged: list[Damaged] | None = None) -> tuple[str, str]:
    """Write the card of the shards at `root`. Return the paths of `README.md` and `croissant.json`.

    damaged: gets the files of the run that cannot be read; nothing is written then. Raises ConfigError without shards,
    and for a folder with a README.md or croissant.json that is no card.
    """
    root = storage.normal(root)
    folder = storage.normal(options.out) if options.out else root
    _check_folder(folder)
    config = load_run(root) if has_run(root) else Config()
    plan = config.plan(root) if has_run(root) else None
    faults: list[Damaged] = [] if damaged is None else damaged
    facts = read_card_facts(root, plan, config, faults)
    name = clean(options.name or root.rstrip("/").rpartition("/")[2])
    readme, metadata = storage.join(folder, README), storage.join(folder, CROISSANT)
    if faults:
        return readme, metadata
    made = read_provenance(plan, config) if plan else None
    described = croissant(facts, root, name, summary(facts))
    storage.write_bytes(readme, (header(facts, name) + "\n" + page(facts, name, made, config)).encode())
    storage.write_bytes(metadata, croissant_bytes(described))
    return readme, metadata


def _check_folder(folder: str) -> None:
    for name in (README, CROISSANT):
        if storage.exists(storage.join(folder, name)) and not is_card(folder):
            raise ConfigError(f"{folder}: expected no {name}, or that of a card, got another; do --out DIR")
