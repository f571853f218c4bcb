"""The ledger against itself: its seal, its counts, its moves, and that nothing in it is ever rewritten."""

import hashlib
import json
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tests.chaos.evidence import Evidence, Record, Run, Span
from tests.chaos.expect import planned, wishes
from tests.chaos.violation import Violation

STATES = frozenset("pending sending applied rejected mismatch drifted unknown duplicate invalid kept".split())
UNSENT = frozenset("duplicate invalid kept".split())
TERMINAL = frozenset("applied rejected mismatch drifted duplicate invalid kept".split())
#: What a row may have become by the next copy: the closure of behaviour.md's moves, without `retry`.
REACHABLE: Mapping[str, frozenset[str]] = {
    "pending": frozenset("pending sending applied rejected mismatch drifted unknown".split()),
    "sending": frozenset("pending sending applied rejected mismatch drifted unknown".split()),
    "unknown": frozenset("pending sending applied rejected mismatch drifted unknown".split()),
    **{state: frozenset({state}) for state in TERMINAL},
}
#: Facts of a run that may change after its seal.
CHANGEABLE = frozenset(
    "state started_at finished_at stopped_by stop_reason stop_hint waived exit_code stats input_size "
    "input_mtime_ns".split()
)
_READY, _OUT, _SPENT = 1, 2, 3


def check_seal(evidence: Evidence) -> Iterator[Violation]:
    """Plan, chunks and leaves have the hashes that the seal gave them; derived here from the ledger's documentation."""
    for span, run in _runs(evidence):
        rows = list(run.rows.values())
        for chunk in run.chunks:
            own = [record for record in rows if chunk["first_row"] <= record["row"] <= chunk["last_row"]]
            found = hashlib.sha256(b"".join(_leaf(record) for record in own)).digest()
            if found != chunk["sha256"] or len(own) != chunk["rows"]:
                yield Violation("seal", f"process {span.number}: rows from {chunk['first_row']} are not as sealed")
        if any(_leaf(record) != record["leaf"] or len(record["salt"]) != 16 for record in rows):
            yield Violation("seal", f"process {span.number}: a leaf is not that of its row")
        if sum(chunk["rows"] for chunk in run.chunks) != len(rows):
            yield Violation("seal", f"process {span.number}: rows without a seal")
        if run.facts["seal_version"] != 2 or _plan_sha256(run) != run.facts["plan_sha256"]:
            yield Violation("seal", f"process {span.number}: the plan is not as sealed")


def _leaf(record: Record) -> bytes:
    texts = [record["customer_id"], record["planned_state"], record["fields"]]
    parts = [text.encode() for text in texts]
    parts += [(record["planned_reason"] or "").encode(), (record["planned_hint"] or "").encode(), record["cells"]]
    lengths = [len(part) for part in parts] + [
        -1 if record[it] is None else len(record[it]) for it in ("body", "before")
    ]
    flags = bool(record["read_back"]) | bool(record["recheck"]) << 1
    head = struct.pack(">QIIIIIIqqB", record["row"], *lengths, flags)
    return hashlib.sha256(
        b"".join((record["salt"], head, *parts, record["body"] or b"", record["before"] or b""))
    ).digest()


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _plan_sha256(run: Run) -> str:
    names = "job target kind secret identity baseline baseline_sha256 input_sha256 input_rows unchanged".split()
    facts: dict[str, Any] = {name: run.facts[name] for name in (*names, "reason", "ticket")}
    summary, actor, salts = json.loads(run.facts["details"]), json.loads(run.facts["actor"]), run.facts["summary_salts"]
    facts |= {"run": run.id, "seal": 2, "actor": [actor["operator"], actor["login"], actor["host"]]}
    facts |= {name: summary.pop(name) for name in ("job_file", "overrides")}
    facts |= {name: json.loads(run.facts[name]) for name in ("columns", "terms", "target_spec")}
    shown = {
        "transitions": salts[:16] + _json(summary.pop("transitions")),
        "samples": salts[16:] + _json(summary.pop("samples")),
    }
    facts |= {
        "summary": summary,
        "summary_leaves": {name: hashlib.sha256(it).hexdigest() for name, it in shown.items()},
    }
    chunks = (
        struct.pack(">QQI32s", chunk["first_row"], chunk["last_row"], chunk["rows"], chunk["sha256"])
        for chunk in run.chunks
    )
    return hashlib.sha256(_json(facts) + b"".join(chunks)).hexdigest()


def check_planned(evidence: Evidence) -> Iterator[Violation]:
    """The plan is what the input asks for: each value exactly, nothing else, and the cells as they were read."""
    wanted = wishes(evidence)
    for span, run in _runs(evidence):
        assert span.copy is not None
        if not evidence.story.steady_clock and run.id != min(span.copy.runs.values(), key=_number).id:
            continue  # when it saw the customers cannot be told
        expected = planned(evidence, run)
        unchanged = sum(state == "unchanged" for state, _, _ in expected.values())
        if run.facts["unchanged"] != unchanged or run.facts["input_rows"] != len(evidence.cells):
            yield Violation("plan", f"process {span.number}: {run.facts['unchanged']} rows unchanged, not {unchanged}")
        for row, (state, fields, body) in expected.items():
            record = run.rows.get(row)
            if record is None or state == "unchanged":
                if (record is None) != (state == "unchanged"):
                    yield Violation("plan", f"row {row} should be {state}")
                continue
            if record["planned_state"] != state or record["customer_id"] != wanted[row].customer_id:
                yield Violation("plan", f"row {row}: planned as {record['planned_state']}, not {state}")
            if json.loads(record["cells"]) != list(evidence.cells[row - 1]):
                yield Violation("plan", f"row {row}: its cells are not those of the input")
            if record["body"] != body:
                yield Violation("plan", f"row {row}: what would be sent is not what the input asks for")
            if state == "pending" and set(json.loads(record["fields"])) != fields:
                yield Violation("plan", f"row {row}: not the fields that change")
            if (state == "pending") != (record["planned_reason"] is None):
                yield Violation("plan", f"row {row}: {state}, and with a reason or without one")
            if record["planned_hint"] is not None and state == "pending":
                yield Violation("plan", f"row {row}: pending, and with a hint")
        if sorted(run.customers) != sorted((record["customer_id"], row) for row, record in run.rows.items()):
            yield Violation("plan", f"process {span.number}: the index of customers is not that of the rows")


def check_balance(evidence: Evidence) -> Iterator[Violation]:
    """Every row has one state that is possible in every detail; the counts are theirs and sum up to the input."""
    for span, run in _runs(evidence):
        states: Counter[str] = Counter(record["state"] for record in run.rows.values())
        is_open: Counter[str] = Counter(r["state"] for r in run.rows.values() if r["lane"] is not None)
        if run.facts["unchanged"]:
            states["unchanged"] = run.facts["unchanged"]
        counted = {state: line["rows"] for state, line in run.counts.items() if line["rows"]}
        if counted != dict(states) or sum(states.values()) != run.facts["input_rows"]:
            yield Violation("balance", f"process {span.number}: {counted} counted, {dict(states)} there")
        if any(line["open"] != is_open[state] for state, line in run.counts.items()):
            yield Violation("balance", f"process {span.number}: rows counted as open are not those that are")
        for row, record in run.rows.items():
            if problem := _impossible(run, row, record, steady=evidence.story.steady_clock):
                yield Violation("balance", f"row {row}, process {span.number}: {problem}")


def _impossible(run: Run, row: int, record: Record, *, steady: bool) -> str:
    """Say what cannot be about one row, whatever happened."""
    state, lane, generation = record["state"], record["lane"], record["generation"]
    generations = run.generations.get(row, ())
    first_at, key_at, done_at = record["first_intent_at"], record["key_intent_at"], record["done_at"]
    lanes: dict[str, set[int | None]] = {"pending": {_READY, _SPENT}, "sending": {_OUT}}
    lanes["unknown"] = {None} if record["final"] else {_READY, _SPENT}
    lanes["rejected"] = {_READY} if record["requested"] else {None}
    was_sent = state in {"sending", "applied", "rejected", "mismatch", "unknown"}
    ages = sorted(value for value in (first_at, key_at, done_at) if value is not None)
    problems = {
        f"the state {state}": state not in STATES,
        f"the lane {lane}": lane not in lanes.get(state, {None}),
        "final, and not unknown": record["final"] not in (0, 1) or (bool(record["final"]) and state != "unknown"),
        "asked for, and closed": record["requested"] not in (0, 1) or (bool(record["requested"]) and lane is None),
        "ambiguous, or not": state != "sending" and record["ambiguous"] != (state == "unknown"),
        "neither ambiguous nor not": record["ambiguous"] not in (0, 1),
        "its generations": [line["generation"] for line in generations] != list(range(1, generation + 1)),
        "its first intent": first_at is None if was_sent else state in UNSENT and first_at is not None,
        "its key's intent": key_at is not None and (first_at is None or (steady and key_at < first_at)),
        "two first intents": generation == 0 and (key_at is None) != (first_at is None),
        "a key older than its generation": steady and bool(generation and key_at) and generations[-1]["at"] > key_at,
        "sent without its key's intent": was_sent and key_at is None and not record["requested"],
        "when it was done": state != "unknown" and (done_at is None) != (state not in TERMINAL - UNSENT),
        "done before it began": steady and done_at is not None and ages[-1] != done_at,
        "attempts": record["attempts"] < 0 or (first_at is None and record["attempts"] > 0),
        "spent sessions": not 0 <= record["spent_sessions"] <= 2,
        "no reason": state == "unknown" and not record["reason"],
    }
    return next((f"impossible: {name}" for name, holds in problems.items() if holds), "")


def check_moves(evidence: Evidence) -> Iterator[Violation]:
    """From one process to the next only legal moves were made, and nothing that was written was written over."""
    before: Span | None = None
    for span in evidence.spans:
        if span.copy is None:
            if before is not None:
                yield Violation("append only", f"process {span.number} left no ledger")
            continue
        if before is not None and before.copy is not None:
            for run_id, old in before.copy.runs.items():
                new = span.copy.runs.get(run_id)
                if new is None:
                    if old.facts["started_at"] is not None:
                        yield Violation("append only", f"process {span.number}: run {run_id} is gone")
                    continue
                yield from _rewritten(span, old, new)
                yield from _illegal(span, old, new)
        before = span


def _rewritten(span: Span, old: Run, new: Run) -> Iterator[Violation]:
    for name, value in old.facts.items():
        if new.facts[name] != value and name not in CHANGEABLE:
            yield Violation("append only", f"process {span.number}: the run's {name} changed")
    if old.facts["started_at"] is not None and old.facts["started_at"] != new.facts["started_at"]:
        yield Violation("append only", f"process {span.number}: the run's start changed")
    if list(new.notes[: len(old.notes)]) != list(old.notes):
        yield Violation("append only", f"process {span.number}: notes changed")
    if list(new.sessions[: len(old.sessions)]) != list(old.sessions):
        yield Violation("append only", f"process {span.number}: sessions changed")
    if old.counts.keys() != new.counts.keys():
        yield Violation("append only", f"process {span.number}: states that are counted changed")
    for row, lines in old.generations.items():
        if list(new.generations.get(row, ())[: len(lines)]) != list(lines):
            yield Violation("append only", f"row {row}, process {span.number}: generations changed")


_OF_THE_PLAN = ("planned_state", "planned_reason", "planned_hint", "fields", "cells", "body", "before", "customer_id")


def _illegal(span: Span, old: Run, new: Run) -> Iterator[Violation]:
    for row, was in old.rows.items():
        now = new.rows[row]
        where = f"row {row}, process {span.number}"
        if any(was[name] != now[name] for name in (*_OF_THE_PLAN, "read_back", "recheck")):
            yield Violation("append only", f"{where}: what was planned changed")
        if now["attempts"] < was["attempts"] or now["generation"] < was["generation"]:
            yield Violation("append only", f"{where}: attempts or generations went back")
        if was["first_intent_at"] not in (None, now["first_intent_at"]):
            yield Violation("append only", f"{where}: the first intent changed")
        # Of a pending row nothing has left: its next intent is the first one of its key again.
        is_same_key = was["generation"] == now["generation"] and was["state"] != "pending"
        if is_same_key and was["key_intent_at"] not in (None, now["key_intent_at"]):
            yield Violation("append only", f"{where}: its key's intent changed")
        may_reopen = span.command == "retry" and (was["state"] in ("rejected", "unknown"))
        if was["state"] in TERMINAL and not may_reopen and not was["requested"]:
            if was["state"] != now["state"]:
                yield Violation("moves", f"{where}: {was['state']} became {now['state']}")
            elif was != now:
                yield Violation("append only", f"{where}: it is {was['state']}, and what is said of it changed")
        elif not may_reopen and not was["requested"] and now["state"] not in REACHABLE[was["state"]]:
            yield Violation("moves", f"{where}: {was['state']} became {now['state']}")
        if was["final"] and not may_reopen and was != now:
            yield Violation("moves", f"{where}: it was unknown for good, and changed")


def _number(run: Run) -> int:
    return int(run.facts["number"])


def _runs(evidence: Evidence) -> Iterator[tuple[Span, Run]]:
    for span in evidence.spans:
        for run in span.copy.runs.values() if span.copy is not None else ():
            yield span, run


CHECKS = (check_seal, check_planned, check_balance, check_moves)
