"""Plan the undo of a run: every applied row is read live and set back to its before-image.

An undo is a run like any other: it is sealed, approved, sent, resumed and reported in the same way, and can be undone.
The rows keep the numbers that they have in the run that is undone.
"""

import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import islice

from bulk_patch.baselines.live import LIVE_PAGE
from bulk_patch.client.reads import read_live
from bulk_patch.client.session import ApiSession
from bulk_patch.job.settings import Job
from bulk_patch.ledgers import Ledger
from bulk_patch.ledgers.records import LedgerRow, PlanRow, Run
from bulk_patch.model import State
from bulk_patch.planning.build import invalid_row, pending_row
from bulk_patch.planning.changes import Change, encode_cells
from bulk_patch.planning.problems import Problem
from bulk_patch.planning.reverse_row import Kept, Reversal, copies_left, is_comparable, old_texts, reverse_row, unnamed
from bulk_patch.planning.summary import SummaryBuilder
from bulk_patch.targets import Record, Target

#: The cell of an old value that is not known. No field accepts its last character, so the row is invalid as it is.
NOT_KNOWN = "<OLD VALUE NOT KNOWN>\u200b"


def columns_of(ledger: Ledger, undone: Run, job: Job) -> tuple[str, ...]:
    """Return the columns of an undo: those of the undone run's input, and changed fields that it lacks."""
    fields = dict.fromkeys(name for row in _applied(ledger, undone) for name in row.fields)
    held = {job.input.rename.get(column, column) for column in undone.columns}
    return (*undone.columns, *(name for name in fields if name not in held))


async def write_undo(
    job: Job, run: Run, *, undone: Run, session: ApiSession, ledger: Ledger, page_rows: int = LIVE_PAGE
) -> Run:
    """Read every customer that a run changed, build the inverse changes, and seal them.

    Args:
        job: The job of both runs.
        run: The undo as it is before its plan, with the columns of `columns_of`.
        undone: The run to undo.
        session: Reads the records, of the target that knows their fields and bodies.
        ledger: Holds the undone run; the rows are added to it.
        page_rows: Rows that are read at a time.

    Returns:
        The sealed run.

    Raises:
        BulkPatchError: The customers cannot be read.
    """
    started, target = time.monotonic(), session.target
    writer = ledger.plan(run)
    builder, copies, absent = SummaryBuilder(), Counter[str](), set[str]()
    rows, reads_before = 0, session.reads_made
    async for page in _pages(ledger, undone, target, session, page_rows):
        planned_rows = []
        for row, record in page:
            decided = _reverse(row, record, job, target)
            record = None if isinstance(record, str) else record
            if isinstance(decided, Change) and record is not None:
                copies.update(copies_left(row, record, target))
            absent |= unnamed(decided)
            if (planned := _decide(builder, row, decided, _cells(row, record, run, job, target))) is not None:
                planned_rows.append(planned)
        writer.add(planned_rows)
        rows += len(page)
    if undone.kind == "run":  # an undo has no input
        builder.warnings.append(
            f"the input of run {undone.id} still asks for what this undo reverses: change it before the job runs again"
        )
    counts = ledger.counts(undone.id)
    builder.warnings += [
        f"run {undone.id} has {counts[state]} rows that are {state}: they are not undone, check them"
        for state in (State.UNKNOWN, State.MISMATCH)
        if counts[state]
    ]
    if undone.baseline_can.may_be_stale:
        builder.warnings.append("the old values come from the run's baseline, which was not read from the API")
    builder.warnings += [
        f"{name} is the same in {count} rows: where the API made it as a copy of what is undone, it stays"
        for name, count in copies.items()
    ]
    summary = builder.build(run.summary, reads=session.reads_made - reads_before, recheck=builder.changes)
    if absent:
        summary = replace(summary, may_clear=tuple(sorted({*job.input.may_clear, *absent})))
    writer.seal(
        summary,
        input_rows=rows,
        unchanged=builder.unchanged,
        plan_s=time.monotonic() - started,
        now=time.time(),
    )
    return ledger.run(run.id)


def _reverse(row: LedgerRow, record: Record | str | None, job: Job, target: Target) -> Reversal:
    if isinstance(record, str):
        said = f"is for a {target.noun} whose record in the API cannot be used: {record}"
        return [Problem("row", said, f"ask the API's support to repair the {target.noun}")]
    return reverse_row(row, record, target, may_clear=job.input.may_clear, watch=job.guards.watch)


async def _pages(
    ledger: Ledger, undone: Run, target: Target, session: ApiSession, page_rows: int
) -> AsyncIterator[list[tuple[LedgerRow, Record | str | None]]]:
    """Yield the applied rows of a run, each with its customer as it is now, or why that cannot be used."""
    rows = _applied(ledger, undone)
    while page := list(islice(rows, page_rows)):
        read = await read_live(session, [row.customer_id for row in page])
        shown: dict[str, Record | str] = {**read.by_id, **read.unreadable}
        yield [(row, shown.get(row.customer_id)) for row in page]


def _applied(ledger: Ledger, run: Run) -> Iterator[LedgerRow]:
    return ledger.rows(run.id, states=(State.APPLIED,))


def _decide(builder: SummaryBuilder, row: LedgerRow, decided: Reversal, cells: bytes) -> PlanRow | None:
    """Count one decision, and return its row; a customer that is as before is only counted."""
    if decided is None:
        builder.unchanged += 1
        return None
    if isinstance(decided, Change):
        builder.add(decided)
        return pending_row(
            decided, cells, recheck=True
        )  # an object is sent whole: it must not overwrite an edit made after this read
    if not isinstance(decided, Kept):
        builder.refuse(decided)
        return invalid_row(row.row, row.customer_id, cells, decided)
    return PlanRow(
        row=row.row,
        customer_id=row.customer_id,
        state=State.KEPT,
        cells=cells,
        reason=f"{', '.join(decided.fields)} changed since",
        fields=decided.fields,
    )


def _cells(row: LedgerRow, record: Record | None, run: Run, job: Job, target: Target) -> bytes:
    """Return a row as the input that would undo the change, for failures.csv.

    A column that the row does not change stays blank. Where the job gives blank cells a meaning, it gets the current
    value instead, so that running the file changes nothing else. An unknown old value makes the row invalid again.
    """
    texts: dict[str, str] = {}
    if job.input.blank != "keep" and record is not None:
        texts = {name: text for name, text in target.evidence.flatten(record).items() if is_comparable(name, target)}
    texts |= dict.fromkeys(row.fields, NOT_KNOWN)
    texts |= {name: text or job.input.clear for name, text in old_texts(row, target).items()}
    texts[job.input.id] = row.customer_id
    return encode_cells([texts.get(job.input.rename.get(column, column), "") for column in run.columns])
