"""What people and scripts were told: exit codes, summaries, results, progress, the final state, and no secrets."""

import base64
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from tests.chaos.check_books import pid_of
from tests.chaos.evidence import Evidence, Record, Run, Span
from tests.chaos.expect import versions, without_times
from tests.chaos.violation import Violation

REACHED = frozenset({"applied", "unchanged", "duplicate"})
REPORTED = frozenset(
    "pending applied rejected mismatch drifted unknown unchanged duplicate invalid kept".split()
)  # every status a summary names
REFUSING = frozenset({2, 8, 9})  # nothing was done
STOPPING = frozenset({5, 6, 7, 130, 143})
HOLDS_VALUES = ("ledger.db", "failures.csv")  # by design: the evidence, and what is fed back


def check_exit(evidence: Evidence) -> Iterator[Violation]:
    """The exit code is the one that the ledger's rows and the reason of the stop ask for."""
    for span in evidence.spans:
        run = _run_of(span)
        if span.was_killed or run is None or span.summary is None or span.exit_code in REFUSING:
            continue
        if span.exit_code not in (0, 3) and span.pid not in map(pid_of, run.sessions):
            continue  # it only wrote the report of a run that a kill had left without one
        code, facts = span.exit_code, run.facts
        is_open = any(record["lane"] is not None for record in run.rows.values())
        by_rows = 4 if is_open else 0 if _is_reached(run) else 3
        where = f"process {span.number} ended with {code}"
        if code == 1:
            yield Violation("exit", f"{where}: a bug")
        told = {facts["exit_code"], span.summary["exit_code"]}
        if code in (130, 143) and len(told) == 1 and told <= {by_rows, 130, 143} - {4}:
            code = facts["exit_code"]  # the signal came when all was told: it ended the command, not the run
        if told != {code}:
            yield Violation("exit", f"{where}, ledger {facts['exit_code']}, summary {span.summary['exit_code']}")
        if code in (0, 3) and code != by_rows:
            yield Violation("exit", f"{where}, its rows say {by_rows}")
        if code == 4 and by_rows != 4:
            yield Violation("exit", f"{where}, and nothing is open")
        if (code == 5) != bool(facts["stopped_by"]):
            yield Violation("exit", f"{where}, stopped by {facts['stopped_by'] or 'nothing'}")
        if code in (0, 3) and (facts["stop_reason"] or facts["stop_hint"]):
            yield Violation("exit", f"{where}, and gives a reason to stop")
        if code in STOPPING - {130, 143} and not (facts["stop_reason"] and facts["stop_hint"]):
            yield Violation("exit", f"{where} without reason or hint")


def _is_reached(run: Run) -> bool:
    return all(record["state"] in REACHED for record in run.rows.values())


def check_summary(evidence: Evidence) -> Iterator[Violation]:
    """summary.json, the ledger and the input agree."""
    for span in evidence.spans:
        run, summary = _run_of(span), span.summary
        if span.was_killed or run is None or summary is None:
            continue
        facts = run.facts
        states = Counter("unknown" if r["state"] == "sending" else r["state"] for r in run.rows.values())
        states["unchanged"] = facts["unchanged"]
        expected: dict[str, Any] = {
            "run": run.id,
            "job": facts["job"],
            "target": facts["target"],
            "input_rows": len(evidence.cells),
            "counts": {state: states[state] for state in REPORTED},
            "plan_sha256": facts["plan_sha256"],
            "input_sha256": facts["input_sha256"],
            "started_at": _utc(facts["started_at"]),
            "finished_at": _utc(facts["finished_at"]),
        }
        for name, value in expected.items():
            if summary[name] != value:
                yield Violation("summary", f"process {span.number}: {name} is {summary[name]}, not {value}")
        stats = json.loads(facts["stats"])
        told = summary["timings"] | summary["rate"]
        for name in ("requests", "throttled", "send_s", "limit_per_s"):
            # Of a killed session what it counted last is not known, but each row that was answered was sent.
            answered = sum(states[state] for state in ("applied", "rejected", "mismatch"))
            known = {stats.get(name), max(stats.get(name, 0), answered)} if name == "requests" else {stats.get(name)}
            if stats and told[name] not in known:
                yield Violation("summary", f"process {span.number}: {name} is {told[name]}, not {stats[name]}")
        if told["plan_s"] != round(facts["plan_s"], 3):
            yield Violation("summary", f"process {span.number}: plan_s is {told['plan_s']}")


def check_results(evidence: Evidence) -> Iterator[Violation]:
    """results.csv says of every row what the ledger says; one that a killed process left says nothing that is not."""
    for span in evidence.spans:
        run = _run_of(span)
        if run is None or not span.results:
            continue
        if span.was_killed:
            for result in span.results:
                record = run.rows.get(int(result["row"]), {})
                done = result["status"] in ("applied", "rejected", "mismatch", "drifted")
                if done and record.get("state") != result["status"] and not record.get("requested"):
                    yield Violation("shown", f"row {result['row']}: reported {result['status']} before it was durable")
            continue
        if [int(result["row"]) for result in span.results] != list(run.rows):
            yield Violation("results", f"process {span.number}: its rows are not the ledger's")
            continue
        for result, record in zip(span.results, run.rows.values(), strict=True):
            wrong = [name for name, value in _result_of(run, record).items() if result[name] != value]
            if wrong:
                yield Violation("results", f"row {record['row']}, process {span.number}: {', '.join(wrong)}")


def _result_of(run: Run, record: Record) -> dict[str, str]:
    used = record["generation"] - (record["key_intent_at"] is None)
    return {
        "customer_id": record["customer_id"],
        "status": "unknown" if record["state"] == "sending" else record["state"],
        "reason": record["reason"] or record["planned_reason"] or "",
        "fields": ";".join(json.loads(record["fields"])),
        "attempts": str(record["attempts"]),
        "http_status": str(record["http_status"] or ""),
        "api_code": record["api_code"] or "",
        "idempotency_key": "" if record["first_intent_at"] is None else run.key(record["row"], used),
        "sent_at": _utc(record["first_intent_at"]) or "",
        "done_at": _utc(record["done_at"]) or "",
    }


def check_shown(evidence: Evidence) -> Iterator[Violation]:
    """No row was announced as done before its outcome was durable: the copy holds at least what was shown."""
    before: Counter[str] = Counter()
    run_before: str | None = None
    for span in evidence.spans:
        run = _run_of(span)
        states = Counter(record["state"] for record in run.rows.values()) if run is not None else Counter[str]()
        if run is None or run.id != run_before:
            before = Counter()
        run_before = run.id if run is not None else None
        if span.shown:
            last, refused = span.shown[-1], states["rejected"] + states["mismatch"]
            if last["ok"] > states["applied"] - before["applied"]:
                yield Violation("shown", f"process {span.number} announced {last['ok']} applied, more than are durable")
            if span.command != "retry" and last["refused"] > refused - before["rejected"] - before["mismatch"]:
                yield Violation("shown", f"process {span.number} announced {last['refused']} refused, too many")
        before = states


def check_final_state(evidence: Evidence) -> Iterator[Violation]:
    """The API's customers are what the simple model makes of them."""
    for customer_id, history in versions(evidence).items():
        if without_times(evidence.customers[customer_id]) != history[-1].document:
            yield Violation("final state", f"customer {customer_id} is not what its changes make of it")


def check_settled(evidence: Evidence) -> Iterator[Violation]:
    """Without faults everything comes to its end; only what a reading cannot decide may stay unknown."""
    run = _run_of(evidence.spans[-1])
    if not evidence.story.settled:
        return
    ends = {0, 3} if evidence.story.baseline == "live" else {0, 3, 9}  # 9: killed when all was done but the report
    if run is None or evidence.spans[-1].exit_code not in ends:
        yield Violation("settled", f"the last process ended with {evidence.spans[-1].exit_code}")
        return
    for row, record in run.rows.items():
        if record["state"] in ("pending", "sending") or (record["state"] == "unknown" and not record["final"]):
            yield Violation("settled", f"row {row} is {record['state']}")


def check_secrets(evidence: Evidence) -> Iterator[Violation]:
    """No value of a customer is in anything but the ledger and failures.csv, and the token is nowhere."""
    token = [encoded.encode() for encoded in _encodings(evidence.story.token)]
    for span in evidence.spans:
        said = span.said.encode()
        for name, text in {**span.texts, "what it said": said}.items():
            if any(secret in text for secret in token):
                yield Violation("secrets", f"process {span.number}: the token is in {name}")
            if name.startswith(HOLDS_VALUES):
                continue
            for marker in evidence.story.markers:
                if any(encoded.encode() in text for encoded in _encodings(marker)):
                    yield Violation("secrets", f"process {span.number}: a customer's value is in {name}")


def _encodings(text: str) -> set[str]:
    in_base64 = base64.b64encode(text.encode()).decode().rstrip("=")
    return {text, json.dumps(text)[1:-1], quote(text), text.upper(), text.lower(), in_base64}


def _run_of(span: Span) -> Run | None:
    """Return the run that a process worked on: the newest one that is sealed."""
    if span.copy is None or not span.copy.runs:
        return None
    return max(span.copy.runs.values(), key=lambda run: int(run.facts["number"]))


def _utc(time_s: float | None) -> str | None:
    if time_s is None:
        return None
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


CHECKS = (
    check_exit,
    check_summary,
    check_results,
    check_shown,
    check_final_state,
    check_settled,
    check_secrets,
)
