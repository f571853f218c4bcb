"""The SQLite ledger: one file beside the reports, in the standard library, for one writer.

store.py        where ledgers are: what plugins.py names
ledger.py       the contract, method by method
planning.py     a plan on its way in
sealed_plan.py  a plan verified against its seal
reading.py      rows, verified before anyone sees them
sending.py      rows on their way out, outcomes on their way back
queries.py      every statement
checks.py       what `verify` found
schema.py       the tables and their migrations
records.py      lines of tables and the records they hold
database.py     one connection and its failures in words
files.py        lock, permissions, opening
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bulk_patch.errors import LedgerError
from bulk_patch.ledgers.records import (
    MOST_SESSIONS,
    Actor,
    Check,
    Drift,
    Holder,
    LedgerRow,
    PlanRow,
    PlanSummary,
    Run,
    SessionRecord,
)
from bulk_patch.ledgers.seal import DrawSalts
from bulk_patch.ledgers.sqlite import checks, queries
from bulk_patch.ledgers.sqlite.database import Database
from bulk_patch.ledgers.sqlite.files import (
    Lock,
    explained,
    find_holder,
    make_folder,
    open_for_reading,
    open_for_writing,
)
from bulk_patch.ledgers.sqlite.planning import Planning, forget_run, pack_customer, span, sweep
from bulk_patch.ledgers.sqlite.reading import PAGE_ROWS, RowReader
from bulk_patch.ledgers.sqlite.records import decoding, to_actor, to_facts, to_run, to_text, to_values
from bulk_patch.ledgers.sqlite.sending import Candidate, SendingSession, request_retry
from bulk_patch.model import Counts, Outcome, Patch, State

_CHANGEABLE = frozenset(
    {"stopped_by", "stop_reason", "stop_hint", "waived", "exit_code", "finished_at", "stats", "input_size"}
    | {"input_mtime_ns"}
)


class SqliteLedger:
    """A `Ledger` in one SQLite file; see the Protocol for what each method promises."""

    def __init__(self, database: Database, lock: Lock | None = None, *, draw_salts: DrawSalts = os.urandom) -> None:
        self._database = database
        self._draw_salts = draw_salts
        self._lock = lock
        self._planning: Planning | None = None
        self._session: SendingSession | None = None
        self._reader = RowReader(database)

    @classmethod
    def open(
        cls, path: Path, *, job: str, group: bool = False, wait_s: float = 0.0, draw_salts: DrawSalts = os.urandom
    ) -> Self:
        """Open the ledger of a job to write; make it when there is none.

        Args:
            path: The ledger's file, usually `output/<job>/ledger.db`.
            job: The job's name.
            group: Let the folder's group read and write.
            wait_s: How long to wait for another process that holds it.
            draw_salts: Random bytes for the seal; fixed, the same plan gets the same hash.

        Raises:
            LockedError: When another process holds it, with its pid, host and start.
            LedgerError: When it is damaged, of another job or of a newer version, or the disk fails.
        """
        folder_mode, file_mode = (0o2770, 0o660) if group else (0o700, 0o600)
        with explained(path):
            make_folder(path.parent, folder_mode)
            path = path.resolve()  # one ledger, one lock, by whatever name it is reached
            lock = Lock(_lock_of(path), mode=file_mode, wait_s=wait_s)
            try:
                return cls(open_for_writing(path, job=job, mode=file_mode), lock, draw_salts=draw_salts)
            except BaseException:
                lock.release()
                raise

    @classmethod
    def read(cls, path: Path, *, job: str) -> Self:
        """Open the ledger of a job to read, also while another process writes; never lock, never write.

        Raises:
            LedgerError: When the job has no ledger yet, or it is damaged, of another job or of another version.
        """
        with explained(path):
            return cls(open_for_reading(path.resolve(), job=job))

    @staticmethod
    def holder(path: Path) -> Holder | None:
        """Return who holds the ledger for writing now, if any process does."""
        return find_holder(_lock_of(path.resolve()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock and the files."""
        try:
            self._database.close()
        finally:
            if self._lock:
                self._lock.release()

    # --- runs

    def runs(self, target: str | None = None) -> list[Run]:
        """Return all runs, newest first, of one target or of all."""
        return [to_run(line) for line in self._database.all(queries.RUNS, {"id": None, "target": target})]

    def run(self, run_id: str) -> Run:
        """Return one run by its exact id; `LedgerError` when there is none."""
        return to_run(self._reader.line(run_id))

    def open_run(self, target: str) -> Run | None:
        """Return the newest sealed run of this target that has rows still to be tried."""
        line = self._database.first(queries.OPEN_RUN, {"target": target})
        return self.run(line[0]) if line else None

    def begin(self, run: Run) -> None:
        """Start a plan; unsealed ones of the same target go."""
        database = self._database
        with database.transaction():
            for (number,) in database.all(queries.UNSEALED, {"target": run.target}):
                forget_run(database, number)
            if database.first(queries.RUNS, {"id": run.id, "target": None}):
                raise LedgerError(f"there is a run {run.id} already")
            started = replace(run, state="planning")
            number = database.run(queries.INSERT_RUN, to_values(started)).lastrowid
            database.run(queries.KEEP_TIME, {"now": run.created_at})
        assert number is not None
        sweep(database)
        self._planning = Planning(database, started, number, draw=self._draw_salts)

    def add(self, run_id: str, rows: Iterable[PlanRow]) -> None:
        """Append rows of the plan, in input order."""
        planning = self._planning_of(run_id)
        self._planning = None  # so that a plan that failed half-way cannot be sealed
        planning.add(rows)
        self._planning = planning

    def seal(
        self,
        run_id: str,
        *,
        input_rows: int,
        unchanged: int,
        plan_s: float,
        summary: PlanSummary,
        now: float,
    ) -> str:
        """Make the plan valid and immutable; return its SHA-256."""
        planning = self._planning_of(run_id)
        self._planning = None
        sealed = planning.seal(input_rows=input_rows, unchanged=unchanged, plan_s=plan_s, summary=summary, now=now)
        self._reader.plan(run_id).trust_all()  # this connection, which holds the lock, has just written it
        return sealed

    def discard(self, run_id: str) -> None:
        """Remove a run that has sent nothing, with its rows."""
        with self._database.transaction():
            if self.has_sent(run_id):
                raise LedgerError(f"run {run_id} has sent something and cannot be discarded")
            forget_run(self._database, self._number(run_id))
        sweep(self._database)

    def close_run(self, run_id: str) -> None:
        """Never send what is still pending of this run."""
        with self._database.transaction():
            if self.run(run_id).state == "planning":
                raise LedgerError(f"run {run_id} is not sealed and cannot be closed")
            self._database.run(queries.CLOSE_RUN, {"id": run_id})

    def has_sent(self, run_id: str) -> bool:
        """Tell whether any row of the run ever had an intent."""
        return self.run(run_id).started_at is not None

    def update(self, run_id: str, **changes: Any) -> None:
        """Change facts of a run that its plan does not fix."""
        if fixed := changes.keys() - _CHANGEABLE:
            raise TypeError(f"these facts of a run never change: {', '.join(sorted(fixed))}")
        with self._database.transaction():
            changed = replace(self.run(run_id), **changes)
            self._database.run(queries.UPDATE_RUN, to_values(changed))

    # --- sending

    def start_session(self, run_id: str, actor: Actor, now: float) -> int:
        """Start to send; return how many rows a kill had left in flight."""
        session = SendingSession(self._database, self._reader.plan(run_id), self._number(run_id))
        left = session.start(to_text(asdict(actor)), now)
        self._session = session
        return left

    def claim(
        self,
        run_id: str,
        n: int,
        *,
        now: float,
        only_requested: bool = False,
        rows: Sequence[int] | None = None,
    ) -> list[Patch]:
        """Move up to n rows to `sending`, in row order, and return them once that is durable."""
        return self._session_of(run_id).claim(n, now=now, only_requested=only_requested, rows=rows)

    def peek(self, run_id: str, n: int, *, only_requested: bool = False) -> list[Candidate]:
        """Return what `claim` would hand out next, with state and recheck flag, and change nothing."""
        return self._session_of(run_id).peek(n, only_requested=only_requested)

    def record(self, run_id: str, outcomes: Sequence[Outcome], *, now: float) -> None:
        """Write outcomes in one durable transaction."""
        self._session_of(run_id).record(outcomes, now=now)

    def request_retry(self, run_id: str, *, now: float) -> int:
        """Ask for rejected and unknown rows again; return how many."""
        return request_retry(self._database, self._number(run_id), now)

    def end_session(self, run_id: str, *, now: float, by_itself: bool) -> None:
        """End the session."""
        self._session_of(run_id).end(now=now, by_itself=by_itself)
        self._session = None

    def note(self, run_id: str, actor: Actor, action: str, detail: Mapping[str, Any], *, now: float) -> None:
        """Append a fact of the run for the auditor."""
        values = {
            "run": self._number(run_id),
            "now": now,
            "actor": to_text(asdict(actor)),
            "action": action,
            "detail": to_text(detail),
        }
        with self._database.transaction():
            self._database.run(queries.INSERT_NOTE, values)
            self._database.run(queries.KEEP_TIME, {"now": now})

    def notes(self, run_id: str) -> list[tuple[float, Actor, str, Mapping[str, Any]]]:
        """Return the noted facts in order."""
        lines = self._database.all(queries.NOTES, {"run": self._number(run_id)})
        return [(at, to_actor(actor), action, to_facts(detail)) for at, actor, action, detail in lines]

    def check_seal(self, run_id: str) -> None:
        """Compare the whole plan of a run with its seal."""
        self._reader.plan(run_id).verify_all()

    # --- reading back

    def start_check(self, run_id: str, actor: Actor, *, now: float) -> Check:
        """Return the newest check of a run when it can go on, else a new one."""
        return checks.start_check(self._database, self._number(run_id), actor, now)

    def record_check(self, run_id: str, check: int, drifts: Sequence[Drift], *, upto: int, rows: int) -> None:
        """Keep what was found in the next rows, and that it was looked for."""
        checks.record_check(self._database, self._number(run_id), check, drifts, upto, rows)

    def end_check(self, run_id: str, check: int, *, now: float) -> None:
        """Remember that a check came to its end."""
        checks.end_check(self._database, self._number(run_id), check, now)

    def checks(self, run_id: str) -> list[Check]:
        """Return the checks of a run, newest first."""
        return checks.checks(self._database, self._number(run_id))

    def drifts(self, check: int) -> Iterator[Drift]:
        """Stream what a check found, in row order."""
        return checks.drifts(self._database, check)

    # --- reading

    def sessions(self, run_id: str) -> list[SessionRecord]:
        """Return when a run was sent and by whom, in order."""
        values = {"run": self._number(run_id), "n": MOST_SESSIONS}
        lines = self._database.all(queries.SESSIONS, values)
        return [SessionRecord(to_actor(actor), begun, ended) for actor, begun, ended in reversed(lines)]

    def counts(self, run_id: str) -> Counts:
        """Return rows per state, every state named."""
        counts = dict.fromkeys(State, 0)
        for state, rows in self._database.all(queries.COUNTS, {"run": self._number(run_id)}):
            with decoding(f"the number of rows that are {state}"):
                counts[State(state)] = rows
        return counts

    def to_do(self, run_id: str) -> int:
        """Return how many rows are still to be tried; of a closed run only what `retry` asked for."""
        number = self._number(run_id)
        if self.run(run_id).state == "closed":
            line = self._database.first(queries.COUNT_REQUESTED, span(number))
        else:
            line = self._database.first(queries.COUNT_OPEN, {"run": number})
        return line[0] if line else 0

    def rows(
        self,
        run_id: str,
        *,
        states: Sequence[State] | None = None,
        customer_id: str | None = None,
        after: int = 0,
    ) -> Iterator[LedgerRow]:
        """Stream rows in input order, in bounded memory."""
        values: dict[str, Any] = span(self._number(run_id))
        values |= {"after": values["first"] | after, "n": PAGE_ROWS}
        values["states"] = None if states is None else to_text(states)
        if customer_id is None:
            return self._reader.stream(run_id, queries.PAGE, values)
        values["customer_id"] = pack_customer(customer_id)
        return self._reader.stream(run_id, queries.CUSTOMER_PAGE, values)

    def history(self, customer_id: str) -> list[tuple[str, LedgerRow]]:
        """Return every row of all sealed runs about one customer, oldest run first."""
        return self._reader.history(customer_id)

    def applied_bodies(self, target: str, customer_ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield (customer id, body) of what any run of this target applied or found mismatching, oldest first."""
        for customer_id in customer_ids:
            values = {"customer_id": pack_customer(customer_id), "target": target}
            for (body,) in self._database.all(queries.APPLIED_BODIES, values):
                yield customer_id, body

    def last_time(self) -> float:
        """Return the latest time that the ledger holds, Unix seconds; 0.0 for a new one."""
        line = self._database.first(queries.LAST_TIME)
        return line[0] if line else 0.0

    # --- within

    def _number(self, run_id: str) -> int:
        number: int = self._reader.line(run_id)[0]
        return number

    def _planning_of(self, run_id: str) -> Planning:
        if self._planning is None or self._planning.run.id != run_id:
            raise LedgerError(f"run {run_id} is not being planned", "Plan it again: nothing was sent.")
        return self._planning

    def _session_of(self, run_id: str) -> SendingSession:
        if self._session is None or self._session.run.id != run_id:
            raise LedgerError(f"run {run_id} has no session: nothing can be sent")
        return self._session


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")
