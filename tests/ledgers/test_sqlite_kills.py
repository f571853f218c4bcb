"""What is the SQLite ledger's own: kills at awkward moments, and what a claim costs."""

import os
import shutil
import sqlite3
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bulk_patch.ledgers.sqlite import ledger as ledger_module
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.ledgers.sqlite.reader import SqliteReader
from bulk_patch.model import Outcome, State
from bulk_patch.testing import ledger_calls as calls
from bulk_patch.testing.ledger_plans import (
    ACTOR,
    JOB,
    START,
    claim_one,
    claim_rows,
    find_states,
    make_customer,
    make_row,
    record,
    seal_plan,
    start,
)
from tests.support.ledger_children import PLAN, SEND, WORK, running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "output" / JOB / "ledger.db"


def open_ledger(path: Path, **how: Any) -> SqliteLedger:
    return SqliteLedger.open(path, job=JOB, **how)


def read_ledger(path: Path) -> SqliteReader:
    return SqliteReader.read(path, job=JOB)


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Look into the file past the ledger."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


# --- kills


def test_a_row_in_flight_when_the_process_was_killed_is_ambiguous_and_keeps_its_key(path: Path) -> None:
    with running(SEND, path):
        pass
    with open_ledger(path) as ledger:
        (run,) = ledger.runs()
        assert ledger.open_run(run.target) == run
        assert calls.start_session(ledger, run.id, ACTOR, START + 100) == 1
        states = list(find_states(ledger, run.id).values())
        assert states == [State.APPLIED, State.UNKNOWN, *[State.PENDING] * 3]
        patch = claim_one(ledger, run.id, now=START + 100)
        assert (patch.row, patch.ambiguous, patch.intent_at, patch.generation) == (2, True, START + 3, 0)


def test_a_plan_whose_process_was_killed_is_discarded_with_all_its_rows(path: Path) -> None:
    with running(PLAN, path):
        pass
    assert query(path, "SELECT count(*) FROM rows")[0][0] > 0
    with open_ledger(path) as ledger:
        (unsealed,) = ledger.runs()
        assert (unsealed.id, unsealed.state) == ("unsealed", "planning")
        run_id = seal_plan(ledger, 2)
        assert [run.id for run in ledger.runs()] == [run_id]
    for table in ("rows", "progress", "customers"):
        assert query(path, f"SELECT count(*) FROM {table}") == [(2,)]


def test_rows_of_a_discarded_run_that_a_kill_left_are_removed_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed, open_ledger(path) as ledger:
        killed.setattr(ledger_module, "sweep", lambda database: None)
        ledger.discard(seal_plan(ledger, 50_000))
    with open_ledger(path) as ledger:
        assert ledger.runs() == []
        run_id = seal_plan(ledger, 1)
        assert list(find_states(ledger, run_id)) == [1]
    for table in ("rows", "progress", "customers"):
        assert query(path, f"SELECT count(*) FROM {table}") == [(1,)]


def test_a_log_cut_anywhere_gives_back_a_state_that_once_was(path: Path, tmp_path: Path) -> None:
    with running(WORK, path):
        pass
    log = path.with_name("ledger.db-wal")
    applied: list[int] = []
    for size in range(0, log.stat().st_size + 1, 70_001):
        copy = tmp_path / str(size) / "ledger.db"
        copy.parent.mkdir()
        shutil.copy(path, copy)
        shutil.copy(log, copy.with_name("ledger.db-wal"))
        os.truncate(copy.with_name("ledger.db-wal"), size)
        with open_ledger(copy) as ledger:
            for run in ledger.runs():
                tally = Counter(find_states(ledger, run.id).values())
                assert run.state == "planning" or Counter(ledger.counts(run.id)) == tally
                assert tally[State.SENDING] in {0, 4}
                applied.append(tally[State.APPLIED])
    assert applied == sorted(applied)
    assert len(set(applied)) > 5


def test_a_new_generation_is_on_record_before_its_key_is_used(path: Path) -> None:
    with open_ledger(path) as ledger:
        run_id = start(ledger, 2)
        claim_rows(ledger, run_id, 2)
        record(ledger, run_id, 1, State.PENDING, new_generation=True, reason="cached_401", now=START + 7)
        record(ledger, run_id, 2, State.REJECTED)
        ledger.request_retry(run_id, now=START + 8)
    found = query(path, "SELECT id & 4294967295, generation, at, reason FROM generations ORDER BY id")
    assert found == [(1, 1, START + 7, "cached_401"), (2, 1, START + 8, "retry")]


# --- costs, measured in steps of SQLite's virtual machine and in bytes, not in seconds


def count_steps(ledger: SqliteLedger, work: Callable[[], object]) -> int:
    """Return how many hundred steps SQLite takes for this work."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection = ledger._database._connection
    connection.set_progress_handler(count, 100)
    try:
        work()
    finally:
        connection.set_progress_handler(None, 100)
    return steps


def claim_cost(path: Path, rows: int) -> int:
    """Return the cost of a claim when half of the rows are done and a quarter spent their attempts."""
    with open_ledger(path) as ledger:
        run_id = start(ledger, rows)
        for row in claim_rows(ledger, run_id, rows * 3 // 4):
            spent = row % 3 == 0
            calls.record(
                ledger, run_id, [Outcome(row, State.UNKNOWN if spent else State.APPLIED, spent=spent)], now=START
            )
        claim_one(ledger, run_id)  # verifies its chunk
        for work in (lambda: ledger.to_do(run_id), lambda: ledger.counts(run_id), lambda: ledger.open_run(run_id)):
            assert count_steps(ledger, work) <= 3
        return count_steps(ledger, lambda: claim_rows(ledger, run_id, 5))


def test_a_claim_costs_the_same_however_many_rows_are_done_or_spent(tmp_path: Path) -> None:
    few, many = claim_cost(tmp_path / "few" / "ledger.db", 40), claim_cost(tmp_path / "many" / "ledger.db", 4_000)
    assert 1 <= many <= few + 2


def test_streaming_rows_takes_the_memory_of_a_page(path: Path) -> None:
    body = b'"%s"' % (b"x" * 2_000)
    with open_ledger(path) as ledger:
        run_id = seal_plan(ledger, (make_row(row, body=body) for row in range(1, 10_001)))
        tracemalloc.start()
        try:
            assert sum(len(row.body or b"") for row in ledger.rows(run_id)) == 10_000 * len(body)
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak_bytes < 5_000_000


def test_rows_of_a_customer_are_found_without_reading_the_others(path: Path) -> None:
    with open_ledger(path) as ledger:
        run_id = seal_plan(ledger, 5_000)
        customer_id = make_customer(4_321)
        own = lambda: list(ledger.rows(run_id, customer_id=customer_id))  # noqa: E731 - asked twice
        assert count_steps(ledger, own) <= 1000  # the thousand rows under one hash are verified with it
        assert count_steps(ledger, own) <= 10
        assert count_steps(ledger, lambda: list(ledger.applied_bodies("x", [customer_id]))) <= 3
        assert count_steps(ledger, lambda: list(ledger.rows(run_id))) > 300
