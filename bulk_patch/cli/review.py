"""Commands for the second person: say yes before a run, and check after it."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bulk_patch.cli.entry import error_boundary, job_of_run, next_of_run, observer_of, same_words
from bulk_patch.cli.inspect import refresh_page
from bulk_patch.cli.options import Common, common, operator_flag, run_argument, sandbox_flag

if TYPE_CHECKING:
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
    """Say yes to a plan that somebody else made; bound to its hash, its target and its number of changes.

    The yes expires (guards.approval_valid_h). Without a signature it is a record, not a proof.

    \b
    Example:
      bulk-patch approve 20261122-151203-4f2a --operator "Alex Doe"
    """
    with error_boundary(common):
        from bulk_patch.cli.review_screens import approval_screen
        from bulk_patch.cli.terminal import say
        from bulk_patch.ledgers.operator import current_actor
        from bulk_patch.reports.runs import locate_run
        from bulk_patch.review.approvals import prepare, record_approval

        found = locate_run(run_name, output=common.output)
        job, _ = job_of_run(found, run_name, common)
        actor = current_actor(operator)
        detail = prepare(job, found.run, actor, key=key)
        with found.record() as ledger:
            record_approval(ledger, found.run, actor, detail)
            command = next_of_run(found, ledger, run_name, common)
        if not common.quiet:
            say(approval_screen(found.run, actor, detail, asked_for=job.guards.approval))
        refresh_page(found, run_name, common)
        say(f"next: {command}", stream=sys.stderr)


@click.command()
@run_argument
@sandbox_flag
@operator_flag
@common
def verify(common: Common, run_name: str, sandbox: bool, operator: str) -> None:
    """Read back every row that a run applied, and list what is not there any more, field by field.

    A verify that was stopped goes on where it was; one that came to its end begins anew.

    \b
    Example:
      bulk-patch verify 20261122-151203-4f2a
    """
    with error_boundary(common):
        from bulk_patch.cli.next_command import Invocation
        from bulk_patch.cli.rehearsal import at_sandbox
        from bulk_patch.cli.review_screens import drift_screen, verification_screen
        from bulk_patch.cli.terminal import look_at, say
        from bulk_patch.reports.runs import locate_run
        from bulk_patch.workflows.options import RunOptions
        from bulk_patch.workflows.verify import verify_run

        found = locate_run(run_name, output=common.output)
        job, job_file = job_of_run(found, run_name, common)
        output = found.folder.parent
        with at_sandbox(job, output) if sandbox else nullcontext(job) as aimed:
            observer = observer_of(aimed, job_file, common, sandbox=sandbox, asks=False)
            done = verify_run(aimed, found.run.id, RunOptions(output=output, operator=operator, observer=observer))
        with found.read() as ledger:
            for text in drift_screen(ledger.drifts(done.check)):
                say(text)
            first = next((its.customer_id for its in ledger.drifts(done.check) if its.counts), "")
        called = Invocation(job_file, sandbox, None if common.output is None else str(common.output))
        look = look_at(first, invocation=called, folder=found.folder) if first else ""
        if not common.quiet:
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
        refresh_page(found, run_name, common)
        _end(done, look=look)


def _end(done: "Verification", *, look: str) -> None:
    """Say on stderr what was found, and what to type next: where it stopped the same words, else `look`, and end so."""
    from bulk_patch.cli.terminal import say

    say(f"{done.rows} read back: {done.drifted} drifted, {done.left} not read", stream=sys.stderr)
    if done.stop is not None:
        say(f"stopped: {done.stop.reason}", stream=sys.stderr)
        say(f"hint: {done.stop.hint}", stream=sys.stderr)
    say(f"exit code {done.exit_code:d}: {done.exit_code.words}", stream=sys.stderr)
    if command := look if done.stop is None else same_words(done.exit_code):
        say(f"next: {command}", stream=sys.stderr)
    sys.exit(done.exit_code)
