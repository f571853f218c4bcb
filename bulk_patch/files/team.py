"""Share the folder of a job with a team: `[ledger] group`."""

import grp
import os
import re
import stat
from pathlib import Path

from bulk_patch.errors import UsageError
from bulk_patch.files.atomic import (
    REVEALED_PAGE,
    TEAM_FILE,
    TEAM_FOLDER,
    explaining,
    is_shared,
    make_private_folder,
    remove_draft,
)

_RUN = r"\d{8}-\d{6}-[0-9a-f]{4}"
#: What is opened, by path in the job's folder. Anything else, such as an export of whole values, stays private.
_FOLDERS = re.compile(rf"{_RUN}|sandbox|live-[0-9a-f]{{12}}|spill(-last-run-[0-9a-f]{{8}})?(/.+)?")
_FILES = re.compile(
    r"ledger\.(db|db-wal|db-shm|lock)"
    rf"|{_RUN}/(results\.csv|failures\.csv|summary\.json|report\.html|run\.log)"
    r"|sandbox/(state\.db|state\.db-wal|state\.db-shm|requests\.jsonl)"
    r"|last-run-[0-9a-f]{8}\.parquet|live-[0-9a-f]{12}/\d+\.parquet"
)


def share_folder(folder: Path, group: str | None) -> bool:
    """Open the folder of a job, and what the team needs in it, to a group, or close it; return whether it is open.

    Files of other people keep their owner; everything that is made from now on belongs to the group.

    Args:
        folder: `output/<job>`; made when it is missing.
        group: The name of the group; None: the folder is for its owner alone.

    Raises:
        UsageError: When there is no such group, or we are not in it.
        StorageError: When the disk fails.
    """
    if group is None:
        if folder.is_dir() and is_shared(folder) and _is_ours(folder):
            with explaining(folder):
                make_private_folder(folder)
        return False
    try:
        group_id = grp.getgrnam(group).gr_gid
    except KeyError:
        raise UsageError(
            f"ledger.group: there is no group {group!r} on this machine", "`getent group` lists them"
        ) from None
    if os.geteuid() != 0 and group_id not in {os.getegid(), *os.getgroups()}:
        raise UsageError(f"ledger.group: you are not in the group {group!r}", "`id` lists your groups")
    with explaining(folder):
        if not folder.parent.is_dir():  # output/ itself: the team must be able to get through it
            make_private_folder(folder.parent)
            _open(folder.parent, group_id, TEAM_FOLDER)
        if not folder.is_dir():
            folder.mkdir()
        if not is_shared(folder) or folder.stat().st_gid != group_id:
            for path in sorted(folder.rglob("*")):
                name = path.relative_to(folder).as_posix()
                if path.is_dir() and _FOLDERS.fullmatch(name):
                    _open(path, group_id, TEAM_FOLDER)
                    remove_draft(path / REVEALED_PAGE)
                elif path.is_file() and _FILES.fullmatch(name):
                    _open(path, group_id, TEAM_FILE)
            _open(folder, group_id, TEAM_FOLDER)  # last: after a kill before this, the next command opens the folder
    return True


def _open(path: Path, group_id: int, mode: int) -> None:
    try:  # by a handle: a link that is planted meanwhile is not followed, and a pipe is not waited for
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        if path.is_symlink() or not _is_ours(path):
            return
        raise
    try:
        found = os.fstat(handle)
        if found.st_uid != os.geteuid() or not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            return
        if found.st_gid != group_id:
            os.fchown(handle, -1, group_id)
        if stat.S_IMODE(found.st_mode) != mode:
            os.fchmod(handle, mode)
    finally:
        os.close(handle)


def _is_ours(path: Path) -> bool:
    return path.stat(follow_symlinks=False).st_uid == os.geteuid()
