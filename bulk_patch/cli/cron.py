"""The command `cron`: how a scheduler starts a job."""

import re
import sys
from pathlib import Path

import click

from bulk_patch.cli.entry import error_boundary
from bulk_patch.cli.options import Common, common, job_argument
from bulk_patch.errors import UsageError


@click.command()
@job_argument
@click.option(
    "--for", "form", type=click.Choice(["all", "cron", "systemd", "kubernetes"]), default="all", help="Which."
)
@click.option("--at", default="02:15", metavar="HH:MM", help="When, every night.")
@click.option("--token-file", type=click.Path(dir_okay=False, path_type=Path), help="Default: beside the job file.")
@click.option("--image", default="bulk-patch", metavar="NAME", help="The container's image, for Kubernetes.")
@common
def cron(common: Common, job_file: str, form: str, at: str, token_file: Path | None, image: str) -> None:
    """Print a cron line, a systemd unit with its timer, and a Kubernetes CronJob that run a job every night.

    Paths are absolute, since a scheduler has neither your PATH nor your directory. A token that the job takes from a
    variable or a command is taken from a file instead. Nothing is installed.

    \b
    Example:
      bulk-patch cron jobs/nightly_reconciliation.toml --for systemd --at 03:30
    """
    with error_boundary(common):
        from bulk_patch.cli.printing import say
        from bulk_patch.cli.schedules import Schedule, cron_lines, kubernetes_cron_job, systemd_service, systemd_timer
        from bulk_patch.job.load import load_job
        from bulk_patch.ledgers.operator import current_actor

        time = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", at)
        if time is None:
            raise UsageError(f"--at: {at!r} is not a time of the day", "write it like 02:15")
        if common.sets:
            raise UsageError("--set is not for a job that runs every night", "write the setting into the job file")
        job = load_job(job_file)
        file = Path(job.file).absolute()
        own = job.target.token.startswith("file:") and token_file is None
        token = "" if own else str((token_file or file.with_suffix(".token")).absolute())
        plan = Schedule(
            job.name,
            _program(),
            file,
            None if common.output is None else common.output.absolute(),
            token,
            int(time[1]),
            int(time[2]),
            current_actor("").login,
            image,
        )
        unit = f"bulk-patch-{job.name}"
        texts = {
            "cron": [cron_lines(plan)],
            "systemd": [
                f"# /etc/systemd/system/{unit}.service\n{systemd_service(plan)}",
                f"# /etc/systemd/system/{unit}.timer; then: systemctl enable --now {unit}.timer\n{systemd_timer(plan)}",
            ],
            "kubernetes": [kubernetes_cron_job(plan)],
        }
        chosen = [text for name, some in texts.items() if form in (name, "all") for text in some]
        say("\n".join(chosen))


def _program() -> tuple[str, ...]:
    """Return the words that start this installation from anywhere."""
    beside = Path(sys.executable).absolute().with_name("bulk-patch")
    return (str(beside),) if beside.is_file() else (str(Path(sys.executable).absolute()), "-m", "bulk_patch")
