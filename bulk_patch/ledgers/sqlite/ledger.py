"""The SQLite ledger: one file beside the reports, in the standard library, for one writer.

store.py        where ledgers are: what plugins.py names
ledger.py       what writes, method by method
reader.py       what reads, method by method
planning.py     a plan on its way in
sealed_plan.py  a plan verified against its seal
reading.py      rows, verified before anyone sees them
customer_index.py  the index of customers, verified part by part
chain.py        what tables hold, compared with the events that wrote it; chain_writer.py appends to them
progress.py     what rows become when they move
head_file.py    the head beside the ledger; restored.py takes a ledger that is behind it
sending.py      rows on their way out, outcomes on their way back
queries.py      every statement
checks.py       what `verify` found
schema.py       the tables and their migrations
records.py      lines of tables and the records they hold
database.py     one connection and its failures in words
files.py        lock, permissions, opening
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

from bulk_patch.errors import LedgerError
from bulk_patch.ledgers.events import (
    BEGUN,
    CLOSED,
    DISCARDED,
    ENDED,
    GUARD,
    INPUT_SEEN,
    METRICS,
    REOPENED,
    WAIVED,
)
from bulk_patch.ledgers.records import Actor, Holder, Note, Run
from bulk_patch.ledgers.seal import DrawSalts
from bulk_patch.ledgers.sqlite import queries
from bulk_patch.ledgers.sqlite.chain_writer import ChainWriter
from bulk_patch.ledgers.sqlite.checks import CheckWriter
from bulk_patch.ledgers.sqlite.database import Database
from bulk_patch.ledgers.sqlite.files import Lock, explained, find_holder, make_folder, open_for_writing
from bulk_patch.ledgers.sqlite.head_file import HeadFile, find_gap, older
from bulk_patch.ledgers.sqlite.planning import Planning, forget_run, sweep
from bulk_patch.ledgers.sqlite.reader import SqliteReader
from bulk_patch.ledgers.sqlite.records import to_text, to_values
from bulk_patch.ledgers.sqlite.restored import accept_restored
from bulk_patch.ledgers.sqlite.sending import SendingSession, request_retry

_LAST_RUN = (1 << 31) - 1  # what a row's id has room for


class SqliteFacts(SqliteReader):
    """`RunFacts` in one SQLite file; see the Protocol for what each method promises."""

    _chain: ChainWriter

    def note(self, run_id: str, note: Note) -> None:
        """Append a fact of the run for the auditor."""
        number = self._number(run_id)
        values = {
            "run": number,
            "now": note.at,
            "actor": to_text(asdict(note.actor)),
            "action": note.action,
            "detail": to_text(note.detail),
        }
        with self._chain.transaction(number):
            noted = self._database.run(queries.INSERT_NOTE, values)
            self._chain.append(number, note.action, now=note.at, detail={"note": noted.lastrowid})

    def set_stop(self, run_id: str, guard: str, *, reason: str, hint: str) -> None:
        """Keep what stopped a run, until a person waives it."""
        self._update(GUARD, run_id, stopped_by=guard, stop_reason=reason, stop_hint=hint)

    def waive(self, run_id: str) -> None:
        """Lift the stop of a run, for good."""
        run = self.run(run_id)
        waived = (*run.waived, run.stopped_by) if run.stopped_by else run.waived
        self._update(WAIVED, run_id, stopped_by="", stop_reason="", stop_hint="", waived=waived)

    def finish(self, run_id: str, exit_code: int, *, now: float, reason: str | None, hint: str = "") -> None:
        """Keep how the last command of a run ended."""
        why = {} if reason is None else {"stop_reason": reason, "stop_hint": hint}
        self._update(ENDED, run_id, exit_code=exit_code, finished_at=now, **why)

    def reopen(self, run_id: str) -> None:
        """Forget how the last command of a run ended."""
        self._update(REOPENED, run_id, exit_code=None, stop_reason="", stop_hint="")

    def save_metrics(self, run_id: str, metrics: Mapping[str, Any]) -> None:
        """Keep what a run took so far."""
        self._update(METRICS, run_id, stats=metrics)

    def keep_input_stamp(self, run_id: str, *, size: int, mtime_ns: int) -> None:
        """Keep size and time of an input whose bytes are still those that were planned."""
        self._update(INPUT_SEEN, run_id, input_size=size, input_mtime_ns=mtime_ns)

    def _update(self, kind: str, run_id: str, **changes: Any) -> None:
        number = self._number(run_id)
        with self._chain.transaction(number):
            changed = replace(self.run(run_id), **changes)
            self._database.run(queries.UPDATE_RUN, to_values(changed))
            self._chain.append(number, kind, now=changes.get("finished_at", self._chain.last_time))


class SqliteLedger(SqliteFacts):
    """A `Ledger` in one SQLite file; see the Protocol for what each method promises.

    Args:
        database: Open for writing.
        lock: The right to write; released when the ledger is closed.
        draw_salts: Random bytes for the seal; fixed, the same plan gets the same hash.
    """

    def __init__(self, database: Database, lock: Lock, *, draw_salts: DrawSalts = os.urandom) -> None:
        super().__init__(database)
        self._lock = lock
        self._is_closed = False
        self._draw_salts = draw_salts
        self._planning: Planning | None = None
        self._session: SendingSession | None = None

    def _open_chain(self) -> ChainWriter:
        path = self._database.path
        return ChainWriter(self._database, HeadFile(path, mode=path.stat().st_mode & 0o777))

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        job: str,
        group: bool = False,
        wait_s: float = 0.0,
        draw_salts: DrawSalts = os.urandom,
        restored: str = "",
    ) -> Self:
        """Open the ledger of a job to write; make it when there is none.

        Args:
            path: The ledger's file, usually `output/<job>/ledger.db`.
            job: The job's name.
            group: Let the folder's group read and write.
            wait_s: How long to wait for another process that holds it.
            draw_salts: Random bytes for the seal; fixed, the same plan gets the same hash.
            restored: Why a ledger is taken that is older than its folder; "": it is refused.

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
                head = HeadFile(path).read()
                if not restored and not path.exists() and (gap := find_gap(None, head, path.parent)):
                    raise older(path, gap)
                database = open_for_writing(path, job=job, mode=file_mode)
                try:
                    gap = find_gap(database, head, path.parent)
                    if gap and not restored:
                        raise older(path, gap)
                    ledger = cls(database, lock, draw_salts=draw_salts)
                    if gap:
                        accept_restored(ledger._chain, reason=restored, gap=gap)
                except BaseException:
                    database.close()
                    raise
                return ledger
            except BaseException:
                lock.release()
                raise

    def close(self) -> None:
        """Release the lock and the files."""
        try:
            if not self._is_closed:
                self._chain.keep_head(at_once=True)
            self._is_closed = True
            super().close()
        finally:
            self._lock.release()

    def plan(self, run: Run) -> Planning:
        """Start a plan; unsealed ones of the same target go."""
        if self._planning is not None:
            self._planning.abandon()
        database, chain = self._database, self._chain
        chain.check_all()
        with chain.transaction():
            for number, run_id in database.all(queries.UNSEALED, {"target": run.target}):
                self._forget(number, run_id, now=run.created_at)
            if database.first(queries.RUNS, {"id": run.id, "target": None}):
                raise LedgerError(f"there is a run {run.id} already")
            started = replace(run, state="planning")
            begun = database.run(queries.INSERT_RUN, to_values(started)).lastrowid
            if begun is None or begun > _LAST_RUN:
                raise chain.damage("the number of the last run")
            chain.append(begun, BEGUN, now=run.created_at, detail={"run": run.id, "actor": asdict(run.actor)})
        sweep(database)
        self._planning = Planning(chain, started, begun, draw=self._draw_salts, on_seal=self._trust)
        return self._planning

    def _trust(self, run_id: str) -> None:
        self._rows.plan(run_id).trust_all()  # this connection, which holds the lock, has just written it

    def send(
        self, run_id: str, actor: Actor, *, now: float, settings: Mapping[str, Any] | None = None
    ) -> SendingSession:
        """Start to send; what a kill left in flight is recovered."""
        if self._session is not None:
            self._session.is_open = False
        self._session = SendingSession(self._chain, self._rows.plan(run_id), self._number(run_id))
        self._session.start(actor, now, settings or {})
        return self._session

    def check(self, run_id: str, actor: Actor, *, now: float) -> CheckWriter:
        """Resume the newest check of a run when it can be resumed, else start a new one."""
        return CheckWriter.start(self._chain, self._number(run_id), actor, now)

    def discard(self, run_id: str) -> None:
        """Remove a run that has sent nothing, with its rows."""
        with self._chain.transaction(self._number(run_id)):
            if self.run(run_id).started_at is not None:
                raise LedgerError(f"run {run_id} has sent something and cannot be discarded")
            self._forget(self._number(run_id), run_id, now=self._chain.last_time)
        sweep(self._database)

    def _forget(self, number: int, run_id: str, *, now: float) -> None:
        forget_run(self._database, number)
        self._chain.append(0, DISCARDED, now=now, detail={"run": run_id})

    def close_run(self, run_id: str) -> None:
        """Never send what is still pending of this run."""
        number = self._number(run_id)
        with self._chain.transaction(number):
            if self.run(run_id).state == "planning":
                raise LedgerError(f"run {run_id} is not sealed and cannot be closed")
            self._database.run(queries.CLOSE_RUN, {"id": run_id})
            self._chain.append(number, CLOSED, now=self._chain.last_time)

    def request_retry(self, run_id: str, *, now: float) -> int:
        """Ask for rejected and unknown rows again; return how many."""
        return request_retry(self._chain, self._number(run_id), now)


def holder_of(path: Path) -> Holder | None:
    """Return who holds a ledger for writing now, if any process does."""
    return find_holder(_lock_of(path.resolve()))


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")
