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
from bulk_patch.review.signatures import find_fault, key_of, sign
from bulk_patch.review.terms import sha256_of_signers

APPROVED = "approved"  # the note's action
EXPIRED = "approval expired"  # the action of the note that an approval has expired
UNSIGNED = "recorded, not cryptographically proven"  # what an approval without a signature is worth
REJECTED = "rejected"  # the action of the note that somebody refused the plan
REPLACED = "replaced by run "  # how the stop reason of a plan starts that another one has replaced
PLAN_SIGNED = "plan signed"  # the action of the note that holds the planner's signature
CHECKED = "approval checked"  # the action of the note that a signature was checked, before rows were sent
STATEMENT = 2  # the version of what is signed
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
    summary_sha256: str = ""  # of the summary: of all that is displayed of a plan
    signers_sha256: str = ""  # of the file of allowed signers that its signature was checked against
    version: int = 1  # of the statement

    def as_json(self, run: Run, notes: Iterable[Note]) -> dict[str, Any]:
        """Return who approved, when and until when, and what that is worth, as summary.json tells it."""
        return {
            "worth": worth_words(self, run, notes),
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


def state_terms(run: Run, operator: str, expires_at: int, *, version: int = STATEMENT) -> bytes:
    """Return what is approved and signed, as reproducible bytes.

    Args:
        run: The run.
        operator: Who approves.
        expires_at: Unix seconds.
        version: Of the statement; 1 knew neither planner, terms nor what was displayed.
    """
    facts: dict[str, Any] = {"run": run.id, "plan_sha256": run.plan_sha256, "target": run.target, "rows": rows_of(run)}
    facts |= {"operator": operator, "expires_at": expires_at}
    if version > 1:
        facts |= {
            "planned_by": [run.actor.operator, run.actor.login, run.actor.host],
            "terms_sha256": hashlib.sha256(encode_json(run.terms)).hexdigest(),
            "summary_sha256": hash_summary(run),
        }
    return encode_json(facts)


def is_rehearsal(run: Run) -> bool:
    """Tell whether a run is for the built-in sandbox: there one person may play two."""
    return run.target.split(" ")[1:2] == ["sandbox"]


def is_same_login(actor: Actor, run: Run) -> bool:
    """Tell whether somebody uses the login and the host that a run was planned with, whatever name they give."""
    return (actor.login, actor.host) == (run.actor.login, run.actor.host)


def worth_words(approval: Approval, run: Run, notes: Iterable[Note]) -> str:
    """Say what an approval is worth: recorded, rehearsed, or of its signature what was checked, when, against what."""
    if approval.signed_by:
        checks = [note for note in notes if note.action == CHECKED and note.detail.get("approved_at") == approval.at]
        if not checks:
            return f"said to be signed by {approval.signed_by}; the signature was not checked since it was given"
        last = checks[-1]
        if fault := last.detail.get("fault"):
            return f"with a signature that did not count {utc_seconds(last.at)}: {fault}"
        against = f"the signers' file with SHA-256 {last.detail.get('signers_sha256') or 'not recorded'}"
        return f"signed by {approval.signed_by}: checked {utc_seconds(last.at)} before sending, against {against}"
    if is_rehearsal(run) and is_same_login(approval.actor, run):
        return "rehearsed, by the login that planned it"
    return f"not signed: {UNSIGNED}"


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


def find_objection(
    approval: Approval, run: Run, *, now: float, fault: Callable[[bytes, Approval], str], plan_key: str = ""
) -> str:
    """Say why an approval does not count for a run; "" when it does.

    Args:
        approval: From `approvals_of`.
        run: The run as the ledger has it.
        now: Unix seconds.
        fault: Says what is wrong with the signature under a statement; "" when it is valid, or none is asked for.
        plan_key: The public key that signed the plan, "" when it is not signed.
    """
    who = approval.actor.operator
    if is_same_person(who, run.actor.operator):
        return f"{who} planned it and cannot approve it too"
    if objection := find_same_hand(run, approval.actor, signature=approval.signature, plan_key=plan_key):
        return objection
    if approval.plan_sha256 != run.plan_sha256:
        return f"the plan is not the one that {who} approved"
    if approval.target != run.target:
        return f"{who} approved it for {approval.target}"
    if approval.rows != rows_of(run):
        return f"{who} approved {approval.rows:,} changes, these are {rows_of(run):,}"
    if run.started_at is None and approval.version == 1 and approval.summary_sha256 != hash_summary(run):
        return f"{who} approved it before the seal covered what people are shown"
    statement = state_terms(run, who, approval.expires_at, version=approval.version)
    if hashlib.sha256(statement).hexdigest() != approval.statement_sha256:
        return f"the approval of {who} has been altered"
    if now >= approval.expires_at:
        return f"the approval of {who} expired {utc_seconds(approval.expires_at)}"
    return fault(statement, approval)


def find_same_hand(run: Run, actor: Actor, *, signature: str, plan_key: str) -> str:
    """Say why an approval can have come from the planner's own hand; "" when it cannot, or when it is a rehearsal.

    Names are free text. What tells two people apart is the login and host, or the key where both sign.

    Args:
        run: The run.
        actor: Who approves.
        signature: Of the approval, "" when it is not signed.
        plan_key: The public key that signed the plan, "" when it is not signed.
    """
    if is_rehearsal(run):
        return ""
    if plan_key:
        if not signature:
            return f"the plan is signed, and the approval of {actor.operator} is not"
        if key_of(signature) == plan_key:
            return f"the key that signed the plan signed the approval of {actor.operator} too"
        return ""
    if is_same_login(actor, run):
        return f"the approval of {actor.operator} comes from the login and host that planned it, {_seat(actor)}"
    return ""


def _seat(actor: Actor) -> str:
    return f"{actor.login} on {actor.host}"


def state_plan(run: Run) -> bytes:
    """Return what `plan --sign` signs, as reproducible bytes."""
    facts = {"run": run.id, "plan_sha256": run.plan_sha256, "target": run.target}
    return encode_json({**facts, "planned_by": [run.actor.operator, run.actor.login, run.actor.host]})


def sign_plan(ledger: Ledger, run: Run, actor: Actor, *, key: Path) -> None:
    """Sign a plan in its planner's name: the approval has to be signed by another key then.

    Raises:
        UsageError: This key cannot sign.
    """
    detail = {"plan_sha256": run.plan_sha256, "signature": sign(state_plan(run), key=key)}
    ledger.note(run.id, Note(time.time(), actor, PLAN_SIGNED, detail))


def key_of_plan(notes: Iterable[Note]) -> str:
    """Return the public key that signed a plan, "" when it is not signed."""
    signed = [note for note in notes if note.action == PLAN_SIGNED]
    return key_of(str(signed[0].detail.get("signature", ""))) or "unreadable" if signed else ""


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


def prepare(job: Job, run: Run, actor: Actor, *, key: Path | None, plan_key: str = "") -> dict[str, Any]:
    """Return the detail of an approval's note, signed where a key is given.

    Raises:
        RefusedError: This person may not approve this run.
        UsageError: The key does not sign, or its signature could not be checked.
    """
    refuse_undecidable(run)
    if is_same_person(actor.operator, run.actor.operator):
        hint = "someone else has to run this command, under their own login or with their own --operator"
        raise RefusedError(f"{actor.operator} planned run {run.id} and cannot approve it too", hint)
    allowed_signers = job.guards.allowed_signers
    if key is None and allowed_signers is not None:
        raise UsageError(f"{job.name} accepts only signed approvals", "add --sign KEYFILE")
    if key is not None and allowed_signers is None:
        hint = 'name a file of allowed signers in the job: guards.allowed_signers = "PATH"'
        raise UsageError("the signature could not be checked", hint)
    if key is None and plan_key and not is_rehearsal(run):
        raise UsageError(
            f"the plan of run {run.id} is signed, so that another key has to sign the approval", "add --sign KEYFILE"
        )
    if key is None or not plan_key:
        _refuse_same_login(run, actor)
    expires_at = int(time.time() + job.guards.approval_valid_h * 3600)
    statement = state_terms(run, actor.operator, expires_at)
    signature = ""
    if key is not None and allowed_signers is not None:
        signature = sign(statement, key=key)
        if objection := find_same_hand(run, actor, signature=signature, plan_key=plan_key):
            raise RefusedError(objection, "somebody else has to approve it, with a key of their own")
        patterns = job.guards.signer_patterns
        fault = find_fault(
            statement, signature, signer=actor.operator, allowed_signers=allowed_signers, patterns=patterns
        )
        if fault:
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
        "summary_sha256": hash_summary(run),
        "signers_sha256": sha256_of_signers(allowed_signers) if signature and allowed_signers is not None else "",
        "version": STATEMENT,
    }


def refuse_undecidable(run: Run) -> None:
    """Refuse to approve or reject what is no plan, or none any more.

    Raises:
        RefusedError: Its plan is not sealed, or another one has replaced it.
    """
    if run.state == "planning":
        raise RefusedError(
            f"run {run.id} is {run.state}: there is nothing to approve", "see all runs: bulk-patch status"
        )
    if run.stop_reason.startswith(REPLACED):
        newer = run.stop_reason.removeprefix(REPLACED)
        hint = f"look at the plan that is there now: bulk-patch status {newer}"
        raise RefusedError(f"run {run.id} was {run.stop_reason}: its plan is never sent", hint)


def _refuse_same_login(run: Run, actor: Actor) -> None:
    if is_same_login(actor, run) and not is_rehearsal(run):
        hint = (
            "someone else has to approve it under a login of their own; where two people share one, both sign: "
            "plan --sign KEYFILE, then approve --sign with another key"
        )
        raise RefusedError(f"run {run.id} was planned by this login on this host, {_seat(actor)}", hint)


def record_rejection(ledger: Ledger, run: Run, actor: Actor, reason: str) -> None:
    """Keep in the ledger that somebody refused a plan: approvals before it no longer count.

    Raises:
        RefusedError: There is no plan to reject, or nothing is left to send.
    """
    run = ledger.run(run.id)
    refuse_undecidable(run)
    if not ledger.to_do(run.id):
        raise RefusedError(f"run {run.id} has nothing left to send", f"see its rows: bulk-patch status {run.id}")
    now = time.time()
    ledger.note(run.id, Note(now, actor, REJECTED, {"plan_sha256": run.plan_sha256, "reason": reason}))
    stop = missing_approval(run, rejection_words(actor.operator, reason))
    if not run.stopped_by:
        ledger.finish(run.id, int(stop.exit_code), now=now, reason=stop.reason, hint=stop.hint)


def rejection_words(operator: str, reason: str) -> str:
    """Say who rejected a plan, and why."""
    return f"{operator} rejected the plan: {reason}"


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
