"""The ledger's bookkeeping: its tables against each other, a copy against the next, all against the processes."""

import hashlib
import json
from collections.abc import Iterator, Mapping

from tests.chaos.evidence import Copy, Evidence, Record, Run, Span
from tests.chaos.violation import Violation

_SPENT = 3
_CLOCKS_S = 0.005
_UNKEPT = frozenset({"finished_at", "created_at"})  # written in a transaction that keeps no time


def check_facts(evidence: Evidence) -> Iterator[Violation]:
    """A run's facts are those of this job, this input and these rows."""
    content = (evidence.folder / "input.csv").read_bytes()
    for span, run in _runs(evidence):
        facts, where = run.facts, f"process {span.number}"
        intents = [record["first_intent_at"] for record in run.rows.values() if record["first_intent_at"] is not None]
        expected = {
            "job": evidence.story.job,
            "kind": "run",
            "baseline": evidence.story.baseline,
            "input_size": len(content),
            "input_sha256": hashlib.sha256(content).hexdigest(),
            "columns": json.dumps(list(evidence.header), separators=(",", ":"), ensure_ascii=False),
            "started_at": min(intents, default=None) if evidence.story.steady_clock else facts["started_at"],
        }
        wrong = [name for name, value in expected.items() if facts[name] != value]
        if wrong:
            yield Violation("facts", f"{where}: {', '.join(wrong)} of the run")
        if facts["state"] != "sealed" and not any(note["action"] == "closed" for note in run.notes):
            yield Violation("facts", f"{where}: the run is {facts['state']}, and no one closed it")
        if span.copy is not None and span.copy.meta["job"] != evidence.story.job:
            yield Violation("facts", f"{where}: the ledger is of another job")


def check_progress(evidence: Evidence) -> Iterator[Violation]:
    """What is noted beside a row's state fits its sessions, its requests for a retry and the copy before."""
    before: Mapping[str, Run] = {}
    for span in evidence.spans:
        if span.copy is None:
            continue
        retried = any(other.command == "retry" for other in evidence.spans[: span.number + 1])
        for run in span.copy.runs.values():
            sessions = [session["number"] for session in run.sessions]
            is_at_work = span.pid in map(pid_of, run.sessions)
            for row, record in run.rows.items():
                old = before[run.id].rows[row] if run.id in before else None
                if not is_at_work and old is not None and old != record and span.command != "retry":
                    yield Violation("books", f"row {row}, process {span.number}: changed outside of a session")
                elif problem := _unwitnessed(record, old, sessions, retried=retried, is_at_work=is_at_work):
                    yield Violation("books", f"row {row}, process {span.number}: {problem}")
        before = span.copy.runs


def _unwitnessed(record: Record, old: Record | None, sessions: list[int], *, retried: bool, is_at_work: bool) -> str:
    """Say what about one row nothing else in the ledger bears out."""
    state, spent_in = record["state"], record["spent_in"]
    is_spent = spent_in is not None and spent_in == max(sessions, default=None) and not record["final"]
    same_key = old is not None and old["generation"] == record["generation"]
    in_doubt = old is not None and same_key and old["state"] in ("sending", "unknown")
    is_first = old is None and record["generation"] == 0
    had = old["attempts"] if old is not None else 0
    # Left open by this very process, and claimed once more before its stop had stopped the handing out.
    came_back = record["reason"] not in (None, "left_in_flight", old and old["reason"])
    taken_up = state == "sending" and (same_key or is_first) and not came_back
    problems = {
        "spent in a session that never was": spent_in is not None and spent_in not in sessions,
        "spent, and in no session": bool(record["spent_sessions"]) and spent_in is None,
        "spent, or not": state in ("unknown", "pending") and (record["lane"] == _SPENT) != is_spent,
        "spent, and gone on with at once": spent_in not in (None, old and old["spent_in"])
        and state not in ("pending", "unknown"),
        "asked for, and no one did": bool(record["requested"]) and not retried,
        "in doubt when it was taken up": state == "sending" and is_at_work and bool(record["ambiguous"]) != in_doubt,
        "attempts without an outcome": taken_up and record["attempts"] != had,
        "when it became unknown": state == "unknown"
        and (record["done_at"] is None) != (record["reason"] == "left_in_flight"),
    }
    return next((name for name, holds in problems.items() if holds), "")


def check_sessions(evidence: Evidence) -> Iterator[Violation]:
    """Each session is one of a process that was there, and was ended by it unless a kill did."""
    for span, run in _runs(evidence):
        for session in run.sessions:
            process = next((other for other in evidence.spans if other.pid == pid_of(session)), None)
            if process is None or process.number > span.number:
                yield Violation("sessions", f"session {session['number']} is of a process that was not there")
            elif problem := _misled(session, process, run.id, evidence.story.steady_clock):
                yield Violation("sessions", f"session {session['number']}: {problem}")
        if len({pid_of(session) for session in run.sessions}) != len(run.sessions):
            yield Violation("sessions", "two sessions of one process")
        who = [_without_pid(line["actor"]) for line in (run.facts, *run.sessions, *run.notes)]
        if any(one != who[0] for one in who):
            yield Violation("sessions", f"process {span.number}: two people, and there was one")
    for span in evidence.spans:
        begun, ended = evidence.begin_of(span), evidence.before_end_of(span)
        sent = {
            owner[0] for line in evidence.log if (owner := evidence.owner(line)) is not None and begun <= line.t < ended
        }
        runs = span.copy.runs if span.copy is not None else {}
        for run_id in sent:
            if run_id not in runs or span.pid not in map(pid_of, runs[run_id].sessions):
                yield Violation("sessions", f"process {span.number} sent something outside of a session")


def _misled(session: Record, process: Span, run_id: str, steady: bool) -> str:
    """Say what about a session does not fit the process it is of."""
    ended_at, by_itself = session["ended_at"], session["by_itself"]
    ended = process.ended_at if ended_at is None else ended_at
    if ended_at is None and not process.was_killed and process.exit_code not in (1, 7):
        return "it was never ended"
    if (ended_at is None) != (by_itself is None) or by_itself not in (None, 0, 1):
        return "how it ended is half told"
    if by_itself == 1 and process.exit_code in (6, 7):
        return "it did not end by itself"
    rows = process.copy.runs[run_id].rows if process.copy is not None and run_id in process.copy.runs else {}
    # A signal that comes when no row is left for this session ends the command, not the session.
    is_left = any(row["lane"] is not None and row["spent_in"] != session["number"] for row in rows.values())
    if by_itself == 1 and process.exit_code in (130, 143) and is_left:
        return "it did not end by itself"
    if by_itself == 0 and process.exit_code in (0, 3):
        return "it ended by itself"
    begun, over = process.started_at - _CLOCKS_S, process.ended_at + _CLOCKS_S
    return "not in its process's time" if steady and not begun <= session["started_at"] <= ended <= over else ""


def check_notes(evidence: Evidence) -> Iterator[Violation]:
    """Whoever asked for a retry or went on after a stop is on record."""
    for span, run in _runs(evidence):
        for note in run.notes:
            process = next((other for other in evidence.spans if other.pid == pid_of(note)), None)
            if process is None or process.number > span.number:
                yield Violation("notes", f"process {span.number}: {note['action']} is of a process that was not there")
            elif evidence.story.steady_clock and not _is_alive(process, note["at"]):
                yield Violation("notes", f"process {span.number}: {note['action']} is not in its process's time")
    for span in evidence.spans:
        if span.was_killed or span.copy is None or not span.copy.runs or span.exit_code in (2, 8, 9):
            continue
        notes = [note["action"] for run in span.copy.runs.values() for note in run.notes]
        retries = sum(other.command == "retry" for other in evidence.spans[: span.number + 1] if not other.was_killed)
        if span.command == "retry" and notes.count("retry") < retries:
            yield Violation("notes", f"process {span.number}: no one noted the retry")


def _is_alive(process: Span, at: float) -> bool:
    return process.started_at - _CLOCKS_S <= at <= process.ended_at + _CLOCKS_S


def check_times(evidence: Evidence) -> Iterator[Violation]:
    """Every time in the ledger lies within the life of a process that could write it, and none after the last one."""
    if not evidence.story.steady_clock:
        return
    begun = evidence.spans[0].started_at - _CLOCKS_S
    for span in evidence.spans:
        if span.copy is None:
            continue
        times = list(_times(span.copy))
        strange = [f"{name} {value}" for name, value in times if not begun <= value <= span.ended_at + _CLOCKS_S]
        if strange:
            yield Violation("times", f"process {span.number}: {strange[0]} is outside of all processes")
        if span.copy.meta["last_time"] < max((v for name, v in times if name not in _UNKEPT), default=0.0):
            yield Violation("times", f"process {span.number}: the ledger holds a later time than it knows")


def _times(copy: Copy) -> Iterator[tuple[str, float]]:
    names = "created_at sealed_at started_at finished_at ended_at at first_intent_at key_intent_at done_at".split()
    lines: list[Record] = [dict(copy.meta), *copy.unsealed]
    for run in copy.runs.values():
        lines += [run.facts, *run.rows.values(), *run.sessions, *run.notes]
        lines += [line for each in run.generations.values() for line in each]
    yield from ((name, line[name]) for line in lines for name in names if line.get(name) is not None)
    if copy.meta["last_time"]:  # nothing yet
        yield "last_time", copy.meta["last_time"]


def pid_of(line: Record) -> int:
    """Return the process that a session or a note is of."""
    return int(json.loads(line["actor"])["pid"])


def _without_pid(actor: str) -> Mapping[str, object]:
    return {name: value for name, value in json.loads(actor).items() if name != "pid"}


def _runs(evidence: Evidence) -> Iterator[tuple[Span, Run]]:
    for span in evidence.spans:
        for run in span.copy.runs.values() if span.copy is not None else ():
            yield span, run


CHECKS = (check_facts, check_progress, check_sessions, check_notes, check_times)
