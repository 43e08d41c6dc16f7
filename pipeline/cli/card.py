"""`ola card`: write the dataset card of a run."""

from __future__ import annotations

from pipeline.card.build import CardOptions, write_card
from pipeline.cli.damaged import collect_damage


def show_card(root: str, options: CardOptions) -> None:
    """Write the card of a run and print the paths of its files. Raises RunError for damage, without a card."""
    with collect_damage() as damaged:
        files = write_card(root, options, damaged)
    for file in files:
        print(file)
