"""The chain of events of a SQLite ledger: what tables hold is compared with the events that wrote it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bulk_patch.errors import DamagedLedgerError
from bulk_patch.ledgers.events import (
    CHAINED,
    DIGEST_BYTES,
    Event,
    MovedRows,
    Progress,
    digest,
    hash_event,
    pack_state,
    unpack_state,
)
from bulk_patch.ledgers.sqlite import chain_queries
from bulk_patch.ledgers.sqlite.database import Database, Line
from bulk_patch.ledgers.sqlite.schema import READY, ROW_BITS

#: What an event carries digests of. The last is a number: the sum of the events that wrote the run's rows last.
FACTS, COUNTS, SESSIONS, NOTES, CHECKS, RUNS, ROWS = range(1, 8)
PARTS = {
    FACTS: "its facts",
    COUNTS: "the numbers of its rows",
    SESSIONS: "the record of a session",
    NOTES: "a note",
    CHECKS: "what `verify` found",
    RUNS: "the list of runs",
    ROWS: "how far its rows came",
}
ALL_OF_RUN = frozenset({FACTS, COUNTS, SESSIONS, NOTES, CHECKS, ROWS})

#: Each event of rows carries what it changes; one in so many carries all, so that nobody has to look further back.
FULL_EVERY = 64

_FACTS_OF_OLD = 37  # columns of a run that the first chained ledger had; later ones are left out while they are empty
_EMPTY = (None, "", 0, b"", "{}", "[]")
_PENDING = Progress("pending", READY)
_PAGE_EVENTS = 500
_MOST_LOADED = 1024
_DAMAGE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)


class Chain:
    """Compares a ledger with its events; what was compared once is not compared again by this connection.

    Args:
        database: The ledger.
        is_chained: False: an older ledger, open for reading, that has no events yet.
    """

    def __init__(self, database: Database, *, is_chained: bool = True) -> None:
        self.database = database
        self.is_chained = is_chained
        self._moved: dict[int, tuple[int, MovedRows]] = {}  # events that were loaded, each with its run
        self._unchained: int | None = None
        self._checked: dict[int, int] = {}  # run -> the event at which it was compared
        self._checked_rows: dict[int, int] = {}

    # --- the chain itself

    def last(self) -> tuple[int, float, bytes]:
        """Return number, time and hash of the last event; of a ledger without events nothing."""
        line = self.database.first(chain_queries.LAST_EVENT) if self.is_chained else None
        if line is None and self.is_chained:
            raise self.damage("the chain of events")
        return line or (0, 0.0, b"")

    def checked_last_time(self) -> float:
        """Return the latest time that the ledger knows, Unix seconds; the event that says it is compared."""
        number, at, _ = self.last()
        self.load([number])
        return at

    def unchained_runs(self) -> int:
        """Return up to which number runs are older than the chain."""
        if self._unchained is None:
            (first,) = self.load([1])
            if first.kind != CHAINED:
                raise self.damage("the first event")
            self._unchained = int(first.detail.get("runs", 0))
        return self._unchained

    def load(self, numbers: Iterable[int]) -> list["Loaded"]:
        """Return events, each compared with its hash.

        Raises:
            DamagedLedgerError: One is gone, or not as it was written.
        """
        wanted = list(numbers)
        lines = self.database.all(chain_queries.EVENTS, {"numbers": json.dumps(wanted)})
        if len(lines) != len(wanted):
            raise self.damage("the chain of events")
        return [Loaded(self, line) for line in lines]

    def events(self, run: int | None = None) -> Iterator["Loaded"]:
        """Stream events, of one run or of all, each compared with its hash."""
        values = {"run": run, "after": 0, "n": _PAGE_EVENTS}
        while lines := self.database.all(chain_queries.EVENTS_OF_RUN, values):
            for line in lines:
                yield Loaded(self, line)
            values["after"] = lines[-1][0]

    # --- what is small

    def check_all(self) -> None:
        """Compare everything small of every run, and that no run is gone or was added."""
        if not self.is_chained:
            return
        number, *_ = self.last()
        if self._is_checked(self._checked, 0, number):
            return
        with self.database.snapshot():
            number, *_ = self.last()
            self.load([number])
            lines = self.database.all(chain_queries.RUN_IDS)
            if self._carried(None, frozenset({RUNS}))[RUNS] != digest(lines):
                raise self.damage(PARTS[RUNS])
            for run, _ in lines:
                self.check_run(run)
            self._checked[0] = number

    def check_run(self, run: int) -> None:
        """Compare everything small of one run with the last events that wrote it.

        Raises:
            DamagedLedgerError: Something is not as it was recorded; it says what.
        """
        if not self.is_chained:
            return
        number, *_ = self.last()
        if self._is_checked(self._checked, run, number):
            return
        with self.database.snapshot():
            number, *_ = self.last()
            carried = self._carried(run, ALL_OF_RUN)
            if carried:
                for part, found in self._small_parts(run).items():
                    if carried[part] != found:
                        raise self.damage(PARTS[part], run)
            elif run > self.unchained_runs():
                raise self.damage("the record of its events", run)
            self._checked[run] = number

    def _carried(self, run: int | None, wanted: frozenset[int]) -> dict[int, bytes]:
        """Return what the newest events carry last of each of these parts; nothing where there are no events."""
        query = chain_queries.NEWEST if run is None else chain_queries.NEWEST_OF_RUN
        lines = self.database.all(query, {"run": run, "n": FULL_EVERY + 1})
        carried: dict[int, bytes] = {}
        used = []
        for number, state in lines:
            try:
                new = {part: value for part, value in unpack_state(state).items() if part in wanted - carried.keys()}
            except _DAMAGE:
                raise self.damage("the chain of events", run or 0) from None
            if new:
                carried |= new
                used.append(number)
            if carried.keys() >= wanted:
                break
        else:
            if lines:
                raise self.damage("the chain of events", run or 0)
        self.load(used)
        return carried

    def _small_parts(self, run: int) -> dict[int, bytes]:
        """Return the digests of everything small of a run, as it is now."""
        values = {"run": run}
        facts = self.database.first(chain_queries.FACTS, values) or ()
        later = {place: value for place, value in enumerate(facts[_FACTS_OF_OLD:]) if value not in _EMPTY}
        return {
            FACTS: digest([*facts[:_FACTS_OF_OLD], *([later] if later else [])]),
            COUNTS: digest(self.database.all(chain_queries.COUNTS, values)),
            SESSIONS: digest(self.database.all(chain_queries.SESSIONS, values)),
            NOTES: digest(self.database.all(chain_queries.NOTES, values)),
            CHECKS: digest([self.database.all(chain_queries.CHECKS, values), self._rolled_drifts(run)]),
        }

    def _rolled_drifts(self, run: int) -> bytes:
        """Return the rolling hash of all that the checks of a run found."""
        return roll_drifts(self._drift_lines(run))

    def _drift_lines(self, run: int) -> Iterator[Line]:
        values = {"run": run, "number": -1, "after": -1}
        query = f"{chain_queries.DRIFTS} LIMIT {_PAGE_EVENTS}"
        while lines := self.database.all(query, values):
            yield from lines
            values |= {"number": lines[-1][0], "after": lines[-1][1]}

    # --- rows

    def check_rows(self, run: int, counted: int) -> None:
        """Compare how many rows a run keeps, and which events wrote them last, with the last event.

        Each row names the last event that wrote it, and that event names the row. The sum of these numbers is in every
        event of the run: a row that is set back to what an earlier event left lowers it.

        Args:
            run: The run's number.
            counted: How many rows it keeps, by its counts.
        """
        if not self.is_chained or self._is_checked(self._checked_rows, run, self.last()[0]):
            return
        with self.database.snapshot():
            number, *_ = self.last()
            carried = self._carried(run, ALL_OF_RUN)
            rows, total = self.database.first(chain_queries.SUM_ROWS, _span(run)) or (0, 0)
            if rows != counted or (total if not carried else int.from_bytes(carried[ROWS])) != total:
                raise self.damage(PARTS[ROWS], run)
            self._checked_rows[run] = number

    def check_progress(self, run: int, found: Iterable[tuple[int, str | None, Sequence[Any]]]) -> None:
        """Compare how far rows came with the events that wrote it.

        Args:
            run: The run's number.
            found: Of each row its number, the state it was planned with (None: to be sent), and its line: `Progress`
                and the event.

        Raises:
            DamagedLedgerError: One is not as it was recorded.
        """
        if not self.is_chained:
            return
        lines = list(found)
        missing = {line[17] for _, _, line in lines if not self._is_trusted(line[17])} - self._moved.keys()
        if missing:
            self._load_moved(run, missing)
        for row, planned, line in lines:
            if not self._is_as_recorded(run, row, planned, line):
                raise self.damage(f"how far row {row} came", run)

    def _is_as_recorded(self, run: int, row: int, planned: str | None, line: Sequence[Any]) -> bool:
        event = line[17]
        if event is not None and self._is_trusted(event):
            return True
        if event is None:
            if run <= self.unchained_runs():
                return True
            return tuple(line[:17]) == (_PENDING if planned in (None, "pending") else Progress(str(planned)))
        of_run, moved = self._moved[event]
        return of_run == run and moved.has(row, tuple(line[:17]))

    def _is_trusted(self, event: int | None) -> bool:
        """Tell whether rows that name this event need no comparison with it: there is none, or it is our own."""
        return event is None

    def _is_checked(self, checked: Mapping[int, int], run: int, number: int) -> bool:
        """Tell whether a run was compared since the last event."""
        return checked.get(run) == number

    def _load_moved(self, run: int, numbers: set[int]) -> None:
        if len(self._moved) + len(numbers) > _MOST_LOADED:
            self._moved.clear()
        if not all(isinstance(number, int) for number in numbers):
            raise self.damage(PARTS[ROWS], run)
        for loaded in self.load(numbers):
            try:
                self._moved[loaded.number] = loaded.run, MovedRows(loaded.rows)
            except _DAMAGE:
                raise self.damage("the chain of events", run) from None

    def forget(self) -> None:
        """Compare everything again: what this connection has written since was undone."""
        self._checked.clear()
        self._checked_rows.clear()

    def damage(self, what: str, run: int = 0) -> DamagedLedgerError:
        """Return the error that says what is not as it was recorded."""
        line = self.database.first("SELECT id FROM runs WHERE number = ?", (run,)) if run else None
        which = f"run {line[0]}" if line else "it"
        return DamagedLedgerError(
            f"the ledger is damaged: {which} is not as it was recorded: {what} changed; nothing more of it is sent",
            f"Do not edit {self.database.path}: move it away and restore it from a backup, or find out who changed it.",
        )


class Loaded:
    """One event as it was read, compared with its hash."""

    def __init__(self, chain: Chain, line: Line) -> None:
        self.number, self.run, self.at, self.kind, detail, self.rows, state, self.sha256, before = line
        try:
            texts = (self.kind, detail, self.rows)
            if before is None and self.number != 1:
                raise ValueError(self.number)
            if hash_event(before or b"", self.number, self.run, self.at, texts, state) != self.sha256:
                raise ValueError(self.number)
            self.detail: Mapping[str, Any] = json.loads(detail) if detail else {}
        except _DAMAGE:
            raise chain.damage(f"event {self.number}") from None

    def told(self, run_id: str) -> Event:
        """Return the event as a record."""
        return Event(self.number, self.at, self.kind, run_id, self.detail, self.sha256.hex())


def roll_drifts(lines: Iterable[Line], rolled: bytes = b"") -> bytes:
    """Return the rolling hash of what checks found, so that what is appended costs nothing for what was before."""
    for line in lines:
        rolled = digest([rolled, *line])
    return rolled


def sum_as_bytes(total: int) -> bytes:
    """Return a sum of event numbers as an event carries it."""
    return total.to_bytes(DIGEST_BYTES)


def first_event(database: Database, *, runs: int, at: float, folders: Sequence[str]) -> None:
    """Begin the chain of a ledger, within a transaction: before this event nothing is chained."""
    detail = json.dumps({"runs": runs, "folders": list(folders)})
    state = pack_state({RUNS: digest(database.all(chain_queries.RUN_IDS))})
    values = {"number": 1, "run": 0, "at": at, "kind": CHAINED, "detail": detail, "rows": "", "state": state}
    sha256 = hash_event(b"", 1, 0, at, (CHAINED, detail, ""), state)
    database.run(chain_queries.INSERT_EVENT, values | {"sha256": sha256})


def _span(run: int) -> dict[str, int]:
    return {"first": run << ROW_BITS, "last": (run + 1 << ROW_BITS) - 1}
