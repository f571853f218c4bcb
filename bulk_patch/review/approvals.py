"""The second person's yes: what it is bound to, and when it counts.

An approval is a note in the ledger. Without a signature it is a record of who said yes, by operator, login and host,
and not a proof: whoever may write the ledger may write such a note. A signature by an allowed key is a proof.
"""

import asyncio
import hashlib
import math
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from bulk_patch.errors import Exit, LedgerError, RefusedError, UsageError
from bulk_patch.job.settings import Guards, Job
from bulk_patch.ledgers import Ledger
from bulk_patch.ledgers.records import Actor, Run
from bulk_patch.model import State, Stop, encode_json
from bulk_patch.review.signatures import find_fault, sign

APPROVED = "approved"  # the note's action
EXPIRED = "approval expired"  # the action of the note that somebody's yes has come to its end
UNAPPROVED = "not approved"  # how the reason of a run begins that waits for another person

_CLOCKS_DIFFER_S = 300.0  # how far apart the clocks of one team may be
_LOOK_S = 0.5  # how soon a clock that jumped ahead, or a machine that slept, is noticed

Note = tuple[float, Actor, str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Approval:
    """What one person said yes to."""

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

    def as_json(self) -> dict[str, Any]:
        """Return who approved, when and until when, as summary.json tells it."""
        return {
            "operator": self.actor.operator,
            "login": self.actor.login,
            "host": self.actor.host,
            "at": _utc(self.at),
            "expires_at": _utc(self.expires_at),
            "signed_by": self.signed_by,
        }


@dataclass(slots=True)
class Validity:
    """Until when rows may be sent for the first time, or under a new key."""

    until: float = math.inf  # Unix seconds; infinity: no approval is needed
    left_s: float = math.inf
    is_over: bool = False  # it expired while rows were sent


# --- rules, pure


def rows_of(run: Run) -> int:
    """Return how many changes a plan sends: what is approved along with its hash."""
    return run.summary.changes


def state_terms(run: Run, operator: str, expires_at: int) -> bytes:
    """Return what is approved, and signed, as the same bytes every time."""
    terms = {"run": run.id, "plan_sha256": run.plan_sha256, "target": run.target, "rows": rows_of(run)}
    return encode_json({**terms, "operator": operator, "expires_at": expires_at})


def approvals_of(notes: Iterable[Note]) -> list[Approval]:
    """Return the approvals among the notes of a run, in order.

    Raises:
        LedgerError: A note is not as it was written.
    """
    try:
        return [Approval(at, actor, **detail) for at, actor, action, detail in notes if action == APPROVED]
    except TypeError as error:
        raise LedgerError(
            "the ledger is damaged: the record of an approval is not as it was written",
            "Do not edit it: move it away and restore it from a backup.",
        ) from error


def is_same_person(one: str, other: str) -> bool:
    """Tell whether two operators are one: apart from case, blanks, and what looks the same or cannot be seen."""
    return _plain_name(one) == _plain_name(other)


def _plain_name(operator: str) -> str:
    compatible = unicodedata.normalize("NFKC", operator)
    visible = "".join(mark for mark in compatible if unicodedata.category(mark) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", visible.casefold()).split())


def find_time(approval: Approval, later: Iterable[Note], *, last_time: float) -> float:
    """Return the latest time on record that came after an approval: it cannot be earlier by now, whatever a clock says.

    What the ledger had before is no such time: a clock that was ahead once would end every approval to come.

    Args:
        approval: From `approvals_of`.
        later: The run's notes that follow it.
        last_time: The latest time in the ledger, Unix seconds.
    """
    times = [approval.at, *(at for at, *_ in later)]
    if last_time > max(approval.at, approval.ledger_time):
        times.append(last_time)
    return max(times)


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
        return f"{who} planned it"
    if approval.plan_sha256 != run.plan_sha256:
        return f"the plan is not the one that {who} approved"
    if approval.target != run.target:
        return f"{who} approved it for {approval.target}"
    if approval.rows != rows_of(run):
        return f"{who} approved {approval.rows:,} changes, these are {rows_of(run):,}"
    statement = state_terms(run, who, approval.expires_at)
    if hashlib.sha256(statement).hexdigest() != approval.statement_sha256:
        return f"the approval of {who} is not as it was given"
    if now >= approval.expires_at:
        return f"the approval of {who} expired {_utc(approval.expires_at)}"
    return fault(statement, approval)


def waits_for_approval(run: Run) -> bool:
    """Tell whether the last command left a run waiting for another person."""
    return not run.stopped_by and run.stop_reason.startswith(UNAPPROVED)


# --- for a run that is about to be sent


def find_lack(job: Job, run: Run, ledger: Ledger) -> list[Stop]:
    """Return what keeps a run from being sent; nothing when somebody's yes counts, or none is needed.

    Where only rows are left whose outcome is unknown, none is: those were sent under one, and are settled with the key
    that they have (`find_validity`).

    Args:
        job: Asks for an approval, or not.
        run: The run.
        ledger: Holds its notes.
    """
    counts = ledger.counts(run.id)
    if not _is_wanted(job, run) or not (counts[State.PENDING] or counts[State.REJECTED]):
        return []
    validity, reason = _weigh(job, run, ledger)
    return [missing_yes(run, reason)] if validity is None else []


def find_validity(job: Job, run: Run, ledger: Ledger) -> Validity | None:
    """Return until when rows may be sent for the first time, or under a new key; None where nobody's yes counts.

    Args:
        job: Asks for an approval, or not.
        run: The run.
        ledger: Holds its notes.
    """
    return _weigh(job, run, ledger)[0] if _is_wanted(job, run) else Validity()


@contextmanager
def ending(validity: Validity | None, on_expiry: Callable[[], None]) -> Iterator[None]:
    """Say while rows are sent when the approval expires, to the millisecond.

    The time that is left is measured by a clock that nobody sets. The other one is looked at too: it goes on while the
    machine sleeps.

    Args:
        validity: None: only rows are sent that need no approval.
        on_expiry: Called once.
    """
    if validity is None or math.isinf(validity.until):
        yield
        return
    loop, until = asyncio.get_running_loop(), validity.until
    ends_at = loop.time() + validity.left_s
    timer: asyncio.Handle

    def look() -> None:
        nonlocal timer
        if loop.time() >= ends_at or time.time() >= until:
            validity.is_over = True
            on_expiry()
        else:
            timer = loop.call_at(min(ends_at, loop.time() + _LOOK_S), look)

    timer = loop.call_soon(look)
    try:
        yield
    finally:
        timer.cancel()


def record_expiry(ledger: Ledger, run: Run, actor: Actor, *, at: float = 0.0) -> None:
    """Keep, once, that an approval has expired: then no clock that goes back makes it valid again.

    Args:
        ledger: Holds the notes of the run.
        run: The run.
        actor: Who met it.
        at: Unix seconds: it is at least so late, even if the clock says otherwise.
    """
    now = max(time.time(), at)
    for approval, known in _timed(ledger, run):
        if known < approval.expires_at <= now:
            ledger.note(run.id, actor, EXPIRED, {"of": approval.actor.operator}, now=now)
            return


def missing_yes(run: Run, reason: str) -> Stop:
    """Return the stop of a run that waits for another person."""
    hint = f"somebody else than {run.actor.operator}: bulk-patch approve {run.id}"
    return Stop(Exit.REFUSED, f"{UNAPPROVED}: {reason}", hint)


def _is_wanted(job: Job, run: Run) -> bool:
    return bool(job.guards.approval or run.summary.needs_approval)


def _weigh(job: Job, run: Run, ledger: Ledger) -> tuple[Validity | None, str]:
    """Return the validity of the approval that counts for longest; None and why where none does."""
    clock = time.time()
    validity: Validity | None = None
    reason = f"a person other than {run.actor.operator} has to say yes"
    for approval, known in _timed(ledger, run):
        now = max(clock, known)
        if approval.at > clock + _CLOCKS_DIFFER_S:
            who = approval.actor.operator
            objection = f"the approval of {who} is of {_utc(approval.at)}, still to come: a clock was wrong, or is"
        else:
            objection = find_objection(approval, run, now=now, fault=partial(_fault, job.guards))
        if objection:
            reason = objection
        elif validity is None or approval.expires_at - now > validity.left_s:
            validity = Validity(approval.expires_at, approval.expires_at - now)
    return validity, reason


def _timed(ledger: Ledger, run: Run) -> Iterator[tuple[Approval, float]]:
    """Yield the approvals of a run, each with the latest time on record that came after it."""
    notes: Sequence[Note] = ledger.notes(run.id)
    last_time = ledger.last_time()
    for place, note in enumerate(notes):
        for approval in approvals_of([note]):
            yield approval, find_time(approval, notes[place + 1 :], last_time=last_time)


def _fault(guards: Guards, statement: bytes, approval: Approval) -> str:
    """Say what is wrong with the signature of an approval, where the job asks for one."""
    if guards.allowed_signers is None:
        return ""
    who = approval.actor.operator
    if not approval.signature or not is_same_person(approval.signed_by, who):
        return f"the approval of {who} is not signed"
    fault = find_fault(statement, approval.signature, signer=who, allowed_signers=guards.allowed_signers)
    return f"the signature of {who} does not count: {fault}" if fault else ""


# --- for the person who says yes


def prepare(job: Job, run: Run, actor: Actor, *, key: Path | None) -> dict[str, Any]:
    """Return the detail of an approval's note, signed where a key is given.

    Raises:
        RefusedError: This person may not approve this run.
        UsageError: The key does not sign, or nobody could check its signature.
    """
    if run.state == "planning":
        raise RefusedError(f"run {run.id} is {run.state}: there is nothing to approve", "bulk-patch status lists runs")
    if is_same_person(actor.operator, run.actor.operator):
        hint = "the second person runs this command, under a login or with an --operator of their own"
        raise RefusedError(f"{actor.operator} planned run {run.id} and cannot approve it too", hint)
    allowed_signers = job.guards.allowed_signers
    if key is None and allowed_signers is not None:
        raise UsageError(f"{job.name} counts signed approvals only", "add --sign KEYFILE")
    if key is not None and allowed_signers is None:
        hint = 'name a file of allowed signers in the job: guards.allowed_signers = "PATH"'
        raise UsageError("nobody could check the signature", hint)
    expires_at = int(time.time() + job.guards.approval_valid_h * 3600)
    statement = state_terms(run, actor.operator, expires_at)
    signature = ""
    if key is not None and allowed_signers is not None:
        signature = sign(statement, key=key)
        if fault := find_fault(statement, signature, signer=actor.operator, allowed_signers=allowed_signers):
            hint = f"--operator has to be the key's name in {allowed_signers.name}"
            raise RefusedError(f"{key} is no allowed key of {actor.operator}: {fault}", hint)
    return {
        "plan_sha256": run.plan_sha256,
        "target": run.target,
        "rows": rows_of(run),
        "expires_at": expires_at,
        "signed_by": actor.operator if signature else "",
        "signature": signature,
        "statement_sha256": hashlib.sha256(statement).hexdigest(),
    }


def record_approval(ledger: Ledger, run: Run, actor: Actor, detail: Mapping[str, Any]) -> None:
    """Keep an approval in the ledger.

    Raises:
        RefusedError: Nothing is left to approve by now.
    """
    run = ledger.run(run.id)
    if not ledger.to_do(run.id):  # of a closed run: only what a retry asked for
        raise RefusedError(f"nothing of run {run.id} is left to be sent", f"see: bulk-patch status {run.id}")
    ledger.note(run.id, actor, APPROVED, {**detail, "ledger_time": ledger.last_time()}, now=time.time())
    if waits_for_approval(run):
        ledger.update(run.id, exit_code=None, stop_reason="", stop_hint="")


def _utc(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
