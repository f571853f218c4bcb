"""What a SQLite ledger tells: runs, their counts, notes, sessions and checks."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bulk_patch.ledgers.events import RESTORED, Event
from bulk_patch.ledgers.records import MOST_SESSIONS, Check, Drift, LedgerRow, Note, Run, SessionRecord
from bulk_patch.ledgers.sqlite import chain_queries, checks, queries
from bulk_patch.ledgers.sqlite.chain import Chain
from bulk_patch.ledgers.sqlite.database import Database
from bulk_patch.ledgers.sqlite.files import explained, open_for_reading
from bulk_patch.ledgers.sqlite.head_file import Head, HeadFile, find_gap, older
from bulk_patch.ledgers.sqlite.planning import pack_customer, span
from bulk_patch.ledgers.sqlite.progress import find_groups
from bulk_patch.ledgers.sqlite.reading import PAGE_ROWS, VerifiedRows
from bulk_patch.ledgers.sqlite.records import decoding, to_actor, to_facts, to_run, to_text
from bulk_patch.ledgers.sqlite.schema import CHAINED_VERSION, read_version
from bulk_patch.model import Counts, State


class SqliteRows:
    """A `RowReader` over one SQLite file; see the Protocol for what each method promises.

    Args:
        database: The ledger's connection.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._chain = self._open_chain()
        self._rows = VerifiedRows(self._chain)

    def _open_chain(self) -> Chain:
        return Chain(self._database, is_chained=read_version(self._database) >= CHAINED_VERSION)

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
            return self._rows.stream(run_id, queries.PAGE, values)
        self._rows.check_customer(customer_id)
        values["customer_id"] = pack_customer(customer_id)
        return self._rows.stream(run_id, queries.CUSTOMER_PAGE, values)

    def history(self, customer_id: str) -> list[tuple[str, LedgerRow]]:
        """Return every row of all sealed runs about one customer, oldest run first."""
        return self._rows.history(customer_id)

    def applied_bodies(self, target: str, customer_ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield (customer id, body) of what any run of this target applied or found mismatching, oldest first."""
        self._chain.check_all()
        for customer_id in customer_ids:
            for body in self._rows.bodies(target, customer_id):
                yield customer_id, body

    def check_seal(self, run_id: str) -> None:
        """Compare the whole plan of a run with its seal, and all that is known of the run with its events."""
        plan = self._rows.plan(run_id)
        number = self._checked_number(run_id)
        if self._chain.is_chained:
            for _ in self._chain.events(number):
                pass
        plan.verify_all()

    def _number(self, run_id: str) -> int:
        number: int = self._rows.line(run_id)[0]
        return number

    def _checked_number(self, run_id: str) -> int:
        """Return the number of a run, everything small of which was compared with its events."""
        number = self._number(run_id)
        self._chain.check_run(number)
        return number


class SqliteEvents(SqliteRows):
    """An `EventReader` over one SQLite file; see the Protocol for what each method promises."""

    def events(self, run_id: str | None = None) -> Iterator[Event]:
        """Stream what happened, each event compared with its hash."""
        number = None if run_id is None else self._number(run_id)
        ids: dict[int, str] = dict(self._database.all(chain_queries.RUN_IDS))
        for loaded in self._chain.events(number) if self._chain.is_chained else ():
            yield loaded.told(str(loaded.detail.get("run", ids.get(loaded.run, ""))))

    def head(self) -> str:
        """Return the hash of the last event."""
        return self._chain.last()[2].hex()

    def must_read_first(self, run_id: str) -> bool:
        """Tell whether rows of a run have to be read before they are sent: an older ledger was taken for it."""
        number = self._number(run_id)
        if not self._chain.is_chained:
            return False
        told = (loaded for loaded in self._chain.events(0) if loaded.kind == RESTORED)
        return any(number <= int(loaded.detail["last_run"]) + 1 for loaded in told)

    def last_time(self) -> float:
        """Return the latest time that the ledger holds, Unix seconds; 0.0 for a new one."""
        if self._chain.is_chained:
            return self._chain.checked_last_time()
        line = self._database.first(queries.LAST_TIME)
        return line[0] if line else 0.0


class SqliteReader(SqliteEvents):
    """A `RunReader` over one SQLite file; see the Protocol for what each method promises."""

    @classmethod
    def read(cls, path: Path, *, job: str) -> "SqliteReader":
        """Open the ledger of a job to read, also while another process writes; never lock, never write.

        Args:
            path: The ledger's file.
            job: The job's name.

        Raises:
            LedgerError: When the job has no ledger yet, or it is damaged, of another job or of another version.
        """
        with explained(path):
            path = path.resolve()
            head = HeadFile(path).read()  # before the ledger: that may go on meanwhile
            if not path.exists() and (gap := find_gap(None, head, path.parent)):
                raise older(path, gap)
            reader = SqliteReader(open_for_reading(path, job=job))
            try:
                if head is not None or reader._chain.is_chained:
                    reader._refuse_older(head)
            except BaseException:
                reader.close()
                raise
            return reader

    def _refuse_older(self, head: Head | None) -> None:
        path = self._database.path
        gap = "it has no chain of events, and once had one"
        if self._chain.is_chained:
            gap = find_gap(self._database, head, path.parent)
        if gap:
            raise older(path, gap)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the files."""
        self._database.close()

    def runs(self, target: str | None = None) -> list[Run]:
        """Return all runs, newest first, of one target or of all."""
        self._chain.check_all()
        return [to_run(line) for line in self._database.all(queries.RUNS, {"id": None, "target": target})]

    def run(self, run_id: str) -> Run:
        """Return one run by its exact id; `LedgerError` when there is none."""
        self._checked_number(run_id)
        return to_run(self._rows.line(run_id))

    def open_run(self, target: str) -> Run | None:
        """Return the newest sealed run of this target that has rows still to be tried."""
        self._chain.check_all()
        line = self._database.first(queries.OPEN_RUN, {"target": target})
        return self.run(line[0]) if line else None

    def counts(self, run_id: str) -> Counts:
        """Return rows per state, every state named."""
        counts = dict.fromkeys(State, 0)
        for state, rows in self._database.all(queries.COUNTS, {"run": self._checked_number(run_id)}):
            with decoding(f"the number of rows that are {state}"):
                counts[State(state)] = rows
        return counts

    def to_do(self, run_id: str) -> int:
        """Return how many rows are still to be tried; of a closed run only what `retry` asked for."""
        number = self._checked_number(run_id)
        if self.run(run_id).state != "closed":
            line = self._database.first(queries.COUNT_OPEN, {"run": number})
        elif self._chain.is_chained:
            groups = find_groups(self._chain, number, chain_queries.GROUPS_REQUESTED, {})
            line = (sum(len(rows) for *_, rows in groups),)
        else:
            line = self._database.first(queries.COUNT_REQUESTED, span(number))
        return line[0] if line else 0

    def notes(self, run_id: str) -> list[Note]:
        """Return the noted facts in order."""
        lines = self._database.all(queries.NOTES, {"run": self._checked_number(run_id)})
        return [Note(at, to_actor(actor), action, to_facts(detail)) for at, actor, action, detail in lines]

    def sessions(self, run_id: str) -> list[SessionRecord]:
        """Return when a run was sent and by whom, in order."""
        values = {"run": self._checked_number(run_id), "n": MOST_SESSIONS}
        lines = self._database.all(queries.SESSIONS, values)
        return [SessionRecord(to_actor(actor), begun, ended) for actor, begun, ended in reversed(lines)]

    def checks(self, run_id: str) -> list[Check]:
        """Return the checks of a run, newest first."""
        return checks.checks(self._database, self._checked_number(run_id))

    def drifts(self, check: int) -> Iterator[Drift]:
        """Stream what a check found, in row order."""
        self._chain.check_all()
        return checks.drifts(self._database, check)
