"""What can go wrong with a request: every line of behaviour.md's fault table, as faults of the sandbox.

A fault's name in the log is ``line: variant``; `own` says that the answer is the API's own JSON, ``pause=S`` what it
asks to wait. The checker and the counts of what was met read no more than these words.
"""

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any

from bulk_patch.sandbox import Fault, Seen
from tests.chaos.stage import Mischief

STRANGER = "00000000-0000-4000-8000-00000000dead"
PAGE = b"<html><body>Sorry</body></html>"
HUGE = b'{"id": "' + b"x" * ((1 << 20) + 10) + b'"}'


@dataclass(frozen=True, slots=True)
class Mishap:
    """One way in which one request goes wrong."""

    name: str  # "line: variant"
    fault: Fault | Callable[[Seen], Fault]

    def of(self, seen: Seen) -> Fault:
        """Return the fault for a request."""
        made = self.fault if isinstance(self.fault, Fault) else self.fault(seen)
        return replace(made, name=self.name)


def own(status: int, code: str, **members: Any) -> dict[str, Any]:
    """Return the parts of a fault that answers in the API's own words."""
    slug = code.lower().replace("_", "-")
    body = {"type": f"https://dev.synctera.com/errors/{slug}", "status": status, "code": code, **members}
    return {"status": status, "body": json.dumps(body).encode(), "content_type": "application/problem+json"}


def page(status: int) -> dict[str, Any]:
    """Return the parts of a fault that answers with foreign HTML."""
    return {"status": status, "body": PAGE, "content_type": "text/html"}


def _differing(**parts: Any) -> Callable[[Seen], Fault]:
    def make(seen: Seen) -> Fault:
        body = json.dumps({"id": seen.customer_id, "first_name": "Somebody", "last_name": "Else"}).encode()
        return Fault(status=200, body=body, content_type="application/json", **parts)

    return make


def _throttled_until(_: Seen) -> Fault:
    # A clock an hour behind ours: only the answer's own Date makes sense of it.
    then = time.time() - 3600
    headers = {"Date": formatdate(then, usegmt=True), "Retry-After": formatdate(then + 1, usegmt=True)}
    return Fault(status=429, body=b"", headers=headers)


_WRONG = json.dumps({"id": STRANGER, "first_name": "Somebody"}).encode()
_AFTER: dict[str, Any] = {"execute": True}

_FAULTS: Mapping[str, Fault | Callable[[Seen], Fault]] = {
    "late: in time": Fault(execute=True, lag_s=0.05),
    # 200
    "differs: after": _differing(**_AFTER),
    "differs: before": _differing(),
    "wrong customer: before": Fault(status=200, body=_WRONG, content_type="application/json"),
    "wrong customer: after": Fault(status=200, body=_WRONG, content_type="application/json", execute=True),
    "unreadable: page": Fault(**page(200)),
    "unreadable: page after": Fault(**page(200), **_AFTER),
    "unreadable: empty": Fault(status=200, body=b""),
    "unreadable: list after": Fault(status=200, body=b"[]", **_AFTER),
    "unreadable: cut short after": Fault(wire="truncate", **_AFTER),
    "unreadable: huge": Fault(status=200, body=HUGE, content_type="application/json"),
    "unreadable: deep after": Fault(status=200, body=b"[" * 200_000, **_AFTER),
    "unreadable: garbage": Fault(raw=b"\x00\xff\x13garbage\r\n\r\n"),
    "unreadable: garbage after": Fault(raw=b"SSH-2.0-OpenSSH\r\n", **_AFTER),
    "unreadable: status 999": Fault(**page(999)),
    "unreadable: status 42 after": Fault(**page(42), **_AFTER),
    # other 2xx and 3xx
    "unconfirmed: 201 after": Fault(status=201, body=b"{}", **_AFTER),
    "unconfirmed: 202": Fault(status=202, body=b""),
    "unconfirmed: 202 after": Fault(status=202, body=b"", **_AFTER),
    "unconfirmed: 204 after": Fault(status=204, body=b"", **_AFTER),
    "switched: 101": Fault(status=101, body=b"", headers={"Upgrade": "h2c"}),
    "redirected: 301": Fault(status=301, body=b"", headers={"Location": "/v0/elsewhere"}),
    "redirected: 303 after": Fault(status=303, body=b"", headers={"Location": "/v0/elsewhere"}, **_AFTER),
    "redirected: 304": Fault(status=304, body=b""),
    "redirected: 307": Fault(status=307, body=b"", headers={"Location": "/v0/elsewhere"}),
    # 4xx in the API's own words
    "refused: 400 own kept": Fault(**own(400, "BAD_REQUEST_BODY", invalid={"first_name": "is bad"}), cached=True),
    "refused: 404 own kept": Fault(**own(404, "RESOURCE_NOT_FOUND"), cached=True),
    "refused: 403 own kept": Fault(**own(403, "FORBIDDEN"), cached=True),
    "refused: 409 own kept": Fault(**own(409, "DUPLICATE_RESOURCE"), cached=True),
    "refused: 422 own kept": Fault(**own(422, "INVALID_STATUS"), cached=True),
    "processing: 409 own": Fault(**own(409, "IDEMPOTENCY_CONCURRENT_USE")),
    "processing: 422 own": Fault(**own(422, "IDEMPOTENCY_CONCURRENT_USE")),
    "reused: 422 own": Fault(**own(422, "IDEMPOTENCY_INVALID_REUSE")),
    "unauthenticated: 401 own": Fault(**own(401, "UNAUTHENTICATED")),
    "unauthenticated: 401 own kept": Fault(**own(401, "UNAUTHENTICATED"), cached=True),
    "unauthenticated: 401 page": Fault(**page(401)),
    # 4xx that are someone else's
    "foreign: 400 page": Fault(**page(400)),
    "foreign: 403 message": Fault(status=403, body=b'{"message": "Forbidden"}', content_type="application/json"),
    "foreign: 404 empty after": Fault(status=404, body=b"", **_AFTER),
    # 4xx that settle nothing
    "unsettled: 408": Fault(**page(408)),
    "unsettled: 423 own": Fault(**own(423, "LOCKED")),
    "unsettled: 425 after": Fault(**page(425), **_AFTER),
    "unsettled: 499 own kept": Fault(**own(499, "REQUEST_CANCELED"), cached=True),
    # 429
    "throttled: 429": Fault(status=429, body=b""),
    "throttled: 429 own pause=0.4": Fault(**own(429, "TOO_MANY_REQUESTS", retry_after=0.4)),
    "throttled: 429 after": Fault(**page(429), **_AFTER),
    "throttled: 429 seconds pause=1": Fault(status=429, body=b"", headers={"Retry-After": "1"}),
    "throttled: 429 date pause=1": _throttled_until,
    "throttled: 429 for an hour": Fault(status=429, body=b"", headers={"Retry-After": "3600"}),
    # 5xx and no answer
    "failing: 500 own": Fault(**own(500, "INTERNAL_ERROR")),
    "failing: 500 own after": Fault(**own(500, "INTERNAL_ERROR"), **_AFTER),
    "failing: 502 gateway after": Fault(**page(502), gateway=True, **_AFTER),
    "throttled: 503 pause=0.3": Fault(status=503, body=b'{"retry_after": 0.3}', content_type="application/json"),
    "failing: 599 empty": Fault(status=599, body=b""),
    "no answer: reset": Fault(wire="reset"),
    "no answer: reset after": Fault(wire="reset", **_AFTER),
    "no answer: closed": Fault(wire="close"),
    "no answer: closed after": Fault(wire="close", **_AFTER),
    "no answer: never": Fault(wire="hang"),
    "no answer: never after": Fault(wire="hang", **_AFTER),
    "no answer: dripping after": Fault(wire="drip", drip_s=0.02, **_AFTER),
    "no answer: half a head after": Fault(raw=b"HTTP/1.1 200 OK\r\nContent-", **_AFTER),
}

#: Every mishap that a single-fault run may meet, by name.
MISHAPS: Mapping[str, Mishap] = {name: Mishap(name, fault) for name, fault in _FAULTS.items()}

#: What a customer's request may meet in the background of a trial with kills, with weights.
BACKGROUND: Mapping[str, float] = {
    "failing: 500 own": 4,
    "failing: 500 own after": 6,
    "failing: 502 gateway after": 3,
    "no answer: reset": 4,
    "no answer: reset after": 4,
    "no answer: closed after": 6,
    "no answer: never after": 1.5,
    "unreadable: page after": 3,
    "unreadable: cut short after": 3,
    "unconfirmed: 202 after": 2,
    "throttled: 429": 2,
    "throttled: 429 own pause=0.4": 0.5,
    "refused: 422 own kept": 8,
    "refused: 409 own kept": 2,
    "processing: 422 own": 2,
    "unsettled: 499 own kept": 3,
    "unauthenticated: 401 own kept": 2,
    "unauthenticated: 401 own": 1,
    "foreign: 403 message": 0.3,
    "differs: after": 2,
    "late: in work": 8,
}
_LATE = Mishap("late: in work", Fault(execute=True, delay_s=0.12))


class Targeted(Mischief):
    """Spoils the first PATCHes or reads of one customer, or all of them.

    Args:
        mishap: What they meet.
        customer_id: Whose; None: reads of many customers.
        skip: So many go well before.
        times: So many go wrong; None: all.
        method: PATCH or GET.
    """

    def __init__(
        self, mishap: Mishap, customer_id: str | None, *, skip: int = 0, times: int | None, method: str
    ) -> None:
        super().__init__()
        self._mishap, self._customer_id, self._method = mishap, customer_id, method
        self._skip, self._left = skip, times

    def choose(self, seen: Seen) -> Fault | None:
        """Return the fault, if this is its customer and its time."""
        if seen.customer_id != self._customer_id or seen.method != self._method:
            return None
        if self._skip:
            self._skip -= 1
            return None
        if self._left is not None:
            if self._left == 0:
                return None
            self._left -= 1
        return self._mishap.of(seen)


class Several(Mischief):
    """Asks several, the first that has a fault wins."""

    def __init__(self, parts: Sequence[Mischief]) -> None:
        super().__init__()
        self._parts = parts

    def choose(self, seen: Seen) -> Fault | None:
        """Return the first fault of any."""
        return next((fault for part in self._parts if (fault := part.choose(seen)) is not None), None)


class Background(Mischief):
    """Lets some customers' requests go wrong again and again, and any other now and then: faults come in groups."""

    CURSED = 0.6
    OTHERS = 0.01

    def __init__(self, seed: str, share: float) -> None:
        super().__init__()
        self._seed, self._share = seed, share
        self._mishaps = [_LATE if name == _LATE.name else MISHAPS[name] for name in BACKGROUND]
        self._weights = list(BACKGROUND.values())

    def choose(self, seen: Seen) -> Fault | None:
        """Draw, from the seed, the customer and the request's number."""
        is_cursed = random.Random(f"{self._seed}/{seen.customer_id}").random() < self._share
        dice = random.Random(f"{self._seed}/{seen.n}")
        if not self._share or dice.random() >= (self.CURSED if is_cursed else self.OTHERS):
            return None
        return dice.choices(self._mishaps, self._weights)[0].of(seen)
