"""Synctera's customers and persons: paths, and what its answers say. The fields are in `fields.py`.

Sources: the published OpenAPI document 0.179.0, the list of global error codes, and the pages on idempotency and
errors. How answers are handled is in `targets/faults.py`.
"""

import datetime as dt
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote

from bulk_patch.errors import JobError
from bulk_patch.model import History, Meaning, NetworkFailure, Patch, Reply, Request, Verdict
from bulk_patch.targets import IdRule, KeyRetention, Page, Record, TargetSpec
from bulk_patch.targets import fields as f
from bulk_patch.targets.answers import UNKNOWN_CODE, json_object
from bulk_patch.targets.evidence import Evidence
from bulk_patch.targets.faults import STREAKS, FaultTable
from bulk_patch.targets.fields import AtomicObject, Field, Kind
from bulk_patch.targets.synctera.fields import ATOMIC_OBJECTS, canadian, synctera_fields
from bulk_patch.targets.synctera.settings import SyncteraSettings
from bulk_patch.words import amount

ID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
ERROR_URI = re.compile(r"https?://(?:[\w-]+\.)*synctera\.com/errors/([\w-]+)")
#: What the API's codes look like: an answer may contain anything, also what was sent to it.
CODE, SLUG = re.compile(r"[A-Z][A-Z0-9_]{1,63}"), re.compile(r"[a-z][a-z0-9-]{1,63}")
IDS_PER_READ = 100
LOGIN: Mapping[str, str] = {"Authorization": "Bearer {token}"}

#: Codes that mean the same whatever the status: the documentation says 409 for the first, the list of codes 422.
MEANING_BY_CODE: Mapping[str, Meaning] = {
    "IDEMPOTENCY_CONCURRENT_USE": Meaning.STILL_PROCESSING,
    "IDEMPOTENCY_INVALID_REUSE": Meaning.KEY_REUSED,
}


class Synctera:
    """The target of kind `synctera`.

    Args:
        resource: `customers` or `persons`; the same person has the same id under both.
        today: Dates of birth must be before it.
    """

    Settings = SyncteraSettings
    noun = "customer"
    ids = IdRule(ID_PATTERN, "a UUID", folds_case=True)
    login: Mapping[str, str] = LOGIN
    keys = KeyRetention(safe_age_s=6 * 24 * 3600.0)  # the API forgets a key after seven days
    ids_per_read = IDS_PER_READ
    streaks = STREAKS
    copies: Mapping[str, str] = {"legal_address": "shipping_address"}

    def __init__(self, resource: str, *, today: dt.date) -> None:
        if resource not in ("customers", "persons"):
            raise JobError(f"target.resource: {resource!r} is not known", "use customers or persons")
        self._resource = resource
        self.spec: TargetSpec = {"kind": "synctera", "resource": resource}
        self._fields = {field.name: field for field in synctera_fields(resource, today)}
        self.evidence = Evidence(
            self.field, ATOMIC_OBJECTS, as_held=self.as_held, changed_at=self.changed_at, noun=self.noun
        )
        self._faults = FaultTable(self, noun=self.noun)

    @staticmethod
    def spec_of(settings: SyncteraSettings) -> TargetSpec:
        """Return what `from_spec` makes the target from."""
        return {"kind": "synctera", "resource": settings.resource}

    @classmethod
    def from_spec(cls, spec: TargetSpec, today: dt.date) -> Self:
        """Make the target of a job or of a run."""
        return cls(str(spec.get("resource", "")), today=today)

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

    def encode(self, field: Field, text: str) -> Any:
        """Return text, true or false, or a whole number; what an export spells in another way stays text."""
        match field.kind:
            case Kind.TEXT:
                return text
            case Kind.BOOLEAN:
                return {"true": True, "false": False}.get(text.lower(), text)
            case Kind.INTEGER:
                return int(text) if text.isdecimal() else text

    def cleared(self, field: Field | None) -> Any:
        """Return the empty text: how the API clears a field is not documented, so each is read back."""
        return ""

    def as_held(self, name: str, value: Any) -> Any:
        """Rewrite a Canadian postal code as the API does, and leave out flags that are false, as it documents."""
        if name not in ATOMIC_OBJECTS or not isinstance(value, dict):
            return value
        in_canada = value.get("country_code") == "CA"
        return {part: self._part_as_held(f"{name}.{part}", inner, in_canada) for part, inner in value.items()}

    def _part_as_held(self, name: str, value: Any, in_canada: bool) -> Any:
        field = self._fields.get(name)
        if value is False and field is not None and field.kind is Kind.BOOLEAN:
            return None
        if in_canada and isinstance(value, str) and field is not None and field.rewrite is not None:
            return canadian(value)
        return value

    def record_id(self, record: Record) -> str:
        """Return the id in lower case."""
        return str(record["id"]).lower()

    def changed_at(self, record: Record) -> dt.datetime | None:
        """Return `last_updated_time`."""
        try:
            touched = dt.datetime.fromisoformat(str(record.get("last_updated_time")))
        except ValueError:
            return None
        return touched if touched.tzinfo is not None else None

    def request(self, patch: Patch) -> Request:
        """Return `PATCH /customers/{customer_id}`."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": patch.key}
        return Request("PATCH", self._path(patch.customer_id), patch.body, headers)

    def read(self, ids: Sequence[str], page_token: str | None = None) -> Request:
        """Return `GET /customers?id=a,b,…&limit=100`."""
        for customer_id in ids:
            self._path(customer_id)
        token = f"&page_token={quote(page_token, safe='', errors='surrogatepass')}" if page_token else ""
        return Request("GET", f"/{self._resource}?id={','.join(ids)}&limit={IDS_PER_READ}{token}")

    def read_one(self, record_id: str) -> Request:
        """Return `GET /customers/{customer_id}`."""
        return Request("GET", self._path(record_id))

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

    def record(self, reply: Reply, record_id: str) -> Record | None:
        """Return the customer of a single answer."""
        answer = json_object(reply)
        if reply.status != 200 or answer is None or not _has_id(answer) or answer["id"].lower() != record_id:
            return None
        return answer

    def judge(self, patch: Patch, reply: Reply | NetworkFailure, history: History) -> Verdict:
        """Judge the answer to a PATCH by the fault table."""
        return self._faults.judge(patch, reply, history)

    def judge_read(self, reply: Reply | NetworkFailure, history: History) -> Verdict:
        """Judge the answer to a GET by the fault table."""
        return self._faults.judge_read(reply, history)

    # --- what only this API's answers say

    def is_own(self, reply: Reply) -> bool:
        """Tell whether a body is the API's own JSON: it has a `code`, or a `type` that is an error URI of the API."""
        return is_the_apis_own(reply)

    def error(self, reply: Reply) -> tuple[str, tuple[str, ...]]:
        """Return the API's code and the fields that it names."""
        code, names = _code_and_names(reply)
        names = tuple(dict.fromkeys(map(_top_of_open, names)))
        known = tuple(name for name in names if name in self._fields or name in ATOMIC_OBJECTS)
        strangers = len(names) - len(known)
        return code, (*known, f"{amount(strangers, 'unknown field')}") if strangers else known

    def meaning_of_code(self, code: str) -> Meaning | None:
        """Return what a code means whatever the status."""
        return MEANING_BY_CODE.get(code)

    def meaning_of_200(self, patch: Patch, reply: Reply) -> Meaning:
        """Compare the customer of an answer with the one that was sent."""
        answer = json_object(reply)
        if answer is None or not _has_id(answer):
            return Meaning.UNREADABLE
        if answer["id"].lower() != patch.customer_id:
            return Meaning.WRONG_RECORD
        return Meaning.DIFFERS if self.evidence.missing(patch, answer) else Meaning.CONFIRMED


# --- reading answers, tolerantly: integrators met unknown properties and codes, and bodies that are not JSON


def is_the_apis_own(reply: Reply) -> bool:
    """Tell whether a body is the API's own JSON: it has a `code`, or a `type` that is an error URI of the API."""
    answer = json_object(reply)
    if answer is None:
        return False
    return isinstance(answer.get("code"), str) or ERROR_URI.match(str(answer.get("type"))) is not None


def _has_id(answer: object) -> bool:
    return isinstance(answer, dict) and isinstance(answer.get("id"), str)


def _code_and_names(reply: Reply) -> tuple[str, tuple[str, ...]]:
    """Return the API's code and the names that it gives; never its texts, which may contain values."""
    answer = json_object(reply) or {}
    code = answer.get("code")
    if not isinstance(code, str):
        uri = ERROR_URI.match(str(answer.get("type")))
        code = uri[1] if uri and SLUG.fullmatch(uri[1]) else UNKNOWN_CODE
    elif not CODE.fullmatch(code):
        code = UNKNOWN_CODE
    groups = [answer.get(key) for key in ("missing", "invalid", "immutable")]
    names = [name for group in groups if isinstance(group, (list, dict)) for name in group if isinstance(name, str)]
    return code, tuple(dict.fromkeys(names))


def _top_of_open(name: str) -> str:
    """Return the name of an open object for its parts: whoever sends it chooses their names."""
    top = name.partition(".")[0]
    return top if top in ATOMIC_OBJECTS and ATOMIC_OBJECTS[top].open else name
