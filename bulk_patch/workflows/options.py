"""What a caller asks for besides the job: who and why, limits, confirmation, commands to name, an observer."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bulk_patch.ledgers.records import Run
from bulk_patch.model import Counts
from bulk_patch.reports.next_command import NextCommand
from bulk_patch.workflows.observer import NullObserver, Observer


class Commands(Protocol):
    """Names commands as a person would type them, for hints and for `next`."""

    def next_command(self, run: Run, counts: Counts, to_do: int) -> NextCommand:
        """Return the command that continues from here.

        Args:
            run: The run as the ledger has it.
            counts: Rows per state.
            to_do: Rows still to be tried.
        """
        ...

    def for_job(self, verb: str, *flags: str) -> str:
        """Return a whole command about the job."""
        ...

    def for_run(self, verb: str, run_id: str, *flags: str) -> str:
        """Return a whole command about one run."""
        ...


@dataclass(frozen=True, slots=True)
class PlainCommands:
    """The default of library calls: commands of the command line without its flags, and no next command.

    Args:
        job: How commands name the job file.
    """

    job: str = "JOB"

    def next_command(self, run: Run, counts: Counts, to_do: int) -> NextCommand:
        """Return no command: the caller knows what to call next."""
        return NextCommand()

    def for_job(self, verb: str, *flags: str) -> str:
        """Return a whole command about the job."""
        return shlex.join(["bulk-patch", verb, self.job, *flags])

    def for_run(self, verb: str, run_id: str, *flags: str) -> str:
        """Return a whole command about one run."""
        return shlex.join(["bulk-patch", verb, run_id, *flags])


def always(run: Run, counts: Counts) -> bool:
    """Confirm every plan: the default of library calls."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What is asked for, besides the job. All of it is optional.

    Attributes:
        output: The `output/` folder; None: beside the `jobs/` folder of the job file, else `./output`.
        operator: Who does this, as the ledger records it; "": the login.
        reason: Why; kept in the ledger.
        ticket: Which ticket; kept in the ledger.
        new: Settle unknown rows, close the open run, and plan again (`--new`).
        skip_invalid: Set invalid rows aside; False: refuse the whole input for them.
        limit: Send at most so many changes; None: all.
        go_on: Waive the stop of a guard, once (`--continue`).
        sign: Of `plan_job`: sign the plan with this SSH key, so that another key has to sign its approval.
        confirm: Gets the sealed run and its rows per state; False: send nothing.
        commands: Names the commands in hints and in `RunSummary.next`.
        observer: Watches the run.
    """

    output: Path | None = None
    operator: str = ""
    reason: str = ""
    ticket: str = ""
    new: bool = False
    skip_invalid: bool = True
    limit: int | None = None
    go_on: bool = False
    sign: Path | None = None
    confirm: Callable[[Run, Counts], bool] = always
    commands: Commands = field(default_factory=PlainCommands)
    observer: Observer = field(default_factory=NullObserver)
