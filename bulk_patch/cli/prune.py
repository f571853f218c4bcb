"""The command `prune`: remove the files of old runs."""

import sys
import time

import click

from bulk_patch.cli.durations import seconds_of
from bulk_patch.cli.entry import error_boundary
from bulk_patch.cli.options import Common, common, job_argument, operator_flag
from bulk_patch.errors import Exit, UsageError


@click.command()
@job_argument
@click.option(
    "--keep", required=True, metavar="TIME", help="Runs that ended so long ago at most keep their files: 90d."
)
@click.option("--yes", is_flag=True, help="Remove without asking.")
@operator_flag
@common
def prune(common: Common, job_file: str, keep: str, yes: bool, operator: str) -> None:
    """Remove the files of a job's old runs: reports, logs, failures.csv. The ledger keeps every row.

    The newest run and runs with rows to be sent keep their files. Reports can be written again with `report`. It is
    noted in the ledger.

    \b
    Example:
      bulk-patch prune jobs/nightly_reconciliation.toml --keep 90d
    """
    with error_boundary(common):
        from bulk_patch.cli.printing import say
        from bulk_patch.cli.prune_screen import prune_screen
        from bulk_patch.job.load import load_job, output_root
        from bulk_patch.words import amount
        from bulk_patch.workflows.prune import find_prunable
        from bulk_patch.workflows.prune import prune as remove

        keep_s = seconds_of(keep, "--keep", "90d")
        job = load_job(job_file, common.sets)
        folder = output_root(job.file, given=common.output) / job.name
        found = find_prunable(folder, keep_s=keep_s, now=time.time())
        if not found:
            say(f"no run of {job.name} is old enough: nothing is removed")
            return
        if not yes and (sys.stdin is None or not sys.stdin.isatty()):
            raise UsageError("there is no terminal to ask on before files are removed", "add --yes")
        say(prune_screen(found))
        if not yes:
            from bulk_patch.cli.terminal import ask

            if not ask(f"remove the files of {amount(len(found), 'run')}? [y/N] "):
                say("nothing was removed", stream=sys.stderr)
                sys.exit(Exit.INCOMPLETE)
        remove(folder, found, operator=operator)
        say(f"removed the files of {amount(len(found), 'run')}; the ledger keeps their rows")
