"""Commands that show runs, rows and customers."""

from itertools import islice
from pathlib import Path

import click

from bulk_patch.cli import completing
from bulk_patch.cli.entry import commands_of, error_boundary, states_named
from bulk_patch.cli.options import Common, common, json_flag, operator_flag, run_argument
from bulk_patch.errors import UsageError
from bulk_patch.words import amount


@click.command()
@click.argument("run_name", metavar="[RUN]", required=False, shell_complete=completing.runs)
@json_flag
@common
def status(common: Common, run_name: str | None) -> None:
    """Show how far a run is and what to do next, also while it runs; without RUN, list all runs.

    \b
    Example:
      bulk-patch status jobs/address_corrections.toml
    """
    with error_boundary(common):
        from bulk_patch.cli.documents import print_document, print_rows, status_document
        from bulk_patch.cli.printing import say
        from bulk_patch.cli.screens import runs_screen, status_screen
        from bulk_patch.reports.runs import list_runs, locate_run
        from bulk_patch.workflows.status import list_statuses, read_status

        if run_name is None and common.as_json:
            found_runs = list_runs(common.output)
            read = (read_status(each, commands=commands_of(each, each.run.id, common)) for each in found_runs)
            print_rows({}, map(status_document, read), name="runs")
            return
        if run_name is None:
            say(runs_screen(list_statuses(common.output)))
            return
        found = locate_run(run_name, output=common.output)
        status = read_status(found, commands=commands_of(found, run_name, common))
        if common.as_json:
            print_document(status_document(status))
            return
        say(status_screen(status))


@click.command()
@run_argument
@click.option("--id", "customer_id", metavar="CUSTOMER", help="Only this customer.")
@click.option(
    "--status",
    "state",
    metavar="S",
    help="Only rows with this status, for example rejected.",
    shell_complete=completing.statuses,
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Show at most N rows.")
@click.option("--reveal", is_flag=True, help="Show whole values; recorded in the ledger.")
@operator_flag
@json_flag
@common
def show(
    common: Common,
    run_name: str,
    customer_id: str | None,
    state: str | None,
    limit: int | None,
    reveal: bool,
    operator: str,
) -> None:
    """Show rows with before, after, status and reason; values are masked.

    \b
    Example:
      bulk-patch show 20261122 --status rejected --limit 20
    """
    with error_boundary(common):
        from bulk_patch.cli.documents import print_rows, row_document
        from bulk_patch.cli.printing import say
        from bulk_patch.cli.screens import show_screen
        from bulk_patch.reports.rows import changes_of
        from bulk_patch.reports.runs import locate_run

        found = locate_run(run_name, output=common.output)
        states = states_named(state)
        target = found.target()
        if reveal:
            found.note_reveal(operator, command="show")
        with found.read() as ledger:
            wanted = customer_id and target.ids.normalise(customer_id)
            stream = ledger.rows(found.run.id, states=states, customer_id=wanted)
            rows = ((row, changes_of(row, target, reveal=reveal)) for row in islice(stream, limit))
            if common.as_json:
                head = {"run": found.run.id, "job": found.run.job, "target": found.run.target}
                print_rows(head, (row_document(row, changes) for row, changes in rows))
                return
            shown = 0
            for text in show_screen(rows):
                say(text)
                shown += 1
            more = shown == limit and next(stream, None) is not None
        if not shown:
            say("no such rows; unchanged rows are only counted, not kept")
        elif more:
            say(f"{amount(shown, 'row')} shown, and there are more; a larger --limit shows them")


@click.command()
@run_argument
@click.option(
    "--to", "to", required=True, type=click.Path(dir_okay=False, path_type=Path), help=".csv, .parquet, .jsonl or .xlsx"
)
@click.option("--reveal", is_flag=True, help="Write whole values; recorded in the ledger.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@operator_flag
@common
def export(common: Common, run_name: str, to: Path, reveal: bool, force: bool, operator: str) -> None:
    """Write the rows of a run with masked before and after per field.

    \b
    Example:
      bulk-patch export jobs/address_corrections.toml --to evidence.parquet
    """
    with error_boundary(common):
        from bulk_patch.cli.printing import say
        from bulk_patch.reports.export import export as export_rows
        from bulk_patch.reports.runs import locate_run

        found = locate_run(run_name, output=common.output)
        if not force and to.is_file():
            raise UsageError(f"{to} exists already", "name another file, or replace it: --force")
        if reveal:
            found.note_reveal(operator, command="export")
        with found.read() as ledger:
            ledger.check_seal(found.run.id)
            count = export_rows(ledger, found.run, to, target=found.target(), reveal=reveal)
        found.note_export(operator, rows=count, form=to.suffix)
        say(f"{count:,} rows written to {to}")


@click.command()
@run_argument
@click.option("--reveal", is_flag=True, help="Write a second page, with whole values; recorded in the ledger.")
@operator_flag
@common
def report(common: Common, run_name: str, reveal: bool, operator: str) -> None:
    """Write report.html and summary.json of a run again, also while it runs.

    With --reveal also report-revealed.html, readable by you only.

    \b
    Example:
      bulk-patch report jobs/address_corrections.toml
    """
    with error_boundary(common):
        from bulk_patch.cli.command_lines import from_here
        from bulk_patch.cli.printing import say
        from bulk_patch.reports.runs import locate_run
        from bulk_patch.workflows.report import report_again

        found = locate_run(run_name, output=common.output)
        commands = commands_of(found, run_name, common)
        page, revealed = report_again(found, commands=commands, reveal=reveal, operator=operator)
        say(f"written: {from_here(page)}")
        if revealed is not None:
            say(f"written: {from_here(revealed)}, with whole values: for you only; delete it once you have read it")


@click.command()
@click.argument("customer_id", metavar="CUSTOMER")
@click.option("--reveal", is_flag=True, help="Show whole values; recorded in every ledger that has some.")
@operator_flag
@json_flag
@common
def lookup(common: Common, customer_id: str, reveal: bool, operator: str) -> None:
    """Show what any run of any job did, or would have done, to one customer; values are masked.

    \b
    Example:
      bulk-patch lookup 6f1c1c9e-3a43-4d0f-9a3f-5f4b1f6d7a10
    """
    with error_boundary(common):
        from bulk_patch.cli.documents import entry_document, print_document
        from bulk_patch.cli.printing import say
        from bulk_patch.cli.review_screens import history_screen, nowhere_screen
        from bulk_patch.reports.customer_history import find_history, look_where
        from bulk_patch.reports.rows import changes_of

        if not customer_id.strip():
            raise UsageError("the id is empty", "name the customer by the id that the API knows")
        entries = find_history(customer_id, output=common.output)
        for found in {entry.found.run_folder: entry.found for entry in entries if reveal}.values():
            found.note_reveal(operator, command="lookup")
        if common.as_json:
            found_rows = [
                entry_document(entry, changes_of(entry.row, entry.found.target(), reveal=reveal)) for entry in entries
            ]
            print_document({"customer_id": customer_id, "rows": found_rows})
            return
        for entry in entries:
            changes = changes_of(entry.row, entry.found.target(), reveal=reveal)
            say(history_screen(entry, changes))
        if not entries:
            searched = look_where(customer_id, output=common.output)
            say(nowhere_screen(searched.root, jobs=searched.jobs, runs=searched.runs, is_id=searched.is_id))
