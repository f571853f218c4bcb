"""Commands for the second person: approve a plan before it is sent, and verify it afterwards."""

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bulk_patch.cli.entry import (
    commands_of,
    error_boundary,
    job_of_run,
    same_words,
    say_next,
    watched_by_terminal,
)
from bulk_patch.cli.options import Common, common, json_flag, operator_flag, run_argument, sandbox_flag
from bulk_patch.reports.next_command import NOTHING_NEXT, NextCommand

if TYPE_CHECKING:
    from bulk_patch.errors import LedgerError
    from bulk_patch.workflows.verify import Verification


@click.command()
@run_argument
@click.option(
    "--sign",
    "key",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="KEYFILE",
    help="Sign the approval with this SSH key; checked against guards.allowed_signers.",
)
@operator_flag
@common
def approve(common: Common, run_name: str, key: Path | None, operator: str) -> None:
    """Approve a plan that someone else made; bound to its hash, its target and its number of changes.

    An approval expires (guards.approval_valid_h). Unsigned, it is recorded, not cryptographically proven.

    \b
    Example:
      bulk-patch approve 20261122-151203-4f2a --operator "Alex Doe"
    """
    with error_boundary(common):
        from bulk_patch.cli.printing import say
        from bulk_patch.cli.review_screens import approval_screen
        from bulk_patch.reports.runs import locate_run
        from bulk_patch.workflows.approve import approve_run

        found = locate_run(run_name, output=common.output)
        job, _ = job_of_run(found, run_name, common, sends=False)
        commands = commands_of(found, run_name, common)
        approval = approve_run(job, found, operator=operator, key=key, commands=commands)
        if not common.quiet:
            say(approval_screen(approval.run, approval.actor, approval.detail, asked_for=approval.asked_for))
        _say_outdated(approval.outdated_page, commands.for_run("report", found.run.id))
        say_next(approval.next)


@click.command()
@run_argument
@sandbox_flag
@operator_flag
@json_flag
@common
def verify(common: Common, run_name: str, sandbox: bool, operator: str) -> None:
    """Read back every row that a run applied, and list what has drifted, field by field.

    A verify that was stopped resumes where it was; one that was completed starts again.

    \b
    Example:
      bulk-patch verify 20261122-151203-4f2a
    """
    with error_boundary(common):
        from bulk_patch.cli.documents import print_document, verification_document
        from bulk_patch.cli.printing import say
        from bulk_patch.cli.rehearsal import at_sandbox
        from bulk_patch.cli.review_screens import drift_screen, verification_screen
        from bulk_patch.reports.runs import locate_run
        from bulk_patch.workflows.report import refresh_page
        from bulk_patch.workflows.verify import verify_run

        found = locate_run(run_name, output=common.output)
        job, job_file = job_of_run(found, run_name, common)
        output = found.folder.parent
        with at_sandbox(job, output) if sandbox else nullcontext(job) as aimed:
            options = watched_by_terminal(aimed, job_file, common, sandbox=sandbox)
            done = verify_run(aimed, found.run.id, replace(options, output=output, operator=operator))
        with found.read() as ledger:
            first = next((drift.customer_id for drift in ledger.drifts(done.check) if drift.counts), "")
            following = NextCommand(options.commands.for_run("lookup", first)) if first else NOTHING_NEXT
            following = following if done.stop is None else same_words(done.exit_code)
            if common.as_json:
                drifts = ledger.drifts(done.check)
                print_document(verification_document(found.run, done, drifts, following=following))
            else:
                for text in drift_screen(ledger.drifts(done.check)):
                    say(text)
        if not (common.quiet or common.as_json):
            say(
                verification_screen(
                    found.run,
                    rows=done.rows,
                    left=done.left,
                    drifted=done.drifted,
                    superseded=done.superseded,
                    fields=done.fields,
                    in_part=done.in_part,
                )
            )
        commands = commands_of(found, run_name, common)
        _say_outdated(refresh_page(found, commands=commands), commands.for_run("report", found.run.id))
        _end(done, following=following)


def _say_outdated(error: "LedgerError | None", command: str) -> None:
    """Say on stderr why report.html is not up to date, if it is not, and how to write it."""
    from bulk_patch.cli.printing import say
    from bulk_patch.reports.files import PAGE

    if error is not None:
        say(f"{PAGE} is not up to date: {error.message}", stream=sys.stderr)
        say(f"to write it again: {command}", stream=sys.stderr)


def _end(done: "Verification", *, following: NextCommand) -> None:
    """Say on stderr what was found, and what to type next: the same words where it stopped; exit."""
    from bulk_patch.cli.printing import say

    say(f"{done.rows} read back: {done.drifted} drifted, {done.left} not read", stream=sys.stderr)
    if done.stop is not None:
        say(f"stopped: {done.stop.reason}", stream=sys.stderr)
        say(f"hint: {done.stop.hint}", stream=sys.stderr)
    say(f"exit code {done.exit_code:d}: {done.exit_code.words}", stream=sys.stderr)
    say_next(following)
    sys.exit(done.exit_code)
