"""Status: how far runs are and what comes next, read from their ledgers, also while they are sent."""

from dataclasses import dataclass, replace
from pathlib import Path

from bulk_patch.client.share_file import Member, members_of
from bulk_patch.ledgers import RunReader
from bulk_patch.ledgers.records import Holder, Run
from bulk_patch.model import Counts
from bulk_patch.reports.next_command import NOTHING_NEXT, NextCommand
from bulk_patch.reports.runs import LocatedRun, list_runs
from bulk_patch.reports.summary import RunSummary, summarise
from bulk_patch.workflows.options import Commands


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How far a run is.

    Attributes:
        summary: As in summary.json, as of now.
        run: The run as the ledger has it.
        counts: Rows per state, those in flight included.
        to_do: Rows still to be tried.
        holder: The process that holds the ledger, if any.
        sharing: Other processes that keep one rate with it now.
    """

    summary: RunSummary
    run: Run
    counts: Counts
    to_do: int
    holder: Holder | None
    sharing: tuple[Member, ...] = ()


def list_statuses(output: Path | None) -> list[tuple[Run, Counts]]:
    """Return all runs of all jobs of an output folder with their rows per state, the newest first.

    Raises:
        LedgerError: No ledger can be read; one that cannot be read beside others is skipped.
    """
    statuses = []
    for found in list_runs(output):
        with found.read() as ledger:
            run = found.run
            if run.state == "sealed" and _is_sent_now(found, ledger):
                run = replace(run, state="running")
            statuses.append((run, ledger.counts(run.id)))
    return statuses


def _is_sent_now(found: LocatedRun, ledger: RunReader) -> bool:
    """Tell whether a process sends a run at this moment."""
    if not ledger.to_do(found.run.id) or found.holder() is None:
        return False
    sessions = ledger.sessions(found.run.id)
    return bool(sessions) and sessions[-1].ended_at is None


def read_status(found: LocatedRun, *, commands: Commands) -> RunStatus:
    """Return how far a run is.

    Args:
        found: The run.
        commands: Names the next command.
    """
    with found.read() as ledger:
        return status_in(ledger, found, commands=commands)


def status_in(ledger: RunReader, found: LocatedRun, *, commands: Commands) -> RunStatus:
    """Return how far a run is, from its ledger that is open already."""
    run, holder = ledger.run(found.run.id), found.holder()
    running = holder is not None and bool(ledger.to_do(run.id))
    following = NOTHING_NEXT if running else next_of_run(ledger, run.id, commands=commands)
    summary = summarise(ledger, run, running=running, next_command=following)
    sharing = _sharing(run, holder) if running and holder is not None else ()
    return RunStatus(summary, ledger.run(run.id), ledger.counts(run.id), ledger.to_do(run.id), holder, sharing)


def _sharing(run: Run, holder: Holder) -> tuple[Member, ...]:
    """Return who shares the rate of a run that is being sent, as its sealed terms name the share."""
    limits = run.terms.get("limits", {})
    if not limits.get("share"):
        return ()
    folder = Path(limits["share_dir"]) if limits.get("share_dir") else None
    return tuple(one for one in members_of(limits["share"], folder) if one.pid != holder.pid)


def next_of_run(ledger: RunReader, run_id: str, *, commands: Commands) -> NextCommand:
    """Return the command that continues a run as its ledger has it now."""
    return commands.next_command(ledger.run(run_id), ledger.counts(run_id), ledger.to_do(run_id))
