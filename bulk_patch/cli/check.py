"""The command `check`: what is wrong with a job, said at once and before anything is planned."""

import sys
from typing import NoReturn

import click

from bulk_patch.cli.durations import seconds_of
from bulk_patch.cli.entry import error_boundary, same_words, say_next
from bulk_patch.cli.options import Common, common, job_argument
from bulk_patch.errors import BulkPatchError, Exit, UsageError


@click.command()
@job_argument
@click.option("--offline", is_flag=True, help="Leave the network out: no read, and no command that prints the token.")
@click.option(
    "--within", metavar="TIME", help="Instead: did a run end with 0 so long ago at most? Such as 26h, 90m, 2d."
)
@click.option("--nagios", is_flag=True, help="With --within: one line, and the exit codes of a Nagios plug-in.")
@common
def check(common: Common, job_file: str, offline: bool, within: str | None, nagios: bool) -> None:
    """Check a job before it runs: settings, header, guards, token and one read; all faults at once.

    Nothing is planned or written. Ends with 0, or with 2 (file or job), 6 (token) or 4 (the API does not answer).
    With --within only the ledger is looked at: 0, or 4 and why (never ran, too old, failed, rows still to be sent).

    \b
    Example:
      bulk-patch check jobs/address_corrections.toml
      bulk-patch check jobs/nightly_reconciliation.toml --within 26h
    """
    with error_boundary(common):
        if nagios and within is None:
            raise UsageError("--nagios is about the last night", "say how old it may be: --within 26h")
        if within is not None:
            _end_with_night(common, job_file, within, nagios=nagios)
        from bulk_patch.cli.check_screen import check_screen
        from bulk_patch.cli.command_lines import CommandLines
        from bulk_patch.cli.next_command import Invocation
        from bulk_patch.cli.printing import say
        from bulk_patch.job.load import output_root
        from bulk_patch.reports.next_command import NextCommand
        from bulk_patch.workflows.check import check_job

        found = check_job(job_file, common.sets, offline=offline)
        if not common.quiet or found.faults:
            say(check_screen(found, job_file))
        code = found.exit_code
        if code is Exit.OK and common.quiet:
            sys.exit(code)
        say(f"exit code {code:d}: {code.words}", stream=sys.stderr)
        if code is Exit.OK and found.job is not None:
            output = None if common.output is None else str(common.output)
            called = Invocation(job_file, output=output, sets=common.sets)
            folder = output_root(found.job.file, given=common.output) / found.job.name
            say_next(NextCommand(CommandLines(called, folder).for_job("plan")))
        else:
            say_next(same_words(code))
        sys.exit(code)


def _end_with_night(common: Common, job_file: str, within: str, *, nagios: bool) -> NoReturn:
    """Say whether the last night is good, and exit."""
    from bulk_patch.cli.check_screen import nagios_line, night_screen
    from bulk_patch.cli.command_lines import CommandLines
    from bulk_patch.cli.next_command import Invocation
    from bulk_patch.cli.printing import say
    from bulk_patch.job.load import load_job, output_root
    from bulk_patch.reports.next_command import NextCommand
    from bulk_patch.workflows.last_night import last_night

    try:
        within_s = seconds_of(within, "--within", "90m, 26h or 2d")
        job = load_job(job_file, common.sets)
        folder = output_root(job.file, given=common.output) / job.name
        night = last_night(job, folder, within_s=within_s)
    except BulkPatchError as error:
        if not nagios:
            raise
        say(nagios_line("UNKNOWN", job_file, (error.message,)))
        sys.exit(3)
    if nagios:
        state = "OK" if not night.problems else "WARNING" if night.only_rows else "CRITICAL"
        say(nagios_line(state, night.job, night.problems, age_s=night.age_s))
        sys.exit(("OK", "WARNING", "CRITICAL").index(state))
    code = Exit.INCOMPLETE if night.problems else Exit.OK
    if code is not Exit.OK or not common.quiet:
        say(night_screen(night))
    if code is not Exit.OK:
        say(f"exit code {code:d}: the last night was not good", stream=sys.stderr)
        if night.run:
            called = Invocation(job_file, output=None if common.output is None else str(common.output))
            say_next(NextCommand(CommandLines(called, folder).for_run("status", night.run)))
    sys.exit(code)
