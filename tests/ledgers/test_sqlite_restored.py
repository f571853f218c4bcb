"""A SQLite ledger that is older than its folder, or lies where it may not."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bulk_patch.errors import Exit, LedgerError, OlderLedgerError
from bulk_patch.job.settings import LedgerSettings
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.ledgers.sqlite.reader import SqliteReader
from bulk_patch.ledgers.sqlite.store import SqliteStore
from bulk_patch.model import Outcome, State
from bulk_patch.testing.ledger_plans import ACTOR, JOB, START, find_states, make_run, seal_plan

FIRST, SECOND = "20261122-151203-0001", "20261122-151203-0002"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a ledger with a run in the middle of being sent, and beside it a copy from before the last commits."""
    path = tmp_path / JOB / "ledger.db"
    with SqliteLedger.open(path, job=JOB) as ledger:
        seal_plan(ledger, 4, make_run(FIRST))
    shutil.copy(path, tmp_path / "older.db")
    with SqliteLedger.open(path, job=JOB) as ledger:
        session = ledger.send(FIRST, ACTOR, now=START + 1)
        session.claim(2, now=START + 2)
        session.record([Outcome(1, State.APPLIED, attempts=1)], now=START + 3)
    return path


def restore(path: Path) -> None:
    shutil.copy(path.parent.parent / "older.db", path)


def delete(path: Path) -> None:
    path.unlink()


def lose_the_head_too(path: Path) -> None:
    restore(path)
    path.with_suffix(".head").unlink()
    report(path, SECOND)


def delete_all_but_the_runs(path: Path) -> None:
    delete(path)
    path.with_suffix(".head").unlink()
    report(path, FIRST)


def report(path: Path, run_id: str) -> None:
    (path.parent / run_id).mkdir()
    (path.parent / run_id / "summary.json").write_text("{}")


def open_to_write(path: Path, **how: str) -> SqliteLedger:
    return SqliteLedger.open(path, job=JOB, **how)  # type: ignore[arg-type]


def open_to_read(path: Path) -> SqliteReader:
    return SqliteReader.read(path, job=JOB)


WAYS = [restore, delete, lose_the_head_too, delete_all_but_the_runs]


@pytest.mark.parametrize("use", [open_to_write, open_to_read])
@pytest.mark.parametrize("lose", WAYS)
def test_a_ledger_that_is_older_than_its_folder_is_refused(
    path: Path, lose: Callable[[Path], None], use: Callable[[Path], SqliteReader]
) -> None:
    lose(path)
    made = {".lock", ".db-shm", ".db-wal"}
    before = {file.name for file in path.parent.iterdir() if file.suffix not in made}
    with pytest.raises(OlderLedgerError, match="older than its folder") as refused:
        use(path)
    assert refused.value.exit_code == Exit.LEDGER
    assert "run JOB --new --reason TEXT" in refused.value.hint
    assert {file.name for file in path.parent.iterdir() if file.suffix not in made} == before


def test_a_ledger_that_is_ahead_of_what_stands_beside_it_is_used(path: Path) -> None:
    head = path.with_suffix(".head").read_bytes()
    with open_to_write(path) as ledger:
        seal_plan(ledger, 1, make_run(SECOND))
    path.with_suffix(".head").write_bytes(head)  # as a kill leaves it
    open_to_write(path).close()
    path.with_suffix(".head").unlink()  # as an older version leaves it
    open_to_read(path).close()
    open_to_write(path).close()
    assert path.with_suffix(".head").exists()


def test_another_ledger_with_as_many_events_is_refused(path: Path) -> None:
    restore(path)
    path.with_suffix(".head").unlink()
    with open_to_write(path) as ledger:
        for number in range(3, 9):
            seal_plan(ledger, 1, make_run(f"20261122-151203-000{number}"))
    head = path.with_suffix(".head")
    written = head.read_text()
    head.write_text(written.replace(written[-8:], f'{int(written[-8:-4], 16) ^ 1:04x}"}}\n'))
    with pytest.raises(OlderLedgerError, match="is not the one that had been written"):
        open_to_write(path)


def test_a_person_may_take_an_older_ledger_and_then_nothing_that_was_open_is_trusted(path: Path) -> None:
    restore(path)
    with open_to_write(path, restored="the newer one is lost") as ledger:
        assert set(find_states(ledger, FIRST).values()) == {State.UNKNOWN}
        patches = ledger.send(FIRST, ACTOR, now=START + 9).claim(9, now=START + 9)
        assert all(patch.ambiguous for patch in patches)
        assert ledger.must_read_first(FIRST)
        (event,) = [event for event in ledger.events() if event.kind == "restored" and not event.run]
        assert event.detail["reason"] == "the newer one is lost"
        new, later = seal_plan(ledger, 1, make_run(SECOND)), seal_plan(ledger, 1, make_run("20261122-151203-0003"))
        assert ledger.must_read_first(new)
        assert not ledger.must_read_first(later)
    open_to_write(path).close()  # it is the ledger now
    open_to_read(path).close()


@pytest.mark.parametrize("lose", WAYS[1:])
def test_a_person_may_start_anew_where_a_ledger_is_gone(path: Path, lose: Callable[[Path], None]) -> None:
    lose(path)
    open_to_write(path, restored="it is lost").close()
    with open_to_write(path) as ledger:
        assert ledger.must_read_first(seal_plan(ledger, 1, make_run(SECOND)))


def test_a_log_without_its_ledger_is_still_refused(path: Path) -> None:
    delete(path)
    path.with_name("ledger.db-wal").write_bytes(b"log")
    with pytest.raises(LedgerError):
        open_to_write(path)


def test_the_folder_of_a_run_that_was_discarded_is_no_gap(path: Path) -> None:
    with open_to_write(path) as ledger:
        ledger.discard(seal_plan(ledger, 1, make_run(SECOND)))
    report(path, SECOND)
    open_to_write(path).close()


def test_a_ledger_on_a_network_file_system_is_refused_unless_the_job_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bulk_patch.ledgers.sqlite.backup.file_system_of", lambda path: "cifs")
    with pytest.raises(LedgerError, match=r"network file system \(cifs\)") as refused:
        SqliteStore(tmp_path, LedgerSettings()).write(JOB)
    assert refused.value.exit_code == Exit.LEDGER
    assert not (tmp_path / JOB).exists()
    SqliteStore(tmp_path, LedgerSettings(shared_filesystem="I know")).write(JOB).close()
