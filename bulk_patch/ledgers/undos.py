"""Find the undos of a run, and warn of an input that was undone."""

from collections.abc import Iterable
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
    return _undos(ledger, run, reversed(ledger.runs(run.target)))


def _undos(ledger: RunReader, run: Run, runs: Iterable[Run]) -> list[Undone]:
    sent = (undo for undo in runs if undo.summary.undoes == run.id and undo.started_at is not None)
    undos = (Undone(undo.id, ledger.counts(undo.id)[State.APPLIED], undo.input_rows) for undo in sent)
    return [undone for undone in undos if undone.rows]


def warn_of_input(ledger: RunReader, run: Run) -> list[str]:
    """Warn of a plan whose input is that of a run that was undone and has not been sent again since."""
    runs = ledger.runs(run.target)
    same = (one for one in runs if one.id != run.id and one.kind == "run" and one.input_sha256 == run.input_sha256)
    last = next((one for one in same if one.started_at is not None), None)
    if last is None:
        return []
    return [
        f"THIS INPUT WAS UNDONE by run {undone.run}, {undone.rows:,} of {undone.of:,} rows of run {last.id}: "
        "to send this plan is to make those changes again"
        for undone in _undos(ledger, last, reversed(runs))
    ]
