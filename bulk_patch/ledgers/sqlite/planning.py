"""Write a plan into a SQLite ledger, seal it, and remove it when it is discarded."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from bulk_patch.errors import LedgerError
from bulk_patch.ledgers.events import SEALED
from bulk_patch.ledgers.records import PlanRow, PlanSummary, Run
from bulk_patch.ledgers.seal import SALT_BYTES, ChunkBuilder, DrawSalts, hash_plan, values_of
from bulk_patch.ledgers.sqlite import queries
from bulk_patch.ledgers.sqlite.chain_writer import ChainWriter
from bulk_patch.ledgers.sqlite.customer_index import IndexBuilder
from bulk_patch.ledgers.sqlite.database import Database, Line
from bulk_patch.ledgers.sqlite.schema import ROW_BITS
from bulk_patch.model import State, encode_json

_BATCH_ROWS = 20_000  # one transaction; larger ones only make the log longer
_PLANNED = frozenset({State.PENDING, State.INVALID, State.DUPLICATE, State.KEPT})
_LAST_ROW = (1 << ROW_BITS) - 1

_is_uuid = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch


def details_text(run: Run) -> str:
    """Return what the column `details` of a run holds: where its plan came from, and its summary."""
    origin = {"job_file": run.job_file, "overrides": run.overrides}
    return encode_json({**origin, **run.summary.to_json()}).decode()


def pack_customer(customer_id: str) -> bytes | str:
    """Return a customer id as it is stored: a UUID takes 16 bytes instead of 36, here and in the index."""
    return bytes.fromhex(customer_id.replace("-", "")) if _is_uuid(customer_id) else customer_id


def unpack_customer(stored: bytes | str) -> str:
    """Return a customer id as it was planned."""
    if isinstance(stored, str):
        return stored
    digits = stored.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def span(run_number: int) -> dict[str, int]:
    """Return the first and the last id that a row of this run can have."""
    first = run_number << ROW_BITS
    return {"first": first, "last": first | _LAST_ROW}


class Planning:
    """A `PlanWriter`: one plan from its first row to its seal.

    Args:
        chain: Of the ledger, open for writing.
        run: The run as it was begun.
        number: Its number in the ledger.
        draw: Random bytes for the seal.
        on_seal: Called with the run's id when its plan is sealed.
    """

    def __init__(
        self, chain: ChainWriter, run: Run, number: int, *, draw: DrawSalts, on_seal: Callable[[str], None]
    ) -> None:
        self._run = run
        self._is_open = True
        self._on_seal = on_seal
        self._chain = chain
        self._database = chain.database
        self._number = number
        self._offset = number << ROW_BITS
        self._last_row = 0
        self._counts: Counter[State] = Counter()
        self._draw = draw
        self._chunks = ChunkBuilder(draw)
        self._index = IndexBuilder()

    def add(self, rows: Iterable[PlanRow]) -> None:
        """Append rows, which come in input order."""
        self._refuse_ended()
        self._is_open = False  # so that a plan that failed half-way cannot be sealed
        rest = iter(rows)
        while batch := list(islice(rest, _BATCH_ROWS)):  # outside of the transaction: reading the input may fail
            first, last = self._offset | batch[0].row, self._offset | batch[-1].row
            lines = [self._take(row) for row in batch]
            with self._database.transaction():
                self._database.run_many(queries.INSERT_ROW, lines)
                self._database.run(queries.INSERT_PROGRESS, {"first": first, "last": last})
        self._is_open = True

    def abandon(self) -> None:
        """Take no more rows: another plan has replaced this one."""
        self._is_open = False

    def _refuse_ended(self) -> None:
        if not self._is_open:
            raise LedgerError(f"run {self._run.id} is not being planned", "Plan it again: nothing was sent.")

    def _take(self, row: PlanRow) -> Line:
        """Check, count and hash one row; return its line."""
        if not self._last_row < row.row <= _LAST_ROW:
            raise LedgerError(f"row {row.row} of the plan is not after row {self._last_row}")
        if row.state not in _PLANNED or (row.body is None) == (row.state is State.PENDING):
            raise LedgerError(
                f"row {row.row} cannot be planned as {row.state} {'with' if row.body else 'without'} a body"
            )
        self._last_row = row.row
        self._counts[row.state] += 1
        values = values_of(row)
        salt, leaf = self._chunks.add(values)
        packed = pack_customer(row.customer_id)
        self._index.add(row.row, packed)
        return (
            self._offset | row.row,
            packed,
            str(row.state),  # exact types: for any other sqlite3 asks for an adapter, row by row
            row.reason or None,
            row.hint or None,
            values[6],
            int(row.read_back),
            int(row.recheck),
            row.cells,
            row.body,
            row.before,
            salt,
            leaf,
        )

    def seal(self, summary: PlanSummary, *, input_rows: int, unchanged: int, plan_s: float, now: float) -> str:
        """Make the plan valid; return its SHA-256."""
        self._refuse_ended()
        self._is_open = False
        planned = self._counts.total() + unchanged
        if planned != input_rows:
            raise LedgerError(f"the plan has {planned} rows and its input {input_rows}: nothing is sealed")
        self._chunks.finish()
        sealed = replace(self._run, input_rows=input_rows, unchanged=unchanged, summary=summary)
        salts = self._draw(2 * SALT_BYTES)
        plan_sha256 = hash_plan(sealed, self._chunks.chunks, salts)
        facts = {
            "id": sealed.id,
            "input_rows": input_rows,
            "unchanged": unchanged,
            "plan_sha256": plan_sha256,
            "plan_s": plan_s,
            "sealed_at": now,
            "details": details_text(sealed),
            "summary_salts": salts,
        }
        self._database.run(queries.LARGE_CACHE)
        with self._chain.transaction(self._number):
            self._database.run_many(queries.INSERT_CHUNK, self._chunk_lines())
            self._database.run_many(queries.INSERT_COUNT, self._count_lines(unchanged))
            self._database.run(queries.INSERT_CUSTOMERS, span(self._number))
            self._database.run(queries.SEAL_RUN, facts)
            self._chain.append(
                self._number, SEALED, now=now, detail={"plan_sha256": plan_sha256}, rows=self._index.encode()
            )
        self._database.run(queries.SMALL_CACHE)
        self._on_seal(sealed.id)
        return plan_sha256

    def _chunk_lines(self) -> Sequence[Mapping[str, Any]]:
        return [
            {
                "run": self._number,
                "first_row": chunk.first_row,
                "last_row": chunk.last_row,
                "rows": chunk.rows,
                "sha256": chunk.sha256,
            }
            for chunk in self._chunks.chunks
        ]

    def _count_lines(self, unchanged: int) -> Sequence[Mapping[str, Any]]:
        counts = self._counts | Counter({State.UNCHANGED: unchanged})
        return [
            {
                "run": self._number,
                "state": state,
                "rows": counts[state],
                "open": counts[state] if state is State.PENDING else 0,
            }
            for state in State
        ]


def forget_run(database: Database, number: int) -> None:
    """Remove a run at once, within a transaction; its rows follow with `sweep`."""
    for statement in queries.DELETE_RUN:
        database.run(statement, {"run": number})


def sweep(database: Database) -> None:
    """Remove the rows of forgotten runs, in slices: no transaction is large, and a kill leaves some for later."""
    while line := database.first(queries.NEXT_DISCARDED):
        number = line[0]
        limits = span(number)
        (last,) = database.first(queries.LAST_ROW, limits) or (None,)
        first = limits["first"]
        while last is not None and first <= last:
            with database.transaction():
                for statement in queries.DELETE_SLICE:
                    database.run(statement, {"first": first, "last": first + _BATCH_ROWS - 1})
            first += _BATCH_ROWS
        with database.transaction():
            for statement in queries.DELETE_REST:
                database.run(statement, limits | {"run": number})
