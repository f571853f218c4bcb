"""Too many open files are foreseen, and nothing that the machine refuses is called a bug."""

import errno
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bulk_patch.cli.entry import _as_known
from bulk_patch.errors import Exit, StorageError, UsageError
from bulk_patch.files.atomic import check_reachable
from bulk_patch.workflows.open_files import provide_open_files


def test_a_limit_that_may_be_raised_is_raised_and_another_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 4096))
    provide_open_files(16)
    assert raised == []
    provide_open_files(500)
    assert raised == [(540, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    with pytest.raises(UsageError, match=r"too many open files: limits.concurrency = 50") as refusal:
        provide_open_files(50)
    assert "lower limits.concurrency to 24" in refusal.value.hint
    assert "ulimit -n" in refusal.value.hint


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.EIO, errno.ENAMETOOLONG, errno.ELOOP]
)
def test_what_the_machine_refuses_is_no_bug(number: int) -> None:
    known = _as_known(OSError(number, os.strerror(number), "/srv/file"))
    assert known is not None
    assert known.exit_code == Exit.LEDGER
    assert "/srv/file" in known.message
    assert known.hint
    assert _as_known(OSError(errno.EBADF, "x")) is None


def test_a_command_in_a_folder_that_was_deleted_says_so(tmp_path: Path) -> None:
    program = (
        "import os, sys; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); from bulk_patch.cli import main; "
        "sys.argv = ['bulk-patch', *sys.argv[1:]]; main()"
    )
    for words in (["plan", "j.toml"], ["status"], ["show", "R"], ["run", "j.toml", "--yes"]):
        done = subprocess.run(
            [sys.executable, "-P", "-c", program, *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 2, done.stderr
        assert "the current directory was deleted" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder away")
def test_a_folder_of_another_user_is_named_with_its_owner(tmp_path: Path) -> None:
    above = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others
    above.chmod(0o755)
    folder = above / "job"
    folder.mkdir(mode=0o700)
    os.chown(folder, 4711, 4711)
    check_reachable(tmp_path / "not" / "there")
    os.seteuid(4712)
    try:
        for place in (folder, folder / "run"):
            with pytest.raises(StorageError, match=f"{folder} belongs to user 4711"):
                check_reachable(place)
    finally:
        os.seteuid(0)
        shutil.rmtree(above)
