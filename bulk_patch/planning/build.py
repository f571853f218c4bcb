"""From an input file to a sealed plan: read, compare, build, count. Only a live baseline sends anything: reads."""

import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

import pandas as pd

from bulk_patch.baselines import Baseline
from bulk_patch.baselines.snapshot import Snapshot
from bulk_patch.concurrency import in_thread, prefetch, prefetch_in_thread
from bulk_patch.inputs import source
from bulk_patch.inputs.columns import texts_of
from bulk_patch.inputs.marks import SheetFacts
from bulk_patch.inputs.source import Source
from bulk_patch.job.settings import Job
from bulk_patch.ledgers import Ledger
from bulk_patch.ledgers.records import PlanRow, Run
from bulk_patch.model import State
from bulk_patch.planning.changes import Change, are_unsent_notes, build_changes, frame_cells
from bulk_patch.planning.diff import Compared, Conversions, Wanted, compare, prepare
from bulk_patch.planning.duplicates import Repeat, find_repeats, refuse_repeats, take_duplicates, with_earlier_cells
from bulk_patch.planning.marked_cells import carry_marks, damaged_cells, with_places
from bulk_patch.planning.problems import Problem, Problems
from bulk_patch.planning.scope import check_allowed, check_clearable
from bulk_patch.planning.summary import SummaryBuilder
from bulk_patch.planning.undone_values import TakenBack, UndoneValues
from bulk_patch.targets import Target
from bulk_patch.words import amount

FRAME_ROWS = 100_000
#: When the API is read for them: whole records are held, and reading takes longer than anything else.
LIVE_FRAME_ROWS = 10_000
USUAL_TIMES = 10
KEPT_HINT = 'to send it all the same: guards.taken_back = "stop", and run with --continue'


def scan_input(job: Job, target: Target) -> Source:
    """Read the whole input once, strictly, and check that the job may change what is in it.

    Raises:
        InputError: The file is refused.
        JobError: It holds fields that `guards.fields` does not allow, or the job names fields that do not exist.
    """
    check_clearable(job, target)
    found = source.scan(
        job.input,
        knows=lambda name: target.field(name) is not None,
        ids=target.ids,
        known=target.field_names(),
    )
    check_allowed(job, found.fields.values())
    return found


async def write_plan(
    job: Job,
    run: Run,
    *,
    found: Source,
    target: Target,
    baseline: Baseline,
    ledger: Ledger,
    frame_rows: int = FRAME_ROWS,
) -> Run:
    """Compare the input with the baseline, write every row that is not unchanged, and seal.

    Args:
        job: The job.
        run: The run as it is before its plan.
        found: The scanned input.
        target: Knows fields and bodies.
        baseline: What to compare with.
        ledger: Gets the rows.
        frame_rows: Rows that are compared at a time; the plan does not depend on it.

    Returns:
        The sealed run.

    Raises:
        InputError: The input changed while it was read.
        BulkPatchError: What the baseline meets.
    """
    begun = time.monotonic()
    stale = job.baseline.capabilities.may_be_stale and baseline.taken_at > 0
    deciding = _Deciding(job, run, target, ledger, stale=stale)
    builder = deciding.builder
    async with (
        aclosing(prefetch(_portions(job, found, target, baseline, frame_rows=frame_rows))) as portions,
        aclosing(prefetch(_compared(portions, target))) as compared,
        aclosing(prefetch(_decided(compared, deciding))) as decided,
    ):
        async for rows in decided:
            await in_thread(deciding.write, rows)
    builder.warnings += [
        f"{amount(rows, 'row')} of which undo {undo} took values back: not sent, and listed as kept"
        for undo, rows in builder.kept.items()
    ]
    builder.warnings += _unusual(found.rows, run, ledger)
    if builder.words:
        listed = ", ".join(f"{word} ({rows:,} × {name})" for (name, word), rows in builder.words.most_common(10))
        builder.warnings.append(f"words that programs write for no value would be sent as they are: {listed}")
    if builder.overruled:
        builder.warnings.append(
            f"{amount(builder.overruled, 'row')} of ids that occur again: the later row overrides field by field; "
            f"{builder.merged:,} of them also give fields that no later row gives, which are sent with it"
        )
    if builder.cleared:
        what = f"{sum(builder.cleared.values())} values would be cleared"
        builder.warnings.append(f"{what}: clearing is not documented by the API, each is read back")
    builder.warnings += baseline.warnings()
    begun_as = replace(run.summary, reading=found.reading, conversions=builder.conversions(job.input.convert))
    summary = builder.build(begun_as, reads=baseline.reads_made, recheck=deciding.recheck)
    if 0 < baseline.taken_at < run.created_at:
        summary = replace(summary, snapshot_at=baseline.taken_at)
    deciding.writer.seal(
        summary,
        input_rows=found.rows,
        unchanged=builder.unchanged,
        plan_s=time.monotonic() - begun,
        now=time.time(),
    )
    baseline.sealed()
    return ledger.run(run.id)


@dataclass(frozen=True, slots=True)
class _Portion:
    """Consecutive rows of the input, with all that is needed to decide them."""

    frame: pd.DataFrame  # cells as read, with those that earlier rows of the same id alone give
    ids: pd.Series
    wanted: Wanted  # without the duplicates
    repeats: dict[int, Repeat]  # of the whole input
    duplicates: dict[int, Repeat]
    snapshot: Snapshot | None = None
    facts: SheetFacts | None = None  # of a workbook
    converted: Conversions = field(default_factory=dict)


async def _portions(
    job: Job, found: Source, target: Target, baseline: Baseline, *, frame_rows: int
) -> AsyncIterator[_Portion]:
    """Yield the input in portions, each with what the baseline knows of its customers."""
    repeats = await in_thread(find_repeats, found, job, target, frame_rows)
    facts = carry_marks(found.facts, {row: repeat.origins for row, repeat in repeats.items() if repeat.origins})

    def prepare_portion(cells: pd.DataFrame) -> _Portion:
        frame = with_earlier_cells(cells, repeats)
        wanted = prepare(
            frame, id_column=found.id_column, fields=found.fields, settings=job.input, target=target, facts=facts
        )
        duplicates = take_duplicates(wanted, repeats)
        left = _without(wanted, duplicates)
        for column, rows in wanted.damaged.items():
            frame = frame.assign(**{column: damaged_cells(frame[column], rows)})
        return _Portion(
            frame,
            _shown_ids(wanted, frame[found.id_column]),
            left,
            repeats,
            duplicates,
            facts=facts,
            converted=wanted.converted,
        )

    async with aclosing(prefetch_in_thread(source.frames(found, rows=frame_rows))) as frames:
        async for frame in frames:
            portion = await in_thread(prepare_portion, frame)
            yield replace(portion, snapshot=await baseline.snapshot(portion.wanted.ids))


async def _compared(portions: AsyncIterator[_Portion], target: Target) -> AsyncIterator[tuple[_Portion, Compared]]:
    """Yield each portion with what would change in it."""
    async for portion in portions:
        yield portion, await in_thread(compare, portion.wanted, portion.snapshot, target)


async def _decided(
    compared: AsyncIterator[tuple[_Portion, Compared]], deciding: "_Deciding"
) -> AsyncIterator[list[PlanRow]]:
    """Yield the rows of each portion as the ledger will hold them."""
    async for portion, changes in compared:
        yield await in_thread(deciding.decide, portion, changes)


@dataclass(frozen=True, slots=True)
class _Aside:
    """Why a row that asks for a change is not sent, and is not invalid either."""

    state: State  # duplicate | kept
    reason: str
    fields: tuple[str, ...] = ()
    hint: str = ""


class _Deciding:
    """Decides portions in order, and counts what becomes of their rows."""

    def __init__(self, job: Job, run: Run, target: Target, ledger: Ledger, *, stale: bool) -> None:
        self._job = job
        self._run = run
        self._target = target
        self._ledger = ledger
        self.writer = ledger.plan(run)
        self._ledger_is_free = Lock()  # it is for one thread at a time; rows are written while the next are decided
        self._stale = stale  # the snapshot is old: objects that it completes are read again
        self._refused: Problems = {}  # of repeated rows, which may lie in other portions
        self._undone = UndoneValues(ledger, run.target, target)
        self._kept: dict[int, TakenBack] = {}  # of repeated rows too
        self.builder = SummaryBuilder()
        self.recheck = 0

    def decide(self, portion: _Portion, compared: Compared) -> list[PlanRow]:
        """Return every row of a portion that is not unchanged."""
        wanted, snapshot, duplicates = portion.wanted, portion.snapshot, portion.duplicates
        builder = self.builder
        builder.unchanged += compared.unchanged
        builder.convert(portion.converted)
        problems: Problems = dict(compared.problems)
        changes: dict[int, Change] = {}
        for built in build_changes(compared, wanted, snapshot, self._target, watch=self._job.guards.watch):
            if isinstance(built, Change):
                changes[built.row] = built
            else:
                problems.setdefault(built[0], []).append(built[1])
        self._refused |= {row: found for row, found in problems.items() if row in portion.repeats}
        refuse_repeats(duplicates, problems, self._refused)
        builder.overruled += sum(not repeat.stand_in for repeat in duplicates.values())
        builder.merged += sum(repeat.gives for repeat in duplicates.values())
        with self._ledger_is_free:
            kept = self._set_aside(changes)
            builder.unchanged += _drop_sent_notes(changes, self._run.target, self._target, self._ledger)
        self._kept |= {row: found for row, found in kept.items() if row in portion.repeats}
        for row, repeat in list(duplicates.items()):
            if repeat.stand_in in self._kept:  # no row carries its change
                kept[row] = self._kept[repeat.stand_in]
                del duplicates[row]
        builder.duplicates += len(duplicates)
        builder.words.update(wanted.words)
        for change in changes.values():
            builder.add(change)
            self.recheck += self._stale and change.completed
        for found in problems.values():
            builder.refuse(found)
        aside = {row: _Aside(State.DUPLICATE, repeat.reason) for row, repeat in duplicates.items()}
        aside |= {row: _Aside(State.KEPT, again.reason, again.fields, KEPT_HINT) for row, again in kept.items()}
        placed = with_places(problems, portion.facts)
        return list(_plan_rows(portion.frame, portion.ids, changes, placed, aside, stale=self._stale))

    def _set_aside(self, changes: dict[int, Change]) -> dict[int, TakenBack]:
        """Count the changes that an undo took back; take them out and return them where the job keeps them back."""
        found = {row: again for row, change in changes.items() if (again := self._undone.find(change)) is not None}
        keeps = self._job.guards.taken_back == "keep"
        for row, again in found.items():
            self.builder.take_back(row, again.undo, kept=keeps)
            if keeps:
                del changes[row]
        return found if keeps else {}

    def write(self, rows: Sequence[PlanRow]) -> None:
        """Write the rows of a portion into the ledger."""
        with self._ledger_is_free:
            self.writer.add(rows)


def _shown_ids(wanted: Wanted, cells: pd.Series) -> pd.Series:
    """Return the ids as reports show them: normalised, and what is no id as it was read."""
    bad = [row for row, found in wanted.problems.items() if any(problem.field == "id" for problem in found)]
    if not bad:
        return wanted.ids
    shown = wanted.ids.copy()
    shown.loc[bad] = cells.loc[bad].fillna("")
    return shown


def _without(wanted: Wanted, rows: Iterable[int]) -> Wanted:
    gone = list(rows)
    if not gone:
        return wanted
    problems = {row: found for row, found in wanted.problems.items() if row not in set(gone)}
    return replace(wanted, ids=wanted.ids.drop(gone), values=wanted.values.drop(gone), problems=problems)


def _drop_sent_notes(changes: dict[int, Change], target_name: str, target: Target, ledger: Ledger) -> int:
    """Take out rows that only repeat a note which an earlier run of this job wrote; return how many."""
    all_fields = {change.fields for change in changes.values()}
    hidden = {fields for fields in all_fields if are_unsent_notes(fields, target)}
    if not hidden:
        return 0
    notes = {row: change for row, change in changes.items() if change.fields in hidden}
    ids = sorted({change.customer_id for change in notes.values()})
    sent: dict[str, list[dict[str, Any]]] = {}
    for customer_id, body in ledger.applied_bodies(target_name, ids):
        sent.setdefault(customer_id, []).append(json.loads(body))
    repeated = [
        row
        for row, change in notes.items()
        if any(json.loads(change.body).items() <= body.items() for body in sent.get(change.customer_id, ()))
    ]
    for row in repeated:
        del changes[row]
    return len(repeated)


def _plan_rows(
    frame: pd.DataFrame,
    all_ids: pd.Series,
    changes: dict[int, Change],
    problems: Problems,
    aside: "dict[int, _Aside]",
    *,
    stale: bool,
) -> Iterator[PlanRow]:
    """Yield the rows of a chunk that are not unchanged, in input order."""
    kept = frame.loc[sorted(changes.keys() | problems.keys() | aside.keys())]
    ids = dict(zip(kept.index.tolist(), texts_of(all_ids.loc[kept.index]), strict=True))
    for row, cells in frame_cells(kept):
        if row in changes:
            yield pending_row(changes[row], cells, recheck=stale and changes[row].completed)
        elif row in problems:
            yield invalid_row(row, ids[row], cells, problems[row])
        else:
            why = aside[row]
            yield PlanRow(
                row=row,
                customer_id=ids[row],
                state=why.state,
                cells=cells,
                reason=why.reason,
                hint=why.hint,
                fields=why.fields,
            )


def pending_row(change: Change, cells: bytes, *, recheck: bool = False) -> PlanRow:
    """Return a change as the row that will be sent."""
    return PlanRow(
        row=change.row,
        customer_id=change.customer_id,
        state=State.PENDING,
        cells=cells,
        fields=change.fields,
        body=change.body,
        before=change.before,
        read_back=bool(change.clears),
        recheck=recheck,
    )


def invalid_row(row: int, customer_id: str, cells: bytes, problems: Sequence[Problem]) -> PlanRow:
    """Return a row that is never sent, with all that is wrong with it."""
    return PlanRow(
        row=row,
        customer_id=customer_id,
        state=State.INVALID,
        cells=cells,
        reason="; ".join(f"{problem.field} {problem.reason}" for problem in problems),
        hint="; ".join(dict.fromkeys(problem.hint for problem in problems)),
        fields=tuple(dict.fromkeys(problem.field for problem in problems)),
    )


def _unusual(rows: int, run: Run, ledger: Ledger) -> list[str]:
    """Warn of an empty input, or one of quite another size than usual; cron mails show it, nothing stops."""
    if rows == 0:
        return ["the input has a header and no rows"]
    usual = sorted(past.input_rows for past in ledger.runs(run.target) if past.id != run.id and past.input_rows)[-20:]
    if len(usual) >= 3:
        middle = usual[len(usual) // 2]
        if rows >= USUAL_TIMES * middle:
            return [f"the input has {rows} rows; the last runs had about {middle}"]
    return []
