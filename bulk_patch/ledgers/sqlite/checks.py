"""What `verify` found, kept in a SQLite ledger: how far a reading-back came, and the rows that had drifted."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Self

from bulk_patch.errors import LedgerError
from bulk_patch.ledgers.events import CHECK, CHECK_ENDED, CHECKED
from bulk_patch.ledgers.records import Actor, Check, Drift, FieldDrift
from bulk_patch.ledgers.sqlite import queries
from bulk_patch.ledgers.sqlite.chain_writer import ChainWriter
from bulk_patch.ledgers.sqlite.database import Database, Line
from bulk_patch.ledgers.sqlite.planning import span, unpack_customer
from bulk_patch.ledgers.sqlite.records import decoding, to_actor
from bulk_patch.model import encode_json

_PAGE_ROWS = 500
_MOST_AGE_S = 24 * 3600.0  # what was read longer ago says nothing of today


class CheckWriter:
    """A `CheckWriter` of a SQLite ledger; see the Protocol for what each method promises.

    Args:
        chain: Of the ledger, open for writing.
        run: The run's number in the ledger.
        check: As it was when it was started or resumed.
    """

    def __init__(self, chain: ChainWriter, run: int, check: Check) -> None:
        self.check = check
        self._chain = chain
        self._database = chain.database
        self._run = run

    @classmethod
    def start(cls, chain: ChainWriter, run: int, actor: Actor, now: float) -> Self:
        """Resume the newest check when it can be resumed, else start a new one."""
        database = chain.database
        chain.check_run(run)
        newest = next(iter(checks(database, run)), None)
        (changed_at,) = database.first(queries.LAST_SESSION, {"run": run}) or (0.0,)
        if newest is not None and newest.ended_at is None:
            is_fresh = 0 <= now - newest.started_at <= _MOST_AGE_S
            if is_fresh and changed_at <= newest.started_at:
                return cls(chain, run, newest)
        with chain.transaction(run):
            values = {"run": run, "actor": encode_json(asdict(actor)).decode(), "now": now}
            started = database.run(queries.INSERT_CHECK, values)
            chain.append(run, CHECK, now=now, detail={"check": started.lastrowid, "actor": asdict(actor)})
        return cls(chain, run, next(iter(checks(database, run))))

    def record(self, drifts: Sequence[Drift], *, upto: int, rows: int) -> None:
        """Keep what was found in the next rows, and that it was looked for."""
        first, number = span(self._run)["first"], self.check.number
        lines = [
            {
                "number": number,
                "id": first | drift.row,
                "reason": drift.reason,
                "fields": encode_json([asdict(field) for field in drift.fields]).decode(),
                "counts": int(drift.counts),
            }
            for drift in drifts
        ]
        with self._chain.transaction(self._run):
            self._database.run_many(queries.INSERT_DRIFT, lines)
            self._chain.add_drifts(self._run, [(*line.values(),) for line in lines])
            values = {"number": number, "run": self._run, "upto": upto, "rows": rows}
            if self._database.run(queries.MOVE_CHECK, values).rowcount != 1:
                raise LedgerError(f"check {number} has ended, or looked at row {upto} already", "Please report this.")
            found = {"check": number, "upto": upto, "rows": rows, "drifted": len(drifts)}
            self._chain.append(self._run, CHECKED, now=self._chain.last_time, detail=found)

    def end(self, *, now: float) -> None:
        """Remember that the check came to its end."""
        with self._chain.transaction(self._run):
            self._database.run(queries.END_CHECK, {"number": self.check.number, "run": self._run, "now": now})
            self._chain.append(self._run, CHECK_ENDED, now=now, detail={"check": self.check.number})


def checks(database: Database, run: int) -> list[Check]:
    """Return the checks of a run, newest first."""
    return [_to_check(line) for line in database.all(queries.CHECKS, {"run": run})]


def drifts(database: Database, number: int) -> Iterator[Drift]:
    """Stream what a check found, in row order."""
    values = {"number": number, "after": -1, "n": _PAGE_ROWS}
    while page := database.all(queries.DRIFTS, values):
        for _, row, customer_id, reason, names, counts in page:
            with decoding(f"what was found in row {row}"):
                fields = tuple(FieldDrift(**field) for field in json.loads(names))
            yield Drift(row, unpack_customer(customer_id), reason, fields, counts=bool(counts))
        values["after"] = page[-1][0]


def _to_check(line: Line) -> Check:
    number, actor, started_at, ended_at, upto, rows, drifted = line
    return Check(number, to_actor(actor), started_at, ended_at, upto, rows, drifted)
