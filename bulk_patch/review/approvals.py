"""The second person's approval: what it is bound to, and what speaks against it.

An approval is a note in the ledger. Without a signature it is recorded (operator, login and host), not
cryptographically proven: anyone who may write the ledger may write such a note. A signature by an allowed key is a
proof.
"""

import hashlib
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bulk_patch.errors import DamagedLedgerError, Exit, RefusedError, UsageError
from bulk_patch.job.settings import Job
from bulk_patch.ledgers import Ledger
from bulk_patch.ledgers.records import Actor, Note, Run
from bulk_patch.model import Stop, encode_json
from bulk_patch.review.signatures import find_fault, sign

APPROVED = "approved"  # the note's action
EXPIRED = "approval expired"  # the action of the note that an approval has expired
UNSIGNED = "recorded, not cryptographically proven"  # what an approval without a signature is worth
UNAPPROVED = "not approved"  # how the stop reason of a run that waits for approval starts


@dataclass(frozen=True, slots=True)
class Approval:
    """What one person approved."""

    at: float  # Unix seconds, as all times here
    actor: Actor
    plan_sha256: str
    target: str
    rows: int
    expires_at: int
    signed_by: str  # a principal of the allowed signers, "" when it is not signed
    signature: str
    statement_sha256: str
    ledger_time: float = 0.0  # the latest time in the ledger just before
    summary_sha256: str = ""  # of the summary, where the plan's own hash does not cover it (seal version 1)

    def as_json(self) -> dict[str, Any]:
        """Return who approved, when and until when, as summary.json tells it."""
        return {
            "operator": self.actor.operator,
            "login": self.actor.login,
            "host": self.actor.host,
            "at": utc_seconds(self.at),
            "expires_at": utc_seconds(self.expires_at),
            "signed_by": self.signed_by,
        }


# --- rules, pure


def rows_of(run: Run) -> int:
    """Return how many changes a plan sends: what is approved along with its hash."""
    return run.summary.changes


def state_terms(run: Run, operator: str, expires_at: int) -> bytes:
    """Return what is approved and signed, as reproducible bytes."""
    terms = {"run": run.id, "plan_sha256": run.plan_sha256, "target": run.target, "rows": rows_of(run)}
    return encode_json({**terms, "operator": operator, "expires_at": expires_at})


def approvals_of(notes: Iterable[Note]) -> list[Approval]:
    """Return the approvals among the notes of a run, in order.

    Raises:
        LedgerError: A note has been altered.
    """
    try:
        return [Approval(note.at, note.actor, **note.detail) for note in notes if note.action == APPROVED]
    except TypeError as error:
        raise DamagedLedgerError(
            "the ledger is damaged: the record of an approval has been altered",
            "Do not edit it: move it away and restore it from a backup.",
        ) from error


def is_same_person(one: str, other: str) -> bool:
    """Tell whether two operators are the same person, ignoring case, blanks, look-alike and invisible characters."""
    return _plain_name(one) == _plain_name(other)


def _plain_name(operator: str) -> str:
    compatible = unicodedata.normalize("NFKC", operator)
    visible = "".join(mark for mark in compatible if unicodedata.category(mark) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", visible.casefold()).split())


def hash_summary(run: Run) -> str:
    """Return the SHA-256 of a plan's summary, as hex digits: what an approval of a plan of the old seal is bound to."""
    return hashlib.sha256(encode_json(run.summary.to_json())).hexdigest()


def find_objection(approval: Approval, run: Run, *, now: float, fault: Callable[[bytes, Approval], str]) -> str:
    """Say why an approval does not count for a run; "" when it does.

    Args:
        approval: From `approvals_of`.
        run: The run as the ledger has it.
        now: Unix seconds.
        fault: Says what is wrong with the signature under a statement; "" when it is valid, or none is asked for.
    """
    who = approval.actor.operator
    if is_same_person(who, run.actor.operator):
        return f"{who} planned it and cannot approve it too"
    if approval.plan_sha256 != run.plan_sha256:
        return f"the plan is not the one that {who} approved"
    if approval.target != run.target:
        return f"{who} approved it for {approval.target}"
    if approval.rows != rows_of(run):
        return f"{who} approved {approval.rows:,} changes, these are {rows_of(run):,}"
    if run.seal_version == 1 and run.started_at is None and approval.summary_sha256 != hash_summary(run):
        return f"{who} approved it before the seal covered what people are shown"
    statement = state_terms(run, who, approval.expires_at)
    if hashlib.sha256(statement).hexdigest() != approval.statement_sha256:
        return f"the approval of {who} has been altered"
    if now >= approval.expires_at:
        return f"the approval of {who} expired {utc_seconds(approval.expires_at)}"
    return fault(statement, approval)


def waits_for_approval(run: Run) -> bool:
    """Tell whether a run waits for another person's approval."""
    return not run.stopped_by and run.stop_reason.startswith(UNAPPROVED)


def approval_words(run: Run) -> str:
    """Say whose approval a run waits for."""
    return f"waiting for approval by someone other than {run.actor.operator}"


def missing_approval(run: Run, reason: str) -> Stop:
    """Return the stop of a run that waits for another person."""
    hint = f"{approval_words(run)}: bulk-patch approve {run.id}"
    return Stop(Exit.REFUSED, f"{UNAPPROVED}: {reason}", hint)


# --- for the person who approves


def prepare(job: Job, run: Run, actor: Actor, *, key: Path | None) -> dict[str, Any]:
    """Return the detail of an approval's note, signed where a key is given.

    Raises:
        RefusedError: This person may not approve this run.
        UsageError: The key does not sign, or its signature could not be checked.
    """
    if run.state == "planning":
        raise RefusedError(
            f"run {run.id} is {run.state}: there is nothing to approve", "see all runs: bulk-patch status"
        )
    if is_same_person(actor.operator, run.actor.operator):
        hint = "someone else has to run this command, under their own login or with their own --operator"
        raise RefusedError(f"{actor.operator} planned run {run.id} and cannot approve it too", hint)
    allowed_signers = job.guards.allowed_signers
    if key is None and allowed_signers is not None:
        raise UsageError(f"{job.name} accepts only signed approvals", "add --sign KEYFILE")
    if key is not None and allowed_signers is None:
        hint = 'name a file of allowed signers in the job: guards.allowed_signers = "PATH"'
        raise UsageError("the signature could not be checked", hint)
    expires_at = int(time.time() + job.guards.approval_valid_h * 3600)
    statement = state_terms(run, actor.operator, expires_at)
    signature = ""
    if key is not None and allowed_signers is not None:
        signature = sign(statement, key=key)
        if fault := find_fault(statement, signature, signer=actor.operator, allowed_signers=allowed_signers):
            hint = f"--operator has to be the key's name in {allowed_signers.name}"
            raise RefusedError(f"{key} is not an allowed key of {actor.operator}: {fault}", hint)
    return {
        "plan_sha256": run.plan_sha256,
        "target": run.target,
        "rows": rows_of(run),
        "expires_at": expires_at,
        "signed_by": actor.operator if signature else "",
        "signature": signature,
        "statement_sha256": hashlib.sha256(statement).hexdigest(),
        **({"summary_sha256": hash_summary(run)} if run.seal_version == 1 else {}),
    }


def record_approval(ledger: Ledger, run: Run, actor: Actor, detail: Mapping[str, Any]) -> None:
    """Keep an approval in the ledger.

    Raises:
        RefusedError: Nothing is left to approve.
    """
    run = ledger.run(run.id)
    if not ledger.to_do(run.id):  # of a closed run: only what a retry asked for
        raise RefusedError(f"run {run.id} has nothing left to send", f"see its rows: bulk-patch status {run.id}")
    detail = {**detail, "ledger_time": ledger.last_time()}
    ledger.note(run.id, Note(time.time(), actor, APPROVED, detail))
    if waits_for_approval(run):
        ledger.reopen(run.id)


def utc_seconds(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
