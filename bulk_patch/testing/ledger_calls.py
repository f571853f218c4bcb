"""One call to a ledger at a time, each by the run's id: tests need not carry plans and sessions along."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from bulk_patch.errors import LedgerError
from bulk_patch.ledgers import Candidate, CheckWriter, Ledger, PlanWriter, SendingSession
from bulk_patch.ledgers.records import Actor, Check, Drift, Note, PlanRow, PlanSummary, Run
from bulk_patch.model import Outcome, Patch

_plans: "WeakKeyDictionary[Ledger, tuple[str, PlanWriter]]" = WeakKeyDictionary()
_sessions: "WeakKeyDictionary[Ledger, tuple[str, SendingSession]]" = WeakKeyDictionary()
_checks: "WeakKeyDictionary[Ledger, CheckWriter]" = WeakKeyDictionary()


def begin(ledger: Ledger, run: Run) -> None:
    """Start a plan."""
    _plans[ledger] = run.id, ledger.plan(run)


def _plan(ledger: Ledger, run_id: str) -> PlanWriter:
    planned, writer = _plans.get(ledger, ("", None))
    if writer is None or planned != run_id:
        raise LedgerError(f"run {run_id} is not being planned")
    return writer


def add(ledger: Ledger, run_id: str, rows: Iterable[PlanRow]) -> None:
    """Append rows of the plan."""
    _plan(ledger, run_id).add(rows)


def seal(ledger: Ledger, run_id: str, *, summary: PlanSummary, **facts: Any) -> str:
    """Make the plan valid."""
    return _plan(ledger, run_id).seal(summary, **facts)


def start_session(ledger: Ledger, run_id: str, actor: Actor, now: float) -> int:
    """Start to send; return how many rows were left in flight."""
    _sessions[ledger] = run_id, ledger.send(run_id, actor, now=now)
    return session_of(ledger, run_id).recovered


def session_of(ledger: Ledger, run_id: str) -> SendingSession:
    """Return the session that was started last."""
    sent, session = _sessions.get(ledger, ("", None))
    if session is None or sent != run_id:
        raise LedgerError(f"run {run_id} has no session")
    return session


def claim(ledger: Ledger, run_id: str, n: int, **how: Any) -> list[Patch]:
    """Claim rows."""
    return session_of(ledger, run_id).claim(n, **how)


def peek(ledger: Ledger, run_id: str, n: int, *, only_requested: bool = False) -> list[Candidate]:
    """Return what would be claimed."""
    return session_of(ledger, run_id).peek(n, only_requested=only_requested)


def record(ledger: Ledger, run_id: str, outcomes: Sequence[Outcome], *, now: float) -> None:
    """Record outcomes."""
    session_of(ledger, run_id).record(outcomes, now=now)


def end_session(ledger: Ledger, run_id: str, *, now: float, by_itself: bool) -> None:
    """End the session."""
    session_of(ledger, run_id).end(now=now, by_itself=by_itself)


def note(ledger: Ledger, run_id: str, actor: Actor, action: str, detail: Mapping[str, Any], *, now: float) -> None:
    """Append a fact."""
    ledger.note(run_id, Note(now, actor, action, detail))


def start_check(ledger: Ledger, run_id: str, actor: Actor, *, now: float) -> Check:
    """Start a check, or resume one."""
    _checks[ledger] = ledger.check(run_id, actor, now=now)
    return _checks[ledger].check


def record_check(ledger: Ledger, run_id: str, check: int, drifts: Sequence[Drift], *, upto: int, rows: int) -> None:
    """Keep what the check found."""
    assert _checks[ledger].check.number == check, run_id
    _checks[ledger].record(drifts, upto=upto, rows=rows)


def end_check(ledger: Ledger, run_id: str, check: int, *, now: float) -> None:
    """End the check."""
    assert _checks[ledger].check.number == check, run_id
    _checks[ledger].end(now=now)
