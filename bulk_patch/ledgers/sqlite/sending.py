"""How rows of a sealed plan leave a SQLite ledger, and how their outcomes come back."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

from bulk_patch.errors import LedgerError
from bulk_patch.ledgers import Candidate
from bulk_patch.ledgers.sqlite import queries
from bulk_patch.ledgers.sqlite.database import Database, Line
from bulk_patch.ledgers.sqlite.planning import span, unpack_customer
from bulk_patch.ledgers.sqlite.schema import READY, SPENT
from bulk_patch.ledgers.sqlite.sealed_plan import SealedPlan
from bulk_patch.model import MOVES, Outcome, Patch, State, idempotency_key

_SILENT_S = 2 * 86_400.0  # a process that sends writes something in this time: an outage ends it after a day
_UNDECIDED = frozenset({State.PENDING, State.UNKNOWN})

#: All of an outcome that is recorded, but for its row.
_recorded_facts = attrgetter(
    *("state", "reason", "fields", "attempts", "ambiguous", "spent", "final", "new_generation"),
    *("http_status", "api_code"),
)


class CountChanges:
    """What a transaction changes in the counts of a run."""

    def __init__(self) -> None:
        self._rows: Counter[State] = Counter()
        self._open: Counter[State] = Counter()

    def leave(self, state: State, *, rows: int = 1, open_rows: int = 1) -> None:
        """Take rows from a state."""
        self._rows[state] -= rows
        self._open[state] -= open_rows

    def enter(self, state: State, *, rows: int = 1, open_rows: int = 1) -> None:
        """Give rows to a state."""
        self._rows[state] += rows
        self._open[state] += open_rows

    def write(self, database: Database, run_number: int) -> None:
        """Write the changes, within the transaction that changed the rows."""
        lines = [
            {"run": run_number, "state": state, "rows": self._rows[state], "open": self._open[state]}
            for state in self._rows
        ]
        database.run_many(queries.CHANGE_COUNT, lines)


class SendingSession:
    """A `SendingSession` of one run in a SQLite ledger; see the Protocol for what each method promises.

    Args:
        database: The ledger, open for writing.
        plan: The run's plan, its facts verified.
        number: The run's number in the ledger.
    """

    def __init__(self, database: Database, plan: SealedPlan, number: int) -> None:
        self.is_open = False
        self.recovered = 0  # rows that a kill left in flight
        self._run = plan.run
        self._database = database
        self._plan = plan
        self._number = number
        self._span = span(number)
        self._session: int | None = None

    def start(self, actor: str, now: float) -> None:
        """Take back what a kill left in flight and what an earlier session spent."""
        with self._database.transaction():
            started = self._database.run(queries.INSERT_SESSION, {"run": self._number, "actor": actor, "now": now})
            left = self._database.run(queries.RECOVER, self._span | {"now": now, "silent_s": _SILENT_S}).rowcount
            self._database.run(queries.REFILL, self._span)
            self._database.run(queries.NOT_LATER, self._span | {"now": now})
            changes = CountChanges()
            changes.leave(State.SENDING, rows=left, open_rows=left)
            changes.enter(State.UNKNOWN, rows=left, open_rows=left)
            self._finish(changes, now)
        self._session = started.lastrowid
        self.recovered, self.is_open = left, True

    def claim(
        self, n: int, *, now: float, only_requested: bool = False, rows: Sequence[int] | None = None
    ) -> list[Patch]:
        """Move rows to `sending`, durably, and return them."""
        self._refuse_ended()
        with self._database.transaction():
            lines = self._next(n, only_requested=only_requested, rows=rows)
            changes = CountChanges()
            by_state = defaultdict(list)
            for line in lines:
                by_state[line[1]].append(line[0])
            for state, moved in by_state.items():
                changes.leave(_check_move(moved[0], state, State.SENDING), rows=len(moved), open_rows=len(moved))
                changes.enter(State.SENDING, rows=len(moved), open_rows=len(moved))
            ids = self._ids(line[0] for line in lines)
            if lines:
                self._database.run(queries.MARK_SENDING, {"ids": ids, "now": now})
                self._database.run(queries.START_RUN, {"run": self._number, "now": now})
                self._finish(changes, now)
        return [self._patch(line, now) for line in lines]

    def peek(self, n: int, *, only_requested: bool = False) -> list[Candidate]:
        """Return what `claim` would hand out."""
        self._refuse_ended()
        lines = self._next(n, only_requested=only_requested, rows=None)
        return [(self._patch(line, 0.0), State(line[1]), bool(line[-1])) for line in lines]

    def _next(self, n: int, *, only_requested: bool, rows: Sequence[int] | None) -> list[Line]:
        """Return the lines of the next rows, all of them verified."""
        closed = self._database.first(queries.RUN_STATE, {"run": self._number}) == ("closed",)
        only_requested = only_requested or closed
        limits: dict[str, Any] = self._span | {"n": max(n, 0)}  # a negative limit is none
        if rows is not None:
            among = limits | {"ids": self._ids(rows), "only_requested": int(only_requested)}
            lines = self._database.all(queries.NEXT_AMONG, among)
        elif only_requested:
            lines = self._database.all(queries.NEXT_REQUESTED, limits)
        else:
            lines = self._database.all(queries.NEXT_READY, limits)
        for line in lines:
            self._plan.verify_row(line[0])
            if line[7] is None:
                raise self._plan.damage(f"row {line[0]}")  # it was not sealed to be sent
        return lines

    def _patch(self, line: Line, now: float) -> Patch:
        row, state, generation, ambiguous, intent_at, left_at, customer_id, body, before, read_back, _ = line
        return Patch(
            row=row,
            customer_id=unpack_customer(customer_id),
            body=body,
            before=before,
            key=idempotency_key(self._run.secret, row, generation),
            generation=generation,
            ambiguous=bool(ambiguous),
            intent_at=now if intent_at is None or state == State.PENDING else intent_at,
            left_at=left_at or 0.0,
            read_back=bool(read_back),
        )

    def record(self, outcomes: Sequence[Outcome], *, now: float) -> None:
        """Write outcomes in one durable transaction.

        Those that say the same, as almost all do, are written by one statement: SQLite gives the interpreter away for
        every statement, and a thread that sends at the same time is slow to give it back.
        """
        self._refuse_ended()
        with self._database.transaction():
            standings = self._standings(outcome.row for outcome in outcomes)
            equal: defaultdict[tuple[Line, Line], list[Outcome]] = defaultdict(list)
            for outcome in outcomes:
                standing = standings.pop(outcome.row, None)
                if standing is None:
                    raise LedgerError(f"row {outcome.row} is not in the plan, or has two outcomes at once")
                equal[standing, _recorded_facts(outcome)].append(outcome)
            changes = CountChanges()
            for (standing, _), group in equal.items():
                self._record_equal(standing, group, changes, now)
            self._finish(changes, now)

    def _standings(self, rows: Iterable[int]) -> dict[int, Line]:
        """Return for each row its state, whether it was in a lane, its generation, and whether it is ambiguous."""
        lines = self._database.all(queries.STANDING, {"ids": self._ids(rows)})
        return {row: tuple(standing) for *standing, its_rows in lines for row in json.loads(its_rows)}

    def _record_equal(self, standing: Line, outcomes: Sequence[Outcome], changes: CountChanges, now: float) -> None:
        """Write outcomes that differ in nothing but their row."""
        before, was_open, generation, ambiguous = standing
        one, rows = outcomes[0], len(outcomes)
        after = _resolve(one, before, was_ambiguous=bool(ambiguous))
        if after is State.SENDING:
            raise _refuse_move(one.row, before, after)  # only a claim does that
        changes.leave(_check_move(one.row, before, after), rows=rows, open_rows=rows if was_open else 0)
        values = {"ids": self._ids(outcome.row for outcome in outcomes), **self._values(one, after, generation, now)}
        changes.enter(after, rows=rows, open_rows=rows if values["lane"] is not None else 0)
        if one.new_generation:
            self._database.run(queries.INSERT_GENERATIONS, values)
        self._database.run(queries.RECORD, values)

    def _values(self, outcome: Outcome, state: State, generation: int, now: float) -> dict[str, Any]:
        """Return the values that a row with this outcome gets."""
        final = outcome.final and state is State.UNKNOWN
        waits = state in _UNDECIDED and not final
        lane = (SPENT if outcome.spent else READY) if waits else None
        return {
            "state": state,
            "lane": lane,
            "keep_request": lane == READY,
            "attempts": outcome.attempts,
            "generation": generation + outcome.new_generation,
            "new_generation": outcome.new_generation,
            "ambiguous": not outcome.new_generation and (outcome.ambiguous or state is State.UNKNOWN),
            "spent_in": self._session if lane == SPENT else None,
            "final": final,
            "http_status": outcome.http_status,
            "api_code": outcome.api_code or None,
            "reason": outcome.reason,
            "hint": f"fields: {', '.join(outcome.fields)}" if outcome.fields else None,
            "done_at": None if state is State.PENDING else now,
            "now": now,
        }

    def end(self, *, now: float, by_itself: bool) -> None:
        """End the session; rows that spent their attempts in their second such session are given up."""
        self._refuse_ended()
        with self._database.transaction():
            session = {"session": self._session}
            changes = CountChanges()
            if by_itself:
                self._database.run(queries.COUNT_SPENT, session)
                given_up = self._database.run(queries.GIVE_UP, session).rowcount
                changes.leave(State.UNKNOWN, rows=0, open_rows=given_up)
            self._database.run(queries.END_SESSION, session | {"now": now, "by_itself": by_itself})
            self._database.run(queries.FINISH_RUN, {"run": self._number, "now": now})
            self._finish(changes, now)
        self.is_open = False

    def _refuse_ended(self) -> None:
        if not self.is_open:
            raise LedgerError(f"run {self._run.id} has no session: nothing can be sent")

    def _ids(self, rows: Iterable[int]) -> str:
        offset = self._span["first"]
        return json.dumps([offset | row for row in rows])

    def _finish(self, changes: CountChanges, now: float) -> None:
        changes.write(self._database, self._number)
        self._database.run(queries.KEEP_TIME, {"now": now})


def request_retry(database: Database, run_number: int, now: float) -> int:
    """Ask for rejected and unknown rows again; return how many are asked for."""
    rows = span(run_number)
    with database.transaction():
        database.run(queries.NEXT_GENERATIONS, rows | {"now": now})
        rejected = database.run(queries.RETRY_REJECTED, rows).rowcount
        final = database.run(queries.RETRY_FINAL, rows).rowcount
        database.run(queries.RETRY_UNKNOWN, rows)
        changes = CountChanges()
        changes.enter(State.REJECTED, rows=0, open_rows=rejected)
        changes.enter(State.UNKNOWN, rows=0, open_rows=final)
        changes.write(database, run_number)
        database.run(queries.KEEP_TIME, {"now": now})
        line = database.first(queries.COUNT_REQUESTED, rows)
    return line[0] if line else 0


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
