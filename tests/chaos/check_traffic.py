"""What reached the API: is the log whole, was only the plan sent, under the right keys, at the right rate?"""

import hashlib
from collections.abc import Iterator, Sequence

from tests.chaos.evidence import Evidence, Line, Span
from tests.chaos.expect import wishes
from tests.chaos.violation import Violation

LATE_S = 0.010  # behaviour.md: no window holds more than rate × (length + 0.01 s) + 1
RETENTION_S = 7 * 24 * 3600.0
SAFE_KEY_AGE_S = 6 * 24 * 3600.0
CLOCKS_S = 0.005  # between the clocks of two processes of one machine
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def check_log(evidence: Evidence) -> Iterator[Violation]:
    """The log file is the one that the API's state holds, and it does not contradict itself."""
    if list(evidence.raw_log) != list(evidence.stored_log):
        yield Violation("log", "the log file and the API's state tell two stories")
    if sorted(line.n for line in evidence.log) != list(range(1, len(evidence.log) + 1)):
        yield Violation("log", "requests are missing, or there twice")
    begun = evidence.spans[0].started_at + min(span.api_clock_s for span in evidence.spans) - CLOCKS_S
    ended = evidence.spans[-1].ended_at + max(span.api_clock_s for span in evidence.spans) + 5
    before: dict[str, list[Line]] = {}
    for line in evidence.log:
        if problem := _contradiction(line, before.get(line.key or "", ()), steady_token=evidence.story.steady_token):
            yield Violation("log", f"request {line.n}: {problem}")
        if evidence.story.steady_clock and not begun <= line.t <= ended:
            yield Violation("log", f"request {line.n} came when no process was there")
        if line.key is not None:
            before.setdefault(line.key, []).append(line)
    for customer_id, executions in evidence.executions.items():
        if executions != sum(line.executed and line.customer_id == customer_id for line in evidence.log):
            yield Violation("log", f"customer {customer_id} was changed {executions} times, the log says otherwise")


def _contradiction(line: Line, earlier: Sequence[Line], *, steady_token: bool) -> str:
    """Say what is impossible about one request, given those that had its key before."""
    own_path = line.customer_id is None or line.path == f"/v0/customers/{line.customer_id}"
    if line.method not in ("GET", "PATCH"):
        return f"the method is {line.method}"
    if not own_path or (line.customer_id is None and line.path != "/v0/customers"):
        return "its path is not the customer's"
    if line.method == "GET":
        if line.executed or line.replayed or line.key is not None or line.body_sha256 != EMPTY_SHA256:
            return "a GET with a key, a body or an effect"
        return "a list names no customer" if (line.ids is None) == (line.customer_id is None) else ""
    if line.key is None or line.customer_id is None or line.ids is not None:
        return "a PATCH without a key or a customer"
    if line.executed and line.replayed:
        return "carried out and replayed at once"
    if line.replayed and not earlier:
        return "replayed, and nothing came before it"
    if line.fault is None:
        if line.status == 401 and not line.replayed and steady_token:
            return "refused with 401, and its token was right"
        if line.status is None or line.status >= 500:
            return f"no fault, and the answer is {line.status}"
        if line.executed and line.status != 200:
            return f"carried out, and the answer is {line.status}"
        # A fault may have shown something else than the true answer, which is kept: a 200, or the 401 of an old token.
        hidden = {200, 401} if any(one.fault for one in earlier) else set()
        if line.replayed and line.status not in {*hidden, *(one.status for one in earlier)}:
            return f"replayed, and {line.status} was never the answer"
        held, in_use = _held(earlier, line.t), line.status in (409, 422)
        other_token = line.status == 401 and (held != 401 or bool(hidden))  # not worded as the one that it holds
        if held is not None and not (line.replayed or in_use or other_token):
            return "no replay, and the API still had an answer"
        if not line.executed and not line.replayed and line.status == 200:
            return "neither carried out nor replayed, and the answer is 200"
    return ""


def _held(earlier: Sequence[Line], now: float) -> int | None:
    """Return the status that the API holds under a key, as far as the log tells: it takes another when one has aged."""
    kept: Line | None = None
    for line in earlier:
        if line.executed and line.fault is not None:
            return None  # it may hold what the fault did not show
        if _is_kept(line) and (kept is None or line.t - kept.t >= RETENTION_S):
            kept = line
    return kept.status if kept is not None and now - kept.t < RETENTION_S else None


def _is_kept(line: Line) -> bool:
    """Tell whether the API keeps this answer; of 409 and 422 one cannot tell, they may say that the key is in use."""
    if line.fault is not None:
        return "kept" in line.fault.split()
    return not line.replayed and line.status in (200, 401, 404)


def check_plan(evidence: Evidence) -> Iterator[Violation]:
    """Only planned bytes were sent, to the planned customer, under a key of the row; reads name planned customers."""
    known = {wish.customer_id for wish in wishes(evidence).values()}
    runs = {run.id: run for span in evidence.spans if span.copy for run in span.copy.runs.values()}
    sent: dict[str, str] = {}
    for line in evidence.log:
        if line.customer_id is not None and line.customer_id not in known:
            yield Violation("plan", f"request {line.n} is about a customer that the input does not name")
        if line.method != "PATCH" or line.key is None:
            continue
        if sent.setdefault(line.key, line.body_sha256) != line.body_sha256:
            yield Violation("same bytes", f"request {line.n}: its key was sent before with other bytes")
        owner = evidence.owner(line)
        if owner is None:
            yield Violation("plan", f"request {line.n}: its key belongs to no row of the plan")
            continue
        row = runs[owner[0]].rows[owner[1]]
        if line.customer_id != row["customer_id"] or line.body_sha256 != hashlib.sha256(row["body"]).hexdigest():
            yield Violation("plan", f"request {line.n}: not what row {owner[1]} planned")


def check_keys(evidence: Evidence) -> Iterator[Violation]:
    """One key at most has an effect; a key is given up only where nothing was carried out; none is used too old."""
    for (run_id, row), found in evidence.patches.items():
        lines = [line for _, line in found]
        effective = {line.key for line in lines if line.executed}
        if len(effective) > 1:
            yield Violation("once", f"row {row}: {len(effective)} keys had an effect")
        generations = [(evidence.owner(line) or (run_id, row, 0))[2] for line in lines]
        for line, generation in zip(lines, generations, strict=True):
            if line.executed and generation < max(generations):
                yield Violation("key law", f"row {row}: key {generation} had an effect, and was given up")
        for place in range(1, len(lines)):
            if generations[place] < max(generations[:place]):
                yield Violation("key law", f"row {row}: an old key came back in request {lines[place].n}")
        first_at: dict[str | None, float] = {}
        for line in lines:
            if line.t - first_at.setdefault(line.key, line.t) > SAFE_KEY_AGE_S:
                yield Violation("retention", f"row {row}: request {line.n} used a key of more than six days")


def check_rate(evidence: Evidence) -> Iterator[Violation]:
    """No window of any length, across processes too, holds more requests than the limit allows.

    Seen from the API: what arrives in a window was sent in it, or was under way when it began, and of those there are
    no more than the job's concurrency and a probe.
    """
    rate, late = evidence.story.rate_per_s, evidence.story.concurrency + 1
    if rate is None or not evidence.story.steady_clock:
        return
    times = sorted(line.t for line in evidence.log)
    # Windows [i, j]: j - i + 1 > rate × (t[j] - t[i] + LATE_S) + 1 + late, for every j with the worst i before it.
    lowest = float("inf")
    for place, t in enumerate(times):
        level = place - rate * t
        lowest = min(lowest, level)
        if level - lowest > rate * LATE_S + late:
            yield Violation("rate", f"request {place + 1} at {t - times[0]:.3f} s: above {rate}/s in some window")
            return


def check_concurrency(evidence: Evidence) -> Iterator[Violation]:
    """Never are more requests under way than the job allows: each is worked on for some time at least.

    Two of one row are one: its client had given the first one up, when a busy API met both late.
    """
    hold_s, most = evidence.story.hold_s, evidence.story.concurrency
    for span in evidence.spans if hold_s else ():
        lines = [line for line in _lines_of(evidence, span) if line.fault is None and line.status == 200]
        times = sorted((line.t, line.key or line.path) for line in lines)
        for place, (t, _) in enumerate(times):
            under_way = len({what for other, what in times[place:] if other < t + hold_s})
            if under_way > most:
                yield Violation("concurrency", f"{under_way} requests under way at once, {most} are allowed")
                break


def check_pauses(evidence: Evidence) -> Iterator[Violation]:
    """After an answer that asked to wait nothing new is sent for so long; after a 401 only a read, the probe."""
    slack_s = evidence.story.slack_s
    for span in evidence.spans if evidence.story.steady_clock else ():
        lines = list(_lines_of(evidence, span))
        for line in lines:
            asked_s = float((line.fault or "").partition(" pause=")[2] or 0)
            until = line.t + asked_s - CLOCKS_S
            # Others may have been under way; the same row is tried again only when this answer was there.
            early = [other.n for other in lines if _free_at(line, other, slack_s) < other.t < until]
            if early:
                yield Violation("pause", f"request {line.n} asked to wait {asked_s} s, and {early} came earlier")
        yield from _sent_unprobed(lines, slack_s)


def _free_at(line: Line, other: Line, slack_s: float) -> float:
    return line.t if line.key is not None and other.key == line.key else line.t + slack_s


def _sent_unprobed(lines: Sequence[Line], slack_s: float) -> Iterator[Violation]:
    for place, line in enumerate(lines):
        if line.status != 401 or line.method != "PATCH" or line.replayed:
            continue
        for other in lines[place + 1 :]:
            if other.method == "GET":
                break
            if other.t > line.t + slack_s:
                yield Violation("pause", f"request {line.n} was refused with 401, and {other.n} followed unprobed")
                break


def check_settling(evidence: Evidence) -> Iterator[Violation]:
    """A row that is rejected after doubt was read; reads that settle nothing are not asked for here."""
    for span in evidence.spans:
        for run in span.copy.runs.values() if span.copy else ():
            for row, record in run.rows.items():
                if record["state"] != "rejected" or record["requested"]:
                    continue
                found = evidence.patches.get((run.id, row), ())
                current = [(at, line) for at, line in found if line.key == run.key(row, record["generation"])]
                # A refusal that was kept settles its key, however late the one comes that confirms it.
                kept = next((at for at, line in current if _is_kept_refusal(line)), len(evidence.log))
                in_doubt = [at for at, line in current if is_doubtful(line) and not (line.replayed and at > kept)]
                reads = [
                    at
                    for at, line in enumerate(evidence.log)
                    if line.method == "GET" and line.customer_id == record["customer_id"]
                ]
                if in_doubt and not any(at > in_doubt[0] for at in reads):
                    yield Violation("settle", f"row {row}: rejected after doubt, and no one looked")


def is_doubtful(line: Line) -> bool:
    """Tell whether an answer proves neither that the PATCH was carried out nor that it was not."""
    if line.status is None or line.status >= 500 or line.status in (408, 423, 424, 425, 429, 499):
        return True
    if line.fault is None:  # a key that is in use: the other attempt decides
        return line.status in (409, 422) and not line.replayed
    return line.fault.startswith(("processing", "reused")) or "own" not in line.fault.split()


def _is_kept_refusal(line: Line) -> bool:
    return line.status is not None and 400 <= line.status < 500 and not is_doubtful(line) and not line.executed


def _lines_of(evidence: Evidence, span: Span) -> Iterator[Line]:
    return (line for line in evidence.log if evidence.begin_of(span) <= line.t < evidence.before_end_of(span))


CHECKS = (
    check_log,
    check_plan,
    check_keys,
    check_rate,
    check_concurrency,
    check_pauses,
    check_settling,
)
