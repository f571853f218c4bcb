"""The contract of targets: what requests to an API look like, and what answers mean. Pure: no I/O, no clock."""

import datetime as dt
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from bulk_patch.errors import Exit
from bulk_patch.model import History, Meaning, NetworkFailure, Patch, Reply, Request, Verdict

if TYPE_CHECKING:
    from bulk_patch.targets.evidence import Evidence
    from bulk_patch.targets.fields import AtomicObject, Field

Record = Mapping[str, Any]  # a record as the API shows it: JSON as decoded
TargetSpec = Mapping[str, Any]  # JSON: `kind`, and what the target of that kind is made from again


@dataclass(frozen=True, slots=True)
class IdRule:
    """What an id of the API is.

    Attributes:
        pattern: Matches a normalised id; nothing else ever gets into a path.
        words: To follow "is not": `a UUID`.
        folds_case: The API takes an id in any case for the same one, so ids are compared and sent in lower case.
    """

    pattern: re.Pattern[str]
    words: str
    folds_case: bool = False

    def normalise(self, text: str) -> str:
        """Return the one spelling of an id by which it is compared and sent."""
        return text.lower() if self.folds_case else text

    def matches(self, text: str) -> bool:
        """Tell whether a normalised text is an id."""
        return self.pattern.fullmatch(text) is not None

    def accepts(self, text: str) -> bool:
        """Tell whether a text is an id once it is normalised."""
        return self.matches(self.normalise(text))


@dataclass(frozen=True, slots=True)
class KeyRetention:
    """For how long the API knows an idempotency key again.

    Attributes:
        safe_age_s: A key is sent again only so long after its first use, seconds.
        quiet_s: So long after an attempt it can no longer be under way, seconds.
    """

    safe_age_s: float
    quiet_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Page:
    """A page of records: the answer to a list request."""

    records: tuple[Record, ...]  # `record_id` gives the id of each; what has none is left out
    next_token: str | None = None
    is_partial: bool = False  # something in the list has no id: who is missing is not known


@dataclass(frozen=True, slots=True)
class Streak:
    """How many answers of one meaning in a row say that the run is wrong, and not single rows."""

    length: int
    exit_code: Exit
    hint: str
    canary: bool = False  # a single answer is enough in the canary


class Target(Protocol):
    """The contract of every target.

    All methods are pure and never raise for anything that a server can answer: an unreadable answer is judged as such.
    A class of targets also has `Settings`, a `bulk_patch.job.section.TargetOptions` with its own part of `[target]`,
    and `spec_of(settings)`, which makes the spec that a run keeps.
    """

    spec: TargetSpec  # kept with every run: `from_spec` makes the same target of it, whatever the job says by then
    noun: str  # what a record is called: "customer"
    ids: IdRule
    login: Mapping[str, str]  # headers that show the token to the API; `{token}` in them stands for it
    ids_per_read: int
    evidence: "Evidence"  # compares records with planned bodies and before-images
    streaks: Mapping[Meaning, Streak]  # by meaning of an answer: how many in a row stop a run
    copies: Mapping[str, str]  # object -> the object that the API sets to a copy of it where it is absent

    @property
    def keys(self) -> KeyRetention | None:
        """Return how long keys are known; None: the API knows none, and what may have executed is never repeated."""

    @classmethod
    def from_spec(cls, spec: TargetSpec, today: dt.date) -> Self:
        """Make a target from its spec.

        Args:
            spec: As `spec_of` made it, in this version or an earlier one.
            today: For rules that depend on the date.

        Raises:
            JobError: The spec names something that does not exist.
        """
        ...

    def field(self, name: str) -> "Field | None":
        """Return the field of this dotted name, or None: unknown or read-only."""

    def field_names(self) -> tuple[str, ...]:
        """Return the names of all fields with a fixed name, for hints."""

    def atomic_object(self, name: str) -> "AtomicObject | None":
        """Return the object of a top-level name, or None for a plain field."""

    def needs(self, names: Collection[str]) -> str:
        """Describe what is missing for a change of these fields, or "": rules that tie fields together."""

    def encode(self, field: "Field", text: str) -> Any:
        """Return the JSON value of a cell that is not empty; text that cannot be one of its kind stays text."""

    def cleared(self, field: "Field | None") -> Any:
        """Return the JSON value that clears a plain field; None: a field that the target no longer has."""

    def as_held(self, name: str, value: Any) -> Any:
        """Return an object (by its top-level name) in the form in which the server holds and shows it."""

    def record_id(self, record: Record) -> str:
        """Return the normalised id of a record."""

    def changed_at(self, record: Record) -> dt.datetime | None:
        """Return when a record was last changed, with a time zone; None where it does not say."""

    def request(self, patch: Patch) -> Request:
        """Return the PATCH of a row: the sealed body, headers with its key, and a path in which only the id varies."""

    def read(self, ids: Sequence[str], page_token: str | None = None) -> Request:
        """Return the request that reads one page of up to `ids_per_read` records."""

    def read_one(self, record_id: str) -> Request:
        """Return the request that reads one record: for read-back, settling and probing a credential."""

    def page(self, reply: Reply) -> Page | None:
        """Return the records of a list answer, or None when the reply is not a list answer."""

    def record(self, reply: Reply, record_id: str) -> Record | None:
        """Return the record of a reply, or None when the reply does not show this record."""

    def judge(self, patch: Patch, reply: Reply | NetworkFailure, history: History) -> Verdict:
        """Judge the reply to a PATCH: what it means and what to do next, by the fault table."""

    def judge_read(self, reply: Reply | NetworkFailure, history: History) -> Verdict:
        """Judge the reply to a read: APPLIED (usable), RETRY, RENEW, STOP or REJECTED (no such record)."""
