"""Commands that look at what is there."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bulk_patch.commands.around import speaking, states_named
from bulk_patch.errors import UsageError
from bulk_patch.flags import Common, common, operator_flag, run_argument

if TYPE_CHECKING:
    from bulk_patch.find import Found
    from bulk_patch.ledgers import Holder, Ledger
    from bulk_patch.report import RunSummary


@click.command()
@click.argument("run_name", metavar="[RUN]", required=False)
@common
def status(common: Common, run_name: str | None) -> None:
    """Show how far a run is and what to do next, also while it runs; without RUN, list all runs.

    \b
    Example:
      bulk-patch status jobs/address_corrections.toml
    """
    with speaking(common):
        from bulk_patch.find import find_run, list_runs
        from bulk_patch.screens import runs_screen, status_screen
        from bulk_patch.terminal import say

        if run_name is None:
            pairs = []
            for found in list_runs(common.output):
                with found.read() as ledger:
                    pairs.append((found.run, ledger.counts(found.run.id)))
            say(runs_screen(pairs))
            return
        found = find_run(run_name, output=common.output)
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
    with speaking(common):
        from bulk_patch.find import find_run
        from bulk_patch.report import changes_of
        from bulk_patch.screens import show_screen
        from bulk_patch.terminal import say

        found = find_run(run_name, output=common.output)
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
    with speaking(common):
        from bulk_patch.exports import export as export_rows
        from bulk_patch.find import find_run
        from bulk_patch.terminal import say

        found = find_run(run_name, output=common.output)
        if reveal:
            found.note_reveal(operator, command="export")
        with found.read() as ledger:
            count = export_rows(ledger, found.run, to, target=found.target(), reveal=reveal)
        say(f"{count:,} rows written to {to}")


@click.command()
@run_argument
@click.option("--reveal", is_flag=True, help="Show values whole in the page; recorded in the ledger.")
@operator_flag
@common
def report(common: Common, run_name: str, reveal: bool, operator: str) -> None:
    """Write report.html and summary.json of a run anew, also while it runs.

    \b
    Example:
      bulk-patch report jobs/address_corrections.toml
    """
    with speaking(common):
        from bulk_patch.actor import who
        from bulk_patch.find import find_run
        from bulk_patch.page import write_page
        from bulk_patch.private_files import make_private_folder
        from bulk_patch.report import PAGE, write_summary
        from bulk_patch.terminal import from_here, say

        found = find_run(run_name, output=common.output)
        if found.run.state == "planning":
            raise UsageError(f"the plan of run {found.run.id} was never finished", "plan anew: bulk-patch plan")
        target = found.target()
        if reveal:
            found.note_reveal(operator, command="report")
        with found.read() as ledger:
            summary, _ = _summarise(found, ledger, run_name, common)
            make_private_folder(found.run_folder)
            revealed_by = who(operator).operator if reveal else ""
            write_page(ledger, found.run, found.run_folder, summary, target=target, revealed_by=revealed_by)
            write_summary(summary, found.run_folder)
        say(f"written: {from_here(found.run_folder / PAGE)}")


def _summarise(found: "Found", ledger: "Ledger", run_name: str, common: Common) -> "tuple[RunSummary, Holder | None]":
    """Say what became of a run so far, with the command that goes on from here, and who holds its ledger."""
    from bulk_patch.report import FAILURES, summarise
    from bulk_patch.screens import Invocation, next_command
    from bulk_patch.terminal import from_here

    one = ledger.run(found.run.id)
    counts, to_do, holder = ledger.counts(one.id), ledger.to_do(one.id), found.holder()
    sandbox = one.target.split()[1:2] == ["sandbox"]
    job_file = run_name if run_name.endswith(".toml") else str(one.details.get("job_file", ""))
    output = None if common.output is None else str(common.output)
    prefix = Invocation(job_file, sandbox, output, tuple(one.details.get("overrides", ())))
    failures = from_here(found.run_folder / FAILURES)
    running = holder is not None and bool(to_do)
    command = "" if running else next_command(one, counts, to_do, prefix=prefix, failures=failures)
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
    with speaking(common):
        from bulk_patch.history import find_history
        from bulk_patch.report import changes_of
        from bulk_patch.review_screens import history_screen
        from bulk_patch.terminal import say

        entries = find_history(customer_id, output=common.output)
        for found in {entry.found.run_folder: entry.found for entry in entries if reveal}.values():
            found.note_reveal(operator, command="lookup")
        for entry in entries:
            changes = changes_of(entry.row, entry.found.target(), reveal=reveal)
            people = {"approvers": entry.approvers, "senders": entry.senders}
            say(history_screen(entry.run, entry.row, changes, **people))
        if not entries:
            say("no run of any job here has a row about this customer; rows that are unchanged are only counted")
