"""What `prune` would remove, as plain text. Pure, like `screens`."""

from collections.abc import Sequence

from bulk_patch.cli.text import join, safe, table
from bulk_patch.words import amount
from bulk_patch.workflows.prune import Prunable

_SHOWN = 20


def prune_screen(found: Sequence[Prunable]) -> str:
    """Return which runs lose how many files, and how much room that makes."""
    lines = [("run", "files", "KiB")]
    lines += [(safe(one.run.id), f"{one.files:,}", f"{one.size / 1024:,.0f}") for one in found[:_SHOWN]]
    more = [f"and {amount(len(found) - _SHOWN, 'more run')}"] if len(found) > _SHOWN else []
    size = sum(one.size for one in found) / 1024
    return join([*table(lines, right=(1, 2)), *more, f"in all {amount(len(found), 'run')}, {size:,.0f} KiB"])
