"""Approve: record a second person's approval of a sealed plan, and say what comes next."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulk_patch.errors import LedgerError, RefusedError, UsageError
from bulk_patch.job.settings import Job
from bulk_patch.ledgers.operator import current_actor
from bulk_patch.ledgers.records import Actor, Run
from bulk_patch.reports.next_command import NextCommand
from bulk_patch.reports.runs import LocatedRun
from bulk_patch.review.approvals import key_of_plan, prepare, record_approval, record_rejection, refuse_undecidable
from bulk_patch.workflows.options import Commands
from bulk_patch.workflows.report import refresh_page
from bulk_patch.workflows.status import next_of_run


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedApproval:
    """An approval that is now in the ledger.

    Attributes:
        run: The approved run.
        actor: Who approved it.
        detail: Of the approval's note: what it is bound to, until when, and its signature.
        asked_for: The job asks for an approval.
        next: The command that continues the run.
        outdated_page: Why report.html could not be brought up to date; None: it was.
    """

    run: Run
    actor: Actor
    detail: Mapping[str, Any]
    asked_for: bool
    next: NextCommand
    outdated_page: LedgerError | None


def approve_run(
    job: Job, found: LocatedRun, *, operator: str = "", key: Path | None = None, commands: Commands
) -> RecordedApproval:
    """Approve the plan of a run.

    Args:
        job: The job that the run was planned from.
        found: The run.
        operator: Who approves; "": the login.
        key: Signs the approval; None: it is recorded, not cryptographically proven.
        commands: Names the next command.

    Raises:
        RefusedError: This person may not approve this run, or nothing of it is left to send.
        UsageError: The key does not sign, or its signature could not be checked.
        LockedError: Another process holds the ledger.
    """
    actor = current_actor(operator)
    with found.read() as reader:
        plan_key = key_of_plan(reader.notes(found.run.id))
    detail = prepare(job, found.run, actor, key=key, plan_key=plan_key)
    with found.record() as ledger:
        ledger.check_seal(found.run.id)  # what was shown is what is approved
        refuse_undecidable(ledger.run(found.run.id))  # it may have been replaced while somebody looked at it
        record_approval(ledger, found.run, actor, detail)
        following = next_of_run(ledger, found.run.id, commands=commands)
    return RecordedApproval(
        run=found.run,
        actor=actor,
        detail=detail,
        asked_for=job.guards.approval,
        next=following,
        outdated_page=refresh_page(found, commands=commands),
    )


def refuse_other_plan(run: Run, plan_hash: str) -> None:
    """Refuse a run whose plan is another one than a person has named.

    Args:
        run: The run.
        plan_hash: The first 8 digits of the hash, or more; "": no plan is named.

    Raises:
        UsageError: It is not the beginning of a hash.
        RefusedError: The run has another plan.
    """
    wanted = plan_hash.strip().lower()
    if not plan_hash:
        return
    if not re.fullmatch(r"[0-9a-f]{8,64}", wanted):
        raise UsageError("--plan is not the beginning of a plan's hash", "give 8 to 64 of its hexadecimal digits")
    if not run.plan_sha256.startswith(wanted):
        hint = f"look at the plan that is there now: bulk-patch status {run.id}"
        raise RefusedError(f"the plan of run {run.id} is {run.plan_sha256[:12]}, not {wanted[:12]}", hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRejection:
    """A rejection that is now in the ledger.

    Attributes:
        run: The rejected run.
        actor: Who rejected it.
        outdated_page: Why report.html could not be brought up to date; None: it was.
    """

    run: Run
    actor: Actor
    outdated_page: LedgerError | None


def reject_run(found: LocatedRun, reason: str, *, operator: str = "", commands: Commands) -> RecordedRejection:
    """Refuse the plan of a run: nothing of it is sent, unless somebody approves it afterwards.

    Args:
        found: The run.
        reason: Why.
        operator: Who refuses; "": the login.
        commands: Names the next command.

    Raises:
        RefusedError: There is no plan to refuse, or nothing of it is left to send.
        LockedError: Another process holds the ledger.
    """
    actor = current_actor(operator)
    with found.record() as ledger:
        ledger.check_seal(found.run.id)
        record_rejection(ledger, found.run, actor, reason)
    return RecordedRejection(run=found.run, actor=actor, outdated_page=refresh_page(found, commands=commands))
