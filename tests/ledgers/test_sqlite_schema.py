"""How a SQLite ledger of yesterday becomes one of today."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from bulk_patch.errors import LedgerError
from bulk_patch.ledgers.sqlite import schema
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.ledgers.sqlite.reader import SqliteReader
from bulk_patch.ledgers.sqlite.schema import MIGRATIONS, Migration
from bulk_patch.model import Outcome, State
from bulk_patch.testing import ledger_calls as calls
from bulk_patch.testing.ledger_plans import JOB, START, TARGET, claim_rows, make_run, start

RUN_ID = make_run().id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def open_ledger(path: Path) -> SqliteLedger:
    return SqliteLedger.open(path, job=JOB)


def read_ledger(path: Path) -> SqliteReader:
    return SqliteReader.read(path, job=JOB)


def fill(path: Path) -> list[Any]:
    """Make a ledger in the middle of a run; return its rows."""
    with open_ledger(path) as ledger:
        run_id = start(ledger, 40)
        claim_rows(ledger, run_id, 20)
        calls.record(ledger, run_id, [Outcome(row, State.APPLIED) for row in range(1, 20)], now=START)
        return list(ledger.rows(run_id))


APPROVALS = Migration(
    "approvals",
    (
        "CREATE TABLE approvals (run INTEGER NOT NULL REFERENCES runs, by TEXT NOT NULL, at REAL NOT NULL)",
        "INSERT INTO approvals (run, by, at) SELECT number, 'before approvals', created_at FROM runs",
    ),
)
BROKEN = Migration("broken", ("CREATE TABLE half (x INTEGER)", "INSERT INTO no_such_table VALUES (1)"))


def add_migration(monkeypatch: pytest.MonkeyPatch, *migrations: Migration) -> None:
    """Make it the bulk-patch of a later day."""
    newest = (*MIGRATIONS, *migrations)
    monkeypatch.setattr(schema, "MIGRATIONS", newest)


#: What a ledger of today has.
TODAY = [(number, migration.name) for number, migration in enumerate(MIGRATIONS, start=1)]
THEN = len(TODAY) + 1


def find_migrations(path: Path) -> list[tuple[int, str]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT version, name FROM migrations ORDER BY version").fetchall()
    finally:
        connection.close()


def test_an_older_ledger_is_brought_up_to_date_with_all_it_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = fill(path)
    add_migration(monkeypatch, APPROVALS)
    with open_ledger(path) as ledger:
        assert list(ledger.rows(RUN_ID)) == rows
        assert ledger._database.all("SELECT by FROM approvals") == [("before approvals",)]
    assert find_migrations(path) == [*TODAY, (THEN, "approvals")]
    open_ledger(path).close()  # once is enough
    with read_ledger(path) as ledger:
        assert list(ledger.rows(RUN_ID)) == rows


def test_a_migration_that_fails_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path)
    with monkeypatch.context() as later:
        add_migration(later, APPROVALS, BROKEN)
        with pytest.raises(LedgerError):
            open_ledger(path)
    assert find_migrations(path) == [*TODAY, (THEN, "approvals")]
    with monkeypatch.context() as corrected:
        add_migration(corrected, APPROVALS, Migration("corrected", BROKEN.statements[:1]))
        open_ledger(path).close()
    assert find_migrations(path) == [*TODAY, (THEN, "approvals"), (THEN + 1, "corrected")]


def test_a_newer_ledger_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        add_migration(later, APPROVALS)
        fill(path)
    for use in (open_ledger, read_ledger):
        with pytest.raises(
            LedgerError, match=rf"a newer bulk-patch wrote it \(version {THEN}, this one knows {THEN - 1}\)"
        ):
            use(path)


def test_an_older_ledger_cannot_be_read_before_it_is_brought_up_to_date(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path)
    add_migration(monkeypatch, APPROVALS)
    with pytest.raises(LedgerError, match="an older bulk-patch wrote it"):
        read_ledger(path)
    open_ledger(path).close()
    with read_ledger(path) as ledger:
        assert ledger.open_run(TARGET) is not None
