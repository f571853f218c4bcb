"""How rows of a sealed plan leave a SQLite ledger, and how their outcomes come back."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from operator import attrgetter
from typing import Any

from bulk_patch.errors import LedgerError
from bulk_patch.ledgers import Candidate
from bulk_patch.ledgers.events import CLAIMED, OUTCOMES, RETRY, SESSION, SESSION_ENDED, Progress
from bulk_patch.ledgers.records import Actor
from bulk_patch.ledgers.sqlite import chain_queries, queries
from bulk_patch.ledgers.sqlite.chain import PARTS, ROWS
from bulk_patch.ledgers.sqlite.chain_writer import ChainWriter
from bulk_patch.ledgers.sqlite.database import Line
from bulk_patch.ledgers.sqlite.planning import span, unpack_customer
from bulk_patch.ledgers.sqlite.progress import (
    RowMover,
    asked_again,
    claimed,
    find_groups,
    recorded,
    spent_again,
    taken_back,
)
from bulk_patch.ledgers.sqlite.records import to_text
from bulk_patch.ledgers.sqlite.sealed_plan import SealedPlan
from bulk_patch.model import MOVES, Outcome, Patch, State, idempotency_key

_SILENT_S = 2 * 86_400.0  # a process that sends writes something in this time: an outage ends it after a day

#: All of an outcome that is recorded, but for its row.
_recorded_facts = attrgetter(
    *("state", "reason", "fields", "attempts", "ambiguous", "spent", "final", "new_generation"),
    *("http_status", "api_code"),
)


class SendingSession:
    """A `SendingSession` of one run in a SQLite ledger; see the Protocol for what each method promises.

    Args:
        chain: Of the ledger, open for writing.
        plan: The run's plan, its facts verified.
        number: The run's number in the ledger.
    """

    def __init__(self, chain: ChainWriter, plan: SealedPlan, number: int) -> None:
        self.is_open = False
        self.recovered = 0  # rows that a kill left in flight
        self._run = plan.run
        self._chain = chain
        self._database = chain.database
        self._plan = plan
        self._number = number
        self._span = span(number)
        self._session: int | None = None

    def start(self, actor: Actor, now: float, settings: Mapping[str, Any]) -> None:
        """Take back what a kill left in flight and what an earlier session spent."""
        with self._chain.transaction(self._number):
            self._check_rows()
            values = {"run": self._number, "actor": to_text(asdict(actor)), "now": now}
            started = self._database.run(queries.INSERT_SESSION, values)
            mover = RowMover(self._chain, self._number)
            groups = mover.find(chain_queries.GROUPS_LEFT, now=now)
            back = partial(taken_back, now=now, last_time=self._chain.last_time, silent_s=_SILENT_S)
            mover.move_all(groups, back)
            detail = {"session": started.lastrowid, "actor": asdict(actor), "settings": settings}
            mover.tell(SESSION, now=now, detail=detail)
        self._session = started.lastrowid
        self.recovered = sum(len(rows) for was, _, rows in groups if was.state == State.SENDING)
        self.is_open = True

    def _check_rows(self) -> None:
        """Compare how many rows there are, and how many of them are open, with the counts."""
        lines = self._database.all(chain_queries.COUNTS, {"run": self._number})
        kept = sum(rows for state, rows, _ in lines if state != State.UNCHANGED)
        self._chain.check_rows(self._number, kept)
        if self._database.first(chain_queries.COUNT_LANES, self._span) != (sum(line[2] for line in lines),):
            raise self._chain.damage(PARTS[ROWS], self._number)

    def claim(
        self, n: int, *, now: float, only_requested: bool = False, rows: Sequence[int] | None = None
    ) -> list[Patch]:
        """Move rows to `sending`, durably, and return them."""
        self._refuse_ended()
        with self._chain.transaction(self._number):
            mover = RowMover(self._chain, self._number)
            lines = self._next(n, only_requested=only_requested, ids=None if rows is None else mover.ids(rows))
            alike: defaultdict[Line, list[int]] = defaultdict(list)
            for line in lines:
                alike[line[6:]].append(line[0])
            for (*values, event), moved in alike.items():
                was = Progress(*values)
                _check_move(moved[0], was.state, State.SENDING)
                mover.move(was, event, moved, claimed(was, now))
            if lines:
                is_first = self._database.run(queries.START_RUN, {"run": self._number, "now": now}).rowcount
                mover.tell(CLAIMED, now=now, hot=not is_first)
        return [self._patch(line, now) for line in lines]

    def peek(self, n: int, *, only_requested: bool = False) -> list[Candidate]:
        """Return what `claim` would hand out."""
        self._refuse_ended()
        lines = self._next(n, only_requested=only_requested, ids=None)
        return [(self._patch(line, 0.0), State(line[6]), bool(line[5])) for line in lines]

    def _next(self, n: int, *, only_requested: bool, ids: str | None) -> list[Line]:
        """Return the lines of the next rows, all of them verified."""
        closed = self._database.first(queries.RUN_STATE, {"run": self._number}) == ("closed",)
        only_requested = only_requested or closed
        limits: dict[str, Any] = self._span | {"n": max(n, 0)}  # a negative limit is none
        if ids is not None:
            among = limits | {"ids": ids, "only_requested": int(only_requested)}
            lines = self._database.all(queries.NEXT_AMONG, among)
        elif only_requested:
            lines = self._database.all(queries.NEXT_REQUESTED, limits)
        else:
            lines = self._database.all(queries.NEXT_READY, limits)
        for line in lines:
            self._plan.verify_row(line[0])
            if line[2] is None:
                raise self._plan.damage(f"row {line[0]}")  # it was not sealed to be sent
        self._chain.check_progress(self._number, ((line[0], None, line[6:]) for line in lines))
        return lines

    def _patch(self, line: Line, now: float) -> Patch:
        row, customer_id, body, before, read_back, _, *values, _ = line
        was = Progress(*values)
        is_new = was.key_intent_at is None or was.state == State.PENDING
        return Patch(
            row=row,
            customer_id=unpack_customer(customer_id),
            body=body,
            before=before,
            key=idempotency_key(self._run.secret, row, was.generation),
            generation=was.generation,
            ambiguous=bool(was.ambiguous),
            intent_at=now if is_new or was.key_intent_at is None else was.key_intent_at,
            left_at=was.left_at or 0.0,
            read_back=bool(read_back),
        )

    def record(self, outcomes: Sequence[Outcome], *, now: float) -> None:
        """Write outcomes in one durable transaction.

        Those that say the same, as almost all do, are written by one statement: SQLite gives the interpreter away for
        every statement, and a thread that sends at the same time is slow to give it back.
        """
        self._refuse_ended()
        if not outcomes:
            return
        with self._chain.transaction(self._number):
            mover = RowMover(self._chain, self._number)
            by_row = {outcome.row: outcome for outcome in outcomes}
            groups = mover.among(by_row)
            known = {row for _, _, rows in groups for row in rows}
            if lost := [outcome.row for outcome in outcomes if outcome.row not in known]:
                raise LedgerError(f"row {lost[0]} is not in the plan")
            if len(by_row) < len(outcomes):
                raise LedgerError("a row has two outcomes at once")
            for was, event, rows in groups:
                equal: defaultdict[Line, list[int]] = defaultdict(list)
                for row in rows:
                    equal[_recorded_facts(by_row[row])].append(row)
                for alike in equal.values():
                    self._record_equal(mover, was, event, [by_row[row] for row in alike], now)
            mover.tell(OUTCOMES, now=now, hot=True)

    def _record_equal(
        self, mover: RowMover, was: Progress, event: int | None, outcomes: Sequence[Outcome], now: float
    ) -> None:
        """Write outcomes that differ in nothing but their row, of rows that are alike."""
        one, rows = outcomes[0], [outcome.row for outcome in outcomes]
        after = _resolve(one, was.state, was_ambiguous=bool(was.ambiguous))
        if after is State.SENDING:
            raise _refuse_move(one.row, was.state, after)  # only a claim does that
        _check_move(one.row, was.state, after)
        becomes = recorded(was, one, after, session=self._session, now=now)
        if one.new_generation:
            values = {"ids": mover.ids(rows), "generation": becomes.generation, "now": now, "reason": one.reason}
            self._database.run(queries.INSERT_GENERATIONS, values)
        mover.move(was, event, rows, becomes)

    def end(self, *, now: float, by_itself: bool) -> None:
        """End the session; rows that spent their attempts in their second such session are given up."""
        self._refuse_ended()
        with self._chain.transaction(self._number):
            session = {"session": self._session}
            mover = RowMover(self._chain, self._number)
            if by_itself:
                mover.move_all(mover.find(chain_queries.GROUPS_SPENT, **session), spent_again)
            self._database.run(queries.END_SESSION, session | {"now": now, "by_itself": by_itself})
            self._database.run(queries.FINISH_RUN, {"run": self._number, "now": now})
            mover.tell(SESSION_ENDED, now=now, detail={**session, "by_itself": by_itself})
        self.is_open = False

    def _refuse_ended(self) -> None:
        if not self.is_open:
            raise LedgerError(f"run {self._run.id} has no session: nothing can be sent")


def request_retry(chain: ChainWriter, run_number: int, now: float) -> int:
    """Ask for rejected and unknown rows again; return how many are asked for."""
    with chain.transaction(run_number):
        mover = RowMover(chain, run_number)
        groups = mover.find(chain_queries.GROUPS_REFUSED)
        for was, _, rows in groups:
            if was.state == State.REJECTED and not was.requested:  # the old key answers with the old refusal
                values = {"ids": mover.ids(rows), "generation": was.generation + 1, "now": now, "reason": RETRY}
                chain.database.run(queries.INSERT_GENERATIONS, values)
        mover.move_all(groups, asked_again)
        mover.tell(RETRY, now=now)
    return sum(len(rows) for *_, rows in find_groups(chain, run_number, chain_queries.GROUPS_REQUESTED, {}))


def _resolve(outcome: Outcome, before: str, *, was_ambiguous: bool) -> State:
    """Return the state that an outcome asks for."""
    if outcome.new_generation:
        return State.PENDING
    comes_back = before == State.SENDING and outcome.state is State.PENDING
    if comes_back and (was_ambiguous or outcome.ambiguous):
        return State.UNKNOWN  # this time nothing was sent, but an attempt before may have executed
    return outcome.state


def _check_move(row: int, before: str, after: State) -> State:
    """Refuse a move that the table does not name; return the state that is left."""
    if (before, after) not in MOVES:
        raise _refuse_move(row, before, after)
    return State(before)


def _refuse_move(row: int, before: str, after: State) -> LedgerError:
    return LedgerError(f"row {row} may not go from {before} to {after}", "Nothing was changed. Please report this.")
