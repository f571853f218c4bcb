"""Which faults, moves and rules a trial met: a rule that was never met was never tested. Nothing of the product."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tests.chaos.check_traffic import SAFE_KEY_AGE_S, is_doubtful
from tests.chaos.evidence import Evidence, Line, Record, Run, Span

MOVES = (
    "pending -> sending",
    "sending -> applied",
    "sending -> rejected",
    "sending -> mismatch",
    "pending -> drifted",
    "sending -> unknown",
    "sending -> pending",
    "unknown -> sending",
    "rejected -> sending",
)
KEY_RULES = (
    "same key after doubt",
    "same key after 429",
    "same key while it is processed",
    "same key after a kill",
    "read after a refusal in doubt",
    "read after a cached 401 in doubt",
    "new key after a cached 401",
    "new key by retry",
    "new key when the old is too old",
    "read first when the key is too old",
    "read first when the clock went back",
    "same key or a read by retry of an unknown row",
    "stop when a key was reused",
)
FAULTS = (
    *("late", "differs", "wrong customer", "unreadable", "unconfirmed", "switched", "redirected", "refused"),
    *("processing", "reused", "unauthenticated", "foreign", "unsettled", "throttled", "failing", "no answer"),
    *("refused connection", "unknown name", "failed handshake", "bad certificate"),  # these never reach the log
)
EXPECTED = (
    *(f"fault {name}" for name in FAULTS),
    *(f"move {name}" for name in MOVES),
    *(f"key {name}" for name in KEY_RULES),
)
OFTEN_ENOUGH = 10


def missing(sightings: Counter[str]) -> list[str]:
    """Name what was met too rarely, with how often."""
    return [f"{name}: {sightings[name]}" for name in EXPECTED if sightings[name] < OFTEN_ENOUGH]


def sight(evidence: Evidence) -> Counter[str]:
    """Count what a trial met."""
    met: Counter[str] = Counter()
    for line in evidence.log:
        if line.fault is not None:
            met[f"fault {line.fault.partition(':')[0]}"] += 1
    met.update(f"move {move}" for move in _moves(evidence))
    for lines in evidence.patches.values():
        met.update(f"key {rule}" for rule in _key_rules(evidence, [line for _, line in lines]))
    met.update(f"key {rule}" for rule in _resumptions(evidence))
    return met


def _moves(evidence: Evidence) -> Iterator[str]:
    """Yield the moves that the copies and the log prove, one for each row and process."""
    before: dict[tuple[str, int], str] = {}
    for span, run in _runs(evidence):
        for row, record in run.rows.items():
            was, now = before.get((run.id, row), "pending"), record["state"]
            before[run.id, row] = now
            lines = [line for _, line in evidence.patches.get((run.id, row), ()) if line.t >= evidence.begin_of(span)]
            was_out = record["first_intent_at"] is not None and (was != now or bool(lines))
            if was in ("pending", "unknown", "rejected") and was_out:
                yield f"{was} -> sending"
            if now in ("applied", "rejected", "mismatch", "unknown") and was_out:
                yield f"sending -> {now}"
            if now == "drifted" and was != now:
                yield "pending -> drifted"
            if (now == "pending" and was_out) or _new_keys(run, row, span):
                yield "sending -> pending"


def _new_keys(run: Run, row: int, span: Span) -> list[Record]:
    made = run.generations.get(row, ())
    begun = span.started_at + span.clock_s
    return [line for line in made if line["at"] >= begun and line["reason"] != "retry"]


def _key_rules(evidence: Evidence, lines: Sequence[Line]) -> Iterator[str]:
    for earlier, later in pairwise(lines):
        reads = any(
            line.method == "GET" and line.customer_id == later.customer_id and earlier.n < line.n < later.n
            for line in evidence.log
        )
        aged = later.t - earlier.t > SAFE_KEY_AGE_S
        if earlier.key == later.key:
            if earlier.status == 429:
                yield "same key after 429"
            elif (earlier.fault or "").startswith("processing") or (earlier.fault is None and earlier.status == 422):
                yield "same key while it is processed"
            elif is_doubtful(earlier):
                yield "same key after doubt"
            if _is_killed_between(evidence, earlier, later):
                yield "same key after a kill"
        elif aged:
            yield "new key when the old is too old"
        elif earlier.status == 401:
            yield "new key after a cached 401"
        else:
            yield "new key by retry"
        if aged and reads:
            yield "read first when the key is too old"
    for place, line in enumerate(lines):
        refused = line.status is not None and 400 <= line.status < 500 and not is_doubtful(line)
        doubt = any(is_doubtful(earlier) and earlier.key == line.key for earlier in lines[:place])
        later_reads = [g.n for g in evidence.log if g.method == "GET" and g.customer_id == line.customer_id]
        if refused and doubt and any(n > line.n for n in later_reads):
            yield "read after a cached 401 in doubt" if line.status == 401 else "read after a refusal in doubt"
        if (line.fault or "").startswith("reused"):
            yield "stop when a key was reused"


def _resumptions(evidence: Evidence) -> Iterator[str]:
    """Yield what was done for rows that an earlier process had left in doubt, where the reason is not the key's age."""
    for earlier, later in pairwise(evidence.spans):
        for run in earlier.copy.runs.values() if earlier.copy is not None else ():
            for row, record in run.rows.items():
                if record["state"] not in ("sending", "unknown"):
                    continue
                lines = [line for line in evidence.log if line.customer_id == record["customer_id"]]
                lines = [line for line in lines if evidence.begin_of(later) <= line.t < evidence.before_end_of(later)]
                keys = {line.key for line in lines if line.method == "PATCH"}
                if later.clock_s < earlier.clock_s and lines and lines[0].method == "GET":
                    yield "read first when the clock went back"
                if later.command == "retry" and lines and keys <= {run.key(row, record["generation"])}:
                    yield "same key or a read by retry of an unknown row"


def _is_killed_between(evidence: Evidence, earlier: Line, later: Line) -> bool:
    ends = (span.ended_at + span.api_clock_s for span in evidence.spans if span.was_killed)
    return any(earlier.t <= end <= later.t for end in ends)


def _runs(evidence: Evidence) -> Iterator[tuple[Span, Run]]:
    for span in evidence.spans:
        for run in span.copy.runs.values() if span.copy is not None else ():
            yield span, run
