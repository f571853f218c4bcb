import csv
import io
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk_patch.errors import Exit, LedgerError
from bulk_patch.files.rows import csv_line_writer
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.reports.export import export
from bulk_patch.reports.files import write_reports
from tests.support.report_runs import SYNCTERA, applied, moved, plan, send


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    with SqliteLedger.open(tmp_path / "ledger.db", job="moves") as ledger:
        yield ledger


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=5, max_size=5)))
def test_every_text_comes_back_from_a_strict_reader(lines: list[list[str]]) -> None:
    file = io.BytesIO()
    write_line = csv_line_writer(file)
    for line in lines:
        write_line(line)
    assert list(csv.reader(io.StringIO(file.getvalue().decode(), newline=""), strict=True)) == lines


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
        write_reports(ledger, run, folder, next_command="")
        export(ledger, run, folder / "all.csv", target=SYNCTERA, reveal=False)
    assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent, folder.parent.parent)] == [0o700] * 3
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == dict.fromkeys(
        ("results.csv", "failures.csv", "summary.json", "all.csv"), 0o600
    )


def test_a_folder_that_was_open_to_others_is_closed(ledger: SqliteLedger, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o755)
    (folder / "results.csv").touch(0o644)
    write_reports(ledger, plan(ledger, [moved(1)]), folder, next_command="")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "results.csv").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_leaves_the_reports_of_before_and_is_a_ledger_error(ledger: SqliteLedger, tmp_path: Path) -> None:
    run = plan(ledger, [moved(row) for row in range(1, 300)])
    folder = tmp_path / "run"
    write_reports(ledger, run, folder, next_command="first")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    send(ledger, run, applied(1))
    with longest_file(4096), pytest.raises(LedgerError, match=r"results\.csv|failures\.csv") as caught:
        write_reports(ledger, run, folder, next_command="second")
    assert caught.value.exit_code is Exit.LEDGER
    assert "space" in caught.value.hint
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_a_full_disk_leaves_nothing_of_an_export(ledger: SqliteLedger, tmp_path: Path, name: str) -> None:
    run = plan(ledger, [moved(row) for row in range(1, 300)])
    folder = tmp_path / "exports"
    folder.mkdir()
    with longest_file(1024), pytest.raises(LedgerError, match="cannot be written"):
        export(ledger, run, folder / name, target=SYNCTERA, reveal=False)
    assert list(folder.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_a_ledger_error(ledger: SqliteLedger, tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(LedgerError, match="cannot be written"):
        write_reports(ledger, plan(ledger, [moved(1)]), tmp_path / "run", next_command="")
