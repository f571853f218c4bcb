"""The contract of targets: what requests to an API look like, and what answers mean. Pure: no I/O, no clock."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from bulk_patch.errors import Exit
from bulk_patch.model import History, Meaning, NetworkFailure, Patch, Reply, Request, Verdict

if TYPE_CHECKING:
    from bulk_patch.targets.evidence import Evidence
    from bulk_patch.targets.fields import AtomicObject, Field

Record = Mapping[str, Any]  # a customer as the API shows it: JSON as decoded


@dataclass(frozen=True, slots=True)
class Page:
    """A page of records: the answer to a list request."""

    records: tuple[Record, ...]  # each has an `id` of text; what has none is left out
    next_token: str | None = None
    is_partial: bool = False  # something in the list has no id: who is missing is not known


@dataclass(frozen=True, slots=True)
class Streak:
    """How many answers of one kind in a row mean that the run is wrong, and not single rows."""

    length: int
    exit_code: Exit
    hint: str
    canary: bool = False  # a single answer is enough in the canary


class Target(Protocol):
    """The contract of every target.

    All methods are pure and never raise for anything that a server can answer: an unreadable answer is judged as such.
    """

    noun: str  # what a record is called: "customer"
    id_pattern: re.Pattern[str]  # matches a lower-cased id; nothing else ever gets into a path
    ids_per_read: int
    evidence: "Evidence"  # compares records with planned bodies and before-images
    streaks: Mapping[Meaning, "Streak"]  # by meaning of an answer: how many in a row stop a run
    copies: Mapping[str, str]  # object -> the object that the API sets to a copy of it where it is absent

    def field(self, name: str) -> "Field | None":
        """Return the field of this dotted name, or None: unknown or read-only."""

    def field_names(self) -> tuple[str, ...]:
        """Return the names of all fields with a fixed name, for hints."""

    def atomic_object(self, name: str) -> "AtomicObject | None":
        """Return the object of a top-level name, or None for a plain field."""

    def needs(self, names: Collection[str]) -> str:
        """Describe what is missing for a change of these fields, or "": rules that tie fields together."""

    def request(self, patch: Patch) -> Request:
        """Return the PATCH of a row: the sealed body, the idempotency key, and a path in which only the id varies."""

    def read(self, ids: Sequence[str], page_token: str | None = None) -> Request:
        """Return the request that reads one page of up to `ids_per_read` customers."""

    def read_one(self, customer_id: str) -> Request:
        """Return the request that reads one customer: for read-back, settling and probing a credential."""

    def page(self, reply: Reply) -> Page | None:
        """Return the records of a list answer, or None when the reply is not a list answer."""

    def record(self, reply: Reply, customer_id: str) -> Record | None:
        """Return the customer of a reply, or None when the reply does not show this customer."""

    def judge(self, patch: Patch, reply: Reply | NetworkFailure, history: History) -> Verdict:
        """Judge the reply to a PATCH: what it means and what to do next, by the fault table."""

    def judge_read(self, reply: Reply | NetworkFailure, history: History) -> Verdict:
        """Judge the reply to a read: APPLIED (usable), RETRY, RENEW, STOP or REJECTED (no such customer)."""
