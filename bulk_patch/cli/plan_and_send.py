"""Commands that plan and send."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bulk_patch.cli.entry import aimed, end_with, error_boundary, importing, job_of_run, must_ask, watched_by_terminal
from bulk_patch.cli.options import (
    Common,
    common,
    continue_flag,
    invalid_flag,
    job_argument,
    json_flag,
    new_flag,
    operator_flag,
    run_argument,
    sandbox_flag,
    sending_flags,
)
from bulk_patch.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from bulk_patch.job.settings import Job
    from bulk_patch.reports.summary import RunSummary
    from bulk_patch.workflows.options import RunOptions


@click.command()
@job_argument
@new_flag
@invalid_flag
@click.option(
    "--detailed-exitcode", is_flag=True, help="Exit with 0 when nothing would change, with 10 when something would."
)
@click.option(
    "--sign",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="KEYFILE",
    help="Sign the plan with this SSH key: another key has to sign its approval.",
)
@sandbox_flag
@operator_flag
@json_flag
@common
def plan(common: Common, job_file: str, detailed_exitcode: bool, sandbox: bool, **asked: Any) -> None:
    """Read, validate and compare the input, seal a plan and show it; send nothing.

    \b
    Example:
      bulk-patch plan jobs/address_corrections.toml
    """
    with error_boundary(common):
        with importing():
            from bulk_patch.workflows.run import plan_job

        with aimed(job_file, common, sandbox=sandbox) as job:
            options = watched_by_terminal(job, job_file, common, sandbox=sandbox)
            summary = plan_job(job, replace(options, **asked))
        changes_pending = detailed_exitcode and not summary.exit_code and summary.counts.get("pending")
        summary = replace(summary, exit_code=Exit.CHANGES_PENDING) if changes_pending else summary
        end_with(summary, job, common, plan_shown=getattr(options.observer, "plan_shown", "") == summary.run)


@click.command()
@job_argument
@new_flag
@invalid_flag
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Send at most N changes now; the rest stays pending."
)
@continue_flag
@sending_flags
@json_flag
@common
def run(common: Common, job_file: str, sandbox: bool, yes: bool, **asked: Any) -> None:
    """Complete a job: resume its open run or plan a new one, send, report.

    The same command is the first start, the restart after a crash, and the nightly cron line.

    \b
    Example:
      bulk-patch run jobs/address_corrections.toml --ticket OPS-1234
    """
    with error_boundary(common):
        with importing():
            from bulk_patch.workflows.run import run_job

        with aimed(job_file, common, sandbox=sandbox) as job:
            asks = must_ask(sandbox=sandbox, yes=yes, as_json=common.as_json)
            options = watched_by_terminal(job, job_file, common, sandbox=sandbox, asks=asks, limit=asked["limit"])
            summary = run_job(job, replace(options, **asked))
        end_with(summary, job, common)


@click.command()
@run_argument
@continue_flag
@sending_flags
@common
def retry(common: Common, run_name: str, sandbox: bool, yes: bool, **asked: Any) -> None:
    """Send rejected and unknown rows again, after their cause is fixed.

    Rejected rows get a new key; unknown rows keep theirs or are read first.

    \b
    Example:
      bulk-patch retry 20261122-151203-4f2a
    """
    with error_boundary(common):
        with importing():
            from bulk_patch.workflows.run import retry_run

        _again(retry_run, run_name, common, sandbox=sandbox, yes=yes, **asked)


@click.command()
@run_argument
@sending_flags
@common
def undo(common: Common, run_name: str, sandbox: bool, yes: bool, **asked: Any) -> None:
    """Undo a run: plan the reverse of what it applied as a new run, ask, send.

    Every customer is read first: what someone has changed since is kept, and listed.

    \b
    Example:
      bulk-patch undo 20261122-151203-4f2a --reason "wrong file"
    """
    with error_boundary(common):
        with importing():
            from bulk_patch.workflows.run import undo_run

        _again(undo_run, run_name, common, sandbox=sandbox, yes=yes, **asked)


def _again(
    workflow: "Callable[[Job, str, RunOptions], RunSummary]",
    run_name: str,
    common: Common,
    *,
    sandbox: bool,
    yes: bool,
    **asked: Any,
) -> None:
    """Run a workflow about an existing run, with the job that it was planned from."""
    from bulk_patch.cli.rehearsal import at_sandbox
    from bulk_patch.reports.runs import latest_run, locate_run, run_to_undo

    with importing():
        from bulk_patch.workflows.run import undo_run

    asks = must_ask(sandbox=sandbox, yes=yes)
    found = locate_run(run_name, output=common.output)
    by_file = run_name.endswith(".toml")
    job, job_file = job_of_run(found, run_name, common)
    output = found.folder.parent
    with at_sandbox(job, output) if sandbox else nullcontext(job) as aimed:
        found = latest_run(found, aimed) if by_file else found
        run_id = run_to_undo(found) if by_file and workflow is undo_run else found.run.id
        again = replace(common, sets=job.overrides)  # those that the run had too: the next command needs them
        options = watched_by_terminal(aimed, job_file, again, sandbox=sandbox, asks=asks)
        summary = workflow(aimed, run_id, replace(options, output=output, **asked))
    end_with(summary, job, common)
