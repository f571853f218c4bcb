"""What a ledger holds, as frozen records: runs, rows, sessions, verifications and who did what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bulk_patch.job.section import Capabilities
from bulk_patch.model import State


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something: recorded with every command that writes."""

    operator: str  # --operator, or the login
    login: str  # OS login by uid
    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class Holder:
    """Which process may write to a ledger now."""

    pid: int  # 0: it has not written its name yet
    host: str
    started_at: float  # Unix seconds


@dataclass(frozen=True, slots=True)
class Sample:
    """One changed row as a plan shows it; values are masked."""

    row: int
    customer_id: str
    changes: tuple[tuple[str, str | None, str], ...]  # field, before (None: not known), after


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a rule of [input.convert] did with one column."""

    column: str
    rule: str
    rows: int  # whose cell became another
    failed: int  # whose cell could not be converted
    samples: tuple[tuple[str, str, int], ...]  # before, after, rows; only their shapes where they may identify someone

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "column": self.column,
            "rule": self.rule,
            "rows": self.rows,
            "failed": self.failed,
            "samples": [list(sample) for sample in self.samples],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return what `to_json` gave."""
        return cls(
            str(values["column"]),
            str(values["rule"]),
            _number(values["rows"]),
            _number(values["failed"]),
            tuple((str(old), str(new), _number(rows)) for old, new, rows in values["samples"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSummary:
    """All that a reviewer's screen or page shows of a plan, and all that guards and approvals rely on.

    Values in it are masked or counts. The plan's seal covers it.
    """

    changes: int = 0  # rows to send
    invalid: tuple[tuple[str, int], ...] = ()  # reason and number of rows, the most frequent first
    fields: Mapping[str, int] = field(default_factory=dict)  # changed field -> number of rows
    cleared: Mapping[str, int] = field(default_factory=dict)  # cleared field -> number of rows
    transitions: Mapping[str, tuple[tuple[str, str, int], ...]] = field(default_factory=dict)  # field -> old, new, rows
    samples: tuple[Sample, ...] = ()
    warnings: tuple[str, ...] = ()
    reads: int = 0  # requests that the baseline took
    recheck: int = 0  # rows whose object was completed from an old snapshot
    snapshot_at: float | None = None  # when the baseline was taken, Unix seconds; None: while the plan was made
    undoes: str = ""  # the id of the run that this one undoes
    may_clear: tuple[str, ...] = ()  # of an undo: what input.may_clear has to name to take more rows back
    needs_approval: bool = False  # whatever the job says later
    taken_back: Mapping[str, int] = field(default_factory=dict)  # undo -> rows to send of which it took values back
    taken_back_rows: tuple[int, ...] = ()  # the first of these rows
    reading: str = ""  # what is unusual about how the input was read
    conversions: tuple[Conversion, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; what says nothing is left out."""
        values: dict[str, Any] = {
            "changes": self.changes,
            "invalid": [list(line) for line in self.invalid],
            "fields": dict(self.fields),
            "cleared": dict(self.cleared),
            "transitions": {name: [list(move) for move in moves] for name, moves in self.transitions.items()},
            "samples": [
                {"row": one.row, "customer_id": one.customer_id, "changes": [list(change) for change in one.changes]}
                for one in self.samples
            ],
            "warnings": list(self.warnings),
            "reads": self.reads,
            "recheck": self.recheck,
        }
        if self.snapshot_at is not None:
            values["picture_at"] = self.snapshot_at  # as 0.1 wrote it: stored plans have it
        if self.undoes:
            values["undoes"] = self.undoes
        if self.may_clear:
            values["may_clear"] = list(self.may_clear)
        if self.needs_approval:
            values["approval"] = True
        if self.taken_back:
            values |= {"taken_back": dict(self.taken_back), "taken_back_rows": list(self.taken_back_rows)}
        if self.reading:
            values["reading"] = self.reading
        if self.conversions:
            values["conversions"] = [one.to_json() for one in self.conversions]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the summary that `to_json` gave, or an earlier version wrote.

        Raises:
            TypeError, ValueError, KeyError, AttributeError: It was not written so.
        """
        return cls(
            changes=_number(values.get("changes", 0)),
            invalid=tuple((str(reason), _number(rows)) for reason, rows in values.get("invalid", [])),
            fields={name: _number(rows) for name, rows in values.get("fields", {}).items()},
            cleared={name: _number(rows) for name, rows in values.get("cleared", {}).items()},
            transitions={
                name: tuple((str(old), str(new), _number(rows)) for old, new, rows in moves)
                for name, moves in values.get("transitions", {}).items()
            },
            samples=tuple(
                Sample(
                    _number(one["row"]),
                    str(one["customer_id"]),
                    tuple(
                        (str(name), None if old is None else str(old), str(new)) for name, old, new in one["changes"]
                    ),
                )
                for one in values.get("samples", [])
            ),
            warnings=tuple(str(warning) for warning in values.get("warnings", [])),
            reads=_number(values.get("reads", 0)),
            recheck=_number(values.get("recheck", 0)),
            snapshot_at=values.get("picture_at"),
            undoes=str(values.get("undoes", "")),
            may_clear=tuple(str(name) for name in values.get("may_clear", [])),
            needs_approval=bool(values.get("approval", False)),
            taken_back={str(undo): _number(rows) for undo, rows in values.get("taken_back", {}).items()},
            taken_back_rows=tuple(_number(row) for row in values.get("taken_back_rows", [])),
            reading=str(values.get("reading", "")),
            conversions=tuple(Conversion.from_json(one) for one in values.get("conversions", [])),
        )


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(value)
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a job: its plan's facts and how far it came. Times are Unix seconds, None: not yet."""

    id: str  # 20261122-151203-4f2a
    job: str
    target: str  # kind, base URL and resource; the sandbox is a target of its own
    kind: str = "run"  # run | undo
    state: str = "planning"  # planning | sealed | closed: `--new` closed it, its pending rows are never sent
    secret: str = field(repr=False)  # UUID that the keys are derived from
    created_at: float
    actor: Actor
    reason: str = ""
    ticket: str = ""
    identity: str  # SHA-256 over [input], [baseline] and guards.fields as the job said them
    baseline: str  # none | file | last-run | live
    input_path: str = ""
    input_sha256: str = ""
    input_size: int = 0
    input_mtime_ns: int = 0
    baseline_sha256: str = ""  # of a baseline file
    columns: tuple[str, ...] = ()  # the input's header, as read
    input_rows: int = 0
    unchanged: int = 0
    plan_sha256: str = ""
    plan_s: float = 0.0
    sealed_at: float | None = None
    started_at: float | None = None  # first claim
    finished_at: float | None = None  # end of the last session
    stopped_by: str = ""  # the guard or fault that stopped it, "" when nothing did
    stop_reason: str = ""
    stop_hint: str = ""
    waived: tuple[str, ...] = ()  # stops that a person waived with --continue
    exit_code: int | None = None  # of the last session
    job_file: str = ""  # as it was named, absolute
    overrides: tuple[str, ...] = ()  # `--set` words that the plan was made with
    summary: PlanSummary = field(default_factory=PlanSummary)
    terms: Mapping[str, Any] = field(default_factory=dict)  # guards, limits and signers that the plan was made under
    target_spec: Mapping[str, Any] = field(default_factory=dict)  # what the target is made from again, JSON
    seal_version: int = 2  # of `ledgers.seal`
    stats: Mapping[str, Any] = field(default_factory=dict)  # requests, times, latencies, JSON

    @property
    def baseline_can(self) -> Capabilities:
        """Return what the baseline could do that the plan was made with."""
        return Capabilities.of_run(self.baseline, self.terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """One row as the plan writes it; rows that are `unchanged` are only counted."""

    row: int  # data row, the first is 1
    customer_id: str
    state: State  # pending | invalid | duplicate | kept
    cells: bytes  # JSON array of the cells as read, in the order of Run.columns; null: missing
    reason: str = ""
    hint: str = ""
    fields: tuple[str, ...] = ()  # what would change, or what is invalid
    body: bytes | None = None  # pending rows only
    before: bytes | None = None  # see model.Patch.before
    read_back: bool = False  # something is cleared: confirm by a GET
    recheck: bool = False  # an object was completed from an old snapshot: read again before sending


@dataclass(slots=True, kw_only=True)  # frozen it takes three times as long to make, and reports make millions
class LedgerRow:
    """One row as the ledger holds it."""

    row: int
    customer_id: str
    state: State
    cells: bytes
    reason: str
    hint: str
    fields: tuple[str, ...]
    body: bytes | None
    before: bytes | None
    attempts: int  # PATCHes known to be sent
    http_status: int | None
    api_code: str
    key: str  # the last used, "" when never sent
    generation: int
    first_intent_at: float | None  # of the row, Unix seconds
    done_at: float | None
    final: bool  # unknown for good


#: What `Ledger.sessions` returns at most: a run that was killed every minute of a night stays readable.
MOST_SESSIONS = 500


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One process that sent rows of a run. Times are Unix seconds."""

    actor: Actor
    started_at: float
    ended_at: float | None  # None: a kill ended it, or it goes on


@dataclass(frozen=True, slots=True)
class Note:
    """One fact of a run for the auditor."""

    at: float  # Unix seconds
    actor: Actor
    action: str  # what was done: continued, approved, revealed
    detail: Mapping[str, Any] = field(default_factory=dict)  # JSON values; no customer's value


@dataclass(frozen=True, slots=True)
class FieldDrift:
    """One field that is not as it was sent; values masked, since screens and reports show them as they are kept."""

    name: str
    planned: str
    found: str
    superseded_by: str = ""  # a later run of the job that sent what is there now


@dataclass(frozen=True, slots=True)
class Drift:
    """One applied row whose customer is not as the row left it."""

    row: int
    customer_id: str
    reason: str  # "" where the fields say all
    fields: tuple[FieldDrift, ...]
    counts: bool = True  # False: later runs of the job explain all of it


@dataclass(frozen=True, slots=True)
class Check:
    """One reading-back of a run's applied rows. Times are Unix seconds."""

    number: int
    actor: Actor
    started_at: float
    ended_at: float | None  # None: it goes on, or was stopped and can go on
    upto: int  # last row that was looked at
    rows: int  # applied rows that were looked at
    drifted: int  # of them drifted, those that later runs explain left out
