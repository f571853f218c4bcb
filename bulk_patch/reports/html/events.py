"""The timeline of a run: planned, approved, sent, paused, stopped, retried, revealed, verified."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bulk_patch.ledgers import RunReader
from bulk_patch.ledgers.records import Actor, Note, Run
from bulk_patch.observe.timeline import Pause
from bulk_patch.reports.summary import VERIFIED
from bulk_patch.review.approvals import UNSIGNED
from bulk_patch.words import amount, duration_words, time_words

REASON_GIVEN = "reason given"  # the action of a note: why an earlier plan is sent

#: Of fields that answers mask or never show: a read cannot prove that they are as sent.
IN_PART = "seen only in part, in how many rows"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the timeline."""

    at: float  # Unix seconds
    what: str
    who: str = ""
    detail: str = ""
    kind: str = ""

    @property
    def time(self) -> str:
        """Return when, in words."""
        return time_words(self.at)


def list_events(
    ledger: RunReader, run: Run, notes: Sequence[Note], pauses: Sequence[Pause], *, running: bool
) -> list[Event]:
    """Return what happened to a run, the oldest first.

    Args:
        ledger: Holds the run.
        run: The run.
        notes: Of the run, from its ledger.
        pauses: Of the run, from its statistics.
        running: A process is sending it now.
    """
    events = [Event(run.created_at, "planned", who_words(run.actor), f"in {duration_words(run.plan_s)}")]
    sessions = ledger.sessions(run.id)
    for at, session in enumerate(sessions):
        events.append(
            Event(session.started_at, "sending resumed" if at else "sending started", who_words(session.actor))
        )
        if session.ended_at is not None:
            events.append(Event(session.ended_at, "sending ended"))
        elif at < len(sessions) - 1 or not running:
            events.append(Event(session.started_at, "this session was killed; its end was not recorded", kind="guard"))
    for pause in pauses:
        times = f", {pause.times} times" if pause.times > 1 else ""
        events.append(Event(pause.time_s, f"paused: {pause.reason}", "", f"{pause.seconds:.3g} s{times}", "pause"))
    for note in notes:
        at_s, actor, action, detail = note.at, note.actor, note.action, note.detail
        what, about, kind = _DESCRIPTIONS.get(action, _describe_other)(detail, action)
        events.append(Event(at_s, what, who_words(actor), about, kind))
    return sorted(events, key=lambda event: event.at)


_Describe = Callable[[Mapping[str, Any], str], tuple[str, str, str]]


def _describe_other(detail: Mapping[str, Any], action: str) -> tuple[str, str, str]:
    return action, _detail(detail), ""


def _describe_stop(detail: Mapping[str, Any], action: str) -> tuple[str, str, str]:
    return f"stopped by guard {detail.get('guard', '')}", str(detail.get("reason", "")), "guard"


def _describe_approval(detail: Mapping[str, Any], action: str) -> tuple[str, str, str]:
    signed = f"with a signature of {detail['signed_by']}" if detail.get("signed_by") else f"not signed: {UNSIGNED}"
    return "approved", f"{amount(detail.get('rows', 0), 'change')}, {signed}", "approved"


def verified_words(detail: Mapping[str, Any]) -> str:
    """Say what a verify found."""
    drifted, fields = detail.get("drifted", 0), detail.get("fields", {})
    found = f"{amount(drifted, 'row')} drifted ({_counted(fields)})" if drifted else "nothing drifted"
    in_part = f"; {IN_PART}: {_counted(detail['in_part'])}" if detail.get("in_part") else ""
    return f"{amount(detail.get('rows', 0), 'row')} read back, {found}{in_part}"


def _counted(fields: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {rows:,}" for name, rows in fields.items())


def _describe_verified(detail: Mapping[str, Any], action: str) -> tuple[str, str, str]:
    return "verified", verified_words(detail), "guard" if detail.get("drifted") else "approved"


#: Action of a note -> function that returns what was done, details, style.
_DESCRIPTIONS: Mapping[str, _Describe] = {
    "approved": _describe_approval,
    VERIFIED: _describe_verified,
    "stopped": _describe_stop,
    "continued": lambda detail, _: (f"the stop by guard {detail.get('guard', '')} was waived", _why(detail), "guard"),
    "rejected": lambda detail, _: ("the plan was rejected", str(detail.get("reason", "")), "guard"),
    "replaced": lambda detail, _: (f"replaced by run {detail.get('by', '')}", "", ""),
    "plan signed": lambda detail, _: ("the planner signed the plan", "", ""),
    "approval checked": lambda detail, _: (
        "the signature of the approval was checked",
        f"{detail.get('fault') or 'it counts'}; signers' file with SHA-256 {detail.get('signers_sha256', '')}",
        "guard" if detail.get("fault") else "approved",
    ),
    "closed": lambda detail, _: ("closed by --new", f"{amount(detail.get('rows', 0), 'row')} never sent", ""),
    "retry": lambda detail, _: ("retry requested", f"{amount(detail.get('rows', 0), 'row')}{_why(detail, '; ')}", ""),
    "exported": lambda detail, _: (f"{amount(detail.get('rows', 0), 'row')} exported", str(detail.get("form", "")), ""),
    "revealed": lambda detail, _: (f"whole values shown by `{detail.get('command', '?')}`", "", "guard"),
}


def why_words(run: Run, notes: Sequence[Note]) -> tuple[str, str]:
    """Return the reason and ticket that were given last for a run: with its plan, or when it was sent."""
    given: dict[str, Any] = {}
    for note in notes:
        given |= note.detail if note.action == REASON_GIVEN else {}
    return given.get("why", run.reason), given.get("ticket", run.ticket)


def _why(detail: Mapping[str, Any], lead: str = "") -> str:
    words = "; ".join(
        f"{name}: {detail[key]}" for key, name in (("why", "reason"), ("ticket", "ticket")) if key in detail
    )
    return f"{lead}{words}" if words else ""


def _detail(detail: Mapping[str, Any]) -> str:
    """Return what a note says in words: `rows 40, drifted 1, fields (email 1)`."""
    parts = []
    for name, value in detail.items():
        if isinstance(value, Mapping):
            value = f"({_detail(value)})" if value else ""
        if isinstance(value, (str, int, float)) and value != "":
            parts.append(f"{name.replace('_', ' ')} {value}")
    return ", ".join(parts)


def who_words(actor: Actor) -> str:
    """Name a person as the ledger knows them."""
    return f"{actor.operator} (login {actor.login} on {actor.host})"
