"""The history of one customer: what any run of any job under an output folder did, or would have done, to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bulk_patch.errors import BulkPatchError, LedgerError
from bulk_patch.job.load import output_root
from bulk_patch.ledgers import RunReader
from bulk_patch.ledgers.records import Drift, LedgerRow, Run
from bulk_patch.model import State
from bulk_patch.reports.html.events import why_words
from bulk_patch.reports.runs import LocatedRun, job_folders, list_runs, passing_over, read_ledger
from bulk_patch.review.approvals import approvals_of


@dataclass(frozen=True, slots=True)
class Entry:
    """A row for the customer."""

    found: LocatedRun
    row: LedgerRow
    approvers: tuple[str, ...]  # operators
    senders: tuple[str, ...]  # operators
    reason: str
    ticket: str
    drift: Drift | None  # what the last `verify` found of this customer
    checked_at: float | None  # when that verify started, Unix seconds; None: it did not read this row

    @property
    def run(self) -> Run:
        """Return the row's run."""
        return self.found.run

    @property
    def at(self) -> float:
        """Return when it ended, else was sent, else was planned; Unix seconds."""
        return self.row.done_at or self.row.first_intent_at or self.run.created_at


@dataclass(frozen=True, slots=True)
class Searched:
    """Where a customer was searched for."""

    root: Path  # the `output/` folder
    jobs: int
    runs: int
    is_id: bool  # the search text looks like a customer id of a target there


def look_where(customer_id: str, *, output: Path | None) -> Searched:
    """Return where `find_history` searches, for when it finds nothing."""
    found = list_runs(output)
    targets = {each.run.target: each for each in found}
    is_id = False
    for each in targets.values():
        with passing_over(each.folder, []):
            ids = each.target().ids
            is_id = is_id or ids.matches(ids.normalise(customer_id.strip()))
    root = output_root(None, given=output)
    return Searched(root, len(job_folders(root)), len(found), is_id)


def find_history(customer_id: str, *, output: Path | None) -> list[Entry]:
    """Return all rows about a customer, the oldest first; unchanged rows are only counted, so they are not included.

    Args:
        customer_id: As in the input; each target says in which spelling its ids are compared.
        output: The `output/` folder; None: `./output`.

    Raises:
        LedgerError: There are none, and a ledger cannot be read; else that one is skipped.
    """
    wanted = customer_id.strip()
    entries: list[Entry] = []
    unread: list[LedgerError] = []
    for folder in job_folders(output_root(None, given=output)):
        with passing_over(folder, unread):
            entries += list(_entries(folder, wanted))
    if unread and not entries:
        raise unread[0]
    return sorted(entries, key=lambda entry: entry.at)


def _entries(job_folder: Path, customer_id: str) -> Iterator[Entry]:
    with read_ledger(job_folder) as ledger:
        for run, row in _rows_of(ledger, job_folder, customer_id):
            run_id = run.id
            approvers = dict.fromkeys(approval.actor.operator for approval in approvals_of(ledger.notes(run_id)))
            senders = dict.fromkeys(session.actor.operator for session in ledger.sessions(run_id))
            reason, ticket = why_words(run, ledger.notes(run_id))
            yield Entry(
                LocatedRun(run, job_folder),
                row,
                tuple(approvers),
                tuple(senders),
                reason,
                ticket,
                *_last_look(ledger, row, run),
            )


def _rows_of(ledger: RunReader, job_folder: Path, text: str) -> Iterator[tuple[Run, LedgerRow]]:
    """Yield the rows whose id is this text, as the target of their run normalises it."""
    runs = {run.id: run for run in ledger.runs()}
    spellings: dict[str, str] = {}
    for run in runs.values():
        if run.target not in spellings:
            spellings[run.target] = _normalised(LocatedRun(run, job_folder), text)
    for spelling in dict.fromkeys(spellings.values()):
        for run_id, row in ledger.history(spelling):
            run = runs.get(run_id) or ledger.run(run_id)
            if spellings.get(run.target, spelling) == spelling:
                yield run, row


def _normalised(found: LocatedRun, text: str) -> str:
    try:
        return found.target().ids.normalise(text)
    except BulkPatchError:  # its kind is no longer installed: what was kept can still be found as it was written
        return text


def _last_look(ledger: RunReader, row: LedgerRow, run: Run) -> tuple[Drift | None, float | None]:
    """Return what the last verify found for a row, and when that started."""
    check = next(iter(ledger.checks(run.id)), None)
    if check is None or row.state is not State.APPLIED or check.upto < row.row:
        return None, None
    return next((drift for drift in ledger.drifts(check.number) if drift.row == row.row), None), check.started_at
