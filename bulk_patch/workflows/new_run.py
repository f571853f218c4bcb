"""What a run starts with: its id, the secret of its keys, who asked for it, and what it is planned from."""

import asyncio
import datetime as dt
import secrets
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bulk_patch import plugins
from bulk_patch.baselines import Baseline
from bulk_patch.client.session import ApiSession
from bulk_patch.concurrency import in_thread
from bulk_patch.errors import InputError
from bulk_patch.inputs.parts import fingerprint, sha256_of
from bulk_patch.inputs.source import Source
from bulk_patch.job.section import KNOWN
from bulk_patch.job.settings import Job
from bulk_patch.job.stored_overrides import as_stored
from bulk_patch.ledgers import Ledger
from bulk_patch.ledgers.operator import current_actor
from bulk_patch.ledgers.records import PlanSummary, Run
from bulk_patch.observe import get_logger
from bulk_patch.planning.build import scan_input
from bulk_patch.review.approvals import approvals_of
from bulk_patch.review.terms import terms_of
from bulk_patch.targets import Target
from bulk_patch.workflows.options import RunOptions
from bulk_patch.workflows.resume_policy import Situation

log = get_logger()


def gather_situation(job: Job, options: RunOptions, ledger: Ledger) -> Situation:
    """Return what the resume policy decides by."""
    open_run = ledger.open_run(job.target_name)
    last = next((run for run in sealed_runs(job, ledger) if run.kind == "run"), None)
    in_question = open_run or last
    return Situation(
        open_run=open_run,
        last_run=last,
        sent=open_run is not None and open_run.started_at is not None,
        changed=in_question is not None and is_changed(job, in_question, ledger),
        new=options.new,
        approved=open_run is not None and bool(approvals_of(ledger.notes(open_run.id))),
        go_on=options.go_on,
        sent_before=_find_sent(job, ledger) if open_run is None and not options.new else None,
    )


def _find_sent(job: Job, ledger: Ledger) -> Run | None:
    """Return the newest complete run of these very bytes that no baseline would notice; None: there is none.

    The input is hashed only if a run had one of its size.
    """
    if job.baseline.capabilities.notices_resend:
        return None
    try:
        size, _ = fingerprint(job.input.path)
    except InputError:  # the plan says what is wrong with it
        return None
    sent = (run for run in sealed_runs(job, ledger) if run.kind == "run" and run.started_at is not None)
    alike = [run for run in sent if run.input_size == size and job.is_same_as(run.identity)]
    if not alike:
        return None
    sha256 = sha256_of(job.input.path)
    file = job.baseline.file()
    baseline_sha256 = "" if file is None else sha256_of(file)
    known = (sha256, baseline_sha256)
    return next((run for run in alike if (run.input_sha256, run.baseline_sha256) == known), None)


def sealed_runs(job: Job, ledger: Ledger) -> Iterator[Run]:
    """Yield the sealed runs of a job at its target, the newest first."""
    return (run for run in ledger.runs(job.target_name) if run.state == "sealed")


def new_run(job: Job, options: RunOptions, target: Target, *, undoes: str = "", **facts: Any) -> Run:
    """Return a run as it is before its plan is written.

    Args:
        job: The job.
        options: Who asks, and why.
        target: What it is planned for; its spec is kept.
        undoes: The id of the run that it undoes.
        facts: What the run is planned from: the other fields of `Run`.
    """
    now = time.time()
    return Run(
        id=f"{dt.datetime.fromtimestamp(now, tz=dt.UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
        job=job.name,
        target=job.target_name,
        secret=str(uuid.UUID(bytes=secrets.token_bytes(16))),
        created_at=now,
        actor=current_actor(options.operator),
        reason=options.reason,
        ticket=options.ticket,
        identity=job.identity,
        job_file=str(job.file),
        overrides=as_stored(job.overrides),
        summary=PlanSummary(undoes=undoes, needs_approval=job.guards.approval),
        terms=terms_of(job) | _capabilities(job, facts["baseline"]),
        target_spec=dict(target.spec),
        **facts,
    )


def _capabilities(job: Job, baseline: str) -> dict[str, Any]:
    """Return what the baseline can do; a kind that version 0.1 knew can do what it always could."""
    return {} if baseline in KNOWN else {"baseline": job.baseline.capabilities.to_json()}


async def scan_both(job: Job, target: Target, session: ApiSession | None) -> tuple[Source, Baseline]:
    """Read the input once and make its baseline, concurrently.

    Raises:
        InputError, JobError: One of them is refused; of both, the input's.
    """
    making = asyncio.ensure_future(in_thread(plugins.find("baseline", job.baseline.kind), job, target, session))
    try:
        found = await in_thread(scan_input, job, target)
    except BaseException:
        await asyncio.gather(making, return_exceptions=True)
        raise
    return found, await making


def input_facts(found: Source) -> dict[str, Any]:
    """Return the facts of a run that say which input it is planned from."""
    return {
        "input_path": str(found.path),
        "input_sha256": found.sha256,
        "input_size": found.size,
        "input_mtime_ns": found.mtime_ns,
        "columns": found.columns,
    }


def is_changed(job: Job, run: Run, ledger: Ledger) -> bool:
    """Tell whether the input or the job has changed since the run was planned.

    An input that cannot be looked at is not a change: a resume needs the ledger and the token, and the next plan says
    what is wrong with it. It is hashed again only if its size or time differs.
    """
    if run.kind != "run":
        return False
    if not job.is_same_as(run.identity):
        return True
    is_open = ledger.open_run(run.target) is not None
    file = job.baseline.file()
    if not is_open and file is not None and sha256_of(file) != run.baseline_sha256:
        return True
    try:
        stamp = fingerprint(job.input.path)
        if stamp == (run.input_size, run.input_mtime_ns):
            return False
        sha256 = sha256_of(job.input.path)
        is_still = stamp == fingerprint(job.input.path)
    except (InputError, OSError) as error:
        reason = error.message if isinstance(error, InputError) else f"{type(error).__name__}"
        _tell_unseen(run, reason, is_open=is_open)
        return False
    if not is_still or _is_being_written(job.input.path):
        _tell_unseen(run, "it is being written", is_open=is_open)
        return False
    if sha256 != run.input_sha256 or run.stopped_by == "max_age_h":  # delivered again, it is as old as it is
        return True
    ledger.keep_input_stamp(run.id, size=stamp[0], mtime_ns=stamp[1])
    return False


def _is_being_written(path: Path) -> bool:
    """Tell whether Hadoop's and Spark's committers, which write a folder's parts aside first, are at work."""
    return path.is_dir() and any(part.name == "_temporary" for part in path.iterdir())


def _tell_unseen(run: Run, reason: str, *, is_open: bool) -> None:
    if is_open:  # else the plan that comes now says it
        hint = "the open run goes on from the ledger; the next plan needs the input"
        log.warning("input_not_seen", run=run.id, reason=reason, hint=hint)
