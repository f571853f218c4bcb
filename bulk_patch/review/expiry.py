"""Whether an approval counts now, and until when: clocks, expiry, and what keeps a run from being sent."""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from bulk_patch.errors import Exit
from bulk_patch.job.settings import Guards, Job
from bulk_patch.ledgers import Ledger, RunReader
from bulk_patch.ledgers.records import Actor, Note, Run
from bulk_patch.model import State, Stop
from bulk_patch.review.approvals import (
    APPROVED,
    CHECKED,
    EXPIRED,
    PLAN_SIGNED,
    REJECTED,
    Approval,
    approvals_of,
    find_objection,
    is_same_person,
    key_of_plan,
    missing_approval,
    rejection_words,
    state_plan,
    state_terms,
    utc_seconds,
)
from bulk_patch.review.signatures import find_fault, find_plan_fault
from bulk_patch.review.terms import find_loosened, sha256_of_signers, terms_of

_CLOCKS_DIFFER_S = 300.0  # how far apart the clocks of one team may be
_LOOK_S = 0.5  # how soon a clock that jumped ahead, or a machine that slept, is noticed


@dataclass(slots=True)
class Validity:
    """Until when rows may be sent for the first time, or under a new key."""

    until: float = math.inf  # Unix seconds; infinity: no approval is needed
    left_s: float = math.inf
    is_over: bool = False  # it expired while rows were sent


def find_time(approval: Approval, later: Iterable[Note], *, last_time: float) -> float:
    """Return the latest time on record after an approval: now cannot be earlier, whatever a clock says.

    Times from before the approval do not count: a clock that was ahead once would end every later approval.

    Args:
        approval: From `approvals_of`.
        later: The run's notes that follow it.
        last_time: The latest time in the ledger, Unix seconds.
    """
    times = [approval.at, *(note.at for note in later)]
    if last_time > max(approval.at, approval.ledger_time):
        times.append(last_time)
    return max(times)


def find_lack(job: Job, run: Run, ledger: RunReader) -> list[Stop]:
    """Return what keeps a run from being sent; nothing when an approval counts, or none is needed.

    None is needed where only rows are left whose outcome is unknown: those were sent under one, and are settled with
    the key that they have (`find_validity`).

    Args:
        job: Asks for an approval, or not.
        run: The run.
        ledger: Holds its notes.
    """
    counts, notes = ledger.counts(run.id), ledger.notes(run.id)
    if not (counts[State.PENDING] or counts[State.REJECTED]):
        return []
    is_wanted = _is_wanted(job, run) or _rejection(notes) is not None
    if is_wanted:
        validity, reason = _weigh(job, run, ledger)
        if validity is None:
            return [missing_approval(run, reason)]
    looser = find_loosened(run.terms, terms_of(job)) if is_wanted or approvals_of(notes) else []
    if not looser:
        return []
    reason = f"the settings are looser than those that were approved: {'; '.join(looser)}"
    hint = "use the settings that were approved; or make a new plan with these, and have it approved"
    return [Stop(Exit.REFUSED, reason, hint)]


def find_validity(job: Job, run: Run, ledger: RunReader) -> Validity | None:
    """Return until when rows may be sent for the first time, or under a new key; None where no approval counts.

    Args:
        job: Asks for an approval, or not.
        run: The run.
        ledger: Holds its notes.
    """
    return _weigh(job, run, ledger)[0] if _is_wanted(job, run) else Validity()


@contextmanager
def ending(validity: Validity | None, on_expiry: Callable[[], None]) -> Iterator[None]:
    """Call `on_expiry` to the millisecond when the approval expires while rows are sent.

    The remaining time is measured by a monotonic clock. The wall clock is watched too: it goes on while the machine
    sleeps.

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


def record_signature_checks(job: Job, run: Run, ledger: Ledger, actor: Actor) -> None:
    """Check the signatures of a run's approvals, and keep what came of it, when, and against which signers' file."""
    signers = job.guards.allowed_signers
    if signers is None:
        return
    for approval, _ in list(_timed(ledger, run)):
        if approval.signature:
            statement = state_terms(run, approval.actor.operator, approval.expires_at, version=approval.version)
            fault = _fault(job.guards, statement, approval)
            detail = {"approved_at": approval.at, "signers_sha256": sha256_of_signers(signers), "fault": fault}
            ledger.note(run.id, Note(time.time(), actor, CHECKED, detail))


def record_expiry(ledger: Ledger, run: Run, actor: Actor, *, at: float = 0.0) -> None:
    """Record once that an approval has expired, so that no clock set back makes it valid again.

    Args:
        ledger: Holds the notes of the run.
        run: The run.
        actor: Who noticed it.
        at: Unix seconds: it is at least that late, even if the clock says otherwise.
    """
    now = max(time.time(), at)
    for approval, known in _timed(ledger, run):
        if known < approval.expires_at <= now:
            ledger.note(run.id, Note(now, actor, EXPIRED, {"of": approval.actor.operator}))
            return


def _is_wanted(job: Job, run: Run) -> bool:
    return bool(job.guards.approval or run.summary.needs_approval)


def _rejection(notes: Sequence[Note]) -> Note | None:
    """Return the last rejection of a plan, if no approval came after it."""
    last = next((note for note in reversed(notes) if note.action in (APPROVED, REJECTED)), None)
    return last if last is not None and last.action == REJECTED else None


def _weigh(job: Job, run: Run, ledger: RunReader) -> tuple[Validity | None, str]:
    """Return the validity of the approval that counts for longest; None and why where none does."""
    clock = time.time()
    validity: Validity | None = None
    reason = f"someone other than {run.actor.operator} has to approve the plan"
    notes = ledger.notes(run.id)
    plan_key, fault = key_of_plan(notes), _plan_fault(run, notes)
    if fault:
        return None, fault
    rejected_at = max((note.at for note in notes if note.action == REJECTED), default=-math.inf)
    if (rejection := _rejection(notes)) is not None:
        return None, rejection_words(rejection.actor.operator, str(rejection.detail.get("reason", "")))
    for approval, known in _timed(ledger, run):
        if approval.at < rejected_at:
            continue
        now = max(clock, known)
        if approval.at > clock + _CLOCKS_DIFFER_S:
            who = approval.actor.operator
            objection = (
                f"the approval of {who} is dated {utc_seconds(approval.at)}, in the future: a clock is or was wrong"
            )
        else:
            objection = find_objection(approval, run, now=now, fault=partial(_fault, job.guards), plan_key=plan_key)
        if objection:
            reason = objection
        elif validity is None or approval.expires_at - now > validity.left_s:
            validity = Validity(approval.expires_at, approval.expires_at - now)
    return validity, reason


def _timed(ledger: RunReader, run: Run) -> Iterator[tuple[Approval, float]]:
    """Yield the approvals of a run, each with the latest time on record that came after it."""
    notes: Sequence[Note] = ledger.notes(run.id)
    last_time = ledger.last_time()
    for place, note in enumerate(notes):
        for approval in approvals_of([note]):
            yield approval, find_time(approval, notes[place + 1 :], last_time=last_time)


def _plan_fault(run: Run, notes: Sequence[Note]) -> str:
    """Say what is wrong with the planner's signature, where the plan has one."""
    for note in notes:
        if note.action == PLAN_SIGNED:
            fault = find_plan_fault(state_plan(run), str(note.detail.get("signature", "")))
            return f"the signature of the plan does not count: {fault}" if fault else ""
    return ""


def _fault(guards: Guards, statement: bytes, approval: Approval) -> str:
    """Say what is wrong with the signature of an approval, where the job asks for one."""
    if guards.allowed_signers is None:
        return ""
    who = approval.actor.operator
    if not approval.signature or not is_same_person(approval.signed_by, who):
        return f"the approval of {who} is not signed"
    fault = find_fault(
        statement,
        approval.signature,
        signer=who,
        allowed_signers=guards.allowed_signers,
        patterns=guards.signer_patterns,
    )
    return f"the signature of {who} does not count: {fault}" if fault else ""
