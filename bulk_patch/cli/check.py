"""The command `check`: what is wrong with a job, said at once and before anything is planned."""

import sys

import click

from bulk_patch.cli.entry import error_boundary, same_words, say_next
from bulk_patch.cli.options import Common, common, job_argument
from bulk_patch.errors import Exit


@click.command()
@job_argument
@click.option("--offline", is_flag=True, help="Leave the network out: no read, and no command that prints the token.")
@common
def check(common: Common, job_file: str, offline: bool) -> None:
    """Check a job before it runs: settings, header, guards, token and one read; all faults at once.

    Nothing is planned or written. Ends with 0, or with 2 (file or job), 6 (token) or 4 (the API does not answer).

    \b
    Example:
      bulk-patch check jobs/address_corrections.toml
    """
    with error_boundary(common):
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
