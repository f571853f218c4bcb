"""What to type next, quoted for a shell. Pure."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bulk_patch.errors import Exit
from bulk_patch.job.overrides import last_of_each
from bulk_patch.ledgers.records import Run
from bulk_patch.model import Counts, State
from bulk_patch.review.approvals import waits_for_approval

_FIRST_MEND = {
    Exit.CREDENTIAL: "mend the credential or the permission",
    Exit.LEDGER: "make room or mend the disk",
}
_TARGETING = frozenset({"plan", "run", "retry", "verify", "undo"})  # commands that know --sandbox and --set


@dataclass(frozen=True, slots=True)
class Invocation:
    """How the command was called, as far as the next one has to repeat it."""

    job: str  # the job file as it was typed
    sandbox: bool = False
    output: str | None = None
    sets: tuple[str, ...] = ()  # KEY=VALUE

    def command(self, verb: str, *extra: str, run: str | None = None) -> str:
        """Return a command, quoted for a shell.

        Args:
            verb: The subcommand.
            extra: Its flags.
            run: The run's id, for commands that take one in place of the job file.
        """
        words = ["bulk-patch", verb, run or self.job, *extra]
        if verb in _TARGETING:
            words += ["--sandbox"] if self.sandbox else []
            words += [word for setting in last_of_each(self.sets) for word in ("--set", setting)]
        if self.output is not None:
            words += ["--output", self.output]
        return shlex.join(words)

    def with_input(self, path: str | Path) -> "Invocation":
        """Return the same with another input file."""
        return self._with(f"input.path={path}")

    def with_may_clear(self, fields: Sequence[str]) -> "Invocation":
        """Return the same with leave to clear these fields, and no others."""
        return self._with(f"input.may_clear={json.dumps(fields)}")

    def _with(self, setting: str) -> "Invocation":
        return replace(self, sets=(*self.sets, setting))


def next_command(run: Run, counts: Counts, to_do: int, *, prefix: Invocation, failures: str | Path) -> str:
    """Return what to type next, after what has to be done first; "" when nothing is left to do.

    Args:
        run: The run as the ledger has it after its session.
        counts: Rows per state.
        to_do: Rows still to be tried.
        prefix: How the command was called.
        failures: Where failures.csv is, as seen from the current directory.
    """
    if run.stopped_by and (to_do or (run.kind == "run" and run.state != "closed")):  # else it keeps `run` from nothing
        closed = run.state == "closed"  # `run` never sends it
        again = prefix.command("retry" if closed else "run", "--continue", run=run.id if closed else None)
        return f"look at {failures}, then: {again}"
    if waits_for_approval(run):
        return f"somebody else than {run.actor.operator}: {prefix.command('approve', run=run.id)}"
    if run.state == "closed" and to_do:
        return prefix.command("retry", run=run.id)
    if to_do or run.state == "planning":
        if run.exit_code == Exit.USAGE:  # invalid rows, and --no-skip-invalid
            return f"correct {failures}, then: {prefix.with_input(failures).command('run')}"
        first = _FIRST_MEND.get(Exit(run.exit_code)) if run.exit_code is not None else None
        return f"{first}, then: {prefix.command('run')}" if first else prefix.command("run")
    if counts.get(State.REJECTED) or counts.get(State.UNKNOWN):
        return f"mend the cause, see {failures}, then: {prefix.command('retry', run=run.id)}"
    if fields := run.details.get("may_clear"):  # of an undo; what is kept stays so when it is undone again
        again = prefix.with_may_clear(fields).command("undo", run=run.details["undoes"])
        return f"decide whether what was absent before may be cleared (input.may_clear), then: {again}"
    if counts.get(State.KEPT):  # before failures.csv is offered: fed back, it would overwrite what was kept
        return prefix.command("show", "--status", str(State.KEPT), run=run.id)
    if counts.get(State.INVALID) or counts.get(State.DRIFTED):
        return f"correct {failures}, then: {prefix.with_input(failures).command('run')}"
    if counts.get(State.MISMATCH):
        return prefix.command("show", "--status", str(State.MISMATCH), run=run.id)
    return ""
