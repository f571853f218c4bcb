"""What was taken back: which undos a run has met, and whether an input was."""

from collections.abc import Iterable
from dataclasses import dataclass

from bulk_patch.ledgers import Ledger
from bulk_patch.ledgers.records import Run
from bulk_patch.model import State


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What one undo did to a run."""

    run: str  # id of the undo
    rows: int  # that it took back so far
    of: int  # rows that the run had applied

    @property
    def words(self) -> str:
        """Say it: `undone by run R: 14 of 17 rows`."""
        return f"undone by run {self.run}: {self.rows:,} of {self.of:,} rows"


def undos_of(ledger: Ledger, run: Run) -> list[TakenBack]:
    """Return the undos of a run that have taken something back, the oldest first."""
    return _undos(ledger, run, reversed(ledger.runs(run.target)))


def _undos(ledger: Ledger, run: Run, runs: Iterable[Run]) -> list[TakenBack]:
    sent = (its for its in runs if its.summary.undoes == run.id and its.started_at is not None)
    undos = (TakenBack(its.id, ledger.counts(its.id)[State.APPLIED], its.input_rows) for its in sent)
    return [its for its in undos if its.rows]


def warn_of_input(ledger: Ledger, run: Run) -> list[str]:
    """Warn of a plan whose input is that of a run which was taken back, and was not sent again since."""
    runs = ledger.runs(run.target)
    same = (its for its in runs if its.id != run.id and its.kind == "run" and its.input_sha256 == run.input_sha256)
    last = next((its for its in same if its.started_at is not None), None)
    if last is None:
        return []
    return [
        f"THIS INPUT WAS TAKEN BACK by run {its.run}, {its.rows:,} of {its.of:,} rows of run {last.id}: "
        "to send this plan is to make those changes again"
        for its in _undos(ledger, last, reversed(runs))
    ]
