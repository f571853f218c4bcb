"""What a ledger holds, as frozen records: runs, rows, sessions, verifications and who did what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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

    pid: int  # 0: it has not said its name yet
    host: str
    started_at: float  # Unix seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a job: its plan's facts and how far it came. Times are Unix seconds, None: not yet."""

    id: str  # 20261122-151203-4f2a
    job: str
    target: str  # kind, base URL and resource; the sandbox is one of its own
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
    details: Mapping[str, Any] = field(default_factory=dict)  # the plan's summary, JSON
    stats: Mapping[str, Any] = field(default_factory=dict)  # requests, times, latencies, JSON


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
    recheck: bool = False  # an object was completed from an old picture: read again before sending


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
