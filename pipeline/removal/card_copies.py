"""Delete the dataset card in the root, which may quote answers about removed videos."""

from __future__ import annotations

from manifests import storage

README, CROISSANT = "README.md", "croissant.json"
MARK = "<!-- Written by `ola card`: run it again instead of changing this file. -->"


def is_card(folder: str) -> bool:
    """Return whether the `README.md` in a folder was written by `ola card`."""
    stored = storage.read_if_there(storage.join(folder, README))
    return stored is not None and MARK.encode() in stored


def delete_card(root: str) -> None:
    """Delete the card in the root, and no `README.md` that somebody else wrote."""
    if is_card(root):
        for name in (CROISSANT, README):
            storage.remove(storage.join(root, name))
