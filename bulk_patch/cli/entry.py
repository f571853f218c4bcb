"""What surrounds every command: a log, errors as words and exit codes, the job it is about."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bulk_patch.cli.options import Common
from bulk_patch.errors import BulkPatchError, Exit, OutdatedLedgerError, UsageError

if TYPE_CHECKING:
    from bulk_patch.job.settings import Job
    from bulk_patch.ledgers import Ledger
    from bulk_patch.reports.runs import LocatedRun
    from bulk_patch.reports.summary import RunSummary


#: Codes of failures that pass: what to do before the same command is typed again, "" when nothing.
_MEND_FIRST = {
    Exit.INCOMPLETE: "",
    Exit.CREDENTIAL: "mend the credential or the permission",
    Exit.LEDGER: "make room or mend the disk",
    Exit.LOCKED: "wait until that process has ended",
    Exit.INTERRUPTED: "",
    Exit.TERMINATED: "",
}


@contextmanager
def error_boundary(common: Common) -> Iterator[None]:
    """Let the log speak, and turn whatever is raised into words and an exit code."""
    from bulk_patch.observe import get_logger, start_logging

    with start_logging(console=cast(Any, common.log_format), quiet=common.quiet, verbose=common.verbose):
        try:
            yield
        except BulkPatchError as error:
            fail(error)
        except KeyboardInterrupt:
            sys.exit(Exit.INTERRUPTED)
        except Exception as error:
            get_logger().error("bug", error=error, exc_info=True)
            fail(
                BulkPatchError(
                    f"unexpected {type(error).__name__}", "please report it, with run.log; the ledger is intact"
                )
            )


def fail(error: BulkPatchError) -> None:
    """Say what happened, what to do and the exit code in words, and end."""
    from bulk_patch.cli.terminal import say

    say(f"error: {error.message}", stream=sys.stderr)
    if error.hint:
        say(f"hint: {error.hint}", stream=sys.stderr)
    say(f"exit code {error.exit_code:d}: {Exit(error.exit_code).words}", stream=sys.stderr)
    outdated = isinstance(error, OutdatedLedgerError)
    first = "bring the ledger up to date by `bulk-patch plan` or `run` of its job" if outdated else ""
    if command := same_words(Exit(error.exit_code), first=first):
        say(f"next: {command}", stream=sys.stderr)
    sys.exit(error.exit_code)


def same_words(code: Exit, *, first: str = "") -> str:
    """Return the command as it was typed, where it is what goes on once the cause is gone; "" elsewhere.

    `--new` and `--continue` are said once: what they ask for may have happened already.

    Args:
        code: What it ended with.
        first: What to do before, where that is not what the code stands for.
    """
    words = sys.argv[1:]
    if code not in _MEND_FIRST or {"--new", "--continue"} & set(words):
        return ""
    mend = first or _MEND_FIRST[code]
    return (f"{mend}, then: " if mend else "") + shlex.join(["bulk-patch", *words])


def end_with(summary: "RunSummary", job: "Job", common: Common) -> None:
    """Show how it ended, and end so."""
    from bulk_patch.cli.terminal import show_end

    show_end(summary, job, output=common.output, quiet=common.quiet)
    sys.exit(summary.exit_code or 0)


def must_ask(*, sandbox: bool, yes: bool) -> bool:
    """Tell whether a person must say yes first; without a terminal to ask on, refuse before anything is planned."""
    if sandbox or yes:
        return False
    if sys.stdin is None or not sys.stdin.isatty():  # None: it was closed before we started
        raise UsageError("there is no terminal to ask on before sending", "add --yes, or rehearse with --sandbox")
    return True


def states_named(name: str | None) -> Any:
    from bulk_patch.model import REPORTED, State

    if name is None:
        return None
    if name not in REPORTED:
        raise UsageError(f"--status: {name!r} is no status", f"use one of: {', '.join(REPORTED)}")
    return (State.UNKNOWN, State.SENDING) if name == State.UNKNOWN else (State(name),)


def observer_of(job: "Job", job_file: str, common: Common, *, sandbox: bool, asks: bool) -> Any:
    from bulk_patch.cli.next_command import Invocation
    from bulk_patch.cli.terminal import Terminal

    invocation = Invocation(job_file, sandbox, None if common.output is None else str(common.output), common.sets)
    bar = False if common.no_progress or common.quiet else None
    return Terminal(job, invocation, output=common.output, asks=asks, quiet=common.quiet, bar=bar)


@contextmanager
def aimed(job_file: str, common: Common, *, sandbox: bool) -> Iterator["Job"]:
    """Load a job; with --sandbox, aim it at a rehearsal server that lives as long as the block."""
    from bulk_patch.cli.rehearsal import at_sandbox
    from bulk_patch.job.load import load_job, output_root

    job = load_job(job_file, common.sets)
    root = output_root(job.file, given=common.output)
    with at_sandbox(job, root) if sandbox else nullcontext(job) as aimed:
        yield aimed


def job_of_run(found: "LocatedRun", run_name: str, common: Common) -> "tuple[Job, str]":
    """Return the job that a run was planned from, and its file as a next command names it."""
    from bulk_patch.cli.terminal import from_here
    from bulk_patch.job.load import load_job
    from bulk_patch.reports.runs import job_of

    if run_name.endswith(".toml"):
        return load_job(run_name, common.sets), run_name
    job = job_of(found, common.sets)
    return job, str(from_here(job.file))


def next_of_run(found: "LocatedRun", ledger: "Ledger", run_name: str, common: Common) -> str:
    """Return the command that goes on with a run as its ledger has it now, aimed at the run's own target."""
    from bulk_patch.cli.next_command import Invocation
    from bulk_patch.cli.terminal import from_here, go_on

    run = ledger.run(found.run.id)
    sandbox = run.target.split()[1:2] == ["sandbox"]
    job_file = run_name if run_name.endswith(".toml") else str(from_here(Path(run.details.get("job_file", ""))))
    output = None if common.output is None else str(common.output)
    invocation = Invocation(job_file, sandbox, output, (*run.details.get("overrides", ()), *common.sets))
    counts, to_do = ledger.counts(run.id), ledger.to_do(run.id)
    return go_on(run, counts, to_do, invocation=invocation, folder=found.folder)
