"""Tier `golden`: every status 100 to 599, with every kind of body, as a row's first answer and after one in doubt.

The table is behaviour.md's, written down once more by hand; the answers go straight to the target's judge.
"""

import datetime as dt
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bulk_patch.errors import Exit
from bulk_patch.model import Action, History, Patch, Reply, Verdict, Wait
from bulk_patch.targets.synctera.target import Synctera
from tests.chaos.crew import Findings, Form

STATUSES = range(100, 600)
#: Whose word a body is, with an example that names no customer.
BODIES: Mapping[str, bytes] = {
    "own code": b'{"code":"BAD_REQUEST_BODY","detail":"no","status":400}',
    "own type only": b'{"type":"https://dev.synctera.com/errors/bad-request-body","title":"no"}',
    "in use": b'{"code":"IDEMPOTENCY_CONCURRENT_USE","status":409}',
    "reused": b'{"code":"IDEMPOTENCY_INVALID_REUSE","status":422}',
    "gateway's JSON": b'{"message":"Forbidden"}',
    "page": b"<html><body>No</body></html>",
    "nothing": b"",
}
OWN = ("own code", "own type only", "in use", "reused")
FOREIGN = ("gateway's JSON", "page", "nothing")

# A later line counts more than those before it. `doubt`: it may have been executed; `all wait`: no one sends meanwhile.
_TABLE = """
100-199         | any     | again, doubt            | again, doubt
101             | any     | stop 5, doubt           | stop 5, doubt
200-299         | any     | again, doubt            | again, doubt
300-399         | any     | stop 5, doubt           | stop 5, doubt
400-499         | own     | rejected                | settle
400-499         | in use  | again, doubt            | again, doubt
400-499         | reused  | stop 5, doubt           | stop 5, doubt
400-499         | foreign | again, doubt, all wait  | again, doubt, all wait
401             | own     | renew, all wait         | renew, all wait
401             | foreign | renew, doubt, all wait  | renew, doubt, all wait
408,423-425,499 | any     | again, doubt            | again, doubt
429             | any     | again, doubt, all wait, free | again, doubt, all wait, free
500-599         | any     | again, doubt, outage    | again, doubt, outage
"""
_ACTS = {
    "again": Action.RETRY,  # the same key
    "stop 5": Action.STOP,
    "rejected": Action.REJECTED,
    "settle": Action.SETTLE,
    "renew": Action.RENEW,
}


@dataclass(frozen=True, slots=True)
class Expected:
    """What a line of the promises says."""

    act: Action
    doubt: bool
    stop: Exit | None = None
    free: bool = False
    outage: bool = False
    all_wait: bool = False


def _read_cell(cell: str) -> Expected:
    act, *more = (word.strip() for word in cell.split(","))
    return Expected(
        _ACTS[act],
        doubt="doubt" in more,
        stop=Exit.STOPPED if act == "stop 5" else None,
        free="free" in more,
        outage="outage" in more,
        all_wait="all wait" in more,
    )


def _read_table() -> dict[tuple[int, str, bool], Expected]:
    groups = {"any": tuple(BODIES), "own": OWN, "foreign": FOREIGN}
    table: dict[tuple[int, str, bool], Expected] = {}
    for line in _TABLE.strip().splitlines():
        statuses, whose, first, later = (cell.strip() for cell in line.split("|"))
        for span in statuses.split(","):
            begin, _, end = span.partition("-")
            for status in range(int(begin), int(end or begin) + 1):
                for body in groups.get(whose, (whose,)):
                    table[status, body, False] = _read_cell(first)
                    table[status, body, True] = _read_cell(later)
    return table


#: Status, body, whether an earlier attempt was in doubt -> what the promises give it.
TABLE: Mapping[tuple[int, str, bool], Expected] = _read_table()


def put_in_words(verdict: Verdict) -> Expected:
    """Put a verdict into the words of the table."""
    return Expected(
        verdict.act,
        verdict.ambiguous,
        verdict.stop.exit_code if verdict.stop is not None else None,
        verdict.free,
        verdict.outage,
        verdict.wait is Wait.PAUSE,
    )


def find_differences() -> Iterator[str]:
    """Judge every cell; yield those that are not as promised."""
    target = Synctera("customers", today=dt.date(2026, 11, 22))
    customer_id = "7d943c51-e4ff-4e57-9558-08cab6b963c7"
    patch = Patch(1, customer_id, b'{"first_name":"Ann"}', None, "1f0e6c9a-51a3-5d29-8a57-93e44f6bb2d1")
    for (status, body, ambiguous), expected in TABLE.items():
        found = put_in_words(target.judge(patch, Reply(status, {}, BODIES[body]), History(ambiguous)))
        if found != expected:
            when = "after an ambiguous attempt" if ambiguous else "as the first answer"
            yield f"{status} with {body} {when}: {found}, promised {expected}"


def run(form: Form) -> Findings:
    """Judge all of it: it takes no time, so short form and long form are one."""
    return play(form, "golden")


def play(form: Form, trial: str) -> Findings:
    """Judge every cell; each is a trial."""
    begun = time.monotonic()
    violations = [f"{trial}: {each}" for each in find_differences()]
    return Findings(len(TABLE), violations, seconds=time.monotonic() - begun)
