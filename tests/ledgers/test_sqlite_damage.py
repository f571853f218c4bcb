"""The SQLite ledger under damage: tampering, cut and flipped files, foreign files, full disks."""

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bulk_patch.errors import LedgerError
from bulk_patch.ledgers.seal import hash_leaves, leaf, values_of
from bulk_patch.ledgers.sqlite import database as database_module
from bulk_patch.ledgers.sqlite.database import Database
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
    make_run,
    record,
    seal_plan,
    start,
)
from tests.support.ledger_children import FILL, FILL_WITH_PLAN, run_to_end

RUN_ID = make_run().id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def open_ledger(path: Path) -> SqliteLedger:
    return SqliteLedger.open(path, job=JOB)


def read_ledger(path: Path) -> SqliteReader:
    return SqliteReader.read(path, job=JOB)


def change(path: Path, *statements: str, values: Sequence[Any] = ()) -> None:
    """Change the file past the ledger, as somebody with a database browser would."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute("DROP TRIGGER IF EXISTS rows_stay")
            for statement in statements:
                connection.execute(statement, values)
    finally:
        connection.close()


# --- tampering


def make_plan(path: Path) -> None:
    """Seal a plan of three chunks, with gaps and with rows that are not sent."""
    rows = [make_row(row) for row in range(2, 4_600, 2)]
    rows[5] = make_row(12, state=State.INVALID)
    with open_ledger(path) as ledger:
        seal_plan(ledger, rows)


FACTS_CHANGED = {
    "secret": f"UPDATE runs SET secret = '{make_customer(1)}'",
    "target": "UPDATE runs SET target = 'https://api.example.org'",
    "identity": "UPDATE runs SET identity = ''",
    "input rows": "UPDATE runs SET input_rows = input_rows + 1, unchanged = unchanged + 1",
    "actor": 'UPDATE runs SET actor = replace(actor, \'"operator":"\', \'"operator":"x\')',
    "reason": "UPDATE runs SET reason = 'another'",
    "ticket": "UPDATE runs SET ticket = 'another'",
    "terms": "UPDATE runs SET terms = '{\"guards\":{}}'",
    "target's spec": 'UPDATE runs SET target_spec = \'{"resource":"persons"}\'',
    "number of changes": "UPDATE runs SET details = replace(details, '\"changes\":0', '\"changes\":1')",
    "need of an approval": "UPDATE runs SET details = json_set(details, '$.approval', json('true'))",
    "job file": 'UPDATE runs SET details = replace(details, \'"job_file":"\', \'"job_file":"/x\')',
    "older seal": "UPDATE runs SET seal_version = 1",
    "plan hash": "UPDATE runs SET plan_sha256 = replace(plan_sha256, substr(plan_sha256, 1, 1), 'x')",
    "a chunk's hash": "UPDATE chunks SET sha256 = zeroblob(32) WHERE first_row = 2",
    "a chunk's end": "UPDATE chunks SET last_row = last_row + 1 WHERE first_row = 2",
    "a chunk less": "DELETE FROM chunks WHERE first_row > 2",
}
ROWS_CHANGED = {
    "body": "UPDATE rows SET body = CAST(replace(body, '40', '41') AS BLOB) WHERE row = 40",
    "before": "UPDATE rows SET before = CAST(replace(before, '40', '41') AS BLOB) WHERE row = 40",
    "no before": "UPDATE rows SET before = NULL WHERE row = 40",
    "customer": "UPDATE rows SET customer_id = (SELECT customer_id FROM rows WHERE row = 42) WHERE row = 40",
    "customer as text": "UPDATE rows SET customer_id = 'C-17' WHERE row = 40",
    "read_back": "UPDATE rows SET read_back = 1 WHERE row = 40",
    "recheck": "UPDATE rows SET recheck = 1 WHERE row = 40",
    "row moved": "UPDATE rows SET id = id + 1 WHERE row = 40",
    "row removed": "DELETE FROM rows WHERE row = 40",
    "row added": "INSERT INTO rows (id, customer_id, state, fields, read_back, recheck, cells, body)"
    " SELECT id + 1, customer_id, state, fields, read_back, recheck, cells, body FROM rows WHERE row = 40",
    "body of an invalid row": "UPDATE rows SET body = x'7B7D' WHERE row = 12",
    "reason of an invalid row": "UPDATE rows SET reason = 'fine' WHERE row = 12",
    "cells": "UPDATE rows SET cells = CAST('[]' AS BLOB) WHERE row = 40",
    "planned state": "UPDATE rows SET state = 'duplicate' WHERE row = 12",
    "names of fields": "UPDATE rows SET fields = '[]' WHERE row = 40",
    "salt": "UPDATE rows SET salt = zeroblob(16) WHERE row = 40",
    "leaf": "UPDATE rows SET leaf = zeroblob(32) WHERE row = 40",
}


@pytest.mark.parametrize("statement", FACTS_CHANGED.values(), ids=FACTS_CHANGED)
def test_no_session_starts_when_the_plans_facts_were_changed(path: Path, statement: str) -> None:
    make_plan(path)
    change(path, statement)
    with open_ledger(path) as ledger:
        with pytest.raises(LedgerError, match="not as it was sealed"):
            calls.start_session(ledger, RUN_ID, ACTOR, START)
        if "runs" in statement:
            with pytest.raises(LedgerError, match="its facts changed"):
                ledger.run(RUN_ID)
        else:
            assert ledger.run(RUN_ID).started_at is None


@pytest.mark.parametrize("statement", ROWS_CHANGED.values(), ids=ROWS_CHANGED)
def test_nothing_of_a_chunk_is_handed_out_when_a_row_of_it_was_changed(path: Path, statement: str) -> None:
    make_plan(path)
    change(path, statement)
    with open_ledger(path) as ledger:
        calls.start_session(ledger, RUN_ID, ACTOR, START)
        for _ in range(2):  # not the second time either
            with pytest.raises(LedgerError, match="a row from 2 to 2000 changed"):
                calls.claim(ledger, RUN_ID, 5, now=START)
            with pytest.raises(LedgerError, match="not as it was sealed"):
                calls.peek(ledger, RUN_ID, 5)
        assert ledger.counts(RUN_ID)[State.SENDING] == 0
        assert not (ledger.run(RUN_ID).started_at is not None)


@pytest.mark.parametrize("statement", [*FACTS_CHANGED.values(), *ROWS_CHANGED.values()])
@pytest.mark.parametrize("use", [open_ledger, read_ledger])
def test_a_check_of_the_seal_finds_whatever_was_changed(
    path: Path, use: Callable[[Path], SqliteLedger], statement: str
) -> None:
    make_plan(path)
    with use(path) as ledger:
        ledger.check_seal(RUN_ID)
    change(path, statement)
    with use(path) as ledger, pytest.raises(LedgerError, match="not as it was sealed"):
        ledger.check_seal(RUN_ID)


def test_a_check_of_the_seal_finds_a_row_that_was_added_after_the_last(path: Path) -> None:
    make_plan(path)
    change(
        path,
        "INSERT INTO rows (id, customer_id, state, fields, read_back, recheck, cells, body)"
        " SELECT id + 5000, customer_id, state, fields, read_back, recheck, cells, body FROM rows WHERE row = 40",
    )
    with open_ledger(path) as ledger, pytest.raises(LedgerError, match="the number of its rows changed"):
        ledger.check_seal(RUN_ID)


def test_chunks_before_a_changed_one_can_still_be_sent(path: Path) -> None:
    make_plan(path)
    change(path, "UPDATE rows SET body = x'7B7D' WHERE row = 3000")
    with open_ledger(path) as ledger:
        calls.start_session(ledger, RUN_ID, ACTOR, START)
        assert len(claim_rows(ledger, RUN_ID, 999)) == 999  # one of the first thousand rows is invalid
        with pytest.raises(LedgerError, match="a row from 2002 to 4000 changed"):
            calls.claim(ledger, RUN_ID, 1, now=START)


def test_a_changed_row_is_found_even_when_its_chunks_hash_was_changed_to_fit(path: Path) -> None:
    with open_ledger(path) as ledger:
        seal_plan(ledger, 1)
    salt = b"s" * 16
    fitting = leaf(salt, values_of(make_row(1, body=b"{}")))
    change(path, "UPDATE rows SET body = x'7B7D', salt = ?, leaf = ?", values=[salt, fitting])
    change(path, "UPDATE chunks SET sha256 = ?", values=[hash_leaves([fitting])])
    with open_ledger(path) as ledger, pytest.raises(LedgerError, match="not as it was sealed"):
        calls.start_session(ledger, RUN_ID, ACTOR, START)


@pytest.mark.parametrize("row", [12, 4_700])
def test_a_row_that_was_not_sealed_to_be_sent_is_not_handed_out(path: Path, row: int) -> None:
    make_plan(path)
    change(
        path,
        "INSERT INTO rows (id, customer_id, state, fields, read_back, recheck, cells, body)"
        " SELECT id + 4660, customer_id, state, fields, read_back, recheck, cells, body FROM rows WHERE row = 40",
        "INSERT INTO progress (id, state) SELECT id, 'pending' FROM rows WHERE row = 4700",
    )
    change(path, "UPDATE progress SET state = 'pending', lane = 1 WHERE row = ?", values=[row])
    with open_ledger(path) as ledger, pytest.raises(LedgerError, match="how far its rows came changed"):
        calls.start_session(ledger, RUN_ID, ACTOR, START)


@pytest.mark.parametrize("state", ["applied", "rejected by hand", "drifted"])
def test_a_row_whose_state_was_changed_is_not_handed_out(path: Path, state: str) -> None:
    make_plan(path)
    change(path, "UPDATE progress SET state = ? WHERE row = 40", values=[state])
    with open_ledger(path) as ledger:
        calls.start_session(ledger, RUN_ID, ACTOR, START)
        with pytest.raises(LedgerError, match="how far row 40 came changed"):
            calls.claim(ledger, RUN_ID, 100, now=START)


# --- damaged and foreign files


def fill(path: Path) -> list[Any]:
    """Make a ledger in the middle of a run; return its rows."""
    with open_ledger(path) as ledger:
        run_id = start(ledger, 40)
        claim_rows(ledger, run_id, 20)
        calls.record(ledger, run_id, [Outcome(row, State.APPLIED) for row in range(1, 20)], now=START)
        return list(ledger.rows(run_id))


@pytest.mark.parametrize("use", [open_ledger, read_ledger])
@pytest.mark.parametrize("size", [0, 50, 100, 16_384, 100_000])
def test_a_ledger_that_was_cut_off_is_refused(path: Path, size: int, use: Callable[[Path], SqliteLedger]) -> None:
    fill(path)
    os.truncate(path, size)
    with pytest.raises(LedgerError) as refused:
        use(path)
    assert "backup" in refused.value.hint
    assert str(path) in refused.value.message
    assert path.stat().st_size == size


def test_a_ledger_with_a_flipped_bit_in_its_header_is_refused_or_read_right(path: Path) -> None:
    rows = fill(path)
    whole = path.read_bytes()
    refused = 0
    for byte in range(100):
        path.write_bytes(whole[:byte] + bytes([whole[byte] ^ 0x10]) + whole[byte + 1 :])
        try:
            with read_ledger(path) as ledger:
                assert list(ledger.rows(RUN_ID)) == rows
        except LedgerError:
            refused += 1
    assert refused >= 30  # the rest of the header is spare, or counts writes


def test_a_flipped_bit_in_a_planned_value_is_found_before_it_is_sent(path: Path) -> None:
    with open_ledger(path) as ledger:
        seal_plan(ledger, 3)
    whole = path.read_bytes()
    place = whole.index(b'"Springfield 2"')
    path.write_bytes(whole[:place] + whole[place:].replace(b"2", b"3", 1))
    with open_ledger(path) as ledger:
        calls.start_session(ledger, RUN_ID, ACTOR, START)
        with pytest.raises(LedgerError, match="not as it was sealed"):
            calls.claim(ledger, RUN_ID, 1, now=START)


@pytest.mark.parametrize("use", [open_ledger, read_ledger])
def test_a_file_that_is_no_ledger_is_refused_and_left_alone(path: Path, use: Callable[[Path], SqliteLedger]) -> None:
    path.write_text("customer_id,city\n" * 1_000)
    with pytest.raises(LedgerError, match="not a ledger"):
        use(path)
    assert path.read_text() == "customer_id,city\n" * 1_000


@pytest.mark.parametrize("use", [open_ledger, read_ledger])
def test_a_database_of_another_program_is_refused(path: Path, use: Callable[[Path], SqliteLedger]) -> None:
    change(path, "CREATE TABLE meta (name, value)", f"INSERT INTO meta VALUES ('job', '{JOB}')")
    with pytest.raises(LedgerError, match="not a ledger"):
        use(path)


def test_a_folder_in_place_of_the_ledger_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(LedgerError, match="is not a file"):
        open_ledger(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "output").write_text("a file")
    with pytest.raises(LedgerError, match="output"):
        open_ledger(tmp_path / "output" / JOB / "ledger.db")


@pytest.mark.parametrize("use", [SqliteLedger.open, SqliteLedger.read])
def test_a_ledger_of_another_job_is_refused_by_name(path: Path, use: Callable[..., SqliteLedger]) -> None:
    fill(path)
    with pytest.raises(LedgerError, match=f"belongs to job '{JOB}', not to 'nightly'"):
        use(path, job="nightly")
    open_ledger(path).close()  # and the lock was given back


def test_a_log_without_its_ledger_is_not_taken_into_a_new_one(path: Path) -> None:
    with open_ledger(path) as ledger:
        seal_plan(ledger, 3)
        log = path.with_name("ledger.db-wal")
        kept = log.read_bytes()
    path.unlink()
    path.with_suffix(".head").unlink()
    log.write_bytes(kept)
    with pytest.raises(LedgerError, match=r"the log ledger\.db-wal is still there"):
        open_ledger(path)
    assert not path.exists()


def test_an_empty_log_that_a_reader_left_is_in_nobodys_way(path: Path) -> None:
    fill(path)
    read_ledger(path).close()
    path.unlink()
    path.with_suffix(".head").unlink()
    with open_ledger(path) as ledger:
        assert ledger.runs() == []


def test_another_program_that_holds_the_ledger_is_not_waited_for_long(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path)
    monkeypatch.setattr(database_module, "_BUSY_S", 0.05)
    browser = sqlite3.connect(path, isolation_level=None)
    try:
        with open_ledger(path) as ledger:
            browser.execute("BEGIN IMMEDIATE")
            with pytest.raises(LedgerError, match="another program writes to it"):
                calls.start_session(ledger, RUN_ID, ACTOR, START)
    finally:
        browser.close()


def test_a_file_system_without_a_log_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Database.first

    def answer(database: Database, query: str, values: Any = ()) -> Any:  # as SQLite does on such a file system
        return ("delete",) if query == "PRAGMA journal_mode = WAL" else ask(database, query, values)

    monkeypatch.setattr(Database, "first", answer)
    with pytest.raises(LedgerError, match="cannot keep a write-ahead log"):
        open_ledger(path)


def test_a_sqlite_that_is_too_old_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 26, 0))
    with pytest.raises(LedgerError, match="too old for a ledger"):
        open_ledger(path)


# --- disks that fail


def test_after_a_failed_write_nothing_more_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_BUSY_S", 0.05)
    with open_ledger(path) as ledger:
        run_id = start(ledger, 3)
        browser = sqlite3.connect(path, isolation_level=None)
        browser.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError):
            calls.claim(ledger, run_id, 1, now=START)
        browser.close()
        with pytest.raises(LedgerError, match="since an earlier failure"):
            calls.claim(ledger, run_id, 1, now=START)
        assert ledger.counts(run_id)[State.PENDING] == 3  # it can still be read
    with open_ledger(path) as ledger:
        calls.start_session(ledger, run_id, ACTOR, START)
        assert claim_rows(ledger, run_id) == [1, 2, 3]


def test_a_refused_move_does_not_stop_the_ledger(path: Path) -> None:
    with open_ledger(path) as ledger:
        run_id = start(ledger, 2)
        with pytest.raises(LedgerError):
            record(ledger, run_id, 1, State.APPLIED)
        assert claim_one(ledger, run_id).row == 1


@pytest.mark.parametrize("spare_bytes", [0, 4_096, 20_000, 66_000, 150_000, 1_000_000])
def test_a_full_disk_stops_the_run_at_its_last_commit(path: Path, spare_bytes: int) -> None:
    counted, failed, refused = run_to_end(FILL, path, spare_bytes)
    applied, sending = map(int, counted.split())
    assert "the disk" in failed
    assert "since an earlier failure" in refused
    with open_ledger(path) as ledger:
        counts = ledger.counts(RUN_ID)
        assert (counts[State.APPLIED], counts[State.SENDING]) == (applied, sending)
        assert calls.start_session(ledger, RUN_ID, ACTOR, START) == sending
        claim_one(ledger, RUN_ID)


def test_a_disk_that_fills_up_while_a_plan_is_written_costs_that_plan_only(path: Path) -> None:
    (failed,) = run_to_end(FILL_WITH_PLAN, path, 3_000_000)
    assert "the disk" in failed
    with open_ledger(path) as ledger:
        run_id = seal_plan(ledger, 2, make_run("third"))
        assert [run.id for run in ledger.runs()] == ["third", RUN_ID]
        assert len(find_states(ledger, run_id)) == 2
        assert len(find_states(ledger, RUN_ID)) == 3


# --- facts that cannot be read


@pytest.mark.parametrize(
    ("statement", "ask"),
    [
        ("UPDATE rows SET fields = '['", lambda ledger: list(ledger.rows(RUN_ID))),
        ("UPDATE progress SET state = 'zzz'", lambda ledger: list(ledger.rows(RUN_ID))),
        ("UPDATE rows SET customer_id = 7", lambda ledger: list(ledger.rows(RUN_ID))),
        ("UPDATE counts SET state = 'zzz' WHERE state = 'pending'", lambda ledger: ledger.counts(RUN_ID)),
        ("UPDATE sessions SET actor = '{'", lambda ledger: ledger.sessions(RUN_ID)),
        ("UPDATE notes SET actor = '[]'", lambda ledger: ledger.notes(RUN_ID)),
        ("UPDATE notes SET detail = '{'", lambda ledger: ledger.notes(RUN_ID)),
        ("UPDATE runs SET details = '{'", lambda ledger: ledger.run(RUN_ID)),
    ],
)
def test_a_fact_that_cannot_have_been_written_so_is_named_as_damage(
    path: Path, statement: str, ask: Callable[[SqliteReader], object]
) -> None:
    with open_ledger(path) as ledger:
        claim_one(ledger, start(ledger, 1))
        calls.note(ledger, RUN_ID, ACTOR, "revealed", {}, now=START)
    change(path, statement)
    with read_ledger(path) as ledger, pytest.raises(LedgerError, match=r"the ledger is damaged: .+ is not as it was"):
        ask(ledger)
