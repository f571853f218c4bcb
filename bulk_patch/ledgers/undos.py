"""Find the undos of a run."""

from dataclasses import dataclass

from bulk_patch.ledgers import RunReader
from bulk_patch.ledgers.records import Run
from bulk_patch.model import State


@dataclass(frozen=True, slots=True)
class Undone:
    """What one undo did to a run."""

    run: str  # id of the undo
    rows: int  # that it took back so far
    of: int  # rows that the run had applied

    @property
    def words(self) -> str:
        """Say it: `undone by run R: 14 of 17 rows`."""
        return f"undone by run {self.run}: {self.rows:,} of {self.of:,} rows"


def undos_of(ledger: RunReader, run: Run) -> list[Undone]:
    """Return the undos of a run that have taken something back, the oldest first."""
    runs = reversed(ledger.runs(run.target))
    sent = (undo for undo in runs if undo.summary.undoes == run.id and undo.started_at is not None)
    undos = (Undone(undo.id, ledger.counts(undo.id)[State.APPLIED], undo.input_rows) for undo in sent)
    return [undone for undone in undos if undone.rows]
