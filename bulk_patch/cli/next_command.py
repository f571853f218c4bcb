"""What to type next: one command that can be pasted, and what comes before it. Pure."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bulk_patch.errors import Exit
from bulk_patch.job.overrides import last_of_each
from bulk_patch.job.stored_overrides import holds_secret, name_of, to_type_again
from bulk_patch.ledgers.records import Run
from bulk_patch.model import Counts, State
from bulk_patch.reports.files import PAGE
from bulk_patch.reports.next_command import FIX_FIRST, NOTHING_NEXT, NextCommand
from bulk_patch.review.approvals import REPLACED, approval_words, waits_for_approval

_TARGETING = frozenset({"plan", "run", "retry", "verify", "undo"})  # commands that know --sandbox and --set

#: Guards whose cause is not in a row: what to do before the stop is waived.
_LOOK_FIRST = {
    "min_rows": "first: look at the input, and see why it is that short",
    "max_age_h": "first: look at the input, and see why no newer one has come",
}


@dataclass(frozen=True, slots=True)
class Invocation:
    """How the command was called, as far as the next one has to repeat it."""

    job: str  # the job file as it was typed
    sandbox: bool = False
    output: str | None = None
    sets: tuple[str, ...] = ()  # KEY=VALUE
    unshown: tuple[str, ...] = ()  # KEY=VALUE of the ledger: their names are shown, to be typed again

    def command(self, verb: str, *extra: str, run: str | None = None) -> str:
        """Return a command, quoted for a shell.

        Args:
            verb: The subcommand.
            extra: Its flags.
            run: The run's id, for commands that take one in place of the job file.
        """
        words = ["bulk-patch", verb, run or self.job, *extra]
        hidden: list[str] = []
        if verb in _TARGETING:
            words += ["--sandbox"] if self.sandbox else []
            shown = [setting for setting in last_of_each(self.sets) if not holds_secret(setting)]
            words += [word for setting in shown for word in ("--set", setting)]
            typed = {name_of(setting) for setting in shown}
            hidden = [one for one in (*self.sets, *self.unshown) if name_of(one) not in typed]
        if self.output is not None:
            words += ["--output", self.output]
        return " ".join([shlex.join(words), *to_type_again(hidden)])

    def with_input(self, path: str | Path) -> "Invocation":
        """Return the same with another input file."""
        return self._with(f"input.path={path}")

    def with_may_clear(self, fields: Sequence[str]) -> "Invocation":
        """Return the same with permission to clear these fields, and no others."""
        return self._with(f"input.may_clear={json.dumps(fields)}")

    def _with(self, setting: str) -> "Invocation":
        return replace(self, sets=(*self.sets, setting))


def next_command(run: Run, counts: Counts, to_do: int, *, prefix: Invocation, failures: str | Path) -> NextCommand:
    """Return what to type next, and what has to be done before it.

    Args:
        run: The run as the ledger has it after its session.
        counts: Rows per state.
        to_do: Rows still to be tried.
        prefix: How the command was called.
        failures: Where failures.csv is, as seen from the current directory.
    """
    if run.stop_reason.startswith(REPLACED):
        return NextCommand(prefix.command("status", run=run.stop_reason.removeprefix(REPLACED)))
    if run.stopped_by and (to_do or (run.kind == "run" and run.state != "closed")):  # else the stop holds nothing back
        closed = run.state == "closed"  # `run` never sends it
        again = prefix.command("retry" if closed else "run", "--continue", run=run.id if closed else None)
        # Too many changes are no failures: the page shows them.
        page = Path(failures).with_name(PAGE) if run.stopped_by == "max_changes" else failures
        return NextCommand(again, _LOOK_FIRST.get(run.stopped_by, f"first: look at {page}"))
    if waits_for_approval(run):
        return NextCommand(prefix.command("approve", run=run.id), approval_words(run))
    if run.state == "closed" and to_do:
        return NextCommand(prefix.command("retry", run=run.id))
    correct = NextCommand(prefix.with_input(failures).command("run"), f"first: correct {failures}")
    if to_do or run.state == "planning":
        if run.exit_code == Exit.USAGE:  # invalid rows, and --no-skip-invalid
            return correct
        again = prefix.command("undo", run=run.summary.undoes) if run.kind == "undo" else prefix.command("run")
        return NextCommand(again, FIX_FIRST.get(Exit(run.exit_code), "") if run.exit_code is not None else "")
    if counts.get(State.REJECTED) or counts.get(State.UNKNOWN):
        return NextCommand(prefix.command("retry", run=run.id), f"first: fix the cause, see {failures}")
    if fields := run.summary.may_clear:  # of an undo; what is kept stays so when it is undone again
        again = prefix.with_may_clear(fields).command("undo", run=run.summary.undoes)
        return NextCommand(again, "first: decide whether what was absent before may be cleared (input.may_clear)")
    if counts.get(State.KEPT):  # before failures.csv is offered: fed back, it would overwrite what was kept
        return NextCommand(prefix.command("show", "--status", str(State.KEPT), run=run.id))
    if counts.get(State.INVALID) or counts.get(State.DRIFTED):
        return correct
    if counts.get(State.MISMATCH):
        return NextCommand(prefix.command("show", "--status", str(State.MISMATCH), run=run.id))
    return NOTHING_NEXT
