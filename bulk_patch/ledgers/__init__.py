"""The contract of ledgers: where every run of a job, every row and every intent is kept.

A ledger is synchronous and has one writer, the dispatcher, for every engine. It is the only memory of a job: a resume
needs the ledger and the token, nothing else. Calls come one at a time; while rows are sent, all of them go through
`concurrency.LedgerThread`.

LedgerStore     where the ledgers of an output folder are
RunReader       runs and all that is known of them; never locks, never writes
Ledger          a RunReader that writes: plans, sessions of sending, and single facts
PlanWriter      one plan on its way in
SendingSession  rows on their way out, outcomes on their way back
CheckWriter     one reading-back of the rows that a run applied
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from bulk_patch.job.section import Section
from bulk_patch.ledgers.events import Event
from bulk_patch.ledgers.records import (
    Actor,
    Check,
    Drift,
    Holder,
    LedgerRow,
    Note,
    PlanRow,
    PlanSummary,
    Run,
    SessionRecord,
)
from bulk_patch.model import Counts, Outcome, Patch, State

#: What a claim would hand out: the row, the state it has now, and whether it has to be read again first.
Candidate = tuple[Patch, State, bool]


class LedgerStore(Protocol):
    """Where the ledgers of an output folder are. A plug-in of the group `bulk_patch.ledgers` is one.

    * It is made with the output folder, and with the job's `[ledger]` where there is a job to write; commands that only
      look at runs have no job file, so it finds its ledgers without one. The class may have `Settings`, a
      `bulk_patch.job.section.Section` with its own part of `[ledger]`.
    * Its ledgers are told apart by the job's name, and a job has one at most.
    """

    def __init__(self, output: Path, settings: Section | None = None) -> None: ...

    def jobs(self) -> list[str]:
        """Return the names of the jobs that have a ledger here, sorted; nothing is opened or made."""
        ...

    def write(self, job: str, *, wait_s: float = 0.0, restored: str = "") -> "Ledger":
        """Open the ledger of a job to write, made where there is none; the caller closes it.

        Args:
            job: The job's name.
            wait_s: How long to wait for another process that holds it.
            restored: Why a ledger is taken that is older than its folder; what was open in it may have been sent, and
                is ambiguous from then on. "": such a ledger is refused.

        Raises:
            OlderLedgerError: It is older than its folder: restored, deleted, or without its log.
            LockedError: Another process holds it; the message names pid, host and start.
            LedgerError: It is damaged, of another job or of a newer version, or the disk fails.
        """
        ...

    def read(self, job: str) -> "RunReader":
        """Open the ledger of a job to read, also while another process writes; the caller closes it.

        Raises:
            LedgerError: The job has no ledger here, or it is damaged, of another job or of another version.
        """
        ...

    def back_up(self, job: str, to: Path) -> tuple[int, str]:
        """Copy the ledger of a job to a file, also while another process writes to it, whole or not at all.

        Returns:
            How many runs the copy has, and its head.

        Raises:
            LedgerError: The ledger cannot be read, or the disk fails.
        """
        ...

    def holder(self, job: str) -> Holder | None:
        """Return which process may write to the ledger of a job now, if any."""
        ...


class RowReader(Protocol):
    """Rows of runs, each compared with the seal of its plan before anyone sees it."""

    def rows(
        self,
        run_id: str,
        *,
        states: Sequence[State] | None = None,
        customer_id: str | None = None,
        after: int = 0,
    ) -> Iterator[LedgerRow]:
        """Stream rows in input order, those after one row, in bounded memory; by customer only of a sealed plan.

        Raises:
            LedgerError: The run's facts, its summary or a row that comes up are not as they were sealed.
        """

    def history(self, customer_id: str) -> list[tuple[str, LedgerRow]]:
        """Return every row of all sealed runs about one customer, each with its run's id, oldest run first."""

    def applied_bodies(self, target: str, customer_ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield (customer id, body) of what any run of this target applied to these customers, or found mismatching.

        Customers in the order asked; for each, oldest first.
        """

    def check_seal(self, run_id: str) -> None:
        """Compare the whole plan of a run with its seal, in bounded memory.

        Call it before you rely on the bodies and before-images of a run that is not being sent.

        Raises:
            LedgerError: The plan is not sealed, or not as it was sealed; it says what changed.
        """


class EventReader(Protocol):
    """The chain of events of a ledger, and what follows from it."""

    def events(self, run_id: str | None = None) -> Iterator[Event]:
        """Stream what happened in the ledger, or to one run, each event compared with its hash."""

    def head(self) -> str:
        """Return the hash of the last event as hex digits, "" where there is none."""

    def must_read_first(self, run_id: str) -> bool:
        """Tell whether rows of a run have to be read before they are sent: an older ledger was taken for it."""

    def last_time(self) -> float:
        """Return the latest time that the ledger holds, Unix seconds; 0.0 for a new one.

        A clock that is behind this time was set back.
        """


class RunReader(RowReader, EventReader, Protocol):
    """A ledger to read, also while another process writes to it.

    * It takes no lock and writes nothing.
    * What it returns was compared with the chain of events (`ledgers.events`): an edit raises `DamagedLedgerError`.
    * No method holds more than the rows it was asked for in memory.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def close(self) -> None:
        """Release the files, and of a `Ledger` the lock."""

    def runs(self, target: str | None = None) -> list[Run]:
        """Return all runs, newest first, of one target or of all; a plan that is not sealed yet is one."""

    def run(self, run_id: str) -> Run:
        """Return one run by its exact id; `LedgerError` when there is none."""

    def open_run(self, target: str) -> Run | None:
        """Return the newest sealed run of this target that has rows still to be tried, if any.

        Rows that a session spent count.
        """

    def counts(self, run_id: str) -> Counts:
        """Return rows for every state, at once whatever the size (kept, not counted); all 0 before the seal."""

    def to_do(self, run_id: str) -> int:
        """Return how many rows are still to be tried: pending, sending, unknown not for good, retry requested.

        Of a closed run: only what `request_retry` asked for.
        """

    def notes(self, run_id: str) -> list[Note]:
        """Return the noted facts of a run in order."""

    def sessions(self, run_id: str) -> list[SessionRecord]:
        """Return when a run was sent and by whom, in order; the last `MOST_SESSIONS` when there were more."""

    def checks(self, run_id: str) -> list[Check]:
        """Return the checks of a run, newest first."""

    def drifts(self, check: int) -> Iterator[Drift]:
        """Stream what a check found, in row order and bounded memory."""


class PlanWriter(Protocol):
    """One plan from its first row to its seal. A plan that is left unsealed is discarded by the next one."""

    def add(self, rows: Iterable[PlanRow]) -> None:
        """Append rows of the plan, in input order; the plan is not yet valid.

        A plan whose rows failed half-way, or that another one has replaced, is refused: start again.
        """

    def seal(self, summary: PlanSummary, *, input_rows: int, unchanged: int, plan_s: float, now: float) -> str:
        """Make the plan valid and immutable; return its SHA-256.

        The hash (`ledgers.seal`) covers every row that is kept, the summary, and all facts of the run that its plan
        fixed. Durable on return. States must balance with `input_rows`.
        """


class SendingSession(Protocol):
    """One session of sending one run.

    * `claim` and `record` are durable when they return (power loss included). They raise `LedgerError` on any
      storage failure, and nothing that failed is retried: the caller stops.
    * Only the moves of `model.MOVES` are made; any other raises `LedgerError` and changes nothing.
    * After `end`, and once the ledger has started another session, every method raises `LedgerError`.
    """

    @property
    def recovered(self) -> int:
        """Return how many rows a kill had left in flight: they are `unknown` now, and ambiguous."""

    def peek(self, n: int, *, only_requested: bool = False) -> list[Candidate]:
        """Return what `claim` would hand out next, with state and recheck flag, and change nothing.

        `Patch.intent_at` is 0.0 when nothing can have left under its key yet.
        """

    def claim(
        self, n: int, *, now: float, only_requested: bool = False, rows: Sequence[int] | None = None
    ) -> list[Patch]:
        """Move up to n rows to `sending`, in row order, and return them once that is durable.

        Eligible: pending; unknown that is not final and spent its attempts in fewer than two sessions; rejected
        that was requested by `request_retry`. Not what spent its budget in this session. `only_requested`: only
        what `request_retry` asked for and has no answer yet. `rows` restricts to rows that `peek` returned. The
        age of a key counts from the first intent after which something may have left; for a pending row it starts
        again.

        Each chunk of the plan is verified against its sealed hash when it is first touched: a difference raises
        `LedgerError` and nothing of it is sent. `Patch.first` is left at SEND: the dispatcher decides.
        """

    def record(self, outcomes: Sequence[Outcome], *, now: float) -> None:
        """Write outcomes in one durable transaction.

        An outcome with `new_generation` goes to pending under the next generation, noted with its reason. An
        outcome `drifted` is for a pending row. `spent` is remembered with this session. A row that was ambiguous
        when it was handed out and comes back `pending` under the same key was not sent this time, but may have
        been before: it is recorded as `unknown`. What is `unknown` is ambiguous. `fields` of an outcome are
        named in the row's hint; its own `fields` stay what would change.
        """

    def end(self, *, now: float, by_itself: bool) -> None:
        """End the session.

        Args:
            now: Unix seconds.
            by_itself: Not by outage, signal, credential or ledger; only then rows that are unknown and spent their
                attempts count as such. Those that did so twice become final.
        """


class CheckWriter(Protocol):
    """One reading-back of the rows that a run applied."""

    @property
    def check(self) -> Check:
        """Return the check as it was when it was started or resumed."""

    def record(self, drifts: Sequence[Drift], *, upto: int, rows: int) -> None:
        """Keep, in one durable transaction, what was found in the next rows, and that these were looked at.

        Args:
            drifts: What was found.
            upto: The last row that was looked at; it has to rise.
            rows: How many rows were looked at since the last call.
        """

    def end(self, *, now: float) -> None:
        """Remember that the check came to its end."""


class RunFacts(Protocol):
    """Single facts of a run, each durable when its method returns."""

    def note(self, run_id: str, note: Note) -> None:
        """Append a fact of the run for the auditor: continued, approved, revealed. No customer's value."""

    def set_stop(self, run_id: str, guard: str, *, reason: str, hint: str) -> None:
        """Keep the guard or fault that stopped a run, until a person waives it.

        Args:
            run_id: The run.
            guard: Its name.
            reason: What happened.
            hint: What to do.
        """

    def waive(self, run_id: str) -> None:
        """Lift the stop of a run: a person has looked, and the same stop does not stop it again."""

    def finish(self, run_id: str, exit_code: int, *, now: float, reason: str | None, hint: str = "") -> None:
        """Keep how the last command of a run ended.

        Args:
            run_id: The run.
            exit_code: Its exit code.
            now: Unix seconds.
            reason: Why it stopped, "" when nothing did; None: what `set_stop` kept stays.
            hint: What to do.
        """

    def reopen(self, run_id: str) -> None:
        """Forget how the last command of a run ended: what it waited for has come."""

    def save_metrics(self, run_id: str, metrics: Mapping[str, Any]) -> None:
        """Keep what a run took so far: requests, times, latencies. JSON values."""

    def keep_input_stamp(self, run_id: str, *, size: int, mtime_ns: int) -> None:
        """Keep size and time of an input whose bytes are still those that were planned.

        Args:
            run_id: The run.
            size: Bytes.
            mtime_ns: Time of the last change, nanoseconds.
        """


class Ledger(RunReader, RunFacts, Protocol):
    """A ledger to write.

    One read-write connection, behind a lock that dies with the process; opening a second one raises `LockedError`
    that names pid, host and start. Every method that writes is durable when it returns.
    """

    def plan(self, run: Run) -> PlanWriter:
        """Start a plan. Unsealed plans of the same target are discarded in the same transaction."""

    def send(
        self, run_id: str, actor: Actor, *, now: float, settings: Mapping[str, Any] | None = None
    ) -> SendingSession:
        """Start to send: verify the plan's hash, recover what a kill left in flight.

        Rows left `sending` become `unknown` and ambiguous, with the reason `left_in_flight`.

        Args:
            run_id: The run.
            actor: Who sends.
            now: Unix seconds.
            settings: What the session sends under, for the record; JSON values.
        """

    def check(self, run_id: str, actor: Actor, *, now: float) -> CheckWriter:
        """Resume the newest check of a run, else start a new one.

        The newest is resumed when it did not end, is less than a day old, and nothing has been sent since it started.
        """

    def discard(self, run_id: str) -> None:
        """Remove a run that has sent nothing, with its rows."""

    def close_run(self, run_id: str) -> None:
        """Never send what is still pending of this run (`--new`); its rows keep their states.

        What `request_retry` asks for can still be sent.
        """

    def request_retry(self, run_id: str, *, now: float) -> int:
        """Ask for rejected rows and unknown rows again; return how many are asked for.

        Rejected ones get the next generation; of unknown ones, those left `sending` by a kill included, it is
        forgotten that they spent their attempts or were final.
        """
