"""What is the SQLite ledger's own: its files, its lock, its readers."""

import errno
import fcntl
import os
import socket
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bulk_patch.errors import LedgerError, LockedError
from bulk_patch.ledgers.records import Holder
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger, holder_of
from bulk_patch.ledgers.sqlite.planning import pack_customer, unpack_customer
from bulk_patch.ledgers.sqlite.reader import SqliteReader
from bulk_patch.model import Outcome, State
from bulk_patch.testing import ledger_calls as calls
from bulk_patch.testing.ledger_plans import ACTOR, JOB, START, claim_rows, find_states, seal_plan
from tests.support.ledger_children import HOLD, SEND, running


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


def modes(folder: Path) -> dict[str, str]:
    return {file.name: oct(file.stat().st_mode & 0o7777) for file in sorted(folder.iterdir())}


# --- files


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0)
    os.umask(before)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("mask", [0, 0o077])
def test_nobody_else_can_read_any_file(path: Path, umask: Callable[[int], int], mask: int) -> None:
    umask(mask)
    with open_ledger(path) as ledger:
        seal_plan(ledger, 3)
        private = dict.fromkeys(["ledger.db", "ledger.db-shm", "ledger.db-wal", "ledger.head", "ledger.lock"], "0o600")
        assert modes(path.parent) == private
    assert modes(path.parent.parent) == {JOB: "0o700"}
    assert oct(path.parent.parent.stat().st_mode & 0o7777) == "0o700"


@pytest.mark.parametrize("mask", [0, 0o077])
def test_a_group_can_write_when_the_job_says_so(path: Path, umask: Callable[[int], int], mask: int) -> None:
    umask(mask)
    with open_ledger(path, group=True) as ledger:
        seal_plan(ledger, 3)
        shared = dict.fromkeys(["ledger.db", "ledger.db-shm", "ledger.db-wal", "ledger.head", "ledger.lock"], "0o660")
        assert modes(path.parent) == shared
    assert modes(path.parent.parent) == {JOB: "0o2770"}


def test_a_ledger_that_others_could_read_is_closed_to_them_and_its_folder_left_alone(path: Path) -> None:
    open_ledger(path).close()
    path.chmod(0o644)
    path.parent.chmod(0o755)
    open_ledger(path).close()
    assert modes(path.parent) == {"ledger.db": "0o600", "ledger.head": "0o600", "ledger.lock": "0o600"}
    assert modes(path.parent.parent) == {JOB: "0o755"}


def test_a_closed_ledger_is_one_file_and_its_lock(path: Path) -> None:
    with open_ledger(path) as ledger:
        seal_plan(ledger, 3)
    assert sorted(file.name for file in path.parent.iterdir()) == ["ledger.db", "ledger.head", "ledger.lock"]


def test_what_a_kill_left_of_a_ledger_being_made_is_in_nobodys_way(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.with_name("ledger.db.new").write_bytes(b"half a ledger")
    path.with_name("ledger.db.new-journal").write_bytes(b"and its journal")
    with open_ledger(path) as ledger:
        seal_plan(ledger, 1)
    assert sorted(file.name for file in path.parent.iterdir()) == ["ledger.db", "ledger.head", "ledger.lock"]


def test_a_commit_is_on_the_disk_and_references_are_checked(path: Path) -> None:
    with open_ledger(path) as ledger:
        settings = ["journal_mode", "synchronous", "foreign_keys", "mmap_size", "page_size"]
        found = [ledger._database.first(f"PRAGMA {setting}") for setting in settings]
    assert found == [("wal",), (2,), (1,), (0,), (16384,)]


def test_a_planned_row_cannot_be_changed_in_passing(path: Path) -> None:
    with open_ledger(path) as ledger:
        seal_plan(ledger, 1)
    with pytest.raises(sqlite3.IntegrityError, match="a planned row never changes"):
        query(path, "UPDATE rows SET body = x'00'")


@pytest.mark.parametrize(
    ("customer_id", "stored_bytes"),
    [
        ("6f1c1c9e-3a43-4d0f-9a3f-5f4b1f6d7a10", 16),
        ("6F1C1C9E-3A43-4D0F-9A3F-5F4B1F6D7A10", 36),
        ("6f1c1c9e3a434d0f9a3f5f4b1f6d7a10", 32),
        ("C-17", 4),
        ("", 0),
    ],
)
def test_a_customer_id_is_stored_small_and_comes_back_as_it_was(customer_id: str, stored_bytes: int) -> None:
    stored = pack_customer(customer_id)
    assert len(stored) == stored_bytes
    assert unpack_customer(stored) == customer_id


# --- the lock


def test_a_second_process_is_locked_out_and_told_by_whom(path: Path) -> None:
    before = time.time()
    with running(HOLD, path) as child:
        with pytest.raises(LockedError) as locked:
            open_ledger(path)
        holder = holder_of(path)
        assert holder is not None
        assert (holder.pid, holder.host) == (child.pid, socket.gethostname())
        assert before <= holder.started_at <= time.time()
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(holder.started_at))
        for part in (str(child.pid), socket.gethostname(), since):
            assert part in locked.value.message


def test_the_lock_dies_with_its_process_and_what_it_left_behind_does_not_count(path: Path) -> None:
    with running(HOLD, path) as child:
        child.kill()
        child.wait()
        assert path.with_name("ledger.lock").read_text() != ""
        assert holder_of(path) is None
        open_ledger(path).close()


def test_a_holder_names_itself_over_whatever_was_left_in_the_lock(path: Path) -> None:
    open_ledger(path).close()
    path.with_name("ledger.lock").write_text('{"pid": 1, "host": "a host with a long name", "started_at": 1.0}' * 9)
    with open_ledger(path):
        holder = holder_of(path)
    assert holder is not None
    assert (holder.pid, holder.host) == (os.getpid(), socket.gethostname())


def test_a_command_can_wait_for_the_lock(path: Path) -> None:
    first = open_ledger(path)
    closing = threading.Timer(0.3, first.close)
    closing.start()
    try:
        with open_ledger(path, wait_s=30.0) as second:
            assert second.runs() == []
    finally:
        closing.join()


def test_a_command_does_not_wait_longer_than_it_was_told(path: Path) -> None:
    with open_ledger(path):
        started = time.monotonic()
        with pytest.raises(LockedError):
            open_ledger(path, wait_s=0.4)
        assert time.monotonic() - started >= 0.4


def test_asking_who_holds_the_lock_does_not_lock_anybody_out(path: Path) -> None:
    open_ledger(path).close()
    with path.with_name("ledger.lock").open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)  # as `holder` does, for an instant
        letting_go = threading.Timer(0.05, fcntl.flock, (asking, fcntl.LOCK_UN))
        letting_go.start()
        open_ledger(path).close()
        letting_go.join()


def test_nobody_holds_a_ledger_that_was_never_made_or_is_closed(path: Path) -> None:
    assert holder_of(path) is None
    open_ledger(path).close()
    assert holder_of(path) is None


def test_a_holder_that_has_not_said_its_name_yet_is_still_a_holder(path: Path) -> None:
    with open_ledger(path):
        path.with_name("ledger.lock").write_text("")
        assert holder_of(path) == Holder(pid=0, host="", started_at=0.0)
        with pytest.raises(LockedError, match="another process"):
            open_ledger(path)


def test_one_ledger_has_one_lock_by_whatever_name_it_is_reached(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path.parent.parent)
    (tmp_path / "other.db").symlink_to(path)
    with open_ledger(path):
        for other in (tmp_path / "link" / JOB / "ledger.db", tmp_path / "other.db"):
            with pytest.raises(LockedError):
                open_ledger(other)
            assert holder_of(other) is not None


@pytest.mark.parametrize("another", [True, False])
def test_a_lock_on_a_file_that_was_just_replaced_is_taken_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, another: bool
) -> None:
    lock = path.with_name("ledger.lock")
    flock = fcntl.flock
    replaced: list[bool] = []

    def replace_and_lock(file: int, operation: int) -> None:
        if not replaced:
            lock.rename(lock.with_name("moved.lock"))
            if another:
                lock.touch(0o600)
            replaced.append(True)
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", replace_and_lock)
    with open_ledger(path), pytest.raises(LockedError):
        open_ledger(path)
    assert replaced


def test_a_lock_file_that_points_elsewhere_is_refused(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.with_name("ledger.lock").symlink_to(tmp_path / "somebody_elses_file")
    with pytest.raises(LedgerError):
        open_ledger(path)
    assert not (tmp_path / "somebody_elses_file").exists()


def test_a_lock_that_cannot_be_taken_is_no_lock_and_stays_free(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as broken:
        broken.setattr(fcntl, "flock", refuse)
        with pytest.raises(LedgerError, match="No locks available"):
            open_ledger(path)
    open_ledger(path).close()


# --- readers


def test_a_job_without_a_run_has_nothing_to_read(path: Path) -> None:
    with pytest.raises(LedgerError, match="has no run yet"):
        read_ledger(path)
    assert not path.parent.exists()


def test_a_reader_sees_every_commit_of_a_writer_and_never_stops_it(path: Path) -> None:
    with open_ledger(path) as writer:
        run_id = seal_plan(writer, 1_200)
        with read_ledger(path) as reader:
            streaming = reader.rows(run_id)
            assert next(streaming).state is State.PENDING
            calls.start_session(writer, run_id, ACTOR, START)
            for done in range(10, 101, 10):
                rows = claim_rows(writer, run_id, 10)
                assert reader.counts(run_id)[State.SENDING] == 10
                calls.record(writer, run_id, [Outcome(row, State.APPLIED) for row in rows], now=START)
                assert reader.counts(run_id)[State.APPLIED] == done
            assert sum(1 for _ in streaming) == 1_199


def test_a_reader_reads_while_another_process_writes(path: Path) -> None:
    with running(SEND, path), read_ledger(path) as reader:
        (run,) = reader.runs()
        states = list(find_states(reader, run.id).values())
        assert states == [State.APPLIED, State.SENDING, *[State.PENDING] * 3]


def test_a_reader_leaves_no_file_that_others_can_read(path: Path, umask: Callable[[int], int]) -> None:
    umask(0)
    with open_ledger(path) as writer:
        run_id = seal_plan(writer, 1)
    with read_ledger(path) as reader:
        assert list(find_states(reader, run_id)) == [1]
        assert set(modes(path.parent).values()) == {"0o600"}
    assert set(modes(path.parent).values()) == {"0o600"}


def test_a_reader_neither_locks_nor_writes(path: Path) -> None:
    with open_ledger(path) as writer:
        run_id = seal_plan(writer, 1)
    before = path.read_bytes()
    with read_ledger(path) as reader:
        assert holder_of(path) is None
        assert not hasattr(reader, "plan")
        assert not hasattr(reader, "send")
        open_ledger(path).close()
        with pytest.raises(LedgerError, match="for reading only"), reader._database.transaction():
            pass
        assert [run.id for run in reader.runs()] == [run_id]
    assert path.read_bytes() == before


@pytest.fixture
def unwritable() -> Iterator[Path]:
    """A ledger in a folder that this process may read and not write, whoever it is."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with open_ledger(folder / "ledger.db") as ledger:
            seal_plan(ledger, 3)
        for file in folder.iterdir():
            file.chmod(0o444)
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # root may write anywhere
        try:
            yield folder / "ledger.db"
        finally:
            os.seteuid(user)
            folder.chmod(0o700)


def test_a_ledger_can_be_read_where_nothing_can_be_written(unwritable: Path) -> None:
    with read_ledger(unwritable) as reader:
        (run,) = reader.runs()
        assert find_states(reader, run.id) == dict.fromkeys([1, 2, 3], State.PENDING)


def test_a_ledger_that_cannot_be_written_is_said_to_be_so(unwritable: Path) -> None:
    with pytest.raises(LedgerError, match="Permission denied") as refused:
        open_ledger(unwritable)
    assert "permissions" in refused.value.hint
