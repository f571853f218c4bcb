"""`[ledger] group`: a job's folder that a team shares, and closes again."""

import grp
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulk_patch.errors import UsageError
from bulk_patch.files.atomic import REVEALED_PAGE, draft_of, file_mode, make_private_folder, replacing
from bulk_patch.files.team import share_folder
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.observe import attach_log_file, detach_log_file
from bulk_patch.testing.ledger_plans import make_run, seal_plan

RUN = make_run().id


def find_group() -> str:
    """Return a group that we can give files to: any for root, else another one of ours."""
    ours = set(os.getgroups()) - {os.getegid()}
    fits = (
        group.gr_name for group in grp.getgrall() if group.gr_gid in ours or (os.geteuid() == 0 and group.gr_gid != 0)
    )
    found = next(fits, None)
    if found is None:
        pytest.skip("this user is in one group only")
    return found


def facts(path: Path) -> tuple[int, int]:
    """Return the permissions and the group of a path."""
    status = path.stat()
    return stat.S_IMODE(status.st_mode), status.st_gid


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("narrow_umask")
def test_everything_in_a_shared_folder_belongs_to_the_team(tmp_path: Path) -> None:
    group = find_group()
    group_id = grp.getgrnam(group).gr_gid
    folder = tmp_path / "output" / "moves"
    assert share_folder(folder, group)
    with SqliteLedger.open(folder / "ledger.db", job="moves", group=True) as ledger:
        seal_plan(ledger, 1, make_run(job="moves"))  # makes the log and the shared memory
        make_private_folder(folder / "run")
        with replacing(folder / "run" / "summary.json") as file:
            file.write(b"{}")
        attach_log_file(folder / "run" / "run.log", mode=file_mode(folder))
        detach_log_file()
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert {"ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.lock"} <= {path.name for path in files}
        assert {path.name: facts(path) for path in files} == {path.name: (0o660, group_id) for path in files}
        for made in (folder.parent, folder, folder / "run"):
            assert facts(made) == (0o2770, group_id)


def test_what_was_there_before_is_opened_to_the_team_too(tmp_path: Path) -> None:
    group = find_group()
    folder = tmp_path / "moves"
    SqliteLedger.open(folder / "ledger.db", job="moves").close()
    make_private_folder(folder / RUN)
    (folder / RUN / "results.csv").touch(0o600)
    share_folder(folder, group)
    assert facts(folder / "ledger.db")[0] == 0o660
    assert facts(folder / RUN / "results.csv") == (0o660, grp.getgrnam(group).gr_gid)


def test_what_is_not_the_teams_stays_its_owners(tmp_path: Path) -> None:
    folder = tmp_path / "moves"
    make_private_folder(folder / RUN)
    make_private_folder(folder / "mine")
    names = (
        f"{RUN}/report-revealed.html",
        f"{RUN}/whole.csv",
        "whole.csv",
        "mine/results.csv",
        f"{RUN}/.results.csv.x",
    )
    for name in names:
        (folder / name).touch(0o600)
    share_folder(folder, find_group())
    assert {name: facts(folder / name)[0] for name in names} == dict.fromkeys(names, 0o600)
    assert facts(folder / "mine")[0] == 0o700
    assert facts(folder / RUN)[0] == 0o2770


def test_a_draft_of_whole_values_that_a_kill_left_is_removed_when_the_folder_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "moves"
    make_private_folder(folder / RUN)
    left = draft_of(folder / RUN / REVEALED_PAGE)
    left.write_text("whole values")
    left.chmod(0o600)
    share_folder(folder, find_group())
    assert list((folder / RUN).iterdir()) == []


def test_a_page_of_whole_values_that_is_being_written_while_the_folder_is_opened_stays_its_owners(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "moves"
    make_private_folder(folder / RUN)
    page = folder / RUN / REVEALED_PAGE
    with replacing(page, for_team=False) as file:
        file.write(b"whole values")
        assert facts(draft_of(page))[0] == 0o600
        share_folder(folder, find_group())
    assert [path.name for path in (folder / RUN).iterdir()] == [REVEALED_PAGE]
    assert page.read_bytes() == b"whole values"
    assert facts(page)[0] == 0o600


def test_without_the_setting_the_folder_is_closed_again(tmp_path: Path) -> None:
    folder = tmp_path / "moves"
    share_folder(folder, find_group())
    assert not share_folder(folder, None)
    assert facts(folder)[0] == 0o700
    make_private_folder(folder / "run")
    assert facts(folder / "run")[0] & 0o077 == 0


def test_a_group_that_is_not_there_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no group 'no-such-group'"):
        share_folder(tmp_path / "moves", "no-such-group")
    assert list(tmp_path.iterdir()) == []
