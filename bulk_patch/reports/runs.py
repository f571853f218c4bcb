"""Locate a run in a ledger by its id, a prefix of it, or a job file."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from bulk_patch.errors import LedgerError, LockedError, OutdatedLedgerError, RefusedError, StorageError, UsageError
from bulk_patch.files.atomic import check_reachable
from bulk_patch.job.base_urls import same_target
from bulk_patch.job.load import load_job, output_root
from bulk_patch.job.settings import Job
from bulk_patch.job.stored_overrides import is_taken_from_ledger, name_of
from bulk_patch.ledgers import Ledger, RunReader
from bulk_patch.ledgers.operator import current_actor
from bulk_patch.ledgers.records import Holder, Note, Run
from bulk_patch.ledgers.stores import all_stores, find_store
from bulk_patch.model import State
from bulk_patch.observe import get_logger
from bulk_patch.targets import Target
from bulk_patch.targets.from_spec import target_of_run

RECORD_WAIT_S = 10.0

log = get_logger()


@dataclass(frozen=True, slots=True)
class LocatedRun:
    """A run, and where it is kept."""

    run: Run
    folder: Path  # of the job: output/<job>

    @property
    def run_folder(self) -> Path:
        """Return where the run's files are."""
        return self.folder / self.run.id

    def read(self) -> RunReader:
        """Open the ledger to read, also while another process writes; the caller closes it."""
        return read_ledger(self.folder)

    def holder(self) -> Holder | None:
        """Return the process that is sending or planning, if any."""
        return find_store(self.folder.name, self.folder.parent).holder(self.folder.name)

    def target(self) -> Target:
        """Return the target of the run, for its fields and their masks.

        Raises:
            LedgerError: The run's target is not as it was written.
        """
        try:
            return target_of_run(self.run.id, self.run.target_spec, self.run.target)
        except LedgerError as error:
            raise LedgerError(f"{self.run.job}: {error.message}", error.hint) from None

    def record(self) -> Ledger:
        """Open the ledger to add a record; waits up to 10 s for the process that holds it. The caller closes it.

        Raises:
            LockedError: Another process still holds it.
        """
        return find_store(self.folder.name, self.folder.parent).write(self.folder.name, wait_s=RECORD_WAIT_S)

    def note_reveal(self, operator: str, *, command: str) -> None:
        """Record that whole values are revealed; waits as `record` does."""
        with self.record() as ledger:
            ledger.note(self.run.id, Note(time.time(), current_actor(operator), "revealed", {"command": command}))

    def note_export(self, operator: str, *, rows: int, form: str) -> None:
        """Record that rows were exported; where another process holds the ledger, say that it is not on record.

        Args:
            operator: Who exports.
            rows: How many.
            form: Suffix of the file.
        """
        note = Note(time.time(), current_actor(operator), "exported", {"rows": rows, "form": form})
        try:
            with find_store(self.folder.name, self.folder.parent).write(self.folder.name) as ledger:
                ledger.note(self.run.id, note)
        except (LockedError, StorageError) as error:
            log.warning("export_not_recorded", run=self.run.id, reason=error.message)


def locate_run(name: str, *, output: Path | None) -> LocatedRun:
    """Find one run.

    Args:
        name: A run's id, any unique prefix of it, or a job file: then that job's latest run.
        output: The `output/` folder; None: beside the job file, else in the current directory.

    Raises:
        UsageError: There is none, or more than one.
        LedgerError: There is none in the readable ledgers, and one cannot be read; else that one is skipped.
    """
    if not name.strip():
        raise UsageError("RUN is empty", "name a run by its id or by its job file; to list them: bulk-patch status")
    if name.endswith(".toml") or Path(name).is_file():
        job = load_job(name)
        folder = output_root(job.file, given=output) / job.name
        check_reachable(folder)
        runs = _runs_in(folder)
        if not runs:
            raise UsageError(f"no run of {job.name} in {folder}", f"start one: bulk-patch plan {name}")
        return LocatedRun(runs[0], folder)
    root = output_root(None, given=output)
    check_reachable(root)
    every, unread = _runs_below(root)
    found = [each for each in every if each.run.id.startswith(name)]
    exact = [each for each in found if each.run.id == name]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        raise UsageError(f"{len(found)} runs start with {name}", "give more of the id; to list them: bulk-patch status")
    if not any(root.glob(f"*/{escape(name)}*/")):  # an outdated ledger without such a run is not at fault
        unread = [error for error in unread if not isinstance(error, OutdatedLedgerError)]
    if unread:
        raise type(unread[0])(f"no run {name} in the ledgers that can be read: {unread[0].message}", unread[0].hint)
    raise UsageError(f"no run {name} in {root}", "--output names another folder; to list the runs: bulk-patch status")


def latest_run(found: LocatedRun, job: Job) -> LocatedRun:
    """Return the newest sealed run of a job at its current target; the given run where there is none."""
    runs = [
        run for run in _runs_in(found.folder) if same_target(run.target, job.target_name) and run.state != "planning"
    ]
    return LocatedRun(runs[0], found.folder) if runs else found


def run_to_undo(found: LocatedRun) -> str:
    """Return the id of the run that `undo` of a job is about: the last one that applied something at this target.

    Args:
        found: From `latest_run`.

    Raises:
        RefusedError: That run is a completed undo: undoing it would send the change again. Or there is none.
    """
    with found.read() as ledger:
        runs = [run for run in ledger.runs(found.run.target) if run.state != "planning"]
        started = next((run for run in runs if run.state == "sealed" and ledger.to_do(run.id)), None)
        if started is not None and started.kind == "undo":
            return started.summary.undoes
        last = next((run for run in runs if ledger.counts(run.id)[State.APPLIED]), None)
    if last is None:
        raise nothing_to_undo(found.run, None)
    if last.kind == "undo":
        what = f"the last run that applied something, {last.id}, is an undo itself"
        raise RefusedError(what, "name the run to undo by its id")
    return last.id


def nothing_to_undo(run: Run, last: Run | None) -> RefusedError:
    """Return the refusal to undo a run that applied nothing.

    Args:
        run: The run.
        last: The last run of the job and target that applied something; None: none did.
    """
    hint = "no run of this job has applied anything at this target: there is nothing to undo"
    if last is not None:
        hint = f"the last run that applied something is {last.id}; to undo it: bulk-patch undo {last.id}"
    return RefusedError(f"run {run.id} applied nothing", hint)


def list_runs(output: Path | None) -> list[LocatedRun]:
    """Return all runs of all jobs of an output folder, newest first.

    Raises:
        LedgerError: None can be listed because a ledger cannot be read; else that one is skipped.
    """
    found, unread = _runs_below(output_root(None, given=output))
    if unread and not found:
        raise unread[0]
    return sorted(found, key=lambda found: found.run.created_at, reverse=True)


def job_of(found: LocatedRun, overrides: tuple[str, ...], *, sends: bool = True) -> Job:
    """Load the job that a run was planned from, with the overrides it had.

    Of the ledger nothing is taken that decides what is executed or where anything is sent: whoever may write the
    ledger could have put it there.

    Args:
        found: The run.
        overrides: `--set` words of this command; they stand for those of the run that have the same name.
        sends: The job is used to send or read; else it does not matter what its target was set to.

    Raises:
        UsageError: The job file no longer exists, belongs to somebody else, or is now another job; or an override of
            the run is not taken from the ledger and was not typed again.
    """
    file = found.run.job_file
    if not Path(file).is_file():
        raise UsageError(f"the job file of run {found.run.id} no longer exists", "name the job file instead of the run")
    if not is_own_file(file):
        raise UsageError(
            f"the job file of run {found.run.id}, {file}, belongs to another user",
            "a job file decides what is executed and where it is sent: name the job file instead of the run",
        )
    typed = {name_of(override) for override in overrides}
    kept = [override for override in found.run.overrides if name_of(override) not in typed]
    refused = [override for override in kept if not is_taken_from_ledger(override)]
    kept = [override for override in kept if override not in refused]
    missing = list(dict.fromkeys(map(name_of, refused)))
    if not sends:
        missing = [name for name in missing if not name.startswith("target")]
    job = load_job(file, (*kept, *overrides))  # what is wrong with the file comes first
    if missing:
        again = " ".join(f"--set {name}=…" for name in missing)
        raise UsageError(
            f"run {found.run.id} was planned with --set {', '.join(missing)}, which is not taken from the ledger",
            f"name the job file instead of the run, or give it again: {again}",
        )
    if job.name != found.run.job:
        raise UsageError(
            f"{file} is now the job {job.name}, but the run is of {found.run.job}", "restore the old job file"
        )
    return job


def is_own_file(file: str) -> bool:
    """Tell whether a file, and the link that names it, belong to this user or to root."""
    owners = {os.stat(file).st_uid, os.lstat(file).st_uid}
    return owners <= {os.geteuid(), 0}


def job_folders(root: Path) -> list[Path]:
    """Return the folders of the jobs of an output folder that have a ledger."""
    return sorted(root / job for store in all_stores(root) for job in store.jobs())


@contextmanager
def passing_over(folder: Path, unread: list[LedgerError]) -> Iterator[None]:
    """Log which ledger cannot be read and carry on: one damaged job must not hide the others.

    Args:
        folder: Of the job.
        unread: The error is appended to it.
    """
    try:
        yield
    except LedgerError as met:
        known = met.message.startswith(f"{folder.name}: ")
        error = met if known else LedgerError(f"{folder.name}: {met.message}", met.hint)
        log.warning("ledger_passed_over", reason=error.message, hint=error.hint)
        unread.append(error)


def _runs_below(root: Path) -> tuple[list[LocatedRun], list[LedgerError]]:
    """Return the runs of all jobs of an output folder, and the errors of ledgers that cannot be read."""
    found: list[LocatedRun] = []
    unread: list[LedgerError] = []
    for folder in job_folders(root):
        with passing_over(folder, unread):
            found += [LocatedRun(run, folder) for run in _runs_in(folder)]
    return found, unread


def _runs_in(folder: Path) -> list[Run]:
    if folder.name not in find_store(folder.name, folder.parent).jobs():
        return []
    with read_ledger(folder) as ledger:
        return ledger.runs()


def read_ledger(folder: Path) -> RunReader:
    """Open the ledger in a job's folder to read; the caller closes it."""
    try:
        return find_store(folder.name, folder.parent).read(folder.name)
    except LedgerError as error:
        raise type(error)(f"{folder.name}: {error.message}", error.hint) from None
