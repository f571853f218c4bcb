"""A `next:` line is one command that can be pasted: every one that the acceptance tests meet is checked."""

import shlex
from pathlib import Path

import click

from bulk_patch.cli import main
from bulk_patch.job.overrides import last_of_each

#: Commands that change nothing: those that a `next:` line names are run too.
SAFE = frozenset({"show", "status", "lookup"})
_JOB_COMMANDS = frozenset({"plan", "run"})  # their first argument is a job file


def next_commands(*texts: str) -> list[list[str]]:
    """Return the words of the commands that these texts say to type next.

    Raises:
        AssertionError: A line is anything but one command that the command line accepts.
    """
    lines = [line for text in texts for line in text.splitlines() if line.strip().startswith("next:")]
    return [parsed(line) for line in lines]


def parsed(line: str) -> list[str]:
    """Return the words of the command of a `next:` line."""
    assert line.startswith("next: bulk-patch "), line
    words = list(shlex.shlex(line.removeprefix("next: "), posix=True, punctuation_chars=True))
    command = shlex.split(line.removeprefix("next: "))
    if command[-2:] == ["as", "before"]:  # what must be typed again stands in it; pasted as it is, it is refused
        assert any(word.endswith("=…") for word in command), line
        return command[:-2]
    operators = [word for word in words if set(word) <= set("();<>|&")]
    assert not operators, f"not one command: {line}"
    verb = main.commands[command[1]]
    try:
        verb.make_context(verb.name, command[2:], parent=click.Context(main))
    except click.ClickException as error:
        raise AssertionError(f"{error.format_message()}: {line}") from error
    return command


def missing_files(command: list[str], folder: Path) -> list[str]:
    """Return the files that a command reads by name and that are not there, as seen from a folder."""
    verb = main.commands[command[1]]
    given = verb.make_context(verb.name, command[2:], parent=click.Context(main)).params
    named = [given["job_file"]] if command[1] in _JOB_COMMANDS else []
    sets = (setting.partition("=") for setting in last_of_each(given["sets"]))
    named += [value for name, _, value in sets if name == "input.path"]
    return [name for name in named if not (folder / name).exists()]
