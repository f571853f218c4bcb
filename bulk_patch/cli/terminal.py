"""Show a run at a terminal or in cron's mail: screens on stdout, the question and the bar on stderr."""

import math
import sys
from pathlib import Path
from urllib.parse import urlsplit

from bulk_patch.cli.command_lines import from_here
from bulk_patch.cli.printing import say
from bulk_patch.cli.screens import end_screen, last_lines, plan_screen
from bulk_patch.job.addresses import is_loopback
from bulk_patch.job.load import output_root
from bulk_patch.job.settings import Job
from bulk_patch.ledgers.records import Run
from bulk_patch.model import Counts, State
from bulk_patch.observe import ProgressBar, SendProgress
from bulk_patch.reports.rows import find_causes
from bulk_patch.reports.runs import read_ledger
from bulk_patch.reports.summary import RunSummary
from bulk_patch.sending.claims import fewest_claimed
from bulk_patch.words import amount, duration_words
from bulk_patch.workflows.observer import ReadEstimate
from bulk_patch.workflows.signals import interruptible


def show_end(summary: RunSummary, job: Job, *, output: Path | None, quiet: bool, plan_shown: bool = False) -> None:
    """Show how a run ended: its screen on stdout; on stderr the last lines, which cron mails.

    Args:
        summary: What summary.json says.
        job: The job.
        output: The `output/` folder.
        quiet: Show the last lines only.
        plan_shown: The screen of its plan stands above already.
    """
    folder = output_root(job.file, given=output) / job.name
    with read_ledger(folder) as ledger:
        run = ledger.run(summary.run)
        causes = find_causes(ledger, run)
    if not quiet:
        say(end_screen(summary, run, folder=from_here(folder / run.id), causes=causes, plan_shown=plan_shown))
    if not (quiet and summary.exit_code == 0):  # a good night sends no mail
        say(last_lines(summary), stream=sys.stderr)


PRODUCTION = "PRODUCTION"
MOST_BY_YES = 1_000  # changes to production: more are sent only to somebody who typed the job's name


def place_of(job: Job) -> str:
    """Say in words what a job is aimed at."""
    if job.sandbox_token:
        return "the built-in sandbox"
    host = urlsplit(job.target.base_url).hostname or ""
    return "this machine" if is_loopback(host) else job.target.test_hosts.get(host, PRODUCTION)


def ask_to_send(run: Run, counts: Counts, *, limit: int | None = None, place: str = PRODUCTION) -> bool:
    """Ask on stderr, read the answer from stdin; only a plain yes sends, or the job's name where much would change.

    Args:
        run: The run.
        counts: Rows per state.
        limit: How many changes this command sends at most (`--limit`).
        place: What it is aimed at, from `place_of`.
    """
    to_send = counts.get(State.PENDING, 0) + counts.get(State.UNKNOWN, 0)
    what = amount(to_send, "change")
    if limit is not None and limit < to_send:
        what = f"{limit:,} of {what}"
    aim = f"{what} to {run.target} ({place})"
    if place == PRODUCTION and (to_send if limit is None else min(to_send, limit)) > MOST_BY_YES:
        return read_answer(f"to send {aim}, type the job's name, {run.job}: ") == run.job
    return ask(f"send {aim}? [y/N] ")


def ask(question: str) -> bool:
    """Ask on stderr, read the answer from stdin; only a plain yes is one."""
    return read_answer(question).lower() in ("y", "yes")


def read_answer(question: str) -> str:
    """Ask on stderr; return what is typed."""
    with interruptible():  # before anyone can answer it with Ctrl-C
        say(question, stream=sys.stderr, end="")
        return sys.stdin.readline().strip()


class Terminal:
    """Shows a run to a person.

    Args:
        job: The job.
        quiet: Show no screens.
        bar: Show the bar; None: on a terminal, log lines elsewhere.
    """

    def __init__(self, job: Job, *, quiet: bool, bar: bool | None) -> None:
        self._job = job
        self._quiet = quiet
        self._bar = bar
        self._progress: ProgressBar | None = None
        self._read = 0
        self.plan_shown = ""  # of which run
        self._rate = job.limits.kept_per_s

    def planned(self, run: Run, counts: Counts) -> None:
        """Show the plan."""
        self.sent()
        if not self._quiet:
            together = fewest_claimed(self._rate or math.inf, self._job.limits.concurrency)
            canary = self._job.guards.canary
            self.plan_shown = run.id
            say(plan_screen(run, counts, rate_per_s=self._rate, canary=canary, ids_per_read=min(100, together)))

    def reading(self, estimate: ReadEstimate) -> None:
        """Say what reading a live baseline will cost."""
        records, requests = estimate.records, estimate.requests
        if requests and not self._quiet:
            at = f", {duration_words(requests / self._rate)}" if self._rate else ""
            about = f"about {amount(requests, 'request')}{at}"  # the API may answer in smaller pages
            say(f"reading up to {amount(records, estimate.noun)}: {about}", stream=sys.stderr)
        if requests:
            self._progress, self._read = ProgressBar(records, enabled=self._bar, desc="reading"), 0

    def read(self, records: int) -> None:
        """Move the bar of reading."""
        self._read += records
        if self._progress is not None:
            self._progress.update(SendProgress(done=self._read))

    def sending(self, run: Run, rows: int) -> None:
        """Open the bar."""
        self._progress = ProgressBar(rows, enabled=self._bar)

    def progress(self, progress: SendProgress) -> None:
        """Move the bar."""
        if self._progress is not None:
            self._progress.update(progress)

    def sent(self) -> None:
        """Close the bar."""
        if self._progress is not None:
            self._progress.close()
            self._progress = None
