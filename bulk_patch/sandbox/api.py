"""The API behind the HTTP: who may ask, which answer a key already has, and what a request does to the world.

Nothing here waits or writes: a `Served` says what the answer is and what must be stored before it is sent.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from .fields import PERSONAL, RESOURCES, Document, Resource
from .problems import JSON, Answer, problem, reply
from .rules import apply, next_update, refuse, show, time_text, without_clears
from .world import Filter, KeptAnswer, World

DEFAULT_TOKEN = "sandbox-token"
RETENTION_S = 7 * 24 * 3600.0
_MOST_PER_PAGE = 100
_UUID = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_PATH = re.compile(rf"/v0/({'|'.join(RESOURCES)})(?:/({_UUID}))?")
_FILTERS: Mapping[str, tuple[str, ...]] = {
    "status": ("status",),
    "ban_status": ("ban_status",),
    "email": ("email",),
    "first_name": ("first_name", "chosen_name"),
    "last_name": ("last_name",),
    "phone_number": ("phone_number",),
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it arrived.

    Attributes:
        n: Its number in the world.
        t: When, in unix seconds of the world's clock.
        method: HTTP method.
        path: Path as sent, without the query.
        query: Decoded query parameters.
        key: The Idempotency-Key, if any.
        token: The bearer token, if any.
        media_type: The body's declared media type.
        body: The body's bytes.
        body_sha256: Their SHA-256, in hex.
        resource: The resource that the path names, if any.
        customer_id: The customer that the path names, if any, in lower case.
    """

    n: int
    t: float
    method: str
    path: str
    query: Mapping[str, str]
    key: str | None
    token: str | None
    media_type: str
    body: bytes
    body_sha256: str
    resource: Resource | None
    customer_id: str | None

    @property
    def request(self) -> str:
        """Return what a key is bound to: method, path and body."""
        return f"{self.method} {self.path} {self.body_sha256}"

    @property
    def write_key(self) -> str | None:
        """Return the key if it has a meaning: reads ignore it."""
        return None if self.method == "GET" else self.key

    @property
    def ids(self) -> list[str] | None:
        """Return the ids that a list read asks for, None if it does not name any."""
        wanted = self.query.get("id")
        return None if wanted is None else [each.lower() for each in wanted.split(",") if each]


def read_path(path: str) -> tuple[Resource | None, str | None]:
    """Return the resource and the customer id that a path names, as far as it does."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None, None
    name, customer_id = match.groups()
    return RESOURCES[name], customer_id and customer_id.lower()


@dataclass(frozen=True, slots=True)
class Served:
    """What a call comes to.

    Attributes:
        answer: The true answer.
        customer: The customer as the call leaves it; None when it changes nothing.
        is_new: The answer is the call's own and may be kept under its key; False for a replay, and for a
            refusal that comes from the key or the limiter.
        replayed: The answer was kept from an earlier call with the same key.
    """

    answer: Answer
    customer: Document | None = None
    is_new: bool = True
    replayed: bool = False

    @property
    def executed(self) -> bool:
        """Say whether the call changed the world."""
        return self.customer is not None


class Api:
    """Answer calls by the state of a world."""

    def __init__(
        self,
        world: World,
        *,
        token: str,
        clears: bool,
        merges: bool,
        concurrent_status: int,
        kyc_rerun: Callable[[str], str] | None,
    ) -> None:
        """Bind the API to a world; the options are those of `Sandbox`."""
        self.token = token
        self._world = world
        self._clears = clears
        self._merges = merges
        self._concurrent_status = concurrent_status
        self._kyc_rerun = kyc_rerun
        self._requests_in_work: dict[str, str] = {}  # by key

    @contextmanager
    def hold_key(self, call: Call) -> Iterator[Served | None]:
        """Hold a call's key while it is worked on; yields the refusal if the key is held already."""
        key = call.write_key if call.token == self.token else None
        if key is None:
            yield None
        elif key in self._requests_in_work:
            same = self._requests_in_work[key] == call.request
            yield Served(self._in_use() if same else _reused(), is_new=False)
        else:
            self._requests_in_work[key] = call.request
            try:
                yield None
            finally:
                del self._requests_in_work[key]

    def kept_answer(self, call: Call) -> KeptAnswer | None:
        """Return what the API holds under a call's key, for as long as it holds it."""
        kept = self._world.kept_answer(call.write_key) if call.write_key else None
        return kept if kept is not None and call.t - kept.kept_at < RETENTION_S else None

    def respond(self, call: Call) -> Served:
        """Return what a call comes to now."""
        kept = self.kept_answer(call)
        if call.token != self.token:
            # Kept like any other 4xx, but never in place of an answer that an authorised call already has.
            refusal = problem("UNAUTHENTICATED", "a valid API key is required")
            return Served(refusal, is_new=kept is None, replayed=kept is not None and kept.answer == refusal)
        if kept is not None:
            if kept.request != call.request:
                return Served(_reused(), is_new=False)
            return Served(kept.answer, is_new=False, replayed=True)
        return self._execute(call)

    def _execute(self, call: Call) -> Served:
        resource = call.resource
        if resource is None:
            return Served(problem("RESOURCE_NOT_FOUND", "there is nothing at this path"))
        if call.customer_id is None:
            return Served(self._list(call, resource) if call.method == "GET" else _not_served())
        customer = self._world.find(call.customer_id)
        if call.method not in ("GET", "PATCH"):
            return Served(_not_served())
        if customer is None:
            return Served(problem("RESOURCE_NOT_FOUND", f"no such resource in {resource.name}"))
        if call.method == "GET":
            return Served(reply(show(customer, resource)))
        return self._patch(call, resource, customer)

    def _patch(self, call: Call, resource: Resource, before: Document) -> Served:
        if call.media_type != JSON:
            return Served(problem("BAD_REQUEST", f"the body's Content-Type must be {JSON}"))
        payload = _parse(call.body)
        if payload is None:
            return Served(problem("BAD_REQUEST_BODY", "the body must be one JSON object"))
        if not self._clears:
            payload = without_clears(payload)
        refusal = refuse(payload, before, resource=resource, today=datetime.fromtimestamp(call.t, UTC).date())
        if refusal is not None:
            return Served(refusal)
        after = apply(payload, before, resource=resource, merges=self._merges)
        after["last_updated_time"] = next_update(before["last_updated_time"], call.t)
        if self._kyc_rerun is not None and PERSONAL & payload.keys():
            after["kyc_status"] = self._kyc_rerun(after["id"])
            after["kyc_last_run"] = after["last_updated_time"]
        return Served(reply(show(after, resource)), customer=after)

    def _list(self, call: Call, resource: Resource) -> Answer:
        invalid: dict[str, str] = {}
        limit, after = _count(call.query.get("limit", "100")), _position(call.query.get("page_token", "0"))
        ids = call.ids
        if limit is None:
            invalid["limit"] = "must be a number from 1"
        if after is None:
            invalid["page_token"] = "must be a next_page_token"
        if ids is not None and not all(re.fullmatch(_UUID, each) for each in ids):
            invalid["id"] = "must be comma-separated UUIDs"
        for name in call.query.keys() - _FILTERS.keys() - {"limit", "page_token", "id", "sort_by"}:
            invalid[name] = "the sandbox does not know this filter"
        if "sort_by" in call.query:
            invalid["sort_by"] = "the sandbox lists in the order of creation only"
        if invalid or limit is None or after is None:
            return problem("BAD_QUERY_PARAMETER", f"invalid parameters: {', '.join(invalid)}", invalid=invalid)
        filters = [Filter(fields, call.query[name]) for name, fields in _FILTERS.items() if name in call.query]
        # One more than asked for, to know whether there is a next page.
        found = self._world.page(filters, ids, after=after, limit=limit + 1)
        listing: dict[str, Any] = {resource.name: [show(customer, resource) for _, customer in found[:limit]]}
        if len(found) > limit:
            listing["next_page_token"] = f"{found[limit - 1][0]:08x}"
        return reply(listing)

    def _in_use(self) -> Answer:
        return problem(
            "IDEMPOTENCY_CONCURRENT_USE",
            "a request with this Idempotency-Key is still being processed",
            status=self._concurrent_status,
        )


def edited(customer: Document, changes: Mapping[str, Any], *, unix_s: float) -> Document:
    """Return a customer after an edit from outside; a change to None removes the field."""
    after = {name: value for name, value in {**customer, **changes}.items() if value is not None}
    after["last_updated_time"] = next_update(customer["last_updated_time"], unix_s)
    return after


def newcomer(seed: Document, *, unix_s: float) -> Document:
    """Complete a customer that is taken into a world with what every customer has.

    Times that the seed does not give lie 30 days back: a world whose customers all changed just now would
    make every client suspect an edit.
    """
    past = _month_before(unix_s)
    status = seed.get("status", "ACTIVE")
    return {
        "status": status,
        "ban_status": "ALLOWED",
        "kyc_status": "UNVERIFIED" if status == "PROSPECT" else "ACCEPTED",
        "is_customer": True,
        "tenant": "sandbox_workspace",
        "creation_time": past,
        "last_updated_time": past,
        **seed,
        "id": seed["id"].lower(),
    }


@lru_cache(maxsize=1)  # all customers of a world come at one time
def _month_before(unix_s: float) -> str:
    return time_text(unix_s - 30 * 24 * 3600)


def _parse(body: bytes) -> Document | None:
    try:
        payload = json.loads(body.decode("utf-8"), parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    return payload if isinstance(payload, dict) else None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number that JSON cannot hold")
    return number


def _count(text: str) -> int | None:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    return min(number, _MOST_PER_PAGE) or None


def _position(token: str) -> int | None:
    return int(token, 16) if re.fullmatch("[0-9a-f]{1,12}", token) else None


def _reused() -> Answer:
    return problem(
        "IDEMPOTENCY_INVALID_REUSE",
        "The request included an Idempotency-Key header which was already used for a different request: an "
        "Idempotency-Key must not be reused across different paths, methods or request payloads",
    )


def _not_served() -> Answer:
    return problem("NOT_IMPLEMENTED", "the sandbox reads and patches customers, and does nothing else")
