"""What every command needs: a log, errors as words and exit codes, the job it is about."""

import errno
import gc
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from bulk_patch.cli.options import Common
from bulk_patch.cli.text import fit_terminal, next_lines
from bulk_patch.errors import BulkPatchError, DamagedLedgerError, Exit, OutdatedLedgerError, StorageError, UsageError
from bulk_patch.reports.next_command import FIX_FIRST, NOTHING_NEXT, NextCommand

if TYPE_CHECKING:
    from bulk_patch.cli.command_lines import CommandLines
    from bulk_patch.cli.next_command import Invocation
    from bulk_patch.job.settings import Job
    from bulk_patch.reports.runs import LocatedRun
    from bulk_patch.reports.summary import RunSummary
    from bulk_patch.workflows.options import RunOptions


#: Codes of failures that pass: what to do before the same command is typed again, "" when nothing.
_FIX_FIRST = {
    Exit.INCOMPLETE: "",
    **FIX_FIRST,
    Exit.LOCKED: "first: wait until that process has ended",
    Exit.INTERRUPTED: "",
    Exit.TERMINATED: "",
}


@contextmanager
def error_boundary(common: Common) -> Iterator[None]:
    """Start the log, and turn any exception into words and an exit code."""
    from bulk_patch.observe import start_logging

    fit_terminal()
    with start_logging(console=cast(Any, common.log_format), quiet=common.quiet, verbose=common.verbose):
        try:
            yield
        except BulkPatchError as error:
            fail(error, as_json=common.as_json)
        except KeyboardInterrupt:
            sys.exit(Exit.INTERRUPTED)
        except OSError as error:
            if (known := _as_known(error)) is not None:
                fail(known, as_json=common.as_json)
            _fail_as_bug(error, as_json=common.as_json)
        except Exception as error:
            _fail_as_bug(error, as_json=common.as_json)


@contextmanager
def importing() -> Iterator[None]:
    """Import what plans and sends in a tenth less time: a million objects that stay are not searched for garbage."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


#: Failures of the machine that no code of ours can be blamed for: permissions, space, files.
_OF_THE_MACHINE = frozenset(
    {errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENAMETOOLONG, errno.ELOOP}
    | {errno.ENOTDIR, errno.EISDIR, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETXTBSY, errno.ESTALE}
)


def _as_known(error: OSError) -> BulkPatchError | None:
    """Return a failure of the machine as what it is; None: it may be a bug."""
    if isinstance(error, FileNotFoundError) and error.filename is None and not _has_working_folder():
        return UsageError("the current directory was deleted", "cd to a folder that exists, and type the command again")
    if error.errno not in _OF_THE_MACHINE:
        return None
    where = f"{error.filename}: " if error.filename else ""
    hint = "the ledger is intact: fix the cause, then type the command again"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        hint = "lower limits.concurrency, or raise the limit before the command: ulimit -n 4096"
    return StorageError(f"{where}{(error.strerror or type(error).__name__).lower()}", hint)


def _has_working_folder() -> bool:
    try:
        Path.cwd()
    except OSError:
        return False
    return True


def _fail_as_bug(error: Exception, *, as_json: bool) -> NoReturn:
    from bulk_patch.observe import get_logger

    get_logger().error("bug", error=error, exc_info=True)
    hint = "please report it with run.log; the ledger is intact"
    fail(BulkPatchError(f"unexpected {type(error).__name__}", hint), as_json=as_json)


def fail(error: BulkPatchError, *, as_json: bool = False) -> NoReturn:
    """Say what happened, what to do and the exit code in words; exit."""
    from bulk_patch.cli.printing import say

    first = "first: bring the ledger up to date with `bulk-patch plan` or `bulk-patch run` of its job"
    following = NOTHING_NEXT
    if not isinstance(error, DamagedLedgerError):
        following = same_words(Exit(error.exit_code), first=first if isinstance(error, OutdatedLedgerError) else "")
    if as_json:
        from bulk_patch.cli.documents import error_document, print_document

        print_document(error_document(error, following))
    say(f"error: {error.message}", stream=sys.stderr)
    if error.hint:
        say(f"hint: {error.hint}", stream=sys.stderr)
    say(f"exit code {error.exit_code:d}: {Exit(error.exit_code).words}", stream=sys.stderr)
    say_next(following)
    sys.exit(error.exit_code)


def say_next(following: NextCommand) -> None:
    """Say on stderr what to type next, after what has to be done first; nothing when there is no such command."""
    from bulk_patch.cli.printing import say

    if following.command:
        say("\n".join(next_lines(following.command, before=following.before)), stream=sys.stderr)


def same_words(code: Exit, *, first: str = "") -> NextCommand:
    """Return the command as it was typed, where it resumes once the cause is fixed; none elsewhere.

    `--new` and `--continue` are not repeated: what they ask for may have happened already.

    Args:
        code: The exit code.
        first: What to do before, where that is not what the code stands for.
    """
    from bulk_patch.job.stored_overrides import without_secrets

    words = sys.argv[1:]
    if code not in _FIX_FIRST or {"--new", "--continue"} & set(words):
        return NOTHING_NEXT
    shown, missing = without_secrets(words)
    command = " ".join([shlex.join(["bulk-patch", *shown]), *missing])
    return NextCommand(command, first or _FIX_FIRST[code])


def end_with(summary: "RunSummary", job: "Job", common: Common, *, plan_shown: bool = False) -> None:
    """Show how a run ended, and exit with its code."""
    from bulk_patch.cli.terminal import show_end

    if common.as_json:
        from bulk_patch.cli.documents import print_document

        print_document(summary.as_json())
    show_end(summary, job, output=common.output, quiet=common.quiet or common.as_json, plan_shown=plan_shown)
    sys.exit(summary.exit_code or 0)


def must_ask(*, sandbox: bool, yes: bool, as_json: bool = False) -> bool:
    """Tell whether a person must confirm first; without a terminal to ask on, refuse before anything is planned."""
    if sandbox or yes:
        return False
    if as_json:
        raise UsageError("--json shows no plan that a person could say yes to", "add --yes, or rehearse with --sandbox")
    if sys.stdin is None or not sys.stdin.isatty():  # None: it was closed before this process started
        raise UsageError("there is no terminal to ask on before sending", "add --yes, or rehearse with --sandbox")
    return True


def states_named(name: str | None) -> Any:
    from bulk_patch.model import REPORTED, State

    if name is None:
        return None
    if name not in REPORTED:
        raise UsageError(f"--status: {name!r} is not a status", f"use one of: {', '.join(REPORTED)}")
    return (State.UNKNOWN, State.SENDING) if name == State.UNKNOWN else (State(name),)


def watched_by_terminal(
    job: "Job", job_file: str, common: Common, *, sandbox: bool, asks: bool = False, limit: int | None = None
) -> "RunOptions":
    """Return the options of a command at a terminal: its screens, its question, and the commands that it names."""
    from bulk_patch.cli.command_lines import CommandLines
    from bulk_patch.cli.terminal import Terminal, ask_to_send, place_of
    from bulk_patch.job.load import output_root
    from bulk_patch.workflows.options import RunOptions, always

    folder = output_root(job.file, given=common.output) / job.name
    bar = False if common.no_progress or common.quiet else None
    return RunOptions(
        output=common.output,
        confirm=partial(ask_to_send, limit=limit, place=place_of(job)) if asks else always,
        commands=CommandLines(_invocation(job_file, common, sandbox=sandbox), folder),
        observer=Terminal(job, quiet=common.quiet or common.as_json, bar=bar),
    )


def _invocation(job_file: str, common: Common, *, sandbox: bool, sets: tuple[str, ...] = ()) -> "Invocation":
    from bulk_patch.cli.next_command import Invocation

    output = None if common.output is None else str(common.output)
    return Invocation(job_file, sandbox, output, (*sets, *common.sets))


@contextmanager
def aimed(job_file: str, common: Common, *, sandbox: bool) -> Iterator["Job"]:
    """Load a job; with --sandbox, aim it at a rehearsal server that lives as long as the block."""
    from bulk_patch.cli.rehearsal import at_sandbox
    from bulk_patch.job.load import load_job, output_root

    job = load_job(job_file, common.sets)
    root = output_root(job.file, given=common.output)
    if sandbox and not (root / job.name / "sandbox").exists():
        from bulk_patch.workflows.check import refuse_wrong_header

        refuse_wrong_header(job)  # before customers are loaded, which may take long; no run is open there
    with at_sandbox(job, root, quiet=common.quiet) if sandbox else nullcontext(job) as aimed:
        yield aimed


def job_of_run(found: "LocatedRun", run_name: str, common: Common, *, sends: bool = True) -> "tuple[Job, str]":
    """Return the job that a run was planned from, and its file as a next command names it."""
    from bulk_patch.cli.command_lines import from_here
    from bulk_patch.job.load import load_job
    from bulk_patch.reports.runs import job_of

    if run_name.endswith(".toml"):
        return load_job(run_name, common.sets), run_name
    job = job_of(found, common.sets, sends=sends)
    return job, str(from_here(job.file))


def commands_of(found: "LocatedRun", run_name: str, common: Common) -> "CommandLines":
    """Return the commands that continue a run, aimed at the run's own target."""
    from bulk_patch.cli.command_lines import CommandLines, from_here
    from bulk_patch.job.stored_overrides import is_taken_from_ledger
    from bulk_patch.reports.runs import is_own_file

    run = found.run
    sandbox = run.target.split()[1:2] == ["sandbox"]
    by_file = run_name.endswith(".toml")
    job_file = run_name if by_file else str(from_here(Path(run.job_file)))
    if not by_file and Path(job_file).is_file() and not is_own_file(job_file):
        job_file = "JOB.toml"  # whoever may write the ledger must not choose the file that is pasted
    taken = tuple(override for override in run.overrides if is_taken_from_ledger(override))
    invocation = _invocation(job_file, common, sandbox=sandbox, sets=taken)
    return CommandLines(
        replace(invocation, unshown=tuple(override for override in run.overrides if override not in taken)),
        found.folder,
    )
