"""Flags shared by commands."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from bulk_patch.cli import completing

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Common:
    """The flags that every command has."""

    output: Path | None
    sets: tuple[str, ...]
    quiet: bool
    verbose: bool
    log_format: str
    no_progress: bool
    as_json: bool = False  # of the commands that have it


def common(command: Command) -> Command:
    """Add the common flags; the command gets them as `common`."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> Any:
        flags = Common(**{name: given.pop(name) for name in Common.__dataclass_fields__ if name in given})
        return command(common=flags, **given)

    options = [
        click.option("--no-progress", is_flag=True, help="Show no progress bar and no progress lines."),
        click.option(
            "--log-format",
            type=click.Choice(["console", "json"]),
            default="console",
            help="Format of the log on stderr.",
        ),
        click.option("-v", "--verbose", is_flag=True, help="Log more, also to run.log."),
        click.option("-q", "--quiet", is_flag=True, help="Show only warnings, errors and the last lines."),
        click.option(
            "--set",
            "sets",
            multiple=True,
            metavar="KEY=VALUE",
            shell_complete=completing.overrides,
            help="Override a job setting by its dotted name; the value is TOML or bare text. Repeatable.",
        ),
        click.option(
            "--output",
            type=click.Path(file_okay=False, path_type=Path),
            envvar="BULK_PATCH_OUTPUT",
            help="The output/ folder. Default: beside the jobs/ folder of the job file, else ./output.",
        ),
    ]
    return cast(Command, _with_options(wrapped, options))


operator_flag = click.option(
    "--operator", envvar="BULK_PATCH_OPERATOR", default="", metavar="NAME", help="Who runs this. Default: the login."
)
sandbox_flag = click.option(
    "--sandbox", is_flag=True, help="Start the local API for this command and send there; its data is kept."
)
new_flag = click.option("--new", is_flag=True, help="Settle unknown rows, close the open run, and plan again.")
invalid_flag = click.option(
    "--skip-invalid/--no-skip-invalid",
    default=True,
    help="Set invalid rows aside, or refuse the whole input because of them.",
)
continue_flag = click.option(
    "--continue", "go_on", is_flag=True, help="Resume a run that a guard stopped: waives that one stop."
)
job_argument = click.argument("job_file", metavar="JOB", type=click.Path(path_type=str), shell_complete=completing.jobs)
run_argument = click.argument("run_name", metavar="RUN", shell_complete=completing.runs)


#: For commands whose result a program can read; it stands below `common`.
json_flag = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout, and no screens.")


def sending_flags(command: Command) -> Command:
    """Add the flags of commands that send: `run`, `retry`, `undo`."""
    options = [
        operator_flag,
        sandbox_flag,
        click.option("--ticket", default="", metavar="TEXT", help="Which ticket; kept in the ledger."),
        click.option("--reason", default="", metavar="TEXT", help="Why; kept in the ledger."),
        click.option("--yes", is_flag=True, help="Do not ask before sending. Does not skip any guard."),
    ]
    return cast(Command, _with_options(command, options))


def _with_options(command: Any, options: list[Callable[[Any], Any]]) -> Any:
    """Add options; a command's help shows them in reverse."""
    for option in options:
        command = option(command)
    return command
