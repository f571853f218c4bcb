"""The Target seam: what an API's requests look like, and what its answers mean. Pure: no I/O, no clock."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from bulk_patch.errors import Exit
from bulk_patch.model import History, NetworkFailure, Patch, Reply, Request, Verdict

if TYPE_CHECKING:
    from bulk_patch.targets.evidence import Evidence
    from bulk_patch.targets.fields import AtomicObject, Field

Record = Mapping[str, Any]  # one customer as the API answers it


@dataclass(frozen=True, slots=True)
class Page:
    """The records of one list answer."""

    records: tuple[Record, ...]
    next_token: str | None = None


@dataclass(frozen=True, slots=True)
class Streak:
    """So many answers of one kind in a row mean that the whole run is wrong, not its rows."""

    length: int
    exit_code: Exit
    hint: str
    canary: bool = False  # one is enough in the canary


class Target(Protocol):
    """The contract of every target.

    All methods are pure and never raise for anything a server can answer: what cannot be read is judged so.
    """

    id_pattern: re.Pattern[str]  # of a lower-cased id; nothing else ever gets into a path
    ids_per_read: int
    evidence: "Evidence"  # compares records with planned bodies and before-images
    streaks: Mapping[str, "Streak"]  # kinds of answers of which so many in a row stop a run
    copies: Mapping[str, str]  # object -> the one that the API sets to a copy of it where there is none

    def field(self, name: str) -> "Field | None":
        """Return the field of this dotted name, or None: unknown or read-only."""

    def field_names(self) -> tuple[str, ...]:
        """Return all fields that have a fixed name, for hints."""

    def atomic_object(self, name: str) -> "AtomicObject | None":
        """Return the object that a top-level name stands for, or None for a plain field."""

    def needs(self, names: Collection[str]) -> str:
        """Say what a change of these fields lacks, or "": rules that tie several fields together."""

    def request(self, patch: Patch) -> Request:
        """Return the PATCH of a row: the sealed bytes, the key, a path that holds nothing but the id."""

    def read(self, ids: Sequence[str], page_token: str | None = None) -> Request:
        """Return the read of one page of up to `ids_per_read` customers."""

    def read_one(self, customer_id: str) -> Request:
        """Return the read of one customer: read-back, settling, credential probe."""

    def page(self, reply: Reply) -> Page | None:
        """Return the records of a list answer, or None when it is not one."""

    def record(self, reply: Reply, customer_id: str) -> Record | None:
        """Return the customer of a single answer, or None when it is not this customer's."""

    def judge(self, patch: Patch, reply: Reply | NetworkFailure, history: History) -> Verdict:
        """Say what the answer to a PATCH means and what to do: the fault table."""

    def judge_read(self, reply: Reply | NetworkFailure, history: History) -> Verdict:
        """Say what the answer to a read means: APPLIED (it can be used), RETRY, RENEW, STOP or REJECTED (no such)."""
