"""The command line: words to calls, errors to exit codes. Everything heavy is imported when a command runs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from bulk_patch.errors import BulkPatchError, Exit, UsageError
from bulk_patch.flags import (
    Common,
    common,
    invalid_flag,
    job_argument,
    new_flag,
    operator_flag,
    reason_flag,
    run_argument,
    sandbox_flag,
    ticket_flag,
    yes_flag,
)

if TYPE_CHECKING:
    from bulk_patch.job import Job
    from bulk_patch.report import RunSummary

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="bulk-patch", prog_name="bulk-patch")
def main() -> None:
    """Bulk updates through a PATCH API: a diff before anything is sent, a ledger that survives, proof afterwards.

    \b
    Try it without a token or a job of your own:
      bulk-patch init tryout
      bulk-patch run tryout/jobs/first_job.toml --sandbox
    """


@main.command()
@job_argument
@new_flag
@invalid_flag
@click.option("--detailed-exitcode", is_flag=True, help="End with 0 when nothing would change, with 10 when something.")
@sandbox_flag
@operator_flag
@common
def plan(
    common: Common, job_file: str, new: bool, skip_invalid: bool, detailed_exitcode: bool, sandbox: bool, operator: str
) -> None:
    """Read, validate, compare and seal a plan; show it; send nothing.

    \b
    Example:
      bulk-patch plan jobs/address_corrections.toml
    """
    with _session(common):
        from bulk_patch.order import Order
        from bulk_patch.run import plan_job

        with _aimed(job_file, common, sandbox=sandbox) as job:
            watcher = _watcher(job, job_file, common, sandbox=sandbox, asks=False)
            order = Order(output=common.output, operator=operator, new=new, skip_invalid=skip_invalid, watcher=watcher)
            summary = plan_job(job, order)
        changes_pending = detailed_exitcode and not summary.exit_code and summary.counts.get("pending")
        _end(replace(summary, exit_code=Exit.CHANGES_PENDING) if changes_pending else summary, job, common)


@main.command()
@job_argument
@yes_flag
@new_flag
@invalid_flag
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Send at most N changes now; the rest stays pending."
)
@click.option("--continue", "go_on", is_flag=True, help="Go on after a guard stopped the run: waives that one stop.")
@reason_flag
@ticket_flag
@sandbox_flag
@operator_flag
@common
def run(common: Common, job_file: str, sandbox: bool, yes: bool, **asked: Any) -> None:
    """Bring a job to its end: pick up its open run or plan a new one, send, report.

    The same command is the first start, the restart after a crash, and the nightly cron line.

    \b
    Example:
      bulk-patch run jobs/address_corrections.toml --ticket OPS-1234
    """
    with _session(common):
        from bulk_patch.order import Order
        from bulk_patch.run import run_job

        with _aimed(job_file, common, sandbox=sandbox) as job:
            asks = _asks(sandbox=sandbox, yes=yes)
            watcher = _watcher(job, job_file, common, sandbox=sandbox, asks=asks)
            summary = run_job(job, Order(output=common.output, watcher=watcher, **asked))
        _end(summary, job, common)


@main.command()
@run_argument
@yes_flag
@reason_flag
@ticket_flag
@sandbox_flag
@operator_flag
@common
def retry(common: Common, run_name: str, sandbox: bool, yes: bool, **asked: Any) -> None:
    """Send again what was rejected or is unknown, after its cause was mended.

    Rejected rows get a new key; unknown ones keep theirs or are read first.

    \b
    Example:
      bulk-patch retry 20261122-151203-4f2a
    """
    with _session(common):
        from bulk_patch.find import find_run, job_of
        from bulk_patch.job import load_job
        from bulk_patch.order import Order
        from bulk_patch.rehearsal import at_sandbox
        from bulk_patch.run import retry_run

        asks = _asks(sandbox=sandbox, yes=yes)
        found = find_run(run_name, output=common.output)
        by_file = run_name.endswith(".toml")
        job = load_job(run_name, common.sets) if by_file else job_of(found, common.sets)
        job_file = run_name if by_file else str(job.file)
        output = found.folder.parent
        with at_sandbox(job, output) if sandbox else nullcontext(job) as aimed:
            watcher = _watcher(aimed, job_file, common, sandbox=sandbox, asks=asks)
            summary = retry_run(aimed, found.run.id, Order(output=output, watcher=watcher, **asked))
        _end(summary, job, common)


@main.command()
@click.argument("run_name", metavar="[RUN]", required=False)
@common
def status(common: Common, run_name: str | None) -> None:
    """Show how far a run is and what to do next, also while it runs; without RUN, list all runs.

    \b
    Example:
      bulk-patch status jobs/address_corrections.toml
    """
    with _session(common):
        from bulk_patch.find import find_run, list_runs
        from bulk_patch.report import summarise
        from bulk_patch.screens import Invocation, next_command, runs_screen, status_screen
        from bulk_patch.terminal import from_here, say

        if run_name is None:
            pairs = []
            for found in list_runs(common.output):
                with found.read() as ledger:
                    pairs.append((found.run, ledger.counts(found.run.id)))
            say(runs_screen(pairs))
            return
        found = find_run(run_name, output=common.output)
        with found.read() as ledger:
            one = ledger.run(found.run.id)
            counts, to_do, holder = ledger.counts(one.id), ledger.to_do(one.id), found.holder()
            sandbox = one.target.split()[1:2] == ["sandbox"]
            job_file = run_name if run_name.endswith(".toml") else str(one.details.get("job_file", ""))
            output = None if common.output is None else str(common.output)
            prefix = Invocation(job_file, sandbox, output, tuple(one.details.get("overrides", ())))
            failures = from_here(found.run_folder / "failures.csv")
            running = holder is not None and bool(to_do)
            command = "" if running else next_command(one, counts, to_do, prefix=prefix, failures=failures)
            summary = summarise(ledger, one, running=running, next_command=command)
            say(status_screen(summary, one, counts, to_do=to_do, holder=holder))


@main.command()
@run_argument
@click.option("--id", "customer_id", metavar="CUSTOMER", help="Only this customer.")
@click.option("--status", "state", metavar="S", help="Only rows of this status, for example rejected.")
@click.option("--reveal", is_flag=True, help="Show values whole; recorded in the ledger.")
@operator_flag
@common
def show(
    common: Common, run_name: str, customer_id: str | None, state: str | None, reveal: bool, operator: str
) -> None:
    """Show rows with before, after, status and reason; values are masked.

    \b
    Example:
      bulk-patch show 20261122 --status rejected
    """
    with _session(common):
        from bulk_patch.find import find_run
        from bulk_patch.report import changes_of
        from bulk_patch.screens import show_screen
        from bulk_patch.terminal import say

        found = find_run(run_name, output=common.output)
        states = _states(state)
        target = found.target()
        if reveal:
            found.note_reveal(operator, command="show")
        with found.read() as ledger:
            rows = ledger.rows(found.run.id, states=states, customer_id=customer_id and customer_id.lower())
            shown = 0
            for text in show_screen((row, changes_of(row, target, reveal=reveal)) for row in rows):
                say(text)
                shown += 1
        if not shown:
            say("no such rows; those that are unchanged are only counted")


@main.command()
@run_argument
@click.option(
    "--to", "to", required=True, type=click.Path(dir_okay=False, path_type=Path), help=".csv, .parquet or .jsonl"
)
@click.option("--reveal", is_flag=True, help="Write values whole; recorded in the ledger.")
@operator_flag
@common
def export(common: Common, run_name: str, to: Path, reveal: bool, operator: str) -> None:
    """Write the rows of a run with masked before and after per field.

    \b
    Example:
      bulk-patch export jobs/address_corrections.toml --to evidence.parquet
    """
    with _session(common):
        from bulk_patch.find import find_run
        from bulk_patch.report import export as export_rows
        from bulk_patch.terminal import say

        found = find_run(run_name, output=common.output)
        if reveal:
            found.note_reveal(operator, command="export")
        with found.read() as ledger:
            count = export_rows(ledger, found.run, to, target=found.target(), reveal=reveal)
        say(f"{count:,} rows written to {to}")


@main.command()
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@common
def init(common: Common, folder: Path) -> None:
    """Write a commented job file and a tiny input to begin with.

    \b
    Example:
      bulk-patch init tryout
    """
    with _session(common):
        from importlib.resources import files

        from bulk_patch.terminal import say

        places = {"first_job.toml": "jobs", "changes.csv": "sample_inputs", "customers.csv": "sample_inputs"}
        existing = [str(folder / where / name) for name, where in places.items() if (folder / where / name).exists()]
        if existing:
            raise UsageError(f"{existing[0]} is there already", "name another folder; nothing was written")
        for name, where in places.items():
            (folder / where).mkdir(parents=True, exist_ok=True)
            (folder / where / name).write_bytes((files("bulk_patch") / "templates" / name).read_bytes())
            say(f"wrote {folder / where / name}")
        say(f"next: bulk-patch run {folder / 'jobs' / 'first_job.toml'} --sandbox")


@main.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: a free one.")
@click.option("--customers", type=click.Path(path_type=Path), help="CSV or Parquet with dotted columns.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="Answer 429 above N requests a second."
)
@click.option("--latency", "latency_ms", type=click.FloatRange(min=0), default=0, metavar="MS", help="Per request.")
@click.option(
    "--faults", default="", metavar="SPEC", help="For example 500=0.02,429=0.05,reset=0.01,timeout=0.01,drop=0.01"
)
@click.option("--log", type=click.Path(path_type=Path), metavar="FILE", help="One JSON line a request.")
@click.option("--token", default="sandbox-token", help="What it accepts as a bearer token.")
@click.option("--seed", type=int, default=0, help="Of the random faults.")
@click.option(
    "--state", type=click.Path(path_type=Path), metavar="DIR", help="Keep the world there. Default: in memory."
)
def sandbox(**given: Any) -> None:
    """Serve a local API that behaves as Synctera documents it; its first line on stdout is its base URL.

    \b
    Example:
      bulk-patch sandbox --customers sample_inputs/customers.parquet --faults 500=0.02,drop=0.01
    """
    from bulk_patch.sandbox import SandboxSettings, serve

    try:
        sys.exit(serve(SandboxSettings(**given)))
    except (RuntimeError, ValueError, OSError) as error:
        _fail(UsageError(str(error), "bulk-patch sandbox --help explains the flags"))


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes commands and flags in a shell.

    \b
    Example:
      eval "$(bulk-patch completion bash)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # click has the three
    click.echo(kind(main, {}, "bulk-patch", "_BULK_PATCH_COMPLETE").source())


# --- around every command


@contextmanager
def _session(common: Common) -> Iterator[None]:
    """Let the log speak, and turn whatever is raised into words and an exit code."""
    from bulk_patch.observe import get_logger, start_logging

    with start_logging(console=cast(Any, common.log_format), quiet=common.quiet, verbose=common.verbose):
        try:
            yield
        except BulkPatchError as error:
            _fail(error)
        except KeyboardInterrupt:
            sys.exit(Exit.INTERRUPTED)
        except Exception as error:
            get_logger().error("bug", error=error, exc_info=True)
            _fail(
                BulkPatchError(
                    f"unexpected {type(error).__name__}", "please report it, with run.log; the ledger is intact"
                )
            )


def _fail(error: BulkPatchError) -> None:
    from bulk_patch.terminal import say

    say(f"error: {error.message}", stream=sys.stderr)
    if error.hint:
        say(f"hint: {error.hint}", stream=sys.stderr)
    say(f"exit code {error.exit_code:d}: {Exit(error.exit_code).words}", stream=sys.stderr)
    sys.exit(error.exit_code)


def _end(summary: "RunSummary", job: "Job", common: Common) -> None:
    """Show how it ended, and end so."""
    from bulk_patch.terminal import show_end

    show_end(summary, job, output=common.output, quiet=common.quiet)
    sys.exit(summary.exit_code or 0)


def _asks(*, sandbox: bool, yes: bool) -> bool:
    if sandbox or yes:
        return False
    if sys.stdin is None or not sys.stdin.isatty():  # None: it was closed before we started
        raise UsageError("there is no terminal to ask on before sending", "add --yes, or rehearse with --sandbox")
    return True


def _states(name: str | None) -> Any:
    from bulk_patch.model import REPORTED, State

    if name is None:
        return None
    if name not in REPORTED:
        raise UsageError(f"--status: {name!r} is no status", f"use one of: {', '.join(REPORTED)}")
    return (State.UNKNOWN, State.SENDING) if name == State.UNKNOWN else (State(name),)


def _watcher(job: "Job", job_file: str, common: Common, *, sandbox: bool, asks: bool) -> Any:
    from bulk_patch.screens import Invocation
    from bulk_patch.terminal import Terminal

    invocation = Invocation(job_file, sandbox, None if common.output is None else str(common.output), common.sets)
    bar = False if common.no_progress or common.quiet else None
    return Terminal(job, invocation, output=common.output, asks=asks, quiet=common.quiet, bar=bar)


@contextmanager
def _aimed(job_file: str, common: Common, *, sandbox: bool) -> Iterator["Job"]:
    """Load a job; with --sandbox, aim it at a rehearsal server that lives as long as the block."""
    from bulk_patch.job import load_job, output_root
    from bulk_patch.rehearsal import at_sandbox

    job = load_job(job_file, common.sets)
    root = output_root(job.file, given=common.output)
    with at_sandbox(job, root) if sandbox else nullcontext(job) as aimed:
        yield aimed
