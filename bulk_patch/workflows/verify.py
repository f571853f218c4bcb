"""Verify: read back every row that a run applied, and list what has drifted.

Rows are read in batches, in the order of the input and within the job's rate. What was read is recorded in the ledger
batch by batch, so a verify that was killed resumes where it was; one that ended starts again.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile

from bulk_patch.client.permits import LimiterClosed
from bulk_patch.client.reads import Unreadable, read_many
from bulk_patch.client.session import RunHalted
from bulk_patch.errors import Exit, gravest
from bulk_patch.job.settings import Job
from bulk_patch.ledgers import CheckWriter, Ledger
from bulk_patch.ledgers.operator import current_actor
from bulk_patch.ledgers.records import Check, Drift, LedgerRow, Run
from bulk_patch.model import State, Stop
from bulk_patch.observe import get_logger
from bulk_patch.reports.summary import VERIFIED
from bulk_patch.review.drift import find_drift
from bulk_patch.targets import Target
from bulk_patch.targets.fields import Visibility
from bulk_patch.workflows.event_loop import run_in_event_loop
from bulk_patch.workflows.observer import ReadEstimate
from bulk_patch.workflows.open_job import OpenJob, open_job
from bulk_patch.workflows.options import RunOptions
from bulk_patch.workflows.resume_policy import no_plan_error

_BATCHES_AT_ONCE = 8  # so few are read again after a kill

log = get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What reading back the applied rows of a run has shown."""

    check: int  # number of the check in the ledger
    rows: int  # applied rows that were read back
    left: int  # applied rows that were not
    drifted: int
    superseded: int  # rows that later runs of the job changed
    fields: Mapping[str, int]  # drifted fields, how often
    in_part: Mapping[str, int]  # fields that answers mask or never show: in how many rows that were read back
    exit_code: Exit
    stop: Stop | None = None


@dataclass(slots=True)
class _Totals:
    drifted: int = 0
    superseded: int = 0
    fields: Counter[str] = field(default_factory=Counter)
    in_part: Counter[str] = field(default_factory=Counter)

    def look(self, row: LedgerRow, target: Target) -> None:
        """Count the fields of a row that answers show only in part, or not at all."""
        shown = ((name, target.field(name)) for name in row.fields)
        self.in_part.update(
            name for name, field in shown if field is not None and field.visibility is not Visibility.WHOLE
        )

    def add(self, drift: Drift) -> None:
        self.drifted += drift.counts
        self.superseded += not drift.counts
        self.fields.update(field.name for field in drift.fields if not field.superseded_by)


def verify_run(job: Job, run_id: str, options: RunOptions | None = None) -> Verification:
    """Read back every applied row of a run, and record in the ledger what has drifted.

    Args:
        job: The job of the run.
        run_id: The run's id.
        options: Who asks, and who watches.

    Returns:
        What was found; its exit code is 0, 3 when something drifted, or what kept rows from being read.

    Raises:
        BulkPatchError: Nothing was read; after a signal, what was read is kept and the same command resumes.
    """
    return run_in_event_loop(_verify(job, run_id, options or RunOptions()))


async def _verify(job: Job, run_id: str, options: RunOptions) -> Verification:
    async with open_job(job, options, sends=True) as opened:
        run = opened.run_here(run_id)
        if run.state == "planning":
            raise no_plan_error(run, options.commands)
        ledger = opened.ledger
        ledger.check_seal(run.id)
        opened.log_to(run.id)
        checking = ledger.check(run.id, current_actor(options.operator), now=time.time())
        check = checking.check
        totals = _Totals()
        for drift in ledger.drifts(check.number):
            totals.add(drift)
        rows = ledger.rows(run.id, states=(State.APPLIED,))
        for row in takewhile(lambda row: row.row <= check.upto, rows):  # of a check that is resumed
            totals.look(row, opened.target)
        applied = ledger.counts(run.id)[State.APPLIED]
        left = max(0, applied - check.rows)
        log.info("verifying", run=run.id, rows=left)
        stop = await _read_back(opened, run, checking, totals, left)
        done = next(other for other in ledger.checks(run.id) if other.number == check.number)
        codes = [Exit.NEEDS_PERSON] if totals.drifted else []
        codes += [Exit.INCOMPLETE] if done.rows < applied else []
        if stop is None:
            checking.end(now=time.time())
            found = {"drifted": totals.drifted, "fields": dict(totals.fields), "in_part": dict(totals.in_part)}
            opened.note(run, VERIFIED, rows=done.rows, **found)
        else:
            codes.append(stop.exit_code)
            log.error("stopped", run=run.id, reason=stop.reason, hint=stop.hint)
        code = gravest(Exit.OK, *codes)
        log.info("verified", run=run.id, rows=done.rows, counts={"drifted": totals.drifted}, exit_code=int(code))
        return Verification(
            check=check.number,
            rows=done.rows,
            left=max(0, applied - done.rows),
            drifted=totals.drifted,
            superseded=totals.superseded,
            fields=dict(totals.fields.most_common()),
            in_part=dict(totals.in_part.most_common()),
            exit_code=code,
            stop=stop,
        )


async def _read_back(opened: OpenJob, run: Run, checking: CheckWriter, totals: _Totals, left: int) -> Stop | None:
    """Read the rows that have not been read yet; return what stopped that."""
    session, observer = opened.session, opened.options.observer
    assert session is not None  # open_job opened it
    size = opened.target.ids_per_read
    at_once = min(_BATCHES_AT_ONCE, opened.job.limits.concurrency) * size
    trusted: set[str] = set()  # later runs whose rows may explain what is found
    observer.reading(ReadEstimate(left, -(-left // size), opened.target.noun))
    session.on_read = observer.read
    try:
        for rows in _portions(opened.ledger, run, checking.check, at_once):
            read = await read_many(session, [row.customer_id for row in rows])
            by_id = read.by_id
            drifts = [
                drift
                for row in rows
                if row.customer_id not in read.unreadable
                and (drift := find_drift(run, row, by_id.get(row.customer_id), opened.target, opened.ledger))
            ]
            for later in {field.superseded_by for drift in drifts for field in drift.fields} - {"", *trusted}:
                opened.ledger.check_seal(later)
                trusted.add(later)
            unread = [row for row in rows if row.customer_id in read.unreadable]
            for row in unread:
                reason = f"the {opened.target.noun}'s record cannot be used: {read.unreadable[row.customer_id]}"
                log.warning("row_not_read_back", row=row.row, reason=reason)
            for row in rows:
                if row.customer_id not in read.unreadable:
                    totals.look(row, opened.target)
            read_back = len(rows) - len(unread)
            checking.record(drifts, upto=rows[-1].row, rows=read_back)
            for drift in drifts:
                totals.add(drift)
    except Unreadable as failure:
        reason = f"rows could not be read back: {failure.verdict.reason}"
        return Stop(Exit.INCOMPLETE, reason, "run the same command again when the API answers: it resumes there")
    except RunHalted as halt:
        return halt.stop
    except LimiterClosed:
        return Stop(Exit.INCOMPLETE, "reading was stopped", "run the same command again: it resumes there")
    finally:
        observer.sent()
    return None


def _portions(ledger: Ledger, run: Run, check: Check, size: int) -> Iterator[Sequence[LedgerRow]]:
    rows = ledger.rows(run.id, states=(State.APPLIED,), after=check.upto)
    while portion := list(islice(rows, size)):
        yield portion
