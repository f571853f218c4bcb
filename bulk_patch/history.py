"""Everything that any run of any job under an output folder did to one customer, or was to do."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bulk_patch.approve import approvals_of
from bulk_patch.find import Found, job_folders, read_ledger
from bulk_patch.job import output_root
from bulk_patch.ledgers import LedgerRow, Run


@dataclass(frozen=True, slots=True)
class Entry:
    """One row about the customer."""

    found: Found
    row: LedgerRow
    approvers: tuple[str, ...]  # operators
    senders: tuple[str, ...]  # operators

    @property
    def run(self) -> Run:
        """Return the row's run."""
        return self.found.run

    @property
    def at(self) -> float:
        """Return when it ended, else was sent, else was planned; Unix seconds."""
        return self.row.done_at or self.row.first_intent_at or self.run.created_at


def find_history(customer_id: str, *, output: Path | None) -> list[Entry]:
    """Return all rows about a customer, the oldest first; rows that changed nothing are only counted, so not there.

    Args:
        customer_id: As in the input; ids are compared in lower case.
        output: The `output/` folder; None: `./output`.
    """
    wanted = customer_id.strip().lower()
    folders = job_folders(output_root(None, given=output))
    entries = [entry for folder in folders for entry in _entries(folder, wanted)]
    return sorted(entries, key=lambda entry: entry.at)


def _entries(job_folder: Path, customer_id: str) -> Iterator[Entry]:
    with read_ledger(job_folder) as ledger:
        for run_id, row in ledger.history(customer_id):
            approvers = dict.fromkeys(its.actor.operator for its in approvals_of(ledger.notes(run_id)))
            senders = dict.fromkeys(its.actor.operator for its in ledger.sessions(run_id))
            yield Entry(Found(ledger.run(run_id), job_folder), row, tuple(approvers), tuple(senders))
