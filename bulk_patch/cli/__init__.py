"""The command line: words to calls, errors to exit codes. Heavy modules are imported when a command runs."""

import click

from bulk_patch.cli import check, inspect, plan_and_send, review, setup

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="bulk-patch", prog_name="bulk-patch")
def main() -> None:
    """Apply bulk updates through a PATCH API: a diff before anything is sent, a durable ledger, proof afterwards.

    \b
    Try it without a token or your own job:
      bulk-patch init tryout
      bulk-patch run tryout/jobs/first_job.toml --sandbox
    """


for _command in (
    check.check,
    *(plan_and_send.plan, plan_and_send.run, plan_and_send.retry, plan_and_send.undo),
    *(review.approve, review.verify),
    *(inspect.status, inspect.show, inspect.export, inspect.report, inspect.lookup),
    *(setup.init, setup.settings, setup.sandbox, setup.completion),
):
    main.add_command(_command)
