import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bulk_patch.errors import Exit, StorageError
from bulk_patch.files.atomic import draft_of, make_private_folder, remove_draft, replacing
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.reports.export import export
from bulk_patch.reports.files import write_reports
from bulk_patch.reports.next_command import NextCommand
from tests.support.report_runs import SYNCTERA, applied, moved, plan, send


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    with SqliteLedger.open(tmp_path / "ledger.db", job="moves") as ledger:
        yield ledger


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def longest_file(size: int) -> Iterator[None]:
    """Let every write fail that would make a file longer, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
def test_reports_are_for_the_owner_alone_whatever_the_umask(ledger: SqliteLedger, tmp_path: Path, mask: int) -> None:
    run = plan(ledger, [moved(1)])
    folder = tmp_path / "output" / "moves" / run.id
    with umask(mask):
        write_reports(ledger, run, folder, next_command=NextCommand(""))
        export(ledger, run, folder / "all.csv", target=SYNCTERA, reveal=False)
    assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent, folder.parent.parent)] == [0o700] * 3
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == dict.fromkeys(
        ("results.csv", "failures.csv", "summary.json", "all.csv"), 0o600
    )


def test_a_folder_that_was_open_to_others_is_closed(ledger: SqliteLedger, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o755)
    (folder / "results.csv").touch(0o644)
    write_reports(ledger, plan(ledger, [moved(1)]), folder, next_command=NextCommand(""))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "results.csv").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_leaves_the_reports_of_before_and_is_a_storage_error(ledger: SqliteLedger, tmp_path: Path) -> None:
    run = plan(ledger, [moved(row) for row in range(1, 300)])
    folder = tmp_path / "run"
    write_reports(ledger, run, folder, next_command=NextCommand("first"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    send(ledger, run, applied(1))
    with longest_file(4096), pytest.raises(StorageError, match=r"results\.csv|failures\.csv") as caught:
        write_reports(ledger, run, folder, next_command=NextCommand("second"))
    assert caught.value.exit_code is Exit.LEDGER
    assert "space" in caught.value.hint
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_a_full_disk_leaves_nothing_of_an_export(ledger: SqliteLedger, tmp_path: Path, name: str) -> None:
    run = plan(ledger, [moved(row) for row in range(1, 300)])
    folder = tmp_path / "exports"
    folder.mkdir()
    with longest_file(1024), pytest.raises(StorageError, match="cannot be written"):
        export(ledger, run, folder / name, target=SYNCTERA, reveal=False)
    assert list(folder.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_a_storage_error(ledger: SqliteLedger, tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        write_reports(ledger, plan(ledger, [moved(1)]), tmp_path / "run", next_command=NextCommand(""))


# --- drafts: writers that are killed, and writers that meet

#: Writes half of a file, says so, waits for a line, and writes the rest.
SLOW_WRITER = """
import sys
from pathlib import Path
from bulk_patch.files.atomic import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"a" * 500_000)
    file.flush()
    print("half", flush=True)
    sys.stdin.readline()
    file.write(b"a" * 500_000)
"""

#: Writes a file again and again, each time full of one letter.
BUSY_WRITER = """
import sys
from pathlib import Path
from bulk_patch.files.atomic import replacing
for turn in range(150):
    with replacing(Path(sys.argv[1])) as file:
        for _ in range(20):
            file.write(sys.argv[2].encode() * 10_000)
            file.flush()
"""


def start(code: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextmanager
def half_written(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Start a process that has written half of a file, and waits."""
    with start(SLOW_WRITER, path) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "half\n"
        try:
            yield child
        finally:
            child.kill()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_killed_writer_leaves_the_file_of_before_and_a_draft_that_the_next_one_replaces(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_bytes(b"before")
    with half_written(path) as child:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert path.read_bytes() == b"before"
    assert names(tmp_path) == {path.name, draft_of(path).name}
    with replacing(path) as file:
        file.write(b"after")
    assert path.read_bytes() == b"after"
    assert names(tmp_path) == {path.name}


def test_of_two_processes_that_write_one_file_at_once_both_succeed_whole_and_the_last_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    with half_written(path) as child:
        with replacing(path) as file:  # takes the name of the draft that the child is writing
            file.write(b"b" * 10)
        assert path.read_bytes() == b"b" * 10
        child.communicate("go on\n")
        assert child.returncode == 0
    assert path.read_bytes() == b"a" * 1_000_000
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == {path.name}


def test_a_writer_that_starts_first_and_ends_first_does_not_move_the_draft_of_the_second(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    with replacing(path) as file:
        file.write(b"b" * 10)
        file.flush()
        with half_written(path) as child:  # its draft has the name now
            file.write(b"b" * 10)
            file.flush()
            child.kill()
            child.wait()
    assert path.read_bytes() == b"b" * 20
    assert names(tmp_path) == {path.name}


def test_a_writer_that_fails_takes_away_its_own_draft_and_not_that_of_another(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"

    def fail_after_another_started() -> None:
        with replacing(path), half_written(path) as child:
            child.kill()
            child.wait()
            raise KeyError

    with pytest.raises(KeyError):
        fail_after_another_started()
    assert names(tmp_path) == {draft_of(path).name}
    assert draft_of(path).read_bytes() == b"a" * 500_000


def test_processes_that_write_one_file_again_and_again_never_show_a_part_or_a_mixture(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    with replacing(path) as file:
        file.write(b"z" * 200_000)
    shown: set[bytes] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            content = path.read_bytes()
            shown.add(b"%d of " % len(content) + bytes(sorted(set(content))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    writers = [start(BUSY_WRITER, path, letter) for letter in "abc"]
    codes = [(writer.communicate(), writer.returncode)[1] for writer in writers]
    ended.set()
    watcher.join()
    assert codes == [0, 0, 0]
    assert shown <= {b"200000 of " + letter for letter in (b"a", b"b", b"c", b"z")}
    assert names(tmp_path) == {path.name}


def test_a_draft_is_a_new_file_and_never_written_through_a_link(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "summary.json", tmp_path / "elsewhere"
    elsewhere.write_bytes(b"mine")
    draft_of(path).symlink_to(elsewhere)
    with replacing(path) as file:
        file.write(b"new")
    assert (path.read_bytes(), elsewhere.read_bytes()) == (b"new", b"mine")
    assert not path.is_symlink()


def test_a_draft_that_was_removed_while_it_is_written_takes_its_place_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    with replacing(path) as file:
        file.write(b"whole")
        remove_draft(path)
        assert names(tmp_path) == set()
    assert path.read_bytes() == b"whole"


@pytest.mark.parametrize("mode", [0o711, 0o755, 0o2770])
def test_a_link_in_the_place_of_a_folder_is_refused_and_what_it_points_to_keeps_its_mode(
    tmp_path: Path, mode: int
) -> None:
    victim, shared = tmp_path / "victim", tmp_path / "team"
    victim.mkdir()
    victim.chmod(mode)
    shared.mkdir()
    shared.chmod(0o2770)
    (shared / "run").symlink_to(victim)
    with pytest.raises(StorageError, match="a link stands in the place of the folder"):
        make_private_folder(shared / "run")
    assert stat.S_IMODE(victim.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder away")
def test_a_folder_of_another_user_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs").mkdir(mode=0o755)
    os.chown(tmp_path / "theirs", 4711, 4711)
    with pytest.raises(StorageError, match="it belongs to user 4711"):
        make_private_folder(tmp_path / "theirs")
