"""`ola clean`: list files that no plan and no reader needs, and delete them."""

from __future__ import annotations

from rich.console import Console

from manifests import storage
from pipeline import config as configuration
from pipeline.cli.tables import result_table
from pipeline.errors import RunError
from pipeline.removal.leftovers import Leftover, delete_leftovers, find_leftovers
from pipeline.state.lease import exclusive_run


def clean_and_report(root: str, yes: bool) -> None:
    """List the files that can be deleted. yes: delete them. Raises RunError if another process works at the root."""
    root = storage.normal(root)
    config = configuration.load_run(root)
    plan, console = config.plan(root), Console()
    found = find_leftovers(plan, config.pack)
    show(console, found)
    if not yes:
        return
    with exclusive_run(root):
        try:
            delete_leftovers(root, find_leftovers(config.plan(root), config.pack))
        except OSError as error:
            raise RunError(f"clean: {' '.join(str(error).split())}; then do `ola clean` again") from error
    console.print("deleted", highlight=False)


def show(console: Console, found: list[Leftover]) -> None:
    """Print a line for each folder or file that can be deleted, and their total size."""
    if not found:
        console.print("nothing to delete", highlight=False)
        return
    rows = [(each.path, each.kind, f"{each.files:,}", f"{each.bytes / 1e6:,.1f}") for each in found]
    console.print(result_table(("path", "what", "files", "MB"), rows))
    total = sum(each.bytes for each in found) / 1e6
    console.print(f"{total:,.1f} MB in all; shards that a current set shares are hard links and free no room "
                  "(--yes deletes what is listed)", highlight=False)  # fmt: skip
