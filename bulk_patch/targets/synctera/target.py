"""Synctera's customers and persons: paths, codes and the fault table. The fields are in `fields.py`.

Sources: the published OpenAPI document 0.179.0, the list of global error codes, and the pages on idempotency and
errors. To change how an answer is handled, change `FAULT_TABLE`.
"""

import datetime as dt
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from bulk_patch.errors import Exit, JobError
from bulk_patch.model import (
    NEVER_LEFT,
    Action,
    FailureKind,
    History,
    NetworkFailure,
    Patch,
    Reply,
    Request,
    Stop,
    Verdict,
    Wait,
)
from bulk_patch.targets import Page, Record, Streak
from bulk_patch.targets import fields as f
from bulk_patch.targets.answers import asks_to_wait, json_object, retry_after_s, status_words
from bulk_patch.targets.evidence import Evidence
from bulk_patch.targets.fields import AtomicObject, Field
from bulk_patch.targets.synctera.fields import ATOMIC_OBJECTS, synctera_fields

ID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
ERROR_URI = re.compile(r"https?://(?:[\w-]+\.)*synctera\.com/errors/([\w-]+)")
IDS_PER_READ = 100

# --- the fault table


@dataclass(frozen=True, slots=True)
class Rule:
    """How one kind of answer to a PATCH is handled. The key is kept in every line except NEW_KEY."""

    act: Action
    doubt: bool  # this attempt may have executed
    again: int = 0  # this many more tries with the same key before `act`
    wait: Wait = Wait.NONE
    free: bool = False  # does not count as an attempt of the row
    outage: bool = False  # counts towards the outage brake
    streak: bool = False  # several of this kind in a row stop the run, see STREAKS
    exit_code: Exit | None = None  # of an immediate stop


B, P = Wait.BACKOFF, Wait.PAUSE
FAULT_TABLE: Mapping[str, Rule] = {
    # what came back                  act           executed?    and
    "confirmed": Rule(Action.APPLIED, doubt=False),
    "differs": Rule(Action.CONFIRM, doubt=False),
    "wrong customer": Rule(Action.STOP, doubt=True, exit_code=Exit.STOPPED),
    "unreadable answer": Rule(Action.LOOK, doubt=True, again=2, wait=B),  # not JSON, cut short, over 1 MiB
    "unconfirmed": Rule(Action.LOOK, doubt=True, again=2, wait=B),  # 202, 204 and other 2xx
    "protocol switched": Rule(Action.STOP, doubt=True, exit_code=Exit.STOPPED),  # 101
    "redirected": Rule(Action.STOP, doubt=True, exit_code=Exit.STOPPED),  # never followed
    "refused": Rule(Action.REJECTED, doubt=False),  # 400 404 409 422 … in the API's own JSON
    "forbidden": Rule(Action.REJECTED, doubt=False, streak=True),  # 403 in the API's own JSON
    "not found": Rule(Action.REJECTED, doubt=False, streak=True),  # 404 in the API's own JSON
    "still processing": Rule(Action.RETRY, doubt=True, wait=Wait.STEPS),  # IDEMPOTENCY_CONCURRENT_USE, any status
    "key reused": Rule(Action.STOP, doubt=True, exit_code=Exit.STOPPED),  # IDEMPOTENCY_INVALID_REUSE
    "not the API's word": Rule(Action.RETRY, doubt=True, wait=P, streak=True),  # 4xx that is not the API's own
    "unauthenticated": Rule(Action.RENEW, doubt=False, wait=P),  # 401
    "unsettled": Rule(Action.SETTLE, doubt=True, again=2, wait=B),  # 408 423 424 425 499
    "throttled": Rule(
        Action.RETRY, doubt=True, wait=P, free=True
    ),  # 429, 503 with Retry-After: may be a vendor's, in mid-execution
    "server error": Rule(Action.RETRY, doubt=True, wait=B, outage=True),  # 5xx
    "no answer": Rule(Action.RETRY, doubt=True, wait=B, outage=True),  # reset, timeout, half-open, dribble
    "unreachable": Rule(Action.RETRY, doubt=False, wait=B, outage=True),  # refused, DNS, connect, TLS handshake
    "bad certificate": Rule(Action.STOP, doubt=False, exit_code=Exit.CREDENTIAL),
}

CONFIRMED = Verdict(Action.APPLIED, "confirmed (HTTP 200)", kind="confirmed", status=200)
CONFIRMED_SO_FAR = replace(CONFIRMED, act=Action.CONFIRM)  # to be read back

STREAKS: Mapping[str, Streak] = {
    "forbidden": Streak(
        3, Exit.CREDENTIAL, "the token lacks a permission, or belongs to another workspace", canary=True
    ),
    "not found": Streak(5, Exit.STOPPED, "the base URL or the workspace looks wrong", canary=True),
    "not the API's word": Streak(5, Exit.STOPPED, "a gateway, a firewall or a sign-in page answers instead of the API"),
}

HINTS: Mapping[str, str] = {
    "wrong customer": "the API answered for another customer: keep the ledger and call the API's support",
    "redirected": "check target.base_url: a redirect is never followed, since the row would be sent elsewhere",
    "protocol switched": "check target.base_url: something other than the API answers",
    "key reused": "a key was used before with other content: keep the ledger, do not plan again, and ask for help",
    "bad certificate": "the server's certificate is not trusted: set target.ca_file for a private authority",
}

UNSETTLED_STATUSES = frozenset({408, 423, 424, 425, 499})


class Synctera:
    """The target of kind `synctera`.

    Args:
        resource: `customers` or `persons`; the same person has the same id under both.
        today: Dates of birth must be before it.
    """

    id_pattern = ID_PATTERN
    ids_per_read = IDS_PER_READ
    streaks = STREAKS
    copies: Mapping[str, str] = {"legal_address": "shipping_address"}

    def __init__(self, resource: str, *, today: dt.date) -> None:
        if resource not in ("customers", "persons"):
            raise JobError(f"target.resource: {resource!r} is not known", "use customers or persons")
        self._resource = resource
        self._fields = {field.name: field for field in synctera_fields(resource, today)}
        self.evidence = Evidence(self.field, ATOMIC_OBJECTS)

    # --- what can be sent

    def field(self, name: str) -> Field | None:
        """Return the field of this dotted name; `metadata.` takes any single key."""
        if name.startswith("metadata.") and len(name) > len("metadata."):
            return Field(name, "a line of text", f.anything, f.hidden)
        return self._fields.get(name)

    def field_names(self) -> tuple[str, ...]:
        """Return the names of all fields with a fixed name."""
        return tuple(self._fields)

    def atomic_object(self, name: str) -> AtomicObject | None:
        """Return the object of a top-level name."""
        return ATOMIC_OBJECTS.get(name)

    def needs(self, names: Collection[str]) -> str:
        """Refuse a ban without a note: the API requires one."""
        if "ban_status" in names and "note" not in names:
            return "ban_status changes only with a note: add a note column"
        return ""

    def request(self, patch: Patch) -> Request:
        """Return `PATCH /customers/{customer_id}`."""
        return Request("PATCH", self._path(patch.customer_id), patch.body, patch.key)

    def read(self, ids: Sequence[str], page_token: str | None = None) -> Request:
        """Return `GET /customers?id=a,b,…&limit=100`."""
        for customer_id in ids:
            self._path(customer_id)
        token = f"&page_token={quote(page_token, safe='', errors='surrogatepass')}" if page_token else ""
        return Request("GET", f"/{self._resource}?id={','.join(ids)}&limit={IDS_PER_READ}{token}")

    def read_one(self, customer_id: str) -> Request:
        """Return `GET /customers/{customer_id}`."""
        return Request("GET", self._path(customer_id))

    def _path(self, customer_id: str) -> str:
        if not ID_PATTERN.fullmatch(customer_id):
            raise ValueError("an id that is not a UUID never gets into a path")
        return f"/{self._resource}/{customer_id}"

    # --- what answers mean

    def page(self, reply: Reply) -> Page | None:
        """Return the records of a list answer."""
        answer = json_object(reply)
        records = answer.get(self._resource) if answer is not None and reply.status == 200 else None
        token = answer.get("next_page_token") if answer is not None else None
        is_number = isinstance(token, (int, float)) and not isinstance(token, bool)
        if not isinstance(records, list) or not (token is None or isinstance(token, str) or is_number):
            return None
        found = tuple(record for record in records if _has_id(record))
        return Page(found, str(token) if is_number else token or None, is_partial=len(found) < len(records))

    def record(self, reply: Reply, customer_id: str) -> Record | None:
        """Return the customer of a single answer."""
        answer = json_object(reply)
        if reply.status != 200 or answer is None or not _has_id(answer) or answer["id"].lower() != customer_id:
            return None
        return answer

    def judge(self, patch: Patch, reply: Reply | NetworkFailure, history: History) -> Verdict:
        """Look the answer up in the fault table and apply what depends on the row's history."""
        kind = self._kind(patch, reply)
        if kind == "confirmed":  # almost every answer
            return CONFIRMED_SO_FAR if patch.read_back else CONFIRMED
        rule = FAULT_TABLE[kind]
        own = isinstance(reply, Reply) and 400 <= reply.status < 500 and is_the_apis_own(reply)
        ambiguous = rule.doubt or (kind == "unauthenticated" and not own)
        act, wait, cached = rule.act, rule.wait, own and kind != "throttled"
        if history.seen.get(kind, 0) < rule.again:
            act = Action.RETRY
        elif act is Action.REJECTED and history.ambiguous:
            # This proves nothing: the 5xx before this answer is not cached, so the first attempt may have executed.
            act = Action.SETTLE
        elif act is Action.RENEW and history.renewed:
            # The probe was accepted and only this row refused: a cached 401.
            act, wait = (Action.SETTLE if history.ambiguous or ambiguous else Action.NEW_KEY), Wait.NONE
        stop = None
        if rule.exit_code is not None:
            stop = Stop(rule.exit_code, f"{kind}{status_words(reply)}", HINTS[kind])
        code, names = _code_and_fields(reply) if own else ("", ())
        return Verdict(
            act=act,
            reason=code or f"{kind}{status_words(reply)}",
            ambiguous=ambiguous,
            wait=wait,
            pause_s=retry_after_s(reply) if kind in ("throttled", "server error") else None,
            free=rule.free,
            outage=rule.outage,
            streak=kind if rule.streak else "",
            api_code=code,
            api_fields=names,
            cached=cached,
            stop=stop,
            kind=kind,
            status=reply.status if isinstance(reply, Reply) else None,
        )

    def judge_read(self, reply: Reply | NetworkFailure, history: History) -> Verdict:
        """Judge the answer to a GET: nothing can have executed, everything else is as in the fault table."""
        if isinstance(reply, Reply) and reply.status == 200:
            if json_object(reply) is not None:
                return Verdict(Action.APPLIED, "read", kind="confirmed", status=200)
            kind = "unreadable answer"
            return Verdict(Action.RETRY, f"{kind}{status_words(reply)}", wait=Wait.BACKOFF, kind=kind, status=200)
        kind = self._kind(None, reply)
        rule = FAULT_TABLE[kind]
        act = {Action.LOOK: Action.RETRY, Action.SETTLE: Action.RETRY}.get(rule.act, rule.act)
        if kind == "unauthenticated" and history.renewed:
            act = Action.STOP
        stop = None
        if act is Action.STOP:
            hint = HINTS.get(kind, "check the token: [target] token")
            stop = Stop(rule.exit_code or Exit.CREDENTIAL, f"{kind}{status_words(reply)} on a read", hint)
        code, _ = _code_and_fields(reply) if isinstance(reply, Reply) and is_the_apis_own(reply) else ("", ())
        return Verdict(
            act,
            code or f"{kind}{status_words(reply)}",
            wait=rule.wait,
            pause_s=retry_after_s(reply) if kind in ("throttled", "server error") else None,
            free=rule.free,
            outage=rule.outage,
            streak=kind if kind == "not the API's word" else "",
            api_code=code,
            stop=stop,
            kind=kind,
            status=reply.status if isinstance(reply, Reply) else None,
        )

    def _kind(self, patch: Patch | None, reply: Reply | NetworkFailure) -> str:
        """Name the line of the fault table."""
        if isinstance(reply, NetworkFailure):
            if reply.lost is FailureKind.CERTIFICATE:
                return "bad certificate"
            if reply.lost is FailureKind.PROTOCOL:
                return "unreadable answer"
            return "unreachable" if reply.lost in NEVER_LEFT else "no answer"
        status = reply.status
        by_status = {101: "protocol switched", 401: "unauthenticated", 429: "throttled"}.get(status)
        if by_status:
            return by_status
        if status == 503 and asks_to_wait(reply):  # what nginx answers above its limit_req
            return "throttled"
        if status in UNSETTLED_STATUSES:
            return "unsettled"
        if status == 200:
            return self._kind_of_200(patch, reply)
        if 400 <= status < 500:
            return _kind_of_4xx(reply)
        return {2: "unconfirmed", 3: "redirected", 5: "server error"}.get(status // 100, "unreadable answer")

    def _kind_of_200(self, patch: Patch | None, reply: Reply) -> str:
        answer = json_object(reply)
        if patch is None or answer is None or not _has_id(answer):
            return "unreadable answer"
        if answer["id"].lower() != patch.customer_id:
            return "wrong customer"
        return "differs" if self.evidence.missing(patch, answer) else "confirmed"


# --- reading answers, tolerantly: integrators met unknown properties and codes, and bodies that are not JSON


def is_the_apis_own(reply: Reply) -> bool:
    """Tell whether a body is the API's own JSON: it has a `code`, or a `type` that is an error URI of the API."""
    answer = json_object(reply)
    if answer is None:
        return False
    return isinstance(answer.get("code"), str) or ERROR_URI.match(str(answer.get("type"))) is not None


def _has_id(answer: object) -> bool:
    return isinstance(answer, dict) and isinstance(answer.get("id"), str)


def _kind_of_4xx(reply: Reply) -> str:
    if not is_the_apis_own(reply):
        return "not the API's word"
    code, _ = _code_and_fields(reply)
    # The documentation says 409 for the first, the list of codes 422: judged by the code alone.
    by_code = {
        "IDEMPOTENCY_CONCURRENT_USE": "still processing",
        "IDEMPOTENCY_INVALID_REUSE": "key reused",
    }.get(code)
    return by_code or {403: "forbidden", 404: "not found"}.get(reply.status, "refused")


def _code_and_fields(reply: Reply | NetworkFailure) -> tuple[str, tuple[str, ...]]:
    """Return the API's code and the fields that it names; never its texts, which may contain values."""
    answer = (json_object(reply) if isinstance(reply, Reply) else None) or {}
    code = answer.get("code")
    if not isinstance(code, str):
        uri = ERROR_URI.match(str(answer.get("type")))
        code = uri[1] if uri else ""
    groups = [answer.get(key) for key in ("missing", "invalid", "immutable")]
    names = [name for group in groups if isinstance(group, (list, dict)) for name in group if isinstance(name, str)]
    return _word(code), tuple(dict.fromkeys(_word(name) for name in names))


def _word(text: str) -> str:
    """Keep the characters of codes and field names only: an answer may contain anything."""
    return re.sub(r"[^\w.\[\]-]", "", text)[:80]
