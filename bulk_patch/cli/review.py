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
    importing,
    job_of_run,
    same_words,
    say_next,
    watched_by_terminal,
)
from bulk_patch.cli.options import Common, common, json_flag, operator_flag, run_argument, sandbox_flag
from bulk_patch.errors import Exit, UsageError
from bulk_patch.reports.next_command import NOTHING_NEXT, NextCommand

if TYPE_CHECKING:
    from bulk_patch.errors import LedgerError
    from bulk_patch.job.settings import Job
    from bulk_patch.ledgers.records import Run
    from bulk_patch.reports.runs import LocatedRun
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
@click.option(
    "--plan", "plan_hash", default="", metavar="HASH", help="Approve only the plan with this hash: 8 digits or more."
)
@click.option("--reject", is_flag=True, help="Refuse the plan; approvals before that no longer count.")
@click.option("--reason", default="", metavar="TEXT", help="Why it is refused; kept in the ledger.")
@operator_flag
@common
def approve(
    common: Common, run_name: str, key: Path | None, plan_hash: str, reject: bool, reason: str, operator: str
) -> None:
    """Approve a plan that someone else made; bound to what it shows, its target, its terms and its planner.

    By its job file only at a terminal, where the plan is shown and asked about; in scripts add --plan HASH. An
    approval expires (guards.approval_valid_h). Unsigned, it is recorded, not cryptographically proven.

    \b
    Example:
      bulk-patch approve 20261122-151203-4f2a --operator "Alex Doe"
    """
    with error_boundary(common):
        from bulk_patch.cli.printing import say
        from bulk_patch.cli.review_screens import approval_screen, rejection_screen
        from bulk_patch.reports.runs import locate_run
        from bulk_patch.workflows.approve import approve_run, refuse_other_plan, reject_run

        if reject != bool(reason.strip()):
            raise UsageError("--reject and --reason TEXT go together", "say why the plan is refused")
        found = locate_run(run_name, output=common.output)
        job, _ = job_of_run(found, run_name, common, sends=False)
        commands = commands_of(found, run_name, common)
        refuse_other_plan(found.run, plan_hash)
        asks = not plan_hash and _is_job_file(run_name)
        if asks and (sys.stdin is None or not sys.stdin.isatty()):
            by_id = commands.for_run("approve", found.run.id, "--plan", found.run.plan_sha256[:12])
            what = "a job file names its latest plan, whichever that is, and there is no terminal to show it on and ask"
            raise UsageError(what, f"look at it, then name it: {by_id}")
        if not common.quiet or asks:
            _show_plan(found, job)
        word = "reject" if reject else "approve"
        if asks and not ask_about(found.run, word):
            say(f"nothing was recorded: the answer was no\nexit code 4: {Exit.INCOMPLETE.words}", stream=sys.stderr)
            sys.exit(Exit.INCOMPLETE)
        if reject:
            refused = reject_run(found, reason, operator=operator, commands=commands)
            if not common.quiet:
                say(rejection_screen(refused.run, refused.actor, reason))
            _say_outdated(refused.outdated_page, commands.for_run("report", found.run.id))
            return
        approval = approve_run(job, found, operator=operator, key=key, commands=commands)
        if not common.quiet:
            say(approval_screen(approval.run, approval.actor, approval.detail, asked_for=approval.asked_for))
        _say_outdated(approval.outdated_page, commands.for_run("report", found.run.id))
        say_next(approval.next)


def _is_job_file(run_name: str) -> bool:
    return run_name.endswith(".toml") or Path(run_name).is_file()


def _show_plan(found: "LocatedRun", job: "Job") -> None:
    """Show a plan as it was sealed, once its seal was checked."""
    from bulk_patch.cli.printing import say
    from bulk_patch.cli.screens import plan_screen
    from bulk_patch.review.approvals import refuse_undecidable

    with found.read() as ledger:
        run = ledger.run(found.run.id)
        refuse_undecidable(run)
        ledger.check_seal(run.id)
        counts = ledger.counts(run.id)
    say(plan_screen(run, counts, rate_per_s=job.limits.kept_per_s, canary=job.guards.canary))


def ask_about(run: "Run", word: str) -> bool:
    """Ask whether to approve or reject what was shown; only a plain yes does."""
    from bulk_patch.cli.terminal import ask

    changes = f"{run.summary.changes:,} change" + ("" if run.summary.changes == 1 else "s")
    return ask(f"{word} plan {run.plan_sha256[:12]} of run {run.id}, {changes} to {run.target}? [y/N] ")


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

        with importing():
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
            say(verification_screen(found.run, done))
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
