"""What the ledger says of each row, against what the API did: no false word, ever, in any copy."""

import json
from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.check_traffic import CLOCKS_S, is_doubtful
from tests.chaos.evidence import Evidence, Line, Record, Run, Span
from tests.chaos.expect import Version, holds, versions
from tests.chaos.violation import Violation

UNSENT = frozenset({"invalid", "duplicate", "kept"})


def check_words(evidence: Evidence) -> Iterator[Violation]:
    """Applied, rejected, pending, mismatch, drifted, unknown: each is true of what the API had done by then."""
    history = versions(evidence)
    for span, run in _runs(evidence):
        for row, record in run.rows.items():
            found = [
                (at, line)
                for at, line in evidence.patches.get((run.id, row), ())
                if line.t < evidence.before_end_of(span)
            ]
            problem = _falsehood(evidence, span, run, row, record, [line for _, line in found], history)
            if problem:
                yield Violation(record["state"], f"row {row}, process {span.number}: {problem}")


def _falsehood(
    evidence: Evidence,
    span: Span,
    run: Run,
    row: int,
    record: Record,
    lines: Sequence[Line],
    history: Mapping[str, Sequence[Version]],
) -> str:
    """Say what is false about a row's state, if anything is."""
    state, executed = record["state"], any(line.executed for line in lines)
    match state:
        case "applied":
            body = json.loads(record["body"])
            if not any(holds(version.document, body) for version in _since_intent(evidence, record, history)):
                return "the API never held the planned values after the first intent"
        case "rejected" if executed:
            return "the API carried it out"
        case "rejected" if not any(400 <= (line.status or 0) < 500 for line in lines):
            return "the API never refused it"
        case "pending" | "drifted" if executed:
            return "the API carried it out"
        case "drifted" if not _was_changed(evidence, record["customer_id"]):
            return "no one changed the customer"
        case "mismatch":
            body = json.loads(record["body"])
            if not any(line.status == 200 for line in lines):
                return "the API never accepted it"
            held = all(holds(version.document, body) for version in _since_intent(evidence, record, history))
            if held and not _was_shown_otherwise(evidence, record["customer_id"]):
                return "the API held the planned values all the time"
        case "unknown":
            was_out = any(_record(other, run, row).get("state") == "sending" for other in _killed(evidence, span))
            customer_id = record["customer_id"]
            reads = [line for line in evidence.log if line.method == "GET" and line.customer_id == customer_id]
            # A refusal that the API kept asks for a new key only once it has come again: until then it is in doubt.
            is_unconfirmed = bool(lines) and lines[-1].status == 401 and bool(lines[-1].replayed)
            is_in_doubt = was_out or is_unconfirmed or any(is_doubtful(line) for line in lines)
            if not is_in_doubt and not any(line.fault for line in reads):
                return "no attempt ended in doubt, and no reading failed"
        case "sending" if not span.was_killed and _drove(span, run):
            return "a process that ended by itself left it in flight"
        case _ if state in UNSENT and lines:
            return "it was sent"
    return ""


def _was_shown_otherwise(evidence: Evidence, customer_id: str) -> bool:
    """Tell whether a read of this customer showed what is not so: then no one could tell."""
    reads = (line for line in evidence.log if line.method == "GET" and line.customer_id == customer_id)
    return any((line.fault or "").startswith("differs") for line in reads)


def _was_changed(evidence: Evidence, customer_id: str) -> bool:
    """Tell whether someone else, or an earlier run, changed a customer."""
    is_edited = any(edit.customer_id == customer_id for edit in evidence.story.edits)
    return is_edited or any(line.executed and line.customer_id == customer_id for line in evidence.log)


def _drove(span: Span, run: Run) -> bool:
    """Tell whether a process sent rows of a run, or began to; one that refused before did not."""
    return any(json.loads(session["actor"])["pid"] == span.pid for session in run.sessions)


def _since_intent(evidence: Evidence, record: Record, history: Mapping[str, Sequence[Version]]) -> Sequence[Version]:
    """Return what a customer was at the first intent or after it."""
    found = history.get(record["customer_id"], ())
    if not evidence.story.steady_clock:
        return found
    intent_at = record["first_intent_at"] or 0.0
    ends = [later.t for later in found[1:]] + [float("inf")]
    return [version for version, end in zip(found, ends, strict=True) if end >= intent_at]


def _killed(evidence: Evidence, until: Span) -> Iterator[Span]:
    """Yield the processes up to this one that did not end by themselves, or were cut off."""
    return (span for span in evidence.spans if span.number <= until.number and span.was_killed)


def _record(span: Span, run: Run, row: int) -> Record:
    if span.copy is None or run.id not in span.copy.runs:
        return {}
    return span.copy.runs[run.id].rows.get(row, {})


def check_intents(evidence: Evidence) -> Iterator[Violation]:
    """Whatever reached the API had its intent in the ledger first, and its generation before its key was used."""
    for span in evidence.spans:
        runs = span.copy.runs if span.copy is not None else {}
        for line in evidence.log:
            owner = evidence.owner(line)
            if owner is not None and owner[0] not in runs and line.t < evidence.before_end_of(span):
                yield Violation("intent", f"request {line.n} came, and process {span.number} left no such run")
    for span, run in _runs(evidence):
        for row, record in run.rows.items():
            for _, line in evidence.patches.get((run.id, row), ()):
                if line.t >= evidence.before_end_of(span):
                    continue
                if record["first_intent_at"] is None:
                    yield Violation("intent", f"row {row}: request {line.n} came, and process {span.number} had none")
                elif evidence.story.steady_clock and record["first_intent_at"] > line.t + CLOCKS_S:
                    yield Violation("intent", f"row {row}: request {line.n} came before its intent")
                owner = evidence.owner(line)
                generations = run.generations.get(row, ())
                if owner is None or owner[2] > len(generations):
                    yield Violation("key law", f"row {row}: request {line.n} used a key that is not in the ledger")
                elif owner[2] and evidence.story.steady_clock and generations[owner[2] - 1]["at"] > line.t + CLOCKS_S:
                    yield Violation("key law", f"row {row}: request {line.n} came before its new key was recorded")


def check_attempts(evidence: Evidence) -> Iterator[Violation]:
    """Attempts and the last answer agree with the log, where neither a kill nor a lost connection stands between."""
    before: dict[tuple[str, int], Record] = {}
    for span, run in _runs(evidence):
        for row, record in run.rows.items():
            earlier = before.get((run.id, row))
            before[run.id, row] = record
            lines = [line for _, line in evidence.patches.get((run.id, row), ()) if _is_of(evidence, span, line)]
            everything = [line for _, line in evidence.patches.get((run.id, row), ())]
            had = earlier["attempts"] if earlier is not None else 0
            if record["http_status"] not in {None, *(line.status for line in everything)}:
                yield Violation("answers", f"row {row}: the API never answered {record['http_status']}")
            if record["api_code"] is not None and not any(400 <= (line.status or 0) < 500 for line in everything):
                yield Violation("answers", f"row {row}: the API never gave a code")
            if record["state"] == "sending" or any(line.status is None or line.fault for line in lines):
                continue
            attempts = record["attempts"] - had
            if attempts < len(lines) or (attempts > len(lines) and not _may_have_timed_out(evidence, record)):
                what = f"{attempts} attempts in process {span.number}, {len(lines)} in the log"
                yield Violation("answers", f"row {row}: {what}")
            elif lines and record["state"] != "unknown" and record["http_status"] != lines[-1].status:
                yield Violation("answers", f"row {row}: the last answer was {lines[-1].status}")


def _may_have_timed_out(evidence: Evidence, record: Record) -> bool:
    """Tell whether a row took so long that the client may have given up before the API had heard a request."""
    if not evidence.story.steady_clock or record["done_at"] is None or record["first_intent_at"] is None:
        return not evidence.story.steady_clock
    return bool(record["done_at"] - record["first_intent_at"] >= 0.9 * evidence.story.timeout_s)


def _is_of(evidence: Evidence, span: Span, line: Line) -> bool:
    return evidence.begin_of(span) <= line.t < evidence.before_end_of(span)


def _runs(evidence: Evidence) -> Iterator[tuple[Span, Run]]:
    """Yield every sealed run of every copy."""
    for span in evidence.spans:
        for run in span.copy.runs.values() if span.copy is not None else ():
            yield span, run


CHECKS = (check_words, check_intents, check_attempts)
