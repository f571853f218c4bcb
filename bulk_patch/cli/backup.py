"""The command that copies a job's ledger."""

from pathlib import Path

import click

from bulk_patch.cli.entry import error_boundary
from bulk_patch.cli.options import Common, common


@click.command()
@click.argument("job_file", metavar="JOB", type=click.Path(path_type=Path))
@click.option("--to", "to", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where to.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@common
def backup(common: Common, job_file: Path, to: Path, force: bool) -> None:
    """Copy the ledger of a job to one file, also while a run is sent. It holds personal data.

    To restore it, copy it to output/<job>/ledger.db while nothing runs, and remove ledger.db-wal and ledger.db-shm.

    \b
    Example:
      bulk-patch backup jobs/address_corrections.toml --to address_corrections.backup
    """
    with error_boundary(common):
        from bulk_patch.cli.printing import say
        from bulk_patch.job.load import load_job, output_root
        from bulk_patch.words import amount
        from bulk_patch.workflows.backup import back_up

        job = load_job(job_file, common.sets)
        done = back_up(output_root(job.file, given=common.output) / job.name, to, force=force)
        say(f"{amount(done.runs, 'run')} copied to {to}")
        if done.head:
            say(f"ledger head: {done.head}")
