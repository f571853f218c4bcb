"""Report: write the page and summary.json of a run again, from its ledger, also while it is sent."""

from pathlib import Path

from bulk_patch.errors import LedgerError, UsageError
from bulk_patch.files.atomic import make_private_folder
from bulk_patch.ledgers.operator import current_actor
from bulk_patch.reports.files import is_reported, write_summary
from bulk_patch.reports.html.page import write_page
from bulk_patch.reports.runs import LocatedRun
from bulk_patch.reports.summary import RunSummary
from bulk_patch.workflows.options import Commands
from bulk_patch.workflows.status import status_in


def report_again(
    found: LocatedRun, *, commands: Commands, reveal: bool = False, operator: str = ""
) -> tuple[Path, Path | None]:
    """Write report.html and summary.json of a run; with `reveal` also report-revealed.html, with whole values.

    Args:
        found: The run.
        commands: Names the next command.
        reveal: Show whole values too; the ledger records it first.
        operator: Who asks for whole values; "": the login.

    Returns:
        The paths of the masked page and of the one with whole values.

    Raises:
        UsageError: The run has no finished plan.
        LedgerError: The plan is not as it was sealed, or the disk failed.
        LockedError: Another process holds the ledger, so that the reveal cannot be recorded.
    """
    if found.run.state == "planning":
        raise UsageError(f"run {found.run.id} has no finished plan", f"plan again: {commands.for_job('plan')}")
    with found.read() as ledger:
        ledger.check_seal(found.run.id)
    if reveal:
        found.note_reveal(operator, command="report")
    make_private_folder(found.run_folder)
    page, summary = _write(found, commands=commands)
    write_summary(summary, found.run_folder)
    if not reveal:
        return page, None
    revealed, _ = _write(found, commands=commands, revealed_by=current_actor(operator).operator)
    return page, revealed


def refresh_page(found: LocatedRun, *, commands: Commands) -> LedgerError | None:
    """Bring the page of a run, and its summary.json, up to date with its ledger.

    Returns:
        Why that failed; None: it did not.
    """
    try:
        with found.read() as ledger:
            in_order = is_reported(ledger, found.run, found.run_folder)
        _, summary = _write(found, commands=commands)
        if in_order:  # else the next run writes all files: summary.json tells it that the others are as they should be
            write_summary(summary, found.run_folder)
    except LedgerError as error:
        return error
    return None


def _write(found: LocatedRun, *, commands: Commands, revealed_by: str = "") -> tuple[Path, RunSummary]:
    with found.read() as ledger:
        summary = status_in(ledger, found, commands=commands).summary
        folder, target = found.run_folder, found.target()
        return write_page(ledger, found.run, folder, summary, target=target, revealed_by=revealed_by), summary
