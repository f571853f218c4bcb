"""Commands that look at what is there."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bulk_patch.cli.entry import error_boundary, next_of_run, states_named
from bulk_patch.cli.options import Common, common, operator_flag, run_argument
from bulk_patch.errors import LedgerError, UsageError

if TYPE_CHECKING:
    from bulk_patch.ledgers import Ledger
    from bulk_patch.ledgers.records import Holder
    from bulk_patch.reports.runs import LocatedRun
    from bulk_patch.reports.summary import RunSummary


@click.command()
@click.argument("run_name", metavar="[RUN]", required=False)
@common
def status(common: Common, run_name: str | None) -> None:
    """Show how far a run is and what to do next, also while it runs; without RUN, list all runs.

    \b
    Example:
      bulk-patch status jobs/address_corrections.toml
    """
    with error_boundary(common):
        from bulk_patch.cli.screens import runs_screen, status_screen
        from bulk_patch.cli.terminal import say
        from bulk_patch.reports.runs import list_runs, locate_run

        if run_name is None:
            pairs = []
            for found in list_runs(common.output):
                with found.read() as ledger:
                    pairs.append((found.run, ledger.counts(found.run.id)))
            say(runs_screen(pairs))
            return
        found = locate_run(run_name, output=common.output)
        with found.read() as ledger:
            summary, holder = _summarise(found, ledger, run_name, common)
            one, counts, to_do = ledger.run(found.run.id), ledger.counts(found.run.id), ledger.to_do(found.run.id)
            say(status_screen(summary, one, counts, to_do=to_do, holder=holder))


@click.command()
@run_argument
@click.option("--id", "customer_id", metavar="CUSTOMER", help="Only this customer.")
@click.option("--status", "state", metavar="S", help="Only rows of this status, for example rejected.")
@click.option("--reveal", is_flag=True, help="Show values whole; recorded in the ledger.")
@operator_flag
@common
def show(
    common: Common, run_name: str, customer_id: str | None, state: str | None, reveal: bool, operator: str
) -> None:
    """Show rows with before, after, status and reason; values are masked.

    \b
    Example:
      bulk-patch show 20261122 --status rejected
    """
    with error_boundary(common):
        from bulk_patch.cli.screens import show_screen
        from bulk_patch.cli.terminal import say
        from bulk_patch.reports.rows import changes_of
        from bulk_patch.reports.runs import locate_run

        found = locate_run(run_name, output=common.output)
        states = states_named(state)
        target = found.target()
        if reveal:
            found.note_reveal(operator, command="show")
        with found.read() as ledger:
            rows = ledger.rows(found.run.id, states=states, customer_id=customer_id and customer_id.lower())
            shown = 0
            for text in show_screen((row, changes_of(row, target, reveal=reveal)) for row in rows):
                say(text)
                shown += 1
        if not shown:
            say("no such rows; those that are unchanged are only counted")


@click.command()
@run_argument
@click.option(
    "--to", "to", required=True, type=click.Path(dir_okay=False, path_type=Path), help=".csv, .parquet or .jsonl"
)
@click.option("--reveal", is_flag=True, help="Write values whole; recorded in the ledger.")
@operator_flag
@common
def export(common: Common, run_name: str, to: Path, reveal: bool, operator: str) -> None:
    """Write the rows of a run with masked before and after per field.

    \b
    Example:
      bulk-patch export jobs/address_corrections.toml --to evidence.parquet
    """
    with error_boundary(common):
        from bulk_patch.cli.terminal import say
        from bulk_patch.reports.export import export as export_rows
        from bulk_patch.reports.runs import locate_run

        found = locate_run(run_name, output=common.output)
        if reveal:
            found.note_reveal(operator, command="export")
        with found.read() as ledger:
            count = export_rows(ledger, found.run, to, target=found.target(), reveal=reveal)
        say(f"{count:,} rows written to {to}")


@click.command()
@run_argument
@click.option("--reveal", is_flag=True, help="Write a second page, with whole values; recorded in the ledger.")
@operator_flag
@common
def report(common: Common, run_name: str, reveal: bool, operator: str) -> None:
    """Write report.html and summary.json of a run anew, also while it runs.

    With --reveal also report-revealed.html, readable by you only.

    \b
    Example:
      bulk-patch report jobs/address_corrections.toml
    """
    with error_boundary(common):
        from bulk_patch.cli.terminal import from_here, say
        from bulk_patch.files.atomic import make_private_folder
        from bulk_patch.ledgers.operator import current_actor
        from bulk_patch.reports.files import write_summary
        from bulk_patch.reports.runs import locate_run

        found = locate_run(run_name, output=common.output)
        if found.run.state == "planning":
            raise UsageError(f"the plan of run {found.run.id} was never finished", "plan anew: bulk-patch plan")
        if reveal:
            found.note_reveal(operator, command="report")
        make_private_folder(found.run_folder)
        written, summary = rewrite_page(found, run_name, common)
        write_summary(summary, found.run_folder)
        say(f"written: {from_here(written)}")
        if reveal:
            written, _ = rewrite_page(found, run_name, common, revealed_by=current_actor(operator).operator)
            say(f"written: {from_here(written)}, with whole values: for you alone, delete it when it was read")


def rewrite_page(
    found: "LocatedRun", run_name: str, common: Common, *, revealed_by: str = ""
) -> "tuple[Path, RunSummary]":
    """Write the page of a run anew, masked but for who is noted for a reveal; return it and the summary it shows."""
    from bulk_patch.reports.html.page import write_page

    with found.read() as ledger:
        summary, _ = _summarise(found, ledger, run_name, common)
        folder, target = found.run_folder, found.target()
        return write_page(ledger, found.run, folder, summary, target=target, revealed_by=revealed_by), summary


def refresh_page(found: "LocatedRun", run_name: str, common: Common) -> None:
    """Let the page of a run, and its summary.json, say what was just recorded; where that fails, say so and go on."""
    from bulk_patch.cli.terminal import say
    from bulk_patch.reports.files import PAGE, is_reported, write_summary

    try:
        with found.read() as ledger:
            in_order = is_reported(ledger, found.run, found.run_folder)
        _, summary = rewrite_page(found, run_name, common)
        if in_order:  # else the next run writes all files: summary.json tells it that the others are as they should be
            write_summary(summary, found.run_folder)
    except LedgerError as error:
        say(f"{PAGE} still says what it said before: {error.message}", stream=sys.stderr)
        say(f"to write it anew: bulk-patch report {found.run.id}", stream=sys.stderr)


def _summarise(
    found: "LocatedRun", ledger: "Ledger", run_name: str, common: Common
) -> "tuple[RunSummary, Holder | None]":
    """Say what became of a run so far, with the command that goes on from here, and who holds its ledger."""
    from bulk_patch.reports.summary import summarise

    one, holder = ledger.run(found.run.id), found.holder()
    running = holder is not None and bool(ledger.to_do(one.id))
    command = "" if running else next_of_run(found, ledger, run_name, common)
    return summarise(ledger, one, running=running, next_command=command), holder


@click.command()
@click.argument("customer_id", metavar="CUSTOMER")
@click.option("--reveal", is_flag=True, help="Show values whole; recorded in every ledger that has some.")
@operator_flag
@common
def lookup(common: Common, customer_id: str, reveal: bool, operator: str) -> None:
    """Show everything that any run of any job did to one customer, or was to do; values are masked.

    \b
    Example:
      bulk-patch lookup 6f1c1c9e-3a43-4d0f-9a3f-5f4b1f6d7a10
    """
    with error_boundary(common):
        from bulk_patch.cli.review_screens import history_screen, nowhere_screen
        from bulk_patch.cli.terminal import say
        from bulk_patch.reports.customer_history import find_history, look_where
        from bulk_patch.reports.rows import changes_of

        entries = find_history(customer_id, output=common.output)
        for found in {entry.found.run_folder: entry.found for entry in entries if reveal}.values():
            found.note_reveal(operator, command="lookup")
        for entry in entries:
            changes = changes_of(entry.row, entry.found.target(), reveal=reveal)
            say(
                history_screen(
                    entry.run,
                    entry.row,
                    changes,
                    approvers=entry.approvers,
                    senders=entry.senders,
                    reason=entry.reason,
                    ticket=entry.ticket,
                    drift=entry.drift,
                    checked_at=entry.checked_at,
                )
            )
        if not entries:
            searched = look_where(customer_id, output=common.output)
            say(nowhere_screen(searched.root, jobs=searched.jobs, runs=searched.runs, is_id=searched.is_id))
