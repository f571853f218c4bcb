"""Is a job's last night good? Told from its ledger alone: nothing is read from the API, the input or the token."""

import time
from dataclasses import dataclass
from pathlib import Path

from bulk_patch.errors import Exit
from bulk_patch.job.base_urls import same_target
from bulk_patch.job.settings import Job
from bulk_patch.ledgers.records import Run
from bulk_patch.ledgers.stores import find_store
from bulk_patch.reports.runs import read_ledger
from bulk_patch.words import amount, duration_words, time_words


@dataclass(frozen=True, slots=True)
class Night:
    """What the ledger says about the last night.

    Attributes:
        job: Its name.
        problems: What is not good, the gravest first; none: the night is good.
        only_rows: The run is complete, and all that is wrong are single rows that need a person.
        run: The id of the last run that ended; "": there is none.
        age_s: Seconds since the last good run ended; None: there is none.
    """

    job: str
    problems: tuple[str, ...]
    only_rows: bool = False
    run: str = ""
    age_s: float | None = None


def last_night(job: Job, folder: Path, *, within_s: float, now: float | None = None) -> Night:
    """Read a job's ledger and judge its last night at the job's target; nothing is written.

    Args:
        job: The job.
        folder: Of the job: output/<job>.
        within_s: How long ago the last good run may have ended, in seconds.
        now: Unix seconds; None: the clock's.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    store = find_store(job.name, folder.parent)
    now = time.time() if now is None else now
    if job.name not in store.jobs():
        return judge(job.name, [], within_s=within_s, now=now)
    busy = store.holder(job.name) is not None
    with read_ledger(folder) as ledger:
        runs = [run for run in ledger.runs() if same_target(run.target, job.target_name)]
        waiting = next((run for run in runs if run.state == "sealed" and ledger.to_do(run.id)), None)
        to_do = ledger.to_do(waiting.id) if waiting is not None else 0
    if busy and waiting is not None:  # it is being sent: the night before it is the last one
        runs, to_do = [run for run in runs if run.id != waiting.id], 0
    return judge(job.name, runs, to_do=to_do, within_s=within_s, now=now)


def judge(job: str, runs: list[Run], *, within_s: float, now: float, to_do: int = 0) -> Night:
    """Judge the last night. Pure.

    Args:
        job: Its name.
        runs: Of the job at its target, the newest first.
        within_s: How long ago the last good run may have ended, in seconds.
        now: Unix seconds.
        to_do: Rows of the open run that are still to be sent; 0: no run is open.
    """
    nights = [run for run in runs if run.kind == "run" and run.exit_code is not None and run.finished_at is not None]
    good = next((run for run in nights if run.exit_code == Exit.OK), None)
    age_s = None if good is None or good.finished_at is None else now - good.finished_at
    problems = []
    last = nights[0] if nights else None
    if last is not None and last.exit_code not in (None, Exit.OK):
        problems.append(_failure(last, nights))
    if last is None:
        problems.append("it never ran to an end at this target")
    elif age_s is None:
        problems.append("no run has ended with 0 yet")
    elif age_s > within_s:
        ago = f"{duration_words(age_s)} ago, and may be {duration_words(within_s)}".replace("about ", "")
        problems.append(f"the last good run ended {ago}")
    only_rows = last is not None and last.exit_code == Exit.NEEDS_PERSON and not to_do
    only_rows = only_rows and last is not None and now - (last.finished_at or 0) <= within_s
    if to_do:
        problems.append(f"{amount(to_do, 'row')} of the open run still to be sent")
    return Night(job, tuple(problems), only_rows, "" if last is None else last.id, age_s)


def _failure(last: Run, nights: list[Run]) -> str:
    """Say how the last run ended, and how many in a row ended without success."""
    code = Exit(last.exit_code or 0)
    row = next((at for at, run in enumerate(nights) if run.exit_code == Exit.OK), len(nights))
    counted = f", as {amount(row, 'run')} in a row without success" if row > 1 else ""
    return f"run {last.id} ended with {code:d} at {time_words(last.finished_at)}{counted}: {code.words}"
