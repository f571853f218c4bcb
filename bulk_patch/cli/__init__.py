"""The command line: words to calls, errors to exit codes. Heavy modules are imported when a command runs."""

import click

from bulk_patch.cli import backup, check, cron, inspect, plan_and_send, prune, review, setup
from bulk_patch.cli.groups import GroupedCommands

_LIBRARIES = ("aiohttp", "pandas", "pyarrow", "pydantic", "structlog", "click", "jinja2", "tqdm", "uvloop")
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}


def _show_version(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    """Print the version, and what it runs on: what a report of a bug needs."""
    if not asked or ctx.resilient_parsing:
        return
    from importlib.metadata import version
    from platform import platform, python_version

    click.echo(f"bulk-patch {version('bulk-patch')}")
    click.echo(f"Python {python_version()} on {platform()}")
    click.echo(", ".join(f"{name} {version(name)}" for name in _LIBRARIES))
    ctx.exit()


@click.group(cls=GroupedCommands, context_settings=CONTEXT)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version, Python and the libraries, and exit.",
)
def main() -> None:
    """Apply bulk updates through a PATCH API: a diff before anything is sent, a durable ledger, proof afterwards.

    \b
    Try it without a token or your own job:
      bulk-patch init tryout
      bulk-patch run tryout/jobs/first_job.toml --sandbox
    """


for _command in (
    check.check,
    backup.backup,
    cron.cron,
    prune.prune,
    *(plan_and_send.plan, plan_and_send.run, plan_and_send.retry, plan_and_send.undo),
    *(review.approve, review.verify),
    *(inspect.status, inspect.show, inspect.export, inspect.report, inspect.lookup),
    *(setup.init, setup.settings, setup.sandbox, setup.completion),
):
    main.add_command(_command)
