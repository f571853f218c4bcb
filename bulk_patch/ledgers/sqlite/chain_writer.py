"""Append to the chain of events of a SQLite ledger, in the transaction of what is told."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bulk_patch.ledgers.events import RESTORED, SEALED, SESSION, SESSION_ENDED, digest, hash_event, pack_state
from bulk_patch.ledgers.sqlite import chain_queries
from bulk_patch.ledgers.sqlite.chain import (
    COUNTS,
    FULL_EVERY,
    ROWS,
    RUNS,
    Chain,
    roll_drifts,
    sum_as_bytes,
)
from bulk_patch.ledgers.sqlite.database import Database, Line
from bulk_patch.ledgers.sqlite.head_file import HeadFile
from bulk_patch.model import encode_json

#: Events after which the head is kept at once; after others it is kept every few seconds.
_MARKS = frozenset({SEALED, SESSION, SESSION_ENDED, RESTORED})


class ChainWriter(Chain):
    """The chain of the one connection that writes.

    What it appends to was compared with the chain first, so that no edit is taken over into a later event.

    Args:
        database: Open for writing.
        head: Is kept beside the ledger.
    """

    def __init__(self, database: Database, head: HeadFile) -> None:
        super().__init__(database)
        self._head = head
        self._is_mark = False  # the head has to be kept at once
        self._last: tuple[int, float, bytes] | None = None
        self._sums: dict[int, int] = {}  # run -> sum of the events that wrote its rows last
        self._since_full: dict[int, int] = {}
        self._rolled: dict[int, bytes] = {}
        self._first_number = self.last()[0] + 1  # what has been written since then needs no comparison

    def last(self) -> tuple[int, float, bytes]:
        """Return number, time and hash of the last event."""
        if self._last is None:
            self._last = super().last()
        return self._last

    @property
    def next_number(self) -> int:
        """Return the number of the event that comes next: rows that it moves name it."""
        return self.last()[0] + 1

    @property
    def last_time(self) -> float:
        """Return the latest time that the ledger knows, Unix seconds."""
        return self.last()[1]

    @contextmanager
    def transaction(self, run: int | None = None) -> Iterator[None]:
        """Make what is run inside durable together, with its events, or undo all of it.

        Args:
            run: The run that changes; everything small of it is compared first.
        """
        before = self._last, dict(self._sums)
        try:
            with self.database.transaction():
                if run is not None:
                    self.check_run(run)
                yield
        except BaseException:
            self._last, self._sums = before
            self._rolled.clear()
            self._since_full.clear()
            self.forget()
            raise
        self.keep_head(at_once=self._is_mark)

    def keep_head(self, *, at_once: bool) -> None:
        """Write the head beside the ledger, after the commit."""
        number, _, sha256 = self.last()
        self._head.keep(number, sha256, at_once=at_once)
        self._is_mark = False

    def append(
        self,
        run: int,
        kind: str,
        *,
        now: float,
        detail: Mapping[str, Any] | None = None,
        rows: str = "",
        hot: bool = False,
    ) -> None:
        """Append an event, within the transaction of what it tells.

        Args:
            run: The run's number, 0 for none.
            kind: What happened.
            now: Unix seconds.
            detail: JSON values; no customer's value.
            rows: The rows that it moved, from `encode_rows`; their events are accounted for by `move_sum`.
            hot: Of the run nothing but rows and counts has changed.
        """
        number, last_time, before = self.last()
        number, at = number + 1, max(float(now), last_time)
        facts = {**(detail or {}), **({"clock": now} if at != now else {})}
        text = encode_json(facts).decode() if facts else ""
        state = pack_state(self._state(run, hot=hot))
        sha256 = hash_event(before, number, run, at, (kind, text, rows), state)
        values = {"number": number, "run": run, "at": at, "kind": kind, "detail": text, "rows": rows}
        self.database.run(chain_queries.INSERT_EVENT, values | {"state": state, "sha256": sha256})
        self._last = number, at, sha256
        self._is_mark |= kind in _MARKS
        if run:
            self._checked[run] = number

    def move_sum(self, run: int, change: int) -> None:
        """Account for rows that another event writes now."""
        self._sums[run] = self.sum_of(run) + change

    def sum_of(self, run: int) -> int:
        """Return the sum of the events that wrote the rows of a run last."""
        if run not in self._sums:
            carried = self._carried(run, frozenset({ROWS}))
            self._sums[run] = int.from_bytes(carried[ROWS]) if carried else 0
        return self._sums[run]

    def _rolled_drifts(self, run: int) -> bytes:
        """Return the rolling hash of all that the checks of a run found."""
        if run not in self._rolled:
            self._rolled[run] = super()._rolled_drifts(run)
        return self._rolled[run]

    def add_drifts(self, run: int, lines: Iterable[Line]) -> None:
        """Account for what the newest check of a run found, in row order."""
        self._rolled[run] = roll_drifts(lines, self._rolled_drifts(run))

    def _is_trusted(self, event: int | None) -> bool:
        return event is None or event >= self._first_number

    def _is_checked(self, checked: Mapping[int, int], run: int, number: int) -> bool:
        return run in checked  # nobody else writes

    def _state(self, run: int, *, hot: bool) -> dict[int, bytes]:
        if not run:
            return {RUNS: digest(self.database.all(chain_queries.RUN_IDS))}
        total = sum_as_bytes(self.sum_of(run))
        since = self._since_full.get(run, FULL_EVERY)
        if hot and since < FULL_EVERY - 1:
            self._since_full[run] = since + 1
            return {COUNTS: digest(self.database.all(chain_queries.COUNTS, {"run": run})), ROWS: total}
        self._since_full[run] = 0
        runs = digest(self.database.all(chain_queries.RUN_IDS))
        return {**self._small_parts(run), RUNS: runs, ROWS: total}
