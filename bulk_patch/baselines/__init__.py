"""What desired values are compared with: the contract of every baseline."""

from pathlib import Path
from typing import Protocol

import pandas as pd

from bulk_patch.baselines.snapshot import Snapshot
from bulk_patch.inputs.source import Source
from bulk_patch.ledgers import Ledger
from bulk_patch.targets import Target


class Baseline(Protocol):
    """The contract of every baseline: pictures of customers, a portion of the input at a time."""

    sha256: str  # of the file behind it, "" where there is none
    taken_at: float  # when its picture was taken, Unix seconds; 0: never

    def reads(self, customers: int) -> int:
        """Return how many requests it takes to see so many customers."""

    async def snapshot(self, ids: pd.Series) -> Snapshot | None:
        """Return what is known of these customers, ids in lower case or what is none; None: nothing at all."""

    async def expect(self, asking: Source, *, rows: int, folder: Path, ledger: Ledger) -> None:
        """Learn the input before its plan is begun; then `snapshot` is called once for each portion, in order.

        Args:
            asking: The input.
            rows: Rows of a portion.
            folder: Of the job; what is only needed for this plan goes into `spill` there.
            ledger: Of the job.
        """
        return

    def warnings(self) -> list[str]:
        """Return what a person should know of it, once all pictures were taken."""
        return []

    def sealed(self) -> None:
        """Let go of what was kept in case that the plan would not be finished."""
        return

    @staticmethod
    def remember(target_name: str, target: Target, *, folder: Path, ledger: Ledger) -> None:
        """Keep what runs of this target have confirmed, once one of them has sent something."""
        return
