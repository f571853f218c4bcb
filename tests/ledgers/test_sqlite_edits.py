"""Edits of a SQLite ledger between two commands: each is found, or changes nothing that anybody relies on."""

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bulk_patch.errors import LedgerError
from bulk_patch.ledgers import Ledger, RunReader
from bulk_patch.ledgers.records import Drift, FieldDrift, Note
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.ledgers.sqlite.reader import SqliteReader
from bulk_patch.model import Outcome, State
from bulk_patch.testing.ledger_plans import ACTOR, JOB, START, TARGET, make_customer, make_row, make_run, seal_plan

DONE, OPEN, CLOSED = "20261122-151203-0001", "20261122-151203-0002", "20261122-151203-0003"
FEW, MANY = 60, 1_000


def make_ledger(path: Path) -> None:
    """Make a ledger with a finished run, one in the middle of being sent, and a closed one."""
    with SqliteLedger.open(path, job=JOB, draw_salts=bytes) as ledger:
        rows = [make_row(1), make_row(2, state=State.INVALID, reason="empty"), *map(make_row, range(3, 9))]
        seal_plan(ledger, rows, make_run(DONE), unchanged=2)
        session = ledger.send(DONE, ACTOR, now=START + 2)
        claimed = session.claim(9, now=START + 3)
        states = [State.APPLIED, State.REJECTED, State.MISMATCH, State.APPLIED, State.APPLIED, State.UNKNOWN]
        ends = [Outcome(patch.row, state, attempts=1) for patch, state in zip(claimed, states, strict=False)]
        session.record([*ends, Outcome(8, State.APPLIED, attempts=2, http_status=200)], now=START + 4)
        session.end(now=START + 5, by_itself=True)
        ledger.finish(DONE, 3, now=START + 6, reason="")
        ledger.save_metrics(DONE, {"requests": 9})
        check = ledger.check(DONE, ACTOR, now=START + 7)
        check.record([Drift(1, make_customer(1), "", (FieldDrift("email", "a", "b"),))], upto=8, rows=4)
        check.end(now=START + 8)
        ledger.note(DONE, Note(START + 9, ACTOR, "verified", {"rows": 4}))
        seal_plan(ledger, 12, make_run(CLOSED))
        ledger.close_run(CLOSED)
        seal_plan(ledger, 20, make_run(OPEN))
        ledger.note(OPEN, Note(START + 10, ACTOR, "approved", {"rows": 20}))
        session = ledger.send(OPEN, ACTOR, now=START + 11)
        rows_out = session.claim(12, now=START + 12)
        ends = [Outcome(patch.row, State.APPLIED, attempts=1, http_status=200) for patch in rows_out[:5]]
        session.record([*ends, Outcome(6, State.REJECTED, "NO", attempts=1)], now=START + 13)
        session.record([Outcome(7, State.UNKNOWN, "timeout", attempts=1, spent=True)], now=START + 14)


def tell(ledger: RunReader) -> Any:
    """Return all that a ledger tells, as each command would ask for it."""
    told: list[Any] = [ledger.runs(), ledger.open_run(TARGET), ledger.last_time()]
    for run in ledger.runs():
        ledger.check_seal(run.id)
        told += [ledger.run(run.id), ledger.counts(run.id), ledger.to_do(run.id), list(ledger.rows(run.id))]
        told += [ledger.notes(run.id), ledger.sessions(run.id), ledger.checks(run.id)]
        told += [list(ledger.drifts(check.number)) for check in ledger.checks(run.id)]
        told += [list(ledger.rows(run.id, customer_id=make_customer(3)))]
    for row in range(1, 21):
        told.append(ledger.history(make_customer(row)))
    told.append(list(ledger.applied_bodies(TARGET, [make_customer(row) for row in range(1, 21)])))
    return told


def resume(ledger: Ledger) -> Any:
    """Do what `retry` and `run` do, all the way; return what was sent."""
    ledger.request_retry(DONE, now=START + 20)
    sent: list[Any] = []
    for run_id in (OPEN, DONE):
        session = ledger.send(run_id, ACTOR, now=START + 21)
        sent.append(session.recovered)
        while patches := session.claim(7, now=START + 22):
            sent += patches
            session.record([Outcome(patch.row, State.APPLIED, attempts=1) for patch in patches], now=START + 23)
        session.end(now=START + 24, by_itself=True)
    ledger.note(OPEN, Note(START + 25, ACTOR, "revealed"))
    return sent


@dataclass(frozen=True)
class Edit:
    """One edit of one value, or one row that is removed, doubled or swapped."""

    words: str
    statements: tuple[str, ...]


def draw_edit(dice: random.Random, path: Path) -> Edit:
    """Draw an edit of any table and column."""
    with closing(sqlite3.connect(path)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = dice.choice([name for name in tables if database.execute(f"SELECT 1 FROM {name}").fetchone()])
        columns = [line[1] for line in database.execute(f"PRAGMA table_info({table})")]
        keys = [line[1] for line in database.execute(f"PRAGMA table_info({table})") if line[5]] or ["rowid"]
        lines = database.execute(f"SELECT {', '.join(keys)} FROM {table}").fetchall()
        where = " AND ".join(f"{key} IS {literal(value)}" for key, value in zip(keys, dice.choice(lines), strict=True))
        column = dice.choice(columns)
        (value,) = database.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchone()
        others = [other for (other,) in database.execute(f"SELECT DISTINCT {column} FROM {table}") if other != value]
    if dice.random() < 0.15:
        return Edit(f"{table}: a line is gone", (f"DELETE FROM {table} WHERE {where}",))
    becomes = dice.choice(others) if others and dice.random() < 0.5 else other_value(dice, value)
    return Edit(
        f"{table}.{column}: {value!r} -> {becomes!r}",
        (f"UPDATE {table} SET {column} = {literal(becomes)} WHERE {where}",),
    )


def literal(value: Any) -> str:
    """Return a value as SQL has it."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    return repr(value) if isinstance(value, (int, float)) else "'" + value.replace("'", "''") + "'"


def other_value(dice: random.Random, value: Any) -> Any:
    """Return another value of the same kind."""
    if value is None:
        return dice.choice([0, 1, START, "x"])
    if isinstance(value, (int, float)):
        return value + dice.choice([1, -1, 7, 1e6]) if isinstance(value, float) else value + dice.choice([1, -1, 7])
    if not value:
        return "x" if isinstance(value, str) else b"x"
    at = dice.randrange(len(value))
    if isinstance(value, bytes):
        return value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
    return value[:at] + ("y" if value[at] == "x" else "x") + value[at + 1 :]


def apply(path: Path, edit: Edit) -> bool:
    """Edit the file past the ledger; tell whether SQLite let it."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TRIGGER IF EXISTS rows_stay")
        try:
            with database:
                for statement in edit.statements:
                    database.execute(statement)
        except sqlite3.IntegrityError:
            return False
    return True


def outcome_of(path: Path, use: Callable[[Path], Any]) -> Any:
    """Return what a use of the ledger gives, or that it was refused."""
    try:
        return use(path)
    except LedgerError as error:
        return type(error)
    except Exception as error:
        return repr(error)


def read_all(path: Path) -> Any:
    with SqliteReader.read(path, job=JOB) as ledger:
        return tell(ledger)


def write_all(path: Path) -> Any:
    with SqliteLedger.open(path, job=JOB, draw_salts=bytes) as ledger:
        return resume(ledger), tell(ledger)


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    make_ledger(tmp_path / "ledger.db")
    return (tmp_path / "ledger.db").read_bytes()


def find_silent(path: Path, whole: bytes, seeds: range) -> Iterator[str]:
    """Yield the edits that changed what is told or sent, and were not found."""
    path.parent.mkdir()
    path.write_bytes(whole)
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TRIGGER rows_stay")
    whole = path.read_bytes()
    expected = read_all(path), write_all(path)
    for seed in seeds:
        path.write_bytes(whole)
        edit = draw_edit(random.Random(seed), path)
        if not apply(path, edit):
            continue
        edited = path.read_bytes()
        for use, right in zip((read_all, write_all), expected, strict=True):
            path.write_bytes(edited)
            found = outcome_of(path, use)
            if found != right and not (isinstance(found, type) and issubclass(found, LedgerError)):
                yield f"{seed} {use.__name__}: {edit.words}: {found if isinstance(found, str) else 'silent'}"


def test_an_edit_of_any_value_is_found_or_changes_nothing(tmp_path: Path, whole: bytes) -> None:
    assert list(find_silent(tmp_path / "edited" / "ledger.db", whole, range(FEW))) == []


@pytest.mark.chaos
def test_a_thousand_edits_of_any_value_are_found_or_change_nothing(tmp_path: Path, whole: bytes) -> None:
    assert list(find_silent(tmp_path / "edited" / "ledger.db", whole, range(FEW, FEW + MANY))) == []
