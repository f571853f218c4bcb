"""Baselines, which desired values are compared with: the contract."""

from __future__ import annotations  # the settings of baselines are read by commands that load no pandas

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pandas as pd

    from bulk_patch.baselines.snapshot import Snapshot
    from bulk_patch.inputs.source import Source
    from bulk_patch.ledgers import RunReader
    from bulk_patch.targets import Target


class Baseline(Protocol):
    """The contract of every baseline: snapshots of records, one for each portion of the input.

    It is made with the job, the target and the session (None unless `needs_session`). A class of baselines also has
    `Settings`, a `bulk_patch.job.section.BaselineOptions`: its own part of `[baseline]`, and its `capabilities`, by
    which everybody else goes.
    """

    sha256: str  # of the file that is read, "" without a file
    taken_at: float  # when the snapshot was taken, Unix seconds; 0: never

    def reads(self, customers: int) -> int:
        """Return about how many requests it takes to read this many customers."""

    @property
    def reads_made(self) -> int:
        """Return how many requests it has made for this plan."""
        return 0

    async def snapshot(self, ids: pd.Series) -> Snapshot | None:
        """Return what is known of these customers (normalised ids, invalid ones among them); None: nothing at all."""

    async def expect(self, asking: Source, *, rows: int, folder: Path, ledger: RunReader) -> None:
        """Prepare for an input before it is planned; then `snapshot` is called once for each portion, in order.

        Args:
            asking: The input.
            rows: Rows of a portion.
            folder: Of the job; data that only this plan needs goes into `spill` there.
            ledger: Of the job.
        """
        return

    def warnings(self) -> list[str]:
        """Return what a person should know of the baseline, once all snapshots have been taken."""
        return []

    def sealed(self) -> None:
        """Remove what was kept in case the plan was not finished."""
        return

    @staticmethod
    def remember(target_name: str, target: Target, *, folder: Path, ledger: RunReader) -> None:
        """Keep what runs of this target have confirmed, after a run has sent something."""
        return
