"""Prune: remove the files of old runs. The ledger keeps every row of them, and notes that it was done."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bulk_patch.files.atomic import explaining
from bulk_patch.ledgers.operator import current_actor
from bulk_patch.ledgers.records import Note, Run
from bulk_patch.ledgers.stores import find_store
from bulk_patch.reports.runs import read_ledger

PRUNED = "pruned"  # the action of a note


@dataclass(frozen=True, slots=True)
class Prunable:
    """The files of one run that may be removed."""

    run: Run
    folder: Path
    files: int
    size: int  # bytes


def find_prunable(job_folder: Path, *, keep_s: float, now: float) -> tuple[Prunable, ...]:
    """Return the runs whose files may be removed, oldest first.

    The newest run of each target keeps its files, and so does one that has rows to be sent: somebody may be correcting
    its failures.csv.

    Args:
        job_folder: `output/<job>`.
        keep_s: Runs that ended, or were planned, so long ago or less keep their files, seconds.
        now: Unix seconds.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    found = []
    with read_ledger(job_folder) as ledger:
        runs = sorted(ledger.runs(), key=lambda run: run.created_at)
        newest = {run.target: run.id for run in runs}
        for run in (run for run in runs if newest[run.target] != run.id):
            folder = job_folder / run.id
            is_old = now - (run.finished_at or run.created_at) > keep_s
            is_open = run.state == "sealed" and bool(ledger.to_do(run.id))
            if is_old and not is_open and folder.is_dir() and not folder.is_symlink():
                paths = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
                found.append(Prunable(run, folder, len(paths), sum(path.stat().st_size for path in paths)))
    return tuple(found)


def prune(job_folder: Path, found: Sequence[Prunable], *, operator: str) -> None:
    """Remove the files of these runs, each after a note in the ledger.

    Args:
        job_folder: `output/<job>`.
        found: From `find_prunable`.
        operator: Who asked for it; "": the login.

    Raises:
        LockedError: Another process holds the ledger.
        LedgerError: The ledger or the disk fails.
    """
    with find_store(job_folder.name, job_folder.parent).write(job_folder.name) as ledger:
        for one in found:
            detail = {"files": one.files, "bytes": one.size}
            ledger.note(one.run.id, Note(time.time(), current_actor(operator), PRUNED, detail))
            with explaining(one.folder):
                shutil.rmtree(one.folder)
