"""What a person at a terminal, or cron's mail, sees of a run: screens on stdout, question and bar on stderr."""

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from bulk_patch.cli.next_command import Invocation, next_command
from bulk_patch.cli.screens import end_screen, last_lines, plan_screen
from bulk_patch.job.load import output_root
from bulk_patch.job.settings import Job
from bulk_patch.ledgers.records import Run
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.model import Counts, State
from bulk_patch.observe import ProgressBar, silence
from bulk_patch.reports.files import FAILURES
from bulk_patch.reports.rows import find_causes
from bulk_patch.reports.runs import LEDGER_FILE
from bulk_patch.reports.summary import RunSummary
from bulk_patch.sending.claims import fewest_claimed
from bulk_patch.sending.dispatcher import Dispatcher
from bulk_patch.words import amount, duration_words
from bulk_patch.workflows.signals import interruptible


def say(text: str, *, stream: TextIO | None = None, end: str = "\n") -> None:
    """Print; a terminal or pipe that is gone stops no run."""
    out = stream or sys.stdout
    if out is None:  # it was closed before we started
        return
    encoding = out.encoding or "utf-8"
    text = text.removesuffix("\n").encode(encoding, "replace").decode(encoding)  # an old locale has no dots for masks
    try:
        print(text, end=end, file=out, flush=True)
    except (OSError, ValueError):
        silence(out)


def show_end(summary: RunSummary, job: Job, *, output: Path | None, quiet: bool) -> None:
    """Show how a run ended: its screen on stdout, the last lines, which cron mails, on stderr."""
    folder = output_root(job.file, given=output) / job.name
    with SqliteLedger.read(folder / LEDGER_FILE, job=job.name) as ledger:
        run = ledger.run(summary.run)
        causes = find_causes(ledger, run)
    if not quiet:
        say(end_screen(summary, run, folder=from_here(folder / run.id), causes=causes))
    say(last_lines(summary), stream=sys.stderr)


class Terminal:
    """Watches a run for a person.

    Args:
        job: The job.
        invocation: How the command was called.
        output: The `output/` folder as it was named, if it was.
        asks: Ask before sending.
        quiet: Show no screens.
        bar: Show the bar; None: on a terminal, log lines elsewhere.
    """

    def __init__(
        self, job: Job, invocation: Invocation, *, output: Path | None, asks: bool, quiet: bool, bar: bool | None
    ) -> None:
        self._job = job
        self._invocation = invocation
        self._folder = output_root(job.file, given=output) / job.name
        self._asks = asks
        self._quiet = quiet
        self._bar = bar
        self._progress: ProgressBar | None = None
        self._read = 0
        self._rate = job.limits.rate_per_s if not isinstance(job.limits.rate_per_s, str) else None

    def planned(self, run: Run, counts: Counts) -> None:
        """Show the plan."""
        self.sent()
        if not self._quiet:
            together = fewest_claimed(self._rate or math.inf, self._job.limits.concurrency)
            canary = self._job.guards.canary
            say(plan_screen(run, counts, rate_per_s=self._rate, canary=canary, ids_per_read=min(100, together)))

    def agrees(self, run: Run, counts: Counts) -> bool:
        """Ask on stderr, read the answer from stdin; only a plain yes is one."""
        if not self._asks:
            return True
        to_send = counts.get(State.PENDING, 0) + counts.get(State.UNKNOWN, 0)
        with interruptible():  # before anybody can answer it with Ctrl-C
            say(f"send {amount(to_send, 'change')} to {run.target}? [y/N] ", stream=sys.stderr, end="")
            return sys.stdin.readline().strip().lower() in ("y", "yes")

    def reading(self, customers: int, requests: int) -> None:
        """Say what a live baseline costs before it begins."""
        if requests and not self._quiet:
            at = f", {duration_words(requests / self._rate)}" if self._rate else ""
            say(f"reading {amount(customers, 'customer')}: {amount(requests, 'request')}{at}", stream=sys.stderr)
        if requests:
            self._progress, self._read = ProgressBar(customers, enabled=self._bar, desc="reading"), 0

    def read(self, customers: int) -> None:
        """Move the bar of reading."""
        self._read += customers
        if self._progress is not None:
            self._progress.update(self._read)

    def sending(self, run: Run, rows: int) -> None:
        """Open the bar."""
        self._progress = ProgressBar(rows, enabled=self._bar)

    def progress(self, dispatcher: Dispatcher) -> None:
        """Move the bar."""
        if self._progress is not None:
            limiter, progress = dispatcher.limiter, dispatcher.progress
            self._progress.update(
                progress.done,
                ok=progress.ok,
                refused=progress.refused,
                throttled=limiter.throttled,
                limit_per_s=limiter.rate_per_s,
                paused_s=limiter.paused_s,
                note=limiter.pause_reason if limiter.paused_s else "",
            )

    def sent(self) -> None:
        """Close the bar."""
        if self._progress is not None:
            self._progress.close()
            self._progress = None

    def next_command(self, run: Run, counts: Counts, to_do: int) -> str:
        """Return the exact command that goes on from here."""
        return go_on(run, counts, to_do, invocation=self._invocation, folder=self._folder)

    def run_command(self) -> str:
        """Return the exact command that plans and sends the input as it is."""
        return _with_output(self._invocation, self._folder).command("run")


def go_on(run: Run, counts: Counts, to_do: int, *, invocation: Invocation, folder: Path) -> str:
    """Return the exact command that goes on from here, also when it names the run and not the job file.

    Its paths are as seen from the current directory, unless the job file was named by a whole path: a cron line that
    names it so runs in some other directory than the one where its mail is read and the command is typed. One that
    names a relative path changes the directory first, and says so in the mail's subject.

    Args:
        run: The run.
        counts: Rows per state.
        to_do: Rows still to be tried.
        invocation: How the command was called.
        folder: Of the job: output/<job>.
    """
    failures = folder / run.id / FAILURES
    failures = failures if _is_for_anywhere(invocation) else from_here(failures)
    return next_command(run, counts, to_do, prefix=_with_output(invocation, folder), failures=failures)


def look_at(customer_id: str, *, invocation: Invocation, folder: Path) -> str:
    """Return the exact command that shows everything about one customer; the folder is the job's."""
    return _with_output(invocation, folder).command("lookup", run=customer_id)


def _with_output(invocation: Invocation, folder: Path) -> Invocation:
    """Name the output folder, where a command that names a run would not find it by itself."""
    anywhere = _is_for_anywhere(invocation)
    if invocation.output is None and (anywhere or folder.parent != output_root(None)):
        return replace(invocation, output=str(folder.parent if anywhere else from_here(folder.parent)))
    return invocation


def _is_for_anywhere(invocation: Invocation) -> bool:
    return Path(invocation.job).is_absolute()


def from_here(path: Path) -> Path:
    """Return a path as seen from the current directory, where it lies below it."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
