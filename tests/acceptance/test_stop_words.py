"""What a stop says, word for word: the fault, the rows, what is safe, and the command to type next.

The guards' own words are in test_guards.py.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from bulk_patch.sandbox import Fault, Sandbox
from bulk_patch.sandbox.faults import Seen
from tests.acceptance.commands import Workspace
from tests.acceptance.small_job import FILE, NAME, TOKEN, aimed_at, id_of, new_emails, people, write_job

ROWS = 12
ONE_BY_ONE = ("--set", "limits.concurrency=1", "--set", "limits.rate_per_s=100", "--set", "baseline.kind=none")
IMPATIENT = ("--set", "retry.give_up_after_s=1")
STOPPED = "exit code 5: stopped by a guard or an integrity fault; a person must look"
REFUSED = "exit code 6: the credential, a permission or TLS was refused"
INCOMPLETE = "exit code 4: incomplete; running it again is safe and continues"
LOOK = ("first: look at output/{name}/{run}/failures.csv", "bulk-patch run jobs/small.toml --continue ")
FIX = ("first: fix the credential or permission", "bulk-patch run jobs/small.toml ")
AGAIN = ("", "bulk-patch run jobs/small.toml ")


def own(status: int, code: str, **headers: str) -> Fault:
    """Answer in the API's own words; `_` in a header's name stands for `-`."""
    body = json.dumps({"code": code, "title": "no", "status": status}).encode()
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Fault(status=status, body=body, content_type="application/problem+json", headers=named)


ANOTHER = Fault(status=200, body=json.dumps(people(5)[4]).encode(), content_type="application/json")


def at_row_two(fault: Fault) -> Callable[[Seen], Fault | None]:
    return lambda seen: fault if seen.method == "PATCH" and seen.customer_id == id_of(2) else None


def always(fault: Fault) -> Callable[[Seen], Fault | None]:
    return lambda seen: fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A fault, and what is said of it; `…` stands for what depends on the clock."""

    fault: Callable[[Seen], Fault | None]
    code: int
    reason: str
    hint: str
    exit_words: str
    next: tuple[str, str]  # what comes before the command, and how the command starts
    at_row: int | None = None  # named in the reason
    flags: tuple[str, ...] = ()


STOPS = {
    "redirect": Stop(
        fault=at_row_two(Fault(status=307, body=b"", headers={"Location": "/v0/elsewhere"})),
        code=5,
        reason="redirected (HTTP 307); seen at row 2",
        hint="check target.base_url: a redirect is never followed, since the row would be sent elsewhere",
        exit_words=STOPPED,
        next=LOOK,
        at_row=2,
    ),
    "wrong customer": Stop(
        fault=at_row_two(ANOTHER),
        code=5,
        reason="wrong customer (HTTP 200); seen at row 2",
        hint="the API answered for another customer: keep the ledger and call the API's support",
        exit_words=STOPPED,
        next=LOOK,
        at_row=2,
    ),
    "protocol switched": Stop(
        fault=at_row_two(Fault(status=101, body=b"")),
        code=5,
        reason="protocol switched (HTTP 101); seen at row 2",
        hint="check target.base_url: something other than the API answers",
        exit_words=STOPPED,
        next=LOOK,
        at_row=2,
    ),
    "nobody is found": Stop(
        fault=always(own(404, "NOT_FOUND")),
        code=5,
        reason="NOT_FOUND, 5 times in a row; seen at row 5",
        hint="the base URL or the workspace looks wrong",
        exit_words=STOPPED,
        next=LOOK,
        at_row=5,
    ),
    "the token is refused": Stop(
        fault=always(own(401, "UNAUTHENTICATED")),
        code=6,
        reason="the API refuses the token (HTTP 401)",
        hint="check [target] token: is it for this workspace, and still valid? Then run the same command again",
        exit_words=REFUSED,
        next=FIX,
    ),
    "a permission is missing": Stop(
        fault=always(own(403, "FORBIDDEN")),
        code=6,
        reason="FORBIDDEN, 3 times in a row",
        hint="the token lacks a permission, or belongs to another workspace",
        exit_words=REFUSED,
        next=FIX,
    ),
    "a long wait is asked for": Stop(
        fault=always(own(429, "TOO_MANY_REQUESTS", Retry_After="7200")),
        code=4,
        reason="the API asks to wait until … UTC",
        hint="run the same command again then",
        exit_words=INCOMPLETE,
        next=AGAIN,
    ),
    "an outage": Stop(
        fault=always(own(500, "INTERNAL_ERROR")),
        code=4,
        reason="no success for …: server error (HTTP 500)",
        hint="check target.base_url and the API's status page; then run the same command again",
        exit_words=INCOMPLETE,
        next=AGAIN,
        flags=IMPATIENT,
    ),
    "throttled for ever": Stop(
        fault=always(own(429, "TOO_MANY_REQUESTS", Retry_After="0")),
        code=4,
        reason="no success for …: TOO_MANY_REQUESTS",
        hint="check target.base_url and the API's status page; then run the same command again",
        exit_words=INCOMPLETE,
        next=AGAIN,
        flags=IMPATIENT,
    ),
}


@pytest.mark.parametrize("name", STOPS)
def test_a_stop_names_the_fault_the_row_what_is_safe_and_the_next_command(office: Workspace, name: str) -> None:
    stop = STOPS[name]
    write_job(office, new_emails(*range(1, ROWS + 1)))
    with Sandbox(people(ROWS), token=TOKEN, fault=stop.fault) as api:
        ended = office.run("run", FILE, *aimed_at(api), *ONE_BY_ONE, *stop.flags)
    run = office.runs(NAME)[-1]
    assert ended.code == stop.code, ended.err
    before, _, after = stop.reason.partition("…")
    assert run["stop_reason"].startswith(before)
    assert run["stop_reason"].endswith(after)
    assert run["stop_hint"] == stop.hint
    said = " ".join(ended.out.split())  # long lines are folded
    assert f"stopped: {run['stop_reason']} {stop.hint}" in said
    first, command = stop.next
    counts, exit_words = ended.err.splitlines()[-4 if first else -3 :][:2]
    assert counts.endswith(f": {ROWS} input rows")
    assert exit_words == stop.exit_words
    assert ended.before == first.format(name=NAME, run=run["id"])
    assert ended.next.startswith(command)
    states = office.states(NAME)
    if stop.at_row is not None:
        assert states[stop.at_row] in {"unknown", "rejected"}
    assert states[ROWS] == "pending"  # the rest was not sent
